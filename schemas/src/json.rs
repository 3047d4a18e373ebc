//! Deltas as JSON, as subscribers see them: in the stream `GET /v1/deltas` and in webhooks out. `docs/subscribers.md` is
//! their contract.

use domain::Delta;
use serde_json::{Value, json};

/// A delta. Times are RFC 3339.
pub fn delta(delta: &Delta) -> Value {
    let in_force: Vec<_> =
        delta.in_force.iter().map(|(scope, reason)| json!({ "scope": scope, "reason": reason })).collect();
    json!({
        "delta_id": delta.delta_id,
        "tenant": delta.key.tenant,
        "channel": delta.key.recipient.channel(),
        "recipient": delta.key.recipient,
        "address": delta.address,
        "scope": delta.scope,
        "change": delta.change,
        "before": delta.before,
        "now": delta.now,
        "in_force": in_force,
        "provisional": delta.provisional,
        "trigger": {
            "event_id": delta.trigger.event_id,
            "kind": delta.trigger.kind,
            "provider": delta.trigger.provider,
            "source": delta.trigger.source,
            "receipt_id": delta.trigger.receipt_id,
        },
        "decided_at": delta.decided_at,
        "position": delta.position,
        "policy": delta.policy,
    })
}
