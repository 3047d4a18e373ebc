//! The contract with subscribers: records of released versions are kept here as bytes, with what they mean, and must read
//! the same for ever; and whoever reads with a released schema must read what is written today. docs/subscribers.md is the
//! contract in words.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use apache_avro::{Schema, reader::datum::GenericDatumReader, schema_compatibility::SchemaCompatibility, types::Value};
use domain::{Delta, Recipient, RecipientKey, Scope, Tenant};
use schemas::{
    Wire, decode, encode, headers,
    wire::{DeltaRecord, StateRecord},
};
use serde_json::Value as Json;
use std::{fs, path::Path};

/// Bytes of a record as they lay in the log, and what they mean: `record` in the words of the schema, `told` in those of
/// the stream and of webhooks.
struct Kept {
    name: String,
    topic: String,
    bytes: Vec<u8>,
    record: Json,
    told: Option<Json>,
}

impl Kept {
    /// The revision of the schema that wrote it: the last byte of an embedded id.
    fn revision(&self) -> u32 {
        u32::from(self.bytes[4])
    }
}

/// Of `avro/released/NAME.REVISION.avsc`.
fn revision(file: &str) -> u32 {
    file.rsplit('.').nth(1).unwrap().parse().unwrap()
}

fn kept() -> Vec<Kept> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let file: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        Some(Kept {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            topic: file["topic"].as_str().unwrap().to_owned(),
            // A tombstone has none, and is looked at by a test of its own.
            bytes: hex(file["bytes"].as_str()?),
            record: file["record"].clone(),
            told: file.get("told").cloned(),
        })
    };
    files.into_iter().filter_map(read).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What is missing or different: everything that was there must be there and mean the same; more may be there.
fn differences(path: &str, was: &Json, is: &Json) -> Vec<String> {
    match (was, is) {
        (Json::Object(was), Json::Object(is)) => was
            .iter()
            .flat_map(|(name, value)| match is.get(name) {
                Some(now) => differences(&format!("{path}.{name}"), value, now),
                None => vec![format!("{path}.{name} is gone")],
            })
            .collect(),
        (Json::Array(was), Json::Array(is)) if was.len() == is.len() => was
            .iter()
            .zip(is)
            .enumerate()
            .flat_map(|(index, (was, is))| differences(&format!("{path}[{index}]"), was, is))
            .collect(),
        (was, is) if was == is => Vec::new(),
        (was, is) => vec![format!("{path} was {was} and is {is}")],
    }
}

#[track_caller]
fn same(name: &str, was: &Json, is: &Json) {
    let differences = differences("", was, is);
    assert!(differences.is_empty(), "{name}: {differences:?}; the contract with subscribers forbids that");
}

#[test]
fn what_was_written_reads_the_same() {
    let all = kept();
    assert!(all.iter().filter(|one| one.topic == "deltas").count() >= 3, "{}", all.len());
    for (topic, codec) in [("deltas", DeltaRecord::codec()), ("state", StateRecord::codec())] {
        for wanted in 1..=codec.id & 0xff {
            let is_there = all.iter().any(|one| one.topic == topic && one.revision() == wanted);
            assert!(is_there, "{topic}: no record of revision {wanted} is kept; add one to tests/contract");
        }
    }
    for one in all {
        match one.topic.as_str() {
            "deltas" => {
                let record: DeltaRecord = decode(&one.bytes).unwrap();
                same(&one.name, &one.record, &serde_json::to_value(&record).unwrap());
                let told = schemas::json::delta(&Delta::try_from(record).unwrap());
                same(&one.name, &one.told.unwrap(), &told);
            }
            "state" => {
                let record: StateRecord = decode(&one.bytes).unwrap();
                same(&one.name, &one.record, &serde_json::to_value(&record).unwrap());
                record.parts().unwrap();
            }
            other => panic!("{}: no topic {other}", one.name),
        }
    }
}

/// By key and header alone: who does not look at the header takes an erasure for a release, and writes to the person. That the
/// suppressor tells just this is a test of its own.
#[test]
fn a_tombstone_of_state_that_is_an_erasure_says_so() {
    let kept: Json = serde_json::from_str(include_str!("contract/state_erased.2.json")).unwrap();
    let recipient = Recipient::email("jane@example.com").unwrap();
    let key = RecipientKey { tenant: Tenant::default(), recipient };
    assert_eq!(kept["key"], StateRecord::log_key(&key, &Scope::All));
    assert_eq!((&kept["bytes"], &kept["headers"]), (&Json::Null, &serde_json::json!({ headers::ERASED: "" })));
}

/// Every released schema of a record, and the current one.
fn readers<T: Wire>() -> Vec<(String, Schema)> {
    let codec = T::codec();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("avro/released");
    let mut readers = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let schema = Schema::parse_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if schema.name().unwrap().to_string() == codec.full_name() {
            readers.push((path.file_name().unwrap().to_string_lossy().into_owned(), schema));
        }
    }
    assert!(!readers.is_empty());
    readers
}

/// Reads what is written now as somebody does who knows only this schema.
fn read_by(reader: &Schema, writer: &Schema, bytes: &[u8]) -> Json {
    let datum = GenericDatumReader::builder(writer).reader_schema(reader).build().unwrap();
    let value: Value = datum.read_value(&mut &bytes[5..]).unwrap();
    Json::try_from(value).unwrap()
}

#[test]
fn who_knows_a_released_schema_reads_what_is_written_now() {
    fn check<T: Wire + serde::de::DeserializeOwned + serde::Serialize>(topic: &str) {
        for (file, reader) in readers::<T>() {
            let writer = T::codec().schema();
            if let Err(error) = SchemaCompatibility::can_read(writer, &reader) {
                panic!("a subscriber with {file} cannot read what is written now: {error}");
            }
            for one in kept().into_iter().filter(|one| one.topic == topic) {
                let again = encode(&decode::<T>(&one.bytes).unwrap()).unwrap();
                let read = read_by(&reader, writer, &again);
                // Fields that are newer than the reader's schema it does not know.
                if one.revision() <= revision(&file) {
                    same(&format!("{} by {file}", one.name), &one.record, &read);
                }
            }
        }
    }
    check::<DeltaRecord>("deltas");
    check::<StateRecord>("state");
}

#[test]
fn the_check_tells_what_breaks() {
    let one = kept().into_iter().find(|one| one.told.is_some()).unwrap();
    let was = one.told.unwrap();
    let change = |with: &dyn Fn(&mut Json)| {
        let mut is = was.clone();
        with(&mut is);
        differences("", &was, &is).len()
    };
    assert_eq!(change(&|_| ()), 0);
    assert_eq!(change(&|is| is["new"] = 1.into()), 0, "a new field");
    assert_eq!(change(&|is| is["now"]["new"] = 1.into()), 0);
    assert_eq!(change(&|is| drop(is.as_object_mut().unwrap().remove("address"))), 1, "a field is gone");
    assert_eq!(change(&|is| is["scope"] = "everything".into()), 1, "a word is another");
    assert_eq!(change(&|is| is["position"] = "170".into()), 1, "a type is another");

    // As a schema: a reader with the released one misses a field that is gone or called otherwise.
    let codec = DeltaRecord::codec();
    let can_read = |with: &dyn Fn(&mut Vec<Json>)| {
        let mut schema: Json = serde_json::from_str(codec.text).unwrap();
        with(schema["fields"].as_array_mut().unwrap());
        let writer = Schema::parse_str(&schema.to_string()).unwrap();
        SchemaCompatibility::can_read(&writer, codec.schema()).is_ok()
    };
    assert!(can_read(&|_| ()));
    assert!(can_read(&|fields| fields.push(serde_json::json!({"name": "new", "type": "int", "default": 0}))));
    assert!(!can_read(&|fields| drop(fields.remove(0))), "a field is gone");
    assert!(!can_read(&|fields| fields[0]["name"] = "renamed".into()), "a field has another name");
}
