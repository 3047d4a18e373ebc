//! A process that was forgotten when the others got a registry: it must not bury what they write.

use event_log::{Batch, Consumed, Position, Record, Stage as _, StageError};
use normalizer::{Nobody, Normalizer};
use schemas::topics;
use std::sync::Arc;
use testkit::scripted_registry;

#[tokio::test]
async fn what_was_written_with_a_registry_waits_for_one() {
    let mut stage = Normalizer::new(Arc::new(Nobody));
    // The ids that a registry gives first, and one that it gives later.
    for id in (1..=7).chain([1_000]) {
        let value = Some(scripted_registry::value(id).into());
        let record = Record { key: None, value, headers: Vec::new(), timestamp_ms: 1 };
        let consumed = Consumed { topic: topics::RAW.into(), position: Position::from_number(0, 0), record };
        let waits = stage.process(&Batch { records: vec![consumed], generation: 1 }).await.unwrap_err();
        assert!(
            matches!(&waits, StageError::Unavailable(why) if why.contains("set url in [registry]")),
            "{id}: {waits}"
        );
    }
}
