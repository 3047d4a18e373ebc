//! `GET /v1/messages/{id}`: did it bounce?

use super::{Api, auth::Caller, off_runtime, params::Params, problem::Problem};
use crate::store::MessageEntry;
use axum::{
    Json,
    extract::{Path, State},
};
use domain::{MessageState, RecipientKey};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// A message's state and timeline, for each recipient.
pub(super) async fn message(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let params = params.only(&["tenant", "provider"])?;
    let tenant = caller.tenant(params.text("tenant"))?;
    let (store, max, message_id) = (Arc::clone(&api.deps.store), api.deps.limits.rows_max, id.clone());
    // One more than is shown tells whether that is all.
    let mut entries = off_runtime(move || async move { store.message(&tenant, &message_id, max + 1).await }).await?;
    let is_cut = entries.len() > max;
    entries.truncate(max);
    if let Some(provider) = params.text("provider") {
        entries.retain(|entry| entry.provider == provider);
    }
    if entries.is_empty() {
        return Err(Problem::not_found("no event named a message of this id, or it is too long ago"));
    }
    let mut recipients: BTreeMap<(&str, &RecipientKey), Vec<&MessageEntry>> = BTreeMap::new();
    for entry in &entries {
        recipients.entry((&entry.provider, &entry.key)).or_default().push(entry);
    }
    let recipients: Vec<Value> =
        recipients.iter().map(|((provider, key), entries)| told(provider, key, entries)).collect();
    Ok(Json(json!({ "message_id": id, "truncated": is_cut, "recipients": recipients })))
}

fn told(provider: &str, key: &RecipientKey, entries: &[&MessageEntry]) -> Value {
    let (state, since) = match state(entries) {
        Some(entry) => (MessageState::of(entry.kind), Some(entry.occurred_at)),
        None => (None, None),
    };
    let timeline: Vec<Value> = entries
        .iter()
        .map(|entry| {
            json!({
                "event_id": entry.event_id,
                "kind": entry.kind,
                "provider_kind": entry.provider_kind,
                "occurred_at": entry.occurred_at,
                "received_at": entry.received_at,
                "machine": entry.machine,
                "failure": entry.failure,
                "campaign": entry.campaign,
                "receipt_id": entry.receipt_id,
            })
        })
        .collect();
    json!({
        "provider": provider,
        "channel": key.recipient.channel(),
        "recipient": key.recipient,
        "state": state,
        "since": since,
        "timeline": timeline,
    })
}

/// The entry that says where a message stands: the newest in event time that gives a state, except that what is final
/// (bounced hard, complaint) is undone only by what is final too. At equal times the weightier state wins, and then the
/// event id, so that the order of arrival never matters.
pub(super) fn state<'a>(entries: &[&'a MessageEntry]) -> Option<&'a MessageEntry> {
    let given = entries.iter().filter_map(|entry| Some((MessageState::of(entry.kind)?, *entry)));
    given
        .max_by_key(|(state, entry)| (state.is_final(), entry.occurred_at, *state, entry.event_id))
        .map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{EventId, Kind, Recipient, Tenant, Timestamp};

    #[track_caller]
    fn check(kinds: &[(Kind, i64)], expected: Option<MessageState>) {
        let entries: Vec<MessageEntry> = kinds
            .iter()
            .map(|(kind, at)| MessageEntry {
                key: RecipientKey {
                    tenant: Tenant::default(),
                    recipient: Recipient::email("jane@example.com").unwrap(),
                },
                provider: "drip".to_owned(),
                message_id: "m1".to_owned(),
                event_id: EventId::derive(&[kind.as_str()]),
                occurred_at: Timestamp::from_seconds(*at).unwrap(),
                received_at: Timestamp::from_seconds(100).unwrap(),
                kind: *kind,
                provider_kind: String::new(),
                machine: false,
                failure: None,
                campaign: None,
                receipt_id: String::new(),
                position: 0,
            })
            .collect();
        let forward: Vec<&MessageEntry> = entries.iter().collect();
        let backward: Vec<&MessageEntry> = entries.iter().rev().collect();
        for order in [forward, backward] {
            assert_eq!(state(&order).and_then(|entry| MessageState::of(entry.kind)), expected);
        }
    }

    #[test]
    fn newer_wins_but_what_is_final_stays() {
        use Kind::*;
        check(&[], None);
        check(&[(Opened, 1)], None);
        check(&[(Accepted, 1), (Deferred, 2), (Delivered, 3), (Opened, 4)], Some(MessageState::Delivered));
        check(&[(Delivered, 3), (BouncedSoft, 2)], Some(MessageState::Delivered));
        check(&[(BouncedHard, 2), (Delivered, 3)], Some(MessageState::BouncedHard));
        check(&[(Delivered, 1), (Complaint, 2), (Unsubscribed, 3)], Some(MessageState::Complaint));
        check(&[(Accepted, 1), (Rejected, 1)], Some(MessageState::Rejected));
    }
}
