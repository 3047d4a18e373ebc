//! What other builds wrote: an absent registry is waited for, and only what the registry does not know is dead.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use event_log::{Append as _, Batch, Consumed, Fate, Position, Record, Stage as _, StageError, session::Assigned};
use schemas::{codec::schema_id, decode, topics, wire::DeadLetter};
use std::sync::Arc;
use testkit::{
    fake::FakeApi,
    scripted_registry::{self, AWAY, NOBODY, OTHER},
};

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
    let mut stage = support::pair("sendgrid").0;
    let away = stage.process(&batch(vec![foreign(topics::DELTAS, 0, NOBODY), foreign(topics::DELTAS, 1, AWAY)])).await;
    assert!(matches!(&away, Err(StageError::Unavailable(why)) if why.contains("connection refused")), "{away:?}");
    let outputs = stage
        .process(&batch(vec![foreign(topics::DELTAS, 0, NOBODY), foreign(topics::DELTAS, 1, OTHER)]))
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

/// What is in force must not be passed over because its schema is not known yet.
#[tokio::test]
async fn a_partition_that_begins_waits_for_the_registry() {
    scripted_registry::install().unwrap();
    let log = support::log_keeping(1_000);
    log.append(topics::STATE, Some(0), foreign(topics::STATE, 0, AWAY).record).await.unwrap();
    let fake = FakeApi::new(support::fake_of("sendgrid"));
    let mut lane = support::lane_on(&log, support::config("sendgrid"), Arc::new(support::Direct(fake)));
    let assigned = Assigned { topic: topics::DELTAS.into(), partition: 0, committed: None, epoch: 0, oldest: 0 };
    assert_eq!(lane.assigned(&assigned).await, Ok(None));
    assert_eq!(lane.prepare(&assigned).await, Ok(false), "looking for releases");
    let away = lane.prepare(&assigned).await;
    assert!(matches!(&away, Err(StageError::Unavailable(why)) if why.contains("connection refused")), "{away:?}");
}
