//! Every configuration that is shipped, also those of warehouses that no test can reach: what all of them must be.

use crate::worker::{shipped, text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// File name → settings.
fn all() -> BTreeMap<String, Map<String, Value>> {
    let entries = std::fs::read_dir(shipped("")).expect("deploy/connect");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let read = |name: String| {
        let config = serde_json::from_str(&text(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, config)
    };
    names.filter(|name| name.ends_with(".json")).map(read).collect()
}

fn setting<'a>(config: &'a Map<String, Value>, name: &str) -> &'a str {
    config.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn every_warehouse_has_its_connectors_and_they_are_explained() {
    let readme = text("README.md");
    let found = all();
    for warehouse in ["postgres", "snowflake", "bigquery", "redshift"] {
        for topic in ["events", "deltas", "state"] {
            let name = format!("{warehouse}-{topic}.json");
            let config = found.get(&name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(setting(config, "topics"), format!("quell.{topic}.v1"), "{name}");
            assert_eq!(setting(config, "name"), format!("quell-{warehouse}-{topic}"), "{name}");
        }
    }
    for (name, config) in &found {
        assert_eq!(setting(config, "consumer.override.isolation.level"), "read_committed", "{name}");
        assert_eq!(
            setting(config, "errors.tolerance"),
            "none",
            "{name}: what cannot be written must not be passed over"
        );
        for (setting, value) in config {
            assert!(value.is_string(), "{name}: {setting} is no text, as Connect wants it");
            // Transforms and predicates are explained by their names.
            let is_step = ["transforms.", "predicates."].iter().any(|begin| setting.starts_with(begin));
            assert!(
                is_step || readme.contains(&format!("`{setting}`")),
                "README.md does not say what {setting} is for"
            );
        }
    }
}

#[test]
fn no_secret_stands_in_a_configuration() {
    const NAMED: [&str; 8] =
        ["password", "passphrase", "private.key", "keyfile", "license", "user", "domain", "project"];
    let mut found = 0;
    for (name, config) in all() {
        for (setting, value) in
            config.iter().filter(|(setting, _)| !setting.contains('.') || !setting.starts_with("trans"))
        {
            let value = value.as_str().unwrap_or_default();
            if NAMED.iter().any(|word| setting.contains(word)) || setting.ends_with(".url") {
                assert!(value.starts_with("${env:WAREHOUSE_"), "{name}: {setting} = {value}");
                found += 1;
            }
        }
    }
    assert!(found >= 24, "{found}");
}

/// What a connector writes, by the columns of its chain.
fn written(config: &Map<String, Value>) -> BTreeSet<String> {
    let renames: BTreeMap<&str, &str> =
        setting(config, "transforms.columns.renames").split(',').filter_map(|pair| pair.split_once(':')).collect();
    let included = setting(config, "transforms.columns.include").split(',');
    let mut columns: BTreeSet<String> =
        included.map(|column| (*renames.get(column).unwrap_or(&column)).to_owned()).collect();
    let added =
        ["transforms.source.partition.field", "transforms.source.offset.field"].map(|name| setting(config, name));
    columns.extend(added.into_iter().filter(|column| !column.is_empty()).map(str::to_owned));
    columns
}

/// The columns of a table that somebody has to write.
fn declared(sql: &str, table: &str) -> BTreeSet<String> {
    let begin = format!("CREATE TABLE IF NOT EXISTS quell.{table} (\n");
    let (_, rest) = sql.split_once(&begin).unwrap_or_else(|| panic!("no table {table}"));
    let (body, _) = rest.split_once("\n)").expect("an end");
    let lines = body.lines().filter(|line| !line.contains("GENERATED") && !line.contains("DEFAULT"));
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    lines.map(first).filter(|column| column != "PRIMARY" && column != "state_key").collect()
}

#[test]
fn tables_have_the_columns_that_connectors_write() {
    let found = all();
    for warehouse in ["postgres", "snowflake", "bigquery", "redshift"] {
        let sql = text(&format!("{warehouse}.sql"));
        for (topic, table) in [("events", "events"), ("deltas", "deltas"), ("state", "suppression_state")] {
            let name = format!("{warehouse}-{topic}.json");
            assert_eq!(written(&found[&name]), declared(&sql, table), "{name} and the table {table}");
        }
    }
}

#[test]
fn the_columns_are_fields_of_the_records() {
    for (topic, schema) in [("events", "event"), ("deltas", "delta"), ("state", "state")] {
        let path = shipped("../../schemas/avro").join(format!("{schema}.avsc"));
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema")).expect("JSON");
        let mut fields = BTreeSet::new();
        flatten(&schema, "", &mut BTreeMap::new(), &mut fields);
        for warehouse in ["postgres", "snowflake", "bigquery", "redshift"] {
            let config = &all()[&format!("{warehouse}-{topic}.json")];
            for column in setting(config, "transforms.columns.include").split(',') {
                assert!(fields.contains(column), "{warehouse}-{topic}.json: no field {column} in {fields:?}");
            }
        }
    }
}

/// The fields of a record by the names that flattening with `_` gives them. Records that are named again are looked up.
fn flatten<'a>(schema: &'a Value, begin: &str, named: &mut BTreeMap<String, &'a Value>, out: &mut BTreeSet<String>) {
    match schema {
        Value::Array(union) => union.iter().for_each(|branch| flatten(branch, begin, named, out)),
        Value::String(name) if named.contains_key(name) => flatten(named[name], begin, named, out),
        Value::Object(object) if object.get("type") == Some(&Value::from("record")) => {
            let name = object["name"].as_str().expect("a name");
            named.insert(format!("quell.v1.{name}"), schema);
            for field in object["fields"].as_array().expect("fields") {
                let path = format!("{begin}{}", field["name"].as_str().expect("a name"));
                flatten(&field["type"], &format!("{path}_"), named, out);
                out.insert(path);
            }
        }
        Value::Object(object) => flatten(&object["type"], begin, named, out),
        _ => {}
    }
}

#[test]
fn every_step_of_a_chain_is_there() {
    for (name, config) in all() {
        for list in ["transforms", "predicates"] {
            for step in setting(&config, list).split(',').filter(|step| !step.is_empty()) {
                let class = setting(&config, &format!("{list}.{step}.type"));
                assert!(
                    class.starts_with("org.apache.kafka.connect.transforms."),
                    "{name}: {list}.{step} is {class:?}"
                );
            }
        }
        for (setting, value) in config.iter().filter(|(setting, _)| setting.ends_with(".predicate")) {
            let known = self::setting(&config, "predicates").split(',').any(|known| Some(known) == value.as_str());
            assert!(known, "{name}: {setting} names no predicate");
        }
    }
}
