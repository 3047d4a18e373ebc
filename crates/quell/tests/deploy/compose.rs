//! The compose file, held to the schema of the compose specification, and run as far as the binary goes.

use crate::{
    binary::Deployed,
    tools::{compose, file, root, said, yaml},
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The project as compose reads it.
fn project() -> Value {
    compose(&file("deploy/compose/compose.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

/// What a mount says, `SOURCE:TARGET[:MODE]`.
fn mount(volume: &Value) -> (&str, &str, bool) {
    let text = volume.as_str().expect("a short mount");
    let mut parts = text.split(':');
    (parts.next().expect("a source"), parts.next().expect("a target"), parts.next() == Some("ro"))
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().map(|items| items.iter().collect()).unwrap_or_default()
}

#[test]
fn compose_takes_the_file_and_every_role_is_in_it() {
    let project = project();
    let services = project["services"].as_object().expect("services");
    for role in ["gateway", "normalizer", "suppressor", "syncer", "notifier", "lookup"] {
        let service = &services[role];
        assert_eq!(service["command"], serde_json::json!(["serve", "--role", role]));
        assert_eq!(service["hostname"], role, "its instance's name");
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{role}");
        for (on, condition) in [
            ("topics", "service_completed_successfully"),
            ("tables", "service_completed_successfully"),
            ("registry", "service_healthy"),
        ] {
            assert_eq!(service["depends_on"][on]["condition"], condition, "{role}");
        }
    }
    for other in ["kafka", "scylla", "registry", "prometheus", "alertmanager", "grafana"] {
        let service = &services[other];
        assert!(service["healthcheck"]["test"].is_array(), "{other} tells how it is");
        assert!(
            items(&service["volumes"]).iter().any(|one| project["volumes"].get(mount(one).0).is_some()),
            "{other} keeps what it has"
        );
        let image = service["image"].as_str().expect("an image");
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} is of no version")).1;
        assert!(tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v'), "{image}");
    }
    // Whoever waits until another is well waits for one that tells how it is.
    for (name, service) in services {
        for (on, how) in service["depends_on"].as_object().cloned().unwrap_or_default() {
            assert!(services.contains_key(&on), "{name} waits for {on}");
            let waits = how["condition"] == "service_healthy";
            assert!(!waits || services[&on]["healthcheck"].is_object(), "{name} waits for {on}");
        }
        // Nothing but webhooks and lookups is for others than this machine, and these only where somebody says so.
        for port in items(&service["ports"]) {
            assert!(port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")), "{name} {port}");
        }
    }
}

#[test]
fn what_is_mounted_is_there() {
    let project = project();
    for (name, service) in project["services"].as_object().expect("services") {
        for volume in items(&service["volumes"]) {
            let (source, _, is_read_only) = mount(volume);
            if source.starts_with('.') {
                let source = Path::new("deploy/compose").join(source);
                assert!(root().join(&source).exists(), "{name} mounts {}", source.display());
                assert!(is_read_only, "{name} {}", source.display());
            } else {
                assert!(project["volumes"].get(source).is_some(), "{name}: no volume {source}");
            }
        }
        for environment in items(&service["env_file"]) {
            let example = format!("deploy/compose/{}.example", environment.as_str().expect("a file"));
            assert!(root().join(&example).is_file(), "{name}: no {example}");
        }
        if let Some(build) = service["build"].as_object() {
            let context = root().join("deploy/compose").join(build["context"].as_str().expect("a context"));
            assert!(context.join(build["dockerfile"].as_str().expect("a file")).is_file(), "{name}");
            assert_eq!(context.canonicalize().expect("it is there"), root());
        }
    }
}

#[test]
fn the_binary_takes_its_configuration_and_commands() {
    let project = project();
    let environment = variables(&file("deploy/compose/quell.env.example"));
    let mut deployed = Deployed::new(&file("deploy/compose/quell.toml"), environment);
    deployed.is_sound();
    for role in ["gateway", "normalizer", "suppressor", "syncer", "notifier", "lookup"] {
        let args: Vec<String> =
            serde_json::from_value(project["services"][role]["command"].clone()).expect("arguments");
        deployed.starts(&args);
    }
    deployed.set("QUELL__kafka__request_timeout_ms", "1000");
    deployed.set("QUELL__store__connect_timeout_ms", "500");
    for setup in ["topics", "tables", "doctor"] {
        let args: Vec<String> =
            serde_json::from_value(project["services"][setup]["command"].clone()).expect("arguments");
        let mut command = deployed.command();
        let refused = said(command.args(&args)).expect_err("nobody is there");
        assert!(refused.contains("127.0.0.1:1") && !refused.contains("Usage"), "{refused}");
    }
}

#[test]
fn prometheus_and_grafana_find_what_they_need() {
    let project = project();
    let scraped = &yaml(&file("deploy/compose/prometheus.yml"))[0];
    for job in items(&scraped["scrape_configs"]) {
        let target = job["static_configs"][0]["targets"][0].as_str().expect("a target");
        let (host, port) = target.split_once(':').expect("a port");
        assert_eq!(project["services"][host]["command"][2], host, "{target}");
        assert_eq!((job["job_name"].as_str(), port), (Some(format!("quell-{host}").as_str()), "9464"));
    }
    assert_eq!(items(&scraped["scrape_configs"]).len(), 6, "each role");
    // The dashboards ask the source of this name, and lie where the provider looks for them.
    let [theirs, ours] = ["deploy/grafana/provisioning/datasources/quell.yml", "deploy/compose/grafana-datasource.yml"]
        .map(|path| yaml(&file(path))[0]["datasources"][0].clone());
    assert_eq!((&ours["uid"], &ours["type"]), (&theirs["uid"], &theirs["type"]));
    let provider = &yaml(&file("deploy/grafana/provisioning/dashboards/quell.yml"))[0]["providers"][0];
    let mounts = items(&project["services"]["grafana"]["volumes"]);
    assert!(mounts.iter().any(|one| mount(one).1 == provider["options"]["path"]), "{provider}");
}
