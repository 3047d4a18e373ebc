//! Who may depend on whom, read from the manifests.

#![expect(clippy::expect_used, reason = "helpers of tests")]

use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

const SERVICES: [&str; 5] = ["ingest-gateway", "normalizer", "suppressor", "syncer", "notifier"];

/// Package → (dependency, whether it is for tests only).
fn graph() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter().map(|dependency| {
            (dependency["name"].as_str().unwrap_or_default().to_owned(), dependency["kind"] == "dev")
        });
        graph.insert(package["name"].as_str().unwrap_or_default().to_owned(), dependencies.collect());
    }
    graph
}

/// What a package's own code, not its tests, depends on.
fn product<'a>(graph: &'a BTreeMap<String, Vec<(String, bool)>>, package: &str) -> Vec<&'a str> {
    graph[package].iter().filter(|(_, is_dev)| !is_dev).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn arrows_point_one_way() {
    let graph = graph();
    let own: Vec<&str> = graph.keys().map(String::as_str).collect();
    let uses = |package: &str| -> Vec<&str> {
        product(&graph, package).into_iter().filter(|name| own.contains(name)).collect()
    };
    assert_eq!(uses("domain"), [""; 0], "domain depends on nobody");
    assert_eq!(uses("event-log"), [""; 0], "event-log knows nobody");
    assert_eq!(uses("service"), [""; 0], "service knows nobody");
    assert_eq!(uses("providers"), ["domain"]);
    assert_eq!(uses("schemas"), ["domain"]);
    assert_eq!(uses("notifier"), ["domain", "event-log", "schemas", "service"]);
    for service in SERVICES {
        for used in uses(service) {
            assert!(!SERVICES.contains(&used), "{service} depends on {used}: services meet only in schemas");
        }
    }
    for package in own.iter().filter(|package| !["demo", "bench"].contains(package) && !package.ends_with("-tests")) {
        assert!(!uses(package).contains(&"testkit"), "{package} is product code and depends on testkit");
    }
}

#[test]
fn heavy_clients_have_one_home() {
    let graph = graph();
    for (client, home) in [("reqwest", "service"), ("rdkafka", "event-log"), ("scylla", "suppressor")] {
        // The benchmark's minimal programs, which Quell is measured against, use the clients as they come.
        for package in graph.keys().filter(|package| ![home, "bench"].contains(&package.as_str())) {
            assert!(!product(&graph, package).contains(&client), "{package} depends on {client}; only {home} may");
        }
    }
}
