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

#[test]
fn a_source_that_comes_by_sns_lists_topics_and_may_name_certificates() {
    const TOPICS: &str = r#"topics = ["arn:aws:sns:eu-west-1:123456789012:mail"]"#;
    const URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
    let pem = include_str!("../../../providers/src/sns/fixtures/signer.pem");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sns.pem");
    std::fs::write(&file, pem).unwrap();
    let load = |keys: &str| {
        let text = format!("[[source]]\nprovider = \"ses\"\n{keys}\n");
        let config = config::parse::<Config>("quell.toml", &text, []).map_err(|error| error.to_string())?;
        config.check().map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>(config.sources[0].spec())
    };
    let check = |keys: &str, expected: &str| {
        let error = load(keys).unwrap_err();
        assert!(error.contains(expected), "{keys}: {error}");
    };
    let pinned = |url: &str, value: &str| format!("{TOPICS}\ncertificates = {{ {url:?} = {value:?} }}");
    let spec = load(TOPICS).unwrap();
    assert_eq!((spec.topics.len(), spec.certificates.len()), (1, 0));
    for value in [pem.to_owned(), format!("file:{}", file.display())] {
        let spec = load(&pinned(URL, &value)).unwrap();
        assert_eq!(spec.certificates[URL].trim_end(), pem.trim_end());
    }
    check("", "list the topics");
    check("secrets = []\ntopics = [\"mail\"]", "no topic's ARN");
    check(&pinned(URL, "secret"), "a certificate stands here as PEM");
    check(&pinned(URL, "file:/nowhere/a.pem"), "/nowhere/a.pem");
    check(&pinned(URL, "-----BEGIN NOTHING-----"), "certificate as PEM");
    check(&pinned("https://evil.example/a.pem", pem), "no certificate is taken");
}

#[test]
fn rules_of_classification_are_checked() {
    let load = |keys: &str| {
        let text = format!("[[classify]]\nid = \"house\"\nclass = \"disabled\"\n{keys}\n");
        let config = config::parse::<Config>("quell.toml", &text, []).map_err(|error| error.to_string())?;
        config.check().map_err(|error| format!("{error:#}"))
    };
    let check = |keys: &str, expected: &str| {
        let error = load(keys).unwrap_err();
        assert!(error.contains(expected), "{keys}: {error}");
    };
    assert_eq!(load("attribution = \"recipient\"\ntext = \"left\"\nprovider = \"sendgrid\""), Ok(()));
    check("attribution = \"recipient\"", "fits every failure");
    check("attribution = \"recipient\"\ntext = \"(\"", "no regular expression");
    check("attribution = \"sender\"\ntext = \"left\"", "is the recipient's own failure");
    check("attribution = \"recipient\"\ntext = \"left\"\nprovider = \"sendgird\"", "use one of sendgrid");
    check("attribution = \"recipient\"\ntexts = \"left\"", "texts");
}

#[test]
fn twilio_needs_its_url() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "t0ken").unwrap();
    let load = |keys: &str| {
        let secrets = format!("secrets = [\"file:{}\"]", token.display());
        let text = format!("[[source]]\nprovider = \"twilio\"\n{secrets}\n{keys}\n");
        let config = config::parse::<Config>("quell.toml", &text, []).map_err(|error| error.to_string())?;
        config.check().map_err(|error| format!("{error:#}"))
    };
    let told = load("").unwrap_err();
    assert!(told.contains("source twilio/default") && told.contains("public_url"), "{told}");
    assert_eq!(load("public_url = \"https://hooks.example.com\""), Ok(()));
}
