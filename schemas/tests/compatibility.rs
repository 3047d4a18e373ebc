//! Every schema reads what each released one before it wrote, and no released schema changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use apache_avro::{Schema, schema_compatibility::SchemaCompatibility};
use schemas::{codec::Codec, wire};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What decides about bytes: the schema without its words for people.
fn without_docs(text: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                // A field may be called "doc": only text is documentation.
                map.retain(|key, value| key != "doc" || !value.is_string());
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap();
    strip(&mut value);
    value
}

/// Full name → revision → text, of `avro/released/NAME.REVISION.avsc`.
fn released() -> BTreeMap<String, BTreeMap<u32, String>> {
    let mut all: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("avro/released")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let schema = Schema::parse_str(&text).unwrap();
        let revision = stem.rsplit_once('.').unwrap().1.parse().unwrap();
        let before = all.entry(schema.name().unwrap().to_string()).or_default().insert(revision, text);
        assert!(before.is_none(), "{stem}: two files of one revision");
    }
    all
}

fn revision(codec: &Codec) -> u32 {
    codec.id & 0xff
}

#[test]
fn released_schemas_stand() {
    let released = released();
    for codec in wire::codecs() {
        // A record that no release has yet has no file there.
        let none = BTreeMap::new();
        let revisions = released.get(&codec.full_name()).unwrap_or(&none);
        let current = revision(codec);
        for older in 1..current {
            assert!(revisions.contains_key(&older), "{}: revision {older} is not in avro/released", codec.name);
        }
        if let Some(text) = revisions.get(&current) {
            assert_eq!(
                without_docs(text),
                without_docs(codec.text),
                "{} changed after revision {current} was released: name the released file in its wire! line, which makes \
                 the change revision {}",
                codec.name,
                current + 1
            );
        }
        assert!(revisions.keys().all(|known| *known <= current), "{}: a revision is lost", codec.name);
    }
}

#[test]
fn every_schema_reads_the_released_ones() {
    let released = released();
    for codec in wire::codecs() {
        for (revision, text) in released.get(&codec.full_name()).into_iter().flatten() {
            let older = Schema::parse_str(text).unwrap();
            if let Err(error) = SchemaCompatibility::can_read(&older, codec.schema()) {
                panic!("{} cannot read revision {revision}: {error}", codec.name);
            }
        }
    }
}

#[test]
fn the_check_tells_what_breaks() {
    let codec = wire::codecs()[3];
    let change = |with: &dyn Fn(&mut Vec<Value>)| {
        let mut schema: Value = serde_json::from_str(codec.text).unwrap();
        with(schema["fields"].as_array_mut().unwrap());
        let changed = Schema::parse_str(&schema.to_string()).unwrap();
        SchemaCompatibility::can_read(codec.schema(), &changed).is_ok()
    };
    assert!(change(&|_| {}));
    assert!(change(&|fields| fields.push(serde_json::json!({"name": "new", "type": "int", "default": 0}))));
    assert!(change(&|fields| drop(fields.remove(0))));
    assert!(!change(&|fields| fields.push(serde_json::json!({"name": "new", "type": "int"}))), "no default");
    assert!(!change(&|fields| fields[0]["type"] = "int".into()), "another type");
    assert!(!change(&|fields| fields[0]["name"] = "renamed".into()), "another name");
}

#[test]
fn records_have_names_and_numbers_of_their_own() {
    let codecs = wire::codecs();
    let numbers: Vec<u8> = codecs.iter().map(|codec| codec.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9], "a number is never given anew");
    let names: BTreeSet<String> = codecs.iter().map(|codec| codec.full_name()).collect();
    assert_eq!(names.len(), codecs.len());
    for codec in codecs {
        assert_eq!(codec.full_name(), format!("quell.v1.{}", codec.name));
    }
}
