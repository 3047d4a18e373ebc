//! Cases for the configuration file.

use super::*;

/// The manual's example, its references pointing to files that exist.
fn manual(dir: &Path) -> String {
    let text = include_str!("../../../../docs/configuration.md");
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let secret = dir.join("secret");
    std::fs::write(&secret, "user:secret").unwrap();
    let reference = format!("\"file:{}\"", secret.display());
    let parts: Vec<String> = example
        .split('"')
        .enumerate()
        .map(|(index, part)| match part {
            part if index % 2 == 1 && (part.starts_with("env:") || part.starts_with("file:")) => reference.clone(),
            part if index % 2 == 1 => format!("\"{part}\""),
            part => part.to_owned(),
        })
        .collect();
    parts.concat()
}

#[test]
fn the_manual_holds_every_key_and_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let example = manual(dir.path());
    let config: Config = config::parse("the manual", &example, []).unwrap();
    let shown = toml::Table::try_from(&config).unwrap();
    let plain = toml::Table::try_from(Config::default()).unwrap();
    compare("", &plain, &shown);
    // Keys without a default are in the manual too: what it sets is what serde knows.
    let documented: toml::Table = example.parse().unwrap();
    covers("", &shown, &documented);
}

#[test]
fn a_wrong_key_is_told_with_the_right_one() {
    let error = config::parse::<Config>("quell.toml", "[gateway]\nlisen = \"127.0.0.1:1\"\n", []).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("lisen") && error.contains("listen") && error.contains("quell.toml:2"), "{error}");
}

#[test]
fn what_the_gateway_takes_fits_into_a_record_of_either_log() {
    let embedded = event_log::embedded::Limits::default().record_bytes_max;
    let kafka = KafkaConfig::default().record_bytes_max;
    let checked = |body, decoded| {
        let mut config = Config::default();
        config.kafka.brokers = "127.0.0.1:9092".to_owned();
        config.instance = "one".to_owned();
        (config.gateway.limits.body_bytes_max, config.gateway.limits.decoded_bytes_max) = (body, decoded);
        let said = |checked: anyhow::Result<()>| checked.map_err(|error| error.to_string());
        (said(config.check_embedded()), said(config.check_cluster()))
    };
    let limits = ingest_gateway::Limits::default();
    assert_eq!(checked(limits.body_bytes_max, limits.decoded_bytes_max), (Ok(()), Ok(())));
    let at_most = embedded.min(kafka) - RECORD_ROOM;
    assert_eq!(checked(at_most, at_most), (Ok(()), Ok(())));
    let says = |checked: Result<(), String>, field: &str, limit: &str| {
        let error = checked.unwrap_err();
        assert!(error.contains(&format!("gateway.limits.{field} (")) && error.contains(limit), "{error}");
    };
    let (one_body, one_decoded) = (checked(embedded - RECORD_ROOM + 1, 1), checked(1, embedded - RECORD_ROOM + 1));
    says(one_body.0, "body_bytes_max", "embedded log");
    says(one_decoded.0, "decoded_bytes_max", "embedded log");
    let (body, decoded) = (checked(kafka - RECORD_ROOM + 1, 1), checked(1, kafka - RECORD_ROOM + 1));
    says(body.1, "body_bytes_max", "kafka.record_bytes_max");
    says(decoded.1, "decoded_bytes_max", "kafka.record_bytes_max");
}

/// Defaults of the program are those of the manual.
fn compare(path: &str, plain: &toml::Table, shown: &toml::Table) {
    for (key, value) in plain {
        let path = format!("{path}.{key}");
        match (value, &shown[key]) {
            (toml::Value::Table(plain), toml::Value::Table(shown)) => compare(&path, plain, shown),
            (toml::Value::Array(list), _) if list.is_empty() => {}
            (plain, shown) => assert_eq!(plain, shown, "{path}"),
        }
    }
}

/// Every key that the program knows stands in the manual.
fn covers(path: &str, known: &toml::Table, documented: &toml::Table) {
    for (key, value) in known {
        let path = format!("{path}.{key}");
        match (value, documented.get(key)) {
            // The manual says that the servers take the same keys.
            (_, None) if path == ".lookup.server" => {}
            (_, None) => panic!("{path} is not in docs/configuration.md"),
            (toml::Value::Table(known), Some(toml::Value::Table(documented))) => covers(&path, known, documented),
            (toml::Value::Array(known), Some(toml::Value::Array(documented))) => {
                // The first entry of each list shows every key that all its kinds have.
                if let (Some(toml::Value::Table(known)), Some(toml::Value::Table(documented))) =
                    (known.first(), documented.first())
                {
                    covers(&path, known, documented);
                }
            }
            _ => {}
        }
    }
}
