//! What other builds wrote: an absent registry is waited for, and only what the registry does not know is dead.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use event_log::{Batch, Consumed, Fate, Position, Record, Stage as _, StageError};
use schemas::{
    Ids,
    codec::schema_id,
    decode,
    ids::{Away, Resolved, Resolver, Resolving},
    topics,
    wire::DeadLetter,
};
use std::sync::Arc;
use suppressor::{Suppressor, stage::NoMetrics, store::memory::MemoryStore};

/// A registry that knows two schemas, neither of them ours.
#[derive(Debug)]
struct Scripted;

impl Resolver for Scripted {
    fn resolve(&self, id: u32) -> Resolving {
        let answer = match id {
            AWAY => Err(Away("connection refused".into())),
            OTHER => Ok(Resolved::Schema(r#"{"type":"record","name":"x.Other","fields":[]}"#.into())),
            _ => Ok(Resolved::Refused("the registry has none".into())),
        };
        Box::pin(async move { answer })
    }
}

const AWAY: u32 = 900;
const OTHER: u32 = 901;
const NOBODY: u32 = 902;

/// This process writes with the ids of that registry: 1 to 7.
fn use_registry() {
    let numbers: Vec<(u8, u32)> = (1..).zip(1..=7).collect();
    Ids::process().adopt(&numbers).unwrap();
    Ids::process().install(Arc::new(Scripted));
}

fn foreign(topic: &str, offset: u64, id: u32) -> Consumed {
    let value = [&[0], &id.to_be_bytes()[..], &[2, 4]].concat();
    Consumed {
        topic: topic.into(),
        position: Position::from_number(offset, 0),
        record: Record { key: Some("k".into()), value: Some(value.into()), headers: Vec::new(), timestamp_ms: 1 },
    }
}

fn batch(records: Vec<Consumed>) -> Batch {
    Batch { records, generation: 1 }
}

#[tokio::test]
async fn only_what_the_registry_does_not_know_is_dead() {
    use_registry();
    let mut stage = Suppressor::new(MemoryStore::default(), Arc::new(NoMetrics));
    let away = stage.process(&batch(vec![foreign(topics::EVENTS, 0, NOBODY), foreign(topics::EVENTS, 1, AWAY)])).await;
    assert!(matches!(&away, Err(StageError::Unavailable(why)) if why.contains("connection refused")), "{away:?}");
    let outputs = stage
        .process(&batch(vec![foreign(topics::EVENTS, 0, NOBODY), foreign(topics::EVENTS, 1, OTHER)]))
        .await
        .unwrap();
    for verdict in &outputs.verdicts {
        assert!(matches!(verdict.fate, Fate::Dead(_)), "{verdict:?}");
        let letter = verdict.outputs[0].record.value.as_ref().unwrap();
        assert_eq!(schema_id(letter).unwrap(), 7, "the letter has the registry's id");
        let letter: DeadLetter = decode(letter).unwrap();
        assert!(letter.detail.contains("written with schema 90"), "{}", letter.detail);
    }
}
