//! What other builds wrote: an absent registry is waited for, and only what the registry does not know is dead.

use event_log::{Batch, Consumed, Fate, Position, Record, Stage as _, StageError};
use normalizer::{Nobody, Normalizer};
use schemas::{codec::schema_id, decode, topics, wire::DeadLetter};
use std::sync::Arc;
use testkit::scripted_registry::{self, AWAY, NOBODY, OTHER};

fn foreign(topic: &str, offset: u64, id: u32) -> Consumed {
    Consumed {
        topic: topic.into(),
        position: Position::from_number(offset, 0),
        record: Record {
            key: Some("k".into()),
            value: Some(scripted_registry::value(id).into()),
            headers: Vec::new(),
            timestamp_ms: 1,
        },
    }
}

fn batch(records: Vec<Consumed>) -> Batch {
    Batch { records, generation: 1 }
}

#[tokio::test]
async fn only_what_the_registry_does_not_know_is_dead() {
    scripted_registry::install().unwrap();
    let mut stage = Normalizer::new(Arc::new(Nobody));
    let away = stage.process(&batch(vec![foreign(topics::RAW, 0, NOBODY), foreign(topics::RAW, 1, AWAY)])).await;
    assert!(matches!(&away, Err(StageError::Unavailable(why)) if why.contains("connection refused")), "{away:?}");
    let outputs =
        stage.process(&batch(vec![foreign(topics::RAW, 0, NOBODY), foreign(topics::RAW, 1, OTHER)])).await.unwrap();
    for verdict in &outputs.verdicts {
        assert!(matches!(verdict.fate, Fate::Dead(_)), "{verdict:?}");
        let letter = verdict.outputs[0].record.value.as_ref().unwrap();
        assert_eq!(schema_id(letter).unwrap(), 7, "the letter has the registry's id");
        let letter: DeadLetter = decode(letter).unwrap();
        assert!(letter.detail.contains("written with schema 90"), "{}", letter.detail);
    }
}
