//! What a webhook says is what the manual says, and stays so: the bodies of records that released versions wrote.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::Delta;
use notifier::Message;
use schemas::{decode, wire::DeltaRecord};
use serde_json::{Value, json};
use std::{fs, path::Path};

const SUPPRESSED: &str = include_str!("../../schemas/tests/contract/delta_suppressed.2.json");
const MANUAL: &str = include_str!("../../docs/subscribers.md");

/// A kept record: the delta, and how it is told.
fn read(text: &str) -> (Delta, Value) {
    let file: Value = serde_json::from_str(text).unwrap();
    let digits = file["bytes"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    (Delta::try_from(decode::<DeltaRecord>(&bytes).unwrap()).unwrap(), file["told"].clone())
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn kept_deltas_make_the_same_webhooks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/tests/contract");
    let mut types = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        if !text.contains("\"told\"") {
            continue;
        }
        let (delta, told) = read(&text);
        let message = Message::of_delta(&delta);
        let body = body(&message);
        assert_eq!(json!(message.id), told["delta_id"]);
        assert_eq!(body["timestamp"], told["decided_at"]);
        for (field, value) in told.as_object().unwrap() {
            assert_eq!(&body["data"][field], value, "{field}: more may be told, never less");
        }
        types.push(body["type"].as_str().unwrap().to_owned());
    }
    types.sort();
    types.dedup();
    let expected = ["erased", "released", "suppressed", "updated"].map(|change| format!("quell.suppression.{change}"));
    assert_eq!(types, expected);
}

#[test]
fn every_change_has_a_type_of_its_own_which_the_manual_names() {
    let (delta, _) = read(SUPPRESSED);
    for change in domain::Change::ALL.iter().copied() {
        let delta = domain::Delta { change, ..delta.clone() };
        assert_eq!(body(&Message::of_delta(&delta))["type"], format!("quell.suppression.{change}"));
        assert!(MANUAL.contains(&format!("`.{change}`")) || change == domain::Change::Suppressed, "{change}");
    }
}

#[test]
fn the_manual_shows_what_is_sent() {
    let (delta, told) = read(SUPPRESSED);
    let examples: Vec<Value> = MANUAL
        .split("```json\n")
        .skip(1)
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect();
    assert_eq!(examples[0], told, "the delta");
    let body = body(&Message::of_delta(&delta));
    let shown = &examples[1];
    assert_eq!((&shown["type"], &shown["timestamp"]), (&body["type"], &body["timestamp"]));
    assert_eq!(shown["data"]["delta_id"], body["data"]["delta_id"]);
    for field in told.as_object().unwrap().keys() {
        assert!(MANUAL.contains(&format!("`{field}`")), "{field} is not explained");
    }
}
