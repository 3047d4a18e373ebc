//! The chart, rendered by helm, held to Kubernetes' schemas, and run as far as the binary goes.

use crate::{
    binary::Deployed,
    tools::{Helm, file, manifest, root, said, yaml},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The oldest release that the chart is for, and a new one.
pub(crate) const RELEASES: [&str; 2] = ["1.27", "1.34"];
const ROLES: [&str; 5] = ["gateway", "normalizer", "suppressor", "syncer", "lookup"];
/// With what the full values turn on.
const ALL_ROLES: [&str; 6] = ["gateway", "normalizer", "suppressor", "syncer", "notifier", "lookup"];

/// Renders the chart with a file of values from `ci/`, and more values over it.
pub(crate) fn render(values: &str, release: &str, more: &Value) -> Result<Vec<Value>, String> {
    let chart = root().join("deploy/helm/quell/ci").join(values).display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    // JSON is YAML.
    let over = folder.path().join("over.yaml");
    std::fs::write(&over, more.to_string()).expect("a file");
    manifest(&Helm::run(&[&format!("{release}.0"), &chart, &over.display().to_string()])?, release)
}

#[track_caller]
fn rendered(values: &str) -> Vec<Value> {
    render(values, RELEASES[1], &json!({})).unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// `Kind name`.
fn title(document: &Value) -> String {
    format!("{} {}", text(document, "/kind"), text(document, "/metadata/name"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

#[track_caller]
fn find<'a>(documents: &'a [Value], name: &str) -> &'a Value {
    documents.iter().find(|document| title(document) == name).unwrap_or_else(|| panic!("no {name}"))
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// The specification of the pod in a document, if it makes any.
fn pod(document: &Value) -> Option<&Value> {
    match document["kind"].as_str()? {
        "Pod" => document.get("spec"),
        "Job" | "StatefulSet" | "Deployment" => document.pointer("/spec/template/spec"),
        _ => None,
    }
}

#[test]
fn every_document_is_kubernetes_own_with_every_set_of_values() {
    for values in ["plain-values.yaml", "full-values.yaml", "part-values.yaml", "strimzi-values.yaml"] {
        for release in RELEASES {
            let documents =
                render(values, release, &json!({})).unwrap_or_else(|error| panic!("{values} {release}: {error}"));
            let titles: BTreeSet<String> = documents.iter().map(title).collect();
            assert_eq!(titles.len(), documents.len(), "{values}: two of one name");
            assert!(documents.iter().all(|document| document.pointer("/metadata/labels").is_some()), "{values}");
        }
    }
}

#[test]
fn roles_stand_apart_with_what_each_needs() {
    let documents = rendered("plain-values.yaml");
    for role in ROLES {
        let kind = if role == "lookup" { "Deployment" } else { "StatefulSet" };
        let name = format!("mail-quell-{role}");
        let set = find(&documents, &format!("{kind} {name}"));
        find(&documents, &format!("PodDisruptionBudget {name}"));
        find(&documents, &format!("Service {name}-pods"));
        let container = &pod(set).expect("a pod")["containers"][0];
        assert_eq!(container["args"], json!(["serve", "--role", role]));
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let get = &container[probe]["httpGet"];
            assert_eq!((&get["path"], &get["port"]), (&path.into(), &"admin".into()));
        }
        let selected = set.pointer("/spec/selector/matchLabels").expect("labels");
        let labels = set.pointer("/spec/template/metadata/labels").expect("labels");
        for (label, value) in selected.as_object().expect("labels") {
            assert_eq!(&labels[label], value, "{role} selects its own pods");
        }
    }
    let gateway = find(&documents, "StatefulSet mail-quell-gateway");
    assert_eq!(text(gateway, "/spec/volumeClaimTemplates/0/metadata/name"), "spool");
    assert_eq!(text(gateway, "/spec/persistentVolumeClaimRetentionPolicy/whenScaled"), "Retain");
    let mounts = pod(gateway).expect("a pod")["containers"][0]["volumeMounts"].as_array().expect("mounts").clone();
    assert!(mounts.iter().any(|mount| mount["name"] == "spool" && mount["mountPath"] == "/var/lib/quell/spool"));
    let part = rendered("part-values.yaml");
    let sets: BTreeSet<String> = part.iter().filter(|document| pod(document).is_some()).map(title).collect();
    assert_eq!(sets, ["Pod edge-doctor", "StatefulSet edge-gateway"].map(str::to_owned).into());
}

#[test]
fn no_pod_is_root_or_writes_where_it_should_not() {
    for values in ["plain-values.yaml", "full-values.yaml"] {
        let documents = rendered(values);
        let pods: Vec<(String, &Value)> =
            documents.iter().filter_map(|document| Some((title(document), pod(document)?))).collect();
        assert!(pods.len() > 6, "{values}");
        for (name, pod) in pods {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            for container in pod["containers"].as_array().expect("containers") {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                // A password in the manifest would be everybody's.
                let plain =
                    container["env"].as_array().expect("variables").iter().filter_map(|one| one["value"].as_str());
                assert!(plain.clone().all(|value| !value.to_lowercase().contains("password")), "{name}");
            }
        }
    }
}

/// What the kubelet would give a container of a pod of this name.
fn environment(container: &Value, name: &str) -> BTreeMap<String, String> {
    let variables = container["env"].as_array().expect("variables").iter();
    variables
        .map(|variable| {
            let value = match variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str) {
                Some(path) => {
                    assert_eq!(path, "metadata.name");
                    name.to_owned()
                }
                None => text(variable, "/value").to_owned(),
            };
            (text(variable, "/name").to_owned(), value)
        })
        .collect()
}

#[test]
fn the_binary_takes_each_roles_arguments_and_configuration() {
    for (values, roles) in [("plain-values.yaml", &ROLES[..]), ("full-values.yaml", &ALL_ROLES)] {
        let documents = rendered(values);
        let map = find(&documents, "ConfigMap mail-quell");
        let config = text(map, "/data/quell.toml");
        for role in roles {
            let kind = if *role == "lookup" { "Deployment" } else { "StatefulSet" };
            let set = find(&documents, &format!("{kind} mail-quell-{role}"));
            let container = &pod(set).expect("a pod")["containers"][0];
            let mut deployed = Deployed::new(config, environment(container, &format!("mail-quell-{role}-0")));
            deployed.is_sound();
            let shown = said(deployed.command().args(["config", "print"])).expect("it prints");
            let instance = format!("instance = \"mail-quell-{role}-0\"");
            assert!(shown.contains(&instance) && shown.contains("listen = \"0.0.0.0:9464\""), "{shown}");
            let args: Vec<String> = serde_json::from_value(container["args"].clone()).expect("arguments");
            deployed.starts(&args);
        }
    }
}

#[test]
fn topics_and_tables_are_made_before_anything_starts() {
    for (values, more) in [
        ("plain-values.yaml", vec![]),
        ("full-values.yaml", vec!["--partitions", "64", "--replication-factor", "3", "--min-insync", "2"]),
    ] {
        let documents = rendered(values);
        let setup = find(&documents, "ConfigMap mail-quell-setup");
        let weight = |document: &Value| -> i64 {
            let annotations = &document["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/hook"], "pre-install,pre-upgrade");
            annotations["helm.sh/hook-weight"].as_str().expect("a weight").parse().expect("a number")
        };
        for (name, args) in [
            ("topics", [vec!["topics", "apply", "--yes"], more.clone()].concat()),
            ("store", vec!["store", "migrate", "--yes"]),
        ] {
            let job = find(&documents, &format!("Job mail-quell-{name}"));
            assert!(weight(setup) < weight(job), "its configuration is there before it");
            let spec = pod(job).expect("a pod");
            assert_eq!(text(spec, "/volumes/0/configMap/name"), "mail-quell-setup");
            let container = &spec["containers"][0];
            assert_eq!(container["args"], json!(args));
            // The binary takes the arguments and goes as far as to say that nobody answers.
            let mut deployed =
                Deployed::new(text(setup, "/data/quell.toml"), environment(container, "mail-quell-setup"));
            deployed.set("QUELL__kafka__brokers", "127.0.0.1:1");
            deployed.set("QUELL__kafka__request_timeout_ms", "1000");
            deployed.set("QUELL__store__contact_points", "[\"127.0.0.1:1\"]");
            deployed.set("QUELL__store__connect_timeout_ms", "500");
            let refused = said(deployed.command().args(&args)).expect_err("nobody is there");
            assert!(refused.contains("127.0.0.1:1") && !refused.contains("Usage"), "{refused}");
            // That may go away by itself, and is tried again; what the configuration has wrong ends the job.
            let code = |deployed: &Deployed| {
                let ended = deployed.command().args(&args).output().expect("it runs");
                json!(ended.status.code().expect("it ends by itself"))
            };
            let policy = &job["spec"]["podFailurePolicy"];
            assert_eq!(policy["rules"].as_array().map(Vec::len), Some(1));
            assert_eq!(
                (text(policy, "/rules/0/action"), text(&job["spec"], "/template/spec/restartPolicy")),
                ("FailJob", "Never")
            );
            let on = &policy["rules"][0]["onExitCodes"];
            assert_eq!((&on["containerName"], &on["operator"]), (&container["name"], &json!("In")));
            let ends_it = on["values"].as_array().expect("exit codes");
            assert!(!ends_it.contains(&code(&deployed)));
            deployed.set("QUELL__kafka__brokres", "127.0.0.1:1");
            assert!(ends_it.contains(&code(&deployed)), "{on}");
        }
    }
}

#[test]
fn topics_as_resources_are_those_that_are_declared() {
    let declared: Value = toml::from_str(&file("deploy/topics.toml")).expect("TOML");
    let texts = |configs: &Value| -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        configs.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    };
    let numbers = json!({"topics": {"partitions": 8, "replicationFactor": 4, "minInsync": 3}});
    for (over, partitions, replicas, min_insync) in [
        (json!({}), &declared["partitions"], &declared["replication_factor"], None),
        (numbers, &json!(8), &json!(4), Some("3")),
    ] {
        let documents = render("strimzi-values.yaml", RELEASES[1], &over).expect("it renders");
        let topics = of_kind(&documents, "KafkaTopic");
        let wanted = declared["topic"].as_array().expect("topics");
        assert_eq!(topics.len(), wanted.len());
        for topic in wanted {
            let name = topic["name"].as_str().expect("a name");
            let document = find(&documents, &format!("KafkaTopic {name}"));
            assert_eq!(document["apiVersion"], "kafka.strimzi.io/v1");
            assert_eq!(document["metadata"]["namespace"], "kafka");
            assert_eq!(document["metadata"]["labels"]["strimzi.io/cluster"], "main");
            assert_eq!(document["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
            let mut configs = texts(&declared["configs"]);
            configs.extend(texts(&topic["configs"]));
            configs.extend(min_insync.map(|number| ("min.insync.replicas".to_owned(), number.to_owned())));
            let spec = json!({"partitions": partitions, "replicas": replicas, "config": configs});
            assert_eq!(document["spec"], spec, "{name}");
            // Without another name in it, the resource's is the topic's.
            let is_plain = |part: &str| {
                let inner = part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
                inner && !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')
            };
            assert!(name.split('.').all(is_plain), "Kubernetes takes no {name}");
        }
        assert!(!documents.iter().any(|document| title(document) == "Job mail-quell-topics"), "one way alone");
        find(&documents, "Job mail-quell-store");
    }
    let older = json!({"topics": {"strimzi": {"apiVersion": "v1beta2", "namespace": ""}}});
    let documents = render("strimzi-values.yaml", RELEASES[1], &older).expect("it renders");
    let topic = find(&documents, "KafkaTopic quell.raw.v1");
    assert_eq!(topic["apiVersion"], "kafka.strimzi.io/v1beta2");
    assert_eq!(topic["metadata"]["namespace"], "mail", "the release's");
    assert!(of_kind(&rendered("plain-values.yaml"), "KafkaTopic").is_empty());
    // As `quell topics` does.
    let lone = render("strimzi-values.yaml", RELEASES[1], &json!({"topics": {"replicationFactor": 1}}));
    assert!(lone.as_ref().is_err_and(|told| told.contains("min.insync.replicas is 2 of 1")), "{lone:?}");
}

#[test]
fn a_topic_that_strimzi_would_not_take_is_found() {
    let topic =
        "apiVersion: kafka.strimzi.io/v1\nkind: KafkaTopic\nmetadata: {name: a}\nspec: {partitions: 1, config: {a: b}}";
    assert!(manifest(topic, RELEASES[1]).is_ok());
    for (from, to) in
        [("strimzi.io/v1", "strimzi.io/v2"), ("partitions: 1", "partitions: 0"), ("partitions", "partition")]
    {
        let told = manifest(&topic.replace(from, to), RELEASES[1]);
        assert!(told.as_ref().is_err_and(|told| told.contains("KafkaTopic")), "{to}: {told:?}");
    }
}

#[test]
fn what_scales_by_lag_names_the_binarys_groups_and_topics() {
    let documents = rendered("full-values.yaml");
    let scaled = |role: &str| find(&documents, &format!("ScaledObject mail-quell-{role}"));
    let trigger = |role: &str| &scaled(role)["spec"]["triggers"][0]["metadata"];
    for (role, group, topic) in [
        ("normalizer", schemas::topics::NORMALIZERS.to_owned(), schemas::topics::RAW),
        ("syncer", "quell.syncer.sendgrid-main".to_owned(), schemas::topics::DELTAS),
    ] {
        assert_eq!(text(trigger(role), "/consumerGroup"), group);
        assert_eq!(text(trigger(role), "/topic"), topic);
        assert_eq!(text(scaled(role), "/spec/scaleTargetRef/name"), format!("mail-quell-{role}"));
        assert!(find(&documents, &format!("StatefulSet mail-quell-{role}")).pointer("/spec/replicas").is_none());
    }
    // A subscriber has two lanes.
    let crm = notifier::Subscriber::new(notifier::SubscriberConfig {
        name: "crm".to_owned(),
        url: "https://crm.example.com/hooks".to_owned(),
        secrets: vec!["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned()],
        tenant: None,
        reasons: Vec::new(),
        since: None,
        batch_max: 1,
        in_flight_max: 1,
        timeout_ms: 1_000,
        retry_hours: 1,
        traceparent: false,
        allow_private: false,
    });
    let crm = crm.expect("a subscriber");
    let triggers = scaled("notifier")["spec"]["triggers"].as_array().expect("triggers");
    let told: Vec<(&str, &str)> = triggers
        .iter()
        .map(|trigger| (text(trigger, "/metadata/consumerGroup"), text(trigger, "/metadata/topic")))
        .collect();
    let lanes = [notifier::Way::Deltas, notifier::Way::Redeliveries].map(|way| (crm.group(way), way.topic()));
    assert_eq!(told, lanes.each_ref().map(|(group, topic)| (group.as_str(), *topic)));
    assert_eq!(text(&triggers[1], "/authenticationRef/name"), "kafka");
    let hpa = find(&documents, "HorizontalPodAutoscaler mail-quell-suppressor");
    assert_eq!(text(hpa, "/spec/metrics/0/pods/metric/name"), "quell_stage_lag_records");
    let scaling = json!({"suppressor": {"autoscaling": {"enabled": true, "kind": "keda"}}});
    let keda = render("plain-values.yaml", RELEASES[1], &scaling).expect("it renders");
    let suppressor = &find(&keda, "ScaledObject mail-quell-suppressor")["spec"]["triggers"][0]["metadata"];
    assert_eq!(text(suppressor, "/consumerGroup"), schemas::topics::SUPPRESSORS);
    assert_eq!(text(suppressor, "/topic"), schemas::topics::EVENTS);
}

#[test]
fn rules_and_dashboards_are_those_of_the_project() {
    let documents = rendered("full-values.yaml");
    let folder = |path: &str| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    };
    let rules: Vec<String> =
        folder("deploy/prometheus/rules").into_iter().filter(|name| name.ends_with("ml")).collect();
    assert_eq!(of_kind(&documents, "PrometheusRule").len(), rules.len());
    for name in rules {
        let written = yaml(&file(&format!("deploy/prometheus/rules/{name}")));
        let stem = name.split('.').next().expect("a name");
        assert_eq!(find(&documents, &format!("PrometheusRule mail-quell-{stem}"))["spec"], written[0], "{name}");
    }
    let dashboards: Vec<String> =
        folder("deploy/grafana/dashboards").into_iter().filter(|name| name.ends_with(".json")).collect();
    assert!(!dashboards.is_empty());
    for name in dashboards {
        let written: Value = serde_json::from_str(&file(&format!("deploy/grafana/dashboards/{name}"))).expect("JSON");
        let stem = name.trim_end_matches(".json").replace('_', "-");
        let map = find(&documents, &format!("ConfigMap mail-quell-dashboard-{stem}"));
        let held: Value = serde_json::from_str(map["data"][&name].as_str().expect("a text")).expect("JSON");
        assert_eq!(held, written, "{name}");
    }
    let monitor = find(&documents, "ServiceMonitor mail-quell");
    let selected = monitor.pointer("/spec/selector/matchLabels").and_then(Value::as_object).expect("labels");
    let is_scraped =
        |service: &&Value| selected.iter().all(|(label, value)| &service["metadata"]["labels"][label] == value);
    let scraped: Vec<&Value> = of_kind(&documents, "Service").into_iter().filter(is_scraped).collect();
    assert_eq!(scraped.len(), 6, "each role once");
    assert!(scraped.iter().all(|service| text(service, "/spec/ports/0/name") == "admin"));
}

#[test]
fn links_of_alerts_lead_where_the_values_say() {
    let links = |values: &Value| -> Vec<String> {
        let documents = render("full-values.yaml", RELEASES[1], values).expect("it renders");
        let rules = of_kind(&documents, "PrometheusRule").into_iter();
        let groups = rules.flat_map(|document| document["spec"]["groups"].as_array().expect("groups").clone());
        let alerts = groups.flat_map(|group| group["rules"].as_array().expect("rules").clone());
        let links = |alert: Value| {
            let link = |name: &str| alert["annotations"][name].as_str().map(str::to_owned);
            [link("runbook_url"), link("dashboard_url")]
        };
        alerts.flat_map(links).flatten().collect()
    };
    let shipped = links(&json!({}));
    assert!(shipped.len() > 60 && shipped.iter().all(|link| link.contains(".example.com/")), "{shipped:?}");
    let urls = json!({"runbookUrl": "https://wiki.local/quell/", "dashboardUrl": "http://grafana.local:3000"});
    let expected: Vec<String> = shipped
        .iter()
        .map(|link| link.replace("https://quell.example.com/runbooks/", "https://wiki.local/quell/"))
        .map(|link| link.replace("https://grafana.example.com/", "http://grafana.local:3000/"))
        .collect();
    assert_eq!(links(&json!({ "prometheusRule": urls })), expected);
    let one = links(&json!({"prometheusRule": {"runbookUrl": "https://wiki.local/quell"}}));
    assert!(one.iter().any(|link| link.starts_with("https://wiki.local/quell/Quell")), "{one:?}");
    assert!(one.iter().any(|link| link.starts_with("https://grafana.example.com/d/")), "{one:?}");
}

#[test]
fn policies_let_through_what_is_needed_and_no_more() {
    let documents = rendered("full-values.yaml");
    let all = find(&documents, "NetworkPolicy mail-quell");
    assert_eq!(all["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let out: BTreeSet<i64> = all["spec"]["egress"]
        .as_array()
        .expect("rules")
        .iter()
        .flat_map(|rule| rule["ports"].as_array().cloned().unwrap_or_default())
        .filter_map(|port| port["port"].as_i64())
        .collect();
    for needed in [53, 443, 9093, 9142, 4317] {
        assert!(out.contains(&needed), "{needed} of {out:?}");
    }
    // Nobody reaches the admin port but who is named.
    let admin = &all["spec"]["ingress"];
    assert_eq!(admin.as_array().map(Vec::len), Some(1));
    assert_eq!(admin[0]["from"].as_array().map(Vec::len), Some(2));
    let lookup = find(&documents, "NetworkPolicy mail-quell-lookup");
    assert!(lookup.pointer("/spec/ingress/0/from").is_some());
    // Without a word, lookups are for the release's own pods, and webhooks for everybody.
    let plain = rendered("plain-values.yaml");
    assert!(find(&plain, "NetworkPolicy mail-quell-lookup").pointer("/spec/ingress/0/from").is_some());
    assert!(find(&plain, "NetworkPolicy mail-quell-gateway").pointer("/spec/ingress/0/from").is_none());
}

#[test]
fn the_chart_is_of_the_binarys_version() {
    let chart = yaml(&file("deploy/helm/quell/Chart.yaml"));
    assert_eq!(chart[0]["appVersion"], env!("CARGO_PKG_VERSION"));
    let gateway = find(&rendered("plain-values.yaml"), "StatefulSet mail-quell-gateway").clone();
    let image = pod(&gateway).expect("a pod")["containers"][0]["image"].clone();
    assert_eq!(image, format!("quell:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_notes_say_what_comes_next() {
    let notes = |values: &str| {
        let values = root().join("deploy/helm/quell/ci").join(values).display().to_string();
        Helm::run(&["notes", &format!("{}.0", RELEASES[1]), &values]).unwrap_or_else(|error| panic!("{error}"))
    };
    let plain = notes("plain-values.yaml");
    assert!(plain.contains("helm test mail") && plain.contains("No existingSecret is set"), "{plain}");
    let full = notes("full-values.yaml");
    assert!(
        full.contains("https://hooks.example.com/webhooks/PROVIDER") && !full.contains("No existingSecret"),
        "{full}"
    );
}
