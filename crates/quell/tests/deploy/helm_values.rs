//! Values that cannot work are refused before anything is rendered.

use crate::helm::{RELEASES, render};
use serde_json::{Value, json};

/// `{"a": {"b": value}}` of `a.b`.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, key| json!({ key: inner }))
}

#[test]
fn values_that_cannot_work_are_refused() {
    let refused = |path: &str, value: Value| {
        let told = render("plain-values.yaml", RELEASES[1], &nested(path, value.clone()));
        let told = told.err().unwrap_or_else(|| panic!("{path} = {value} was taken"));
        let key = path.rsplit('.').next().expect("a key");
        assert!(told.contains("values don't meet the specifications") && told.contains(key), "{path}: {told}");
    };
    refused("kafka.brokers", json!(""));
    refused("kafka.brokers", json!("kafka"));
    refused("kafka.brokers", json!("kafka:9092, other:9092"));
    refused("store.contactPoints", json!([]));
    refused("store.keyspace", json!("Quell"));
    refused("gatway", json!({"replicas": 3}));
    refused("gateway.replica", json!(3));
    refused("gateway.replicas", json!("three"));
    refused("gateway.replicas", json!(-1));
    refused("gateway.spool.bytesMax", json!(1));
    refused("gateway.spool.size", json!("plenty"));
    refused("gateway.service.type", json!("Public"));
    refused("gateway.ingress", json!({"enabled": true}));
    refused("suppressor.workers", json!(0));
    refused("suppressor.autoscaling.kind", json!("magic"));
    refused("podSecurityContext.runAsNonRoot", json!(false));
    refused("securityContext.readOnlyRootFilesystem", json!(false));
    refused("terminationGracePeriodSeconds", json!(5));
    refused("image.digest", json!("latest"));
    refused("topics.partitions", json!(4_096));
    refused("topics.kind", json!("operator"));
    refused("topics", json!({"kind": "strimzi", "strimzi": {"cluster": ""}}));
    refused("topics.strimzi.apiVersion", json!("v1alpha1"));
    refused("prometheusRule.runbookUrl", json!("wiki.local/quell"));
    refused("prometheusRule.dashboardUrl", json!("https://grafana.local/{{ $labels.job }}"));
    refused("notifier.autoscaling.kind", json!("cpu"));
    refused("networkPolicy.kafkaPorts", json!([0]));
    refused("gateway.podDisruptionBudget", json!({"minAvailable": 1}));
    refused("secretFiles", json!([{"secretName": "a", "mountPath": "/var/lib/quell/data"}]));
    // The accounts and subscribers are what KEDA asks Kafka about.
    for (role, names) in [("syncer", "accounts"), ("notifier", "subscribers")] {
        let blind = render("plain-values.yaml", RELEASES[1], &json!({ role: {"autoscaling": {"enabled": true}} }));
        assert!(blind.as_ref().is_err_and(|told| told.contains(names)), "{blind:?}");
    }
    // The like of it is fine, which shows that it was the value.
    for (path, value) in [
        ("kafka.brokers", json!("kafka:9092,other:9092")),
        ("gateway.replicas", json!(1)),
        ("suppressor.workers", json!(8)),
        ("topics.partitions", json!(64)),
        ("topics", json!({"kind": "strimzi", "strimzi": {"cluster": "main"}})),
        ("gateway.spool.size", json!("1Ti")),
        ("secretFiles", json!([{"secretName": "a", "mountPath": "/etc/quell/store"}])),
    ] {
        let taken = render("plain-values.yaml", RELEASES[1], &nested(path, value));
        taken.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
