//! What a webhook says. `docs/subscribers.md` is its contract. Pure.

use bytes::Bytes;
use domain::{Change, Delta, EventId};
use serde_json::json;

/// One message: the same bytes and the same id however often it is posted.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Goes out as `webhook-id`.
    pub id: String,
    /// JSON: `type`, `timestamp`, `data`.
    pub body: Bytes,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("id", &self.id).finish_non_exhaustive()
    }
}

const fn type_of(change: Change) -> &'static str {
    match change {
        Change::Suppressed => "quell.suppression.suppressed",
        Change::Updated => "quell.suppression.updated",
        Change::Released => "quell.suppression.released",
        Change::Erased => "quell.suppression.erased",
    }
}

impl Message {
    /// Of one delta: its id is the delta's.
    pub fn of_delta(delta: &Delta) -> Self {
        let body = json!({
            "type": type_of(delta.change),
            "timestamp": delta.decided_at,
            "data": schemas::json::delta(delta),
        });
        Self { id: delta.delta_id.to_string(), body: body.to_string().into() }
    }

    /// Of several, in their order. The id is derived from theirs; each delta bears its own beside.
    pub fn of_batch(deltas: &[&Delta]) -> Self {
        let ids: Vec<String> = deltas.iter().map(|delta| delta.delta_id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let body = json!({
            "type": "quell.suppression.batch",
            "timestamp": deltas.last().map(|delta| delta.decided_at),
            "data": { "deltas": deltas.iter().map(|delta| schemas::json::delta(delta)).collect::<Vec<_>>() },
        });
        Self { id: EventId::derive(&ids).to_string(), body: body.to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Kind, Reason, Scope};
    use serde_json::Value;
    use testkit::builders::delta;

    fn one(address: &str) -> Delta {
        delta(address, &Scope::All, &[(Scope::All, Reason::HardBounce)], ("drip", Kind::BouncedHard), 7)
    }

    #[test]
    fn a_message_is_the_same_bytes_each_time() {
        let delta = one("jane@example.com");
        let message = Message::of_delta(&delta);
        assert_eq!(message, Message::of_delta(&delta));
        assert_eq!(message.id, delta.delta_id.to_string());
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["type"], "quell.suppression.suppressed");
        assert_eq!(body["timestamp"], body["data"]["decided_at"]);
        assert_eq!(body["data"], schemas::json::delta(&delta));
        assert!(!format!("{message:?}").contains("jane"));
    }

    #[test]
    fn a_batch_keeps_the_order_and_names_its_deltas() {
        let (a, b) = (one("a@example.com"), one("b@example.com"));
        let message = Message::of_batch(&[&a, &b]);
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let ids: Vec<&Value> =
            body["data"]["deltas"].as_array().unwrap().iter().map(|delta| &delta["delta_id"]).collect();
        assert_eq!(ids, [&a.delta_id.to_string(), &b.delta_id.to_string()]);
        assert_ne!(message.id, Message::of_batch(&[&b, &a]).id);
    }
}
