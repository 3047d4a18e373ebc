//! Mailgun's legacy webhooks: a form, urlencoded or multipart. Of a field given twice the last counts, as the sender's own
//! variables may carry the names of Mailgun's.

use super::data::Failed;
use crate::draft::{Draft, without_brackets};
use crate::form::Form;
use crate::{Context, Fate};
use domain::{Failure, Kind, Scope, Timestamp};

/// Fields that Mailgun itself writes; whatever else stands in a form is the sender's variables.
const OWN_FIELDS: &[&str] = &[
    "attachment-count",
    "body-plain",
    "campaign-id",
    "campaign-name",
    "city",
    "client-name",
    "client-os",
    "client-type",
    "code",
    "country",
    "description",
    "device-type",
    "domain",
    "error",
    "event",
    "ip",
    "mailing-list",
    "message-headers",
    "message-id",
    "notification",
    "reason",
    "recipient",
    "region",
    "severity",
    "signature",
    "tag",
    "timestamp",
    "token",
    "url",
    "user-agent",
    "x-mailgun-sid",
    "x-mailgun-tag",
];

/// Reads one form.
pub(super) fn parse(form: &Form<'_>, context: &Context<'_>) -> Fate {
    let Some(event) = form.last("event") else {
        return Fate::Dead("missing_event: the form has no `event`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, form);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = form.last("recipient");
    draft.occurred_at = form.last("timestamp").and_then(|time| Timestamp::parse_decimal_seconds(time.trim()).ok());
    draft.message_id = form.last("Message-Id").or_else(|| form.last("message-id")).map(without_brackets);
    draft.campaign = form.last("campaign-id");
    draft.categories = form
        .texts()
        .filter(|(name, value)| {
            ["tag", "x-mailgun-tag"].contains(&name.to_ascii_lowercase().as_str()) && !value.is_empty()
        })
        .map(|(_, value)| value)
        .collect();
    draft.machine = form.last("client-type").as_deref() == Some("robot");
    draft.seen_by(form.last("user-agent"));
    for (name, value) in form.texts() {
        if !OWN_FIELDS.contains(&name.to_ascii_lowercase().as_str()) && !value.is_empty() {
            draft.metadata.add(&name, &value);
        }
    }
    draft.identity = [form.last("code"), form.last("url")].into_iter().map(Option::unwrap_or_default).collect();
    draft.finish(context)
}

/// For a hard bounce Mailgun sends both `bounced` and `dropped`; the latter only says that it stopped trying.
fn kind(event: &str, form: &Form<'_>) -> (Kind, Option<Failure>) {
    let failed = || Failed {
        reason: form.last("reason").unwrap_or_default(),
        code: form.last("code").unwrap_or_default(),
        enhanced: None,
        reply: ["error", "notification", "description"].into_iter().find_map(|name| form.last(name)),
        attempt: None,
        permanent: Some(true),
    };
    match event {
        "delivered" => (Kind::Delivered, None),
        "opened" => (Kind::Opened, None),
        "clicked" => (Kind::Clicked, None),
        "complained" => (Kind::Complaint, None),
        "unsubscribed" => (Kind::Unsubscribed, None),
        "bounced" => {
            let (kind, failure) = failed().classify();
            (kind, Some(failure))
        }
        "dropped" => (Kind::Rejected, Some(failed().classify().1)),
        _ => (Kind::Unknown, None),
    }
}
