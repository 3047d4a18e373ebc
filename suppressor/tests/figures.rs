//! What the stage counts: each event once, when its batch is committed.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::{CanonicalEvent, Change, Kind, Reason};
use event_log::{Batch, Consumed, Position, Record, Stage as _};
use schemas::{encode, topics, wire::EventRecord};
use std::sync::{Arc, Mutex};
use suppressor::{
    Suppressor, SuppressorMetrics,
    stage::{Counted, DeltaCount},
    store::memory::MemoryStore,
};
use testkit::builders::{at, event, identified};

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl SuppressorMetrics for Heard {
    fn committed(&self, events: &[Counted]) {
        let mut heard = self.0.lock().unwrap();
        for Counted { event, partition, position, found } in events {
            let mut line = format!("{partition}.{position} {}", event.kind);
            let marks =
                [("duplicate", found.is_duplicate), ("clamped", found.is_clamped), ("late", found.is_out_of_order)];
            marks.iter().filter(|(_, is_so)| *is_so).for_each(|(mark, _)| line.push_str(&format!(" {mark}")));
            for DeltaCount { change, before, now, scope } in &found.deltas {
                let reason = |reason: Option<Reason>| reason.map_or("-", Reason::as_str);
                line.push_str(&format!(" {change} {scope} {} {}", reason(*before), reason(*now)));
            }
            heard.push(line);
        }
    }
}

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn batch(events: &[(u64, CanonicalEvent)]) -> Batch {
    let consumed = |(offset, event): &(u64, CanonicalEvent)| Consumed {
        topic: topics::EVENTS.into(),
        position: Position::from_number(*offset, 1),
        record: Record {
            key: Some(event.key().to_log_key().into()),
            value: Some(encode(&EventRecord::from(event.clone())).unwrap()),
            headers: Vec::new(),
            timestamp_ms: event.received_at.as_millis(),
        },
    };
    Batch { records: events.iter().map(consumed).collect(), generation: 1 }
}

#[tokio::test]
async fn a_batch_is_told_once_it_is_committed() {
    let heard = Arc::new(Heard::default());
    let mut stage = Suppressor::new(MemoryStore::default(), heard.clone());
    let ahead = CanonicalEvent { received_at: at(90), ..event(Kind::Complaint, "b@example.com", 100) };
    let events = batch(&[
        (0, event(Kind::Delivered, "a@example.com", 10)),
        (1, event(Kind::BouncedHard, "a@example.com", 20)),
        (2, event(Kind::BouncedHard, "a@example.com", 20)),
        (3, event(Kind::Delivered, "a@example.com", 5)),
        (4, identified(ahead)),
        (5, event(Kind::Deferred, "b@example.com", 50)),
        (6, event(Kind::Deferred, "b@example.com", 50)),
    ]);
    // Its commit fails once, and it is processed again.
    stage.process(&events).await.unwrap();
    stage.revoked(&[1]);
    stage.process(&events).await.unwrap();
    assert_eq!(heard.take(), [""; 0]);
    stage.committed(&events).await.unwrap();
    let expected = [
        "1.0 delivered",
        "1.1 bounced_hard suppressed all - hard_bounce",
        "1.2 bounced_hard duplicate",
        "1.3 delivered late",
        "1.4 complaint clamped suppressed non_critical - spam_complaint",
        "1.5 deferred late",
        "1.6 deferred duplicate",
    ];
    assert_eq!(heard.take(), expected);

    // Another owner applies it again, which is no news; nor is its first own batch told with it.
    stage.reapply(&events.records).await.unwrap();
    let released =
        CanonicalEvent { provider: "manual".to_owned(), ..event(Kind::ReleasedManually, "a@example.com", 30) };
    let more = batch(&[(7, identified(released)), (8, event(Kind::Opened, "a@example.com", 25))]);
    stage.process(&more).await.unwrap();
    stage.committed(&more).await.unwrap();
    // What came from inside is newer, but no news that others could be late for.
    assert_eq!(heard.take(), ["1.7 released_manually released all hard_bounce -", "1.8 opened"]);
    assert_eq!(Change::ALL.len(), 4);
}
