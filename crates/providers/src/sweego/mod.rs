//! Sweego's webhooks: one JSON object each, of email and of SMS.
//!
//! Signed much as Standard Webhooks: `webhook-signature` is the base64 of HMAC-SHA256 over `id.timestamp.body`, under the
//! decoded base64 of the secret, but without a version before it. A list with versions passes as well.
//!
//! Identity: `event_id`, beside the message's `swg_uid`, recipient, event and time.
//!
//! Source: <https://learn.sweego.io/docs/webhooks/webhook_signature>, <https://learn.sweego.io/docs/webhooks/sms_events>.

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, Signed, TOLERANCE_SECONDS, fresh, hmac, seconds, standard_webhooks};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::classify::Evidence;
use domain::{Channel, Failure, Kind, Scope, Timestamp};

/// Signatures looked at in one header; a sender that rotates its key has two.
const SIGNATURES_MAX: usize = 16;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Sweego;

impl Provider for Sweego {
    fn name(&self) -> &'static str {
        "sweego"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256", |secrets| signature(request, source, secrets, now))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => vec![parse(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["webhook-id", "webhook-timestamp", "webhook-signature"]
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        match spec.secrets.iter().all(|secret| standard_webhooks::key(secret).is_some()) {
            true => Ok(()),
            false => {
                Err(SourceError("`secrets` holds text that is no base64: copy the secret of the webhook".to_owned()))
            }
        }
    }
}

fn signature(request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
    let header = |name| request.header(name).filter(|text| !text.is_empty());
    let given = header("webhook-signature").ok_or("missing_signature")?;
    let id = header("webhook-id").ok_or("missing_id")?;
    let time = header("webhook-timestamp").ok_or("missing_timestamp")?;
    let sent = seconds(time).ok_or("malformed_timestamp")?;
    if !fresh(sent, source, TOLERANCE_SECONDS, now) {
        return Err("stale");
    }
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", request.body];
    let keys: Vec<Vec<u8>> = secrets.iter().filter_map(|secret| standard_webhooks::key(secret)).collect();
    let tags = given.split(' ').take(SIGNATURES_MAX);
    for tag in tags.filter_map(|one| hmac::base64_tag::<32>(one.strip_prefix("v1,").unwrap_or(one))) {
        if keys.iter().any(|key| hmac::matches_key(hmac::SHA256, key, &parts, &tag)) {
            return Ok(None);
        }
    }
    Err("wrong_signature")
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(event) = object.get("event_type").and_then(Value::string) else {
        return Fate::Dead("missing_event: the element has no `event_type`".to_owned());
    };
    if object.get("test_mode").is_some_and(Value::is_true) {
        return Fate::Ignored("test_mode");
    }
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    let sms = object.text("channel").as_deref() == Some("sms") || event.starts_with("sms_");
    (draft.kind, draft.failure) = kind(&event, object);
    draft.channel = Some(if sms { Channel::Sms } else { Channel::Email });
    draft.address = match sms {
        true => object.text("phone_number").or_else(|| object.text("recipient")),
        false => object.get("recipient").and_then(Value::string),
    };
    if draft.kind == Kind::Unsubscribed {
        draft.scope = match object.text("sender_id").filter(|_| sms) {
            Some(sender) => Some(Scope::sender(sender.trim())),
            None => Some(Scope::Marketing),
        };
    }
    // SMS have times without a zone, which follow Sweego's own clock in France: the receipt's stands in.
    draft.occurred_at = object.get("timestamp").and_then(Value::rfc3339);
    draft.message_id = object.text("swg_uid").or_else(|| object.text("transaction_id"));
    draft.campaign = object.text("campaign_id");
    draft.categories =
        object.get("campaign_tags").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    let acts = ["click", "open"].into_iter().filter_map(|name| object.object(name));
    let mut link = None;
    for act in acts {
        draft.machine |= act.get("proxy").is_some_and(Value::is_true);
        link = link.or_else(|| act.text("url").map(|url| url.into_owned().into()));
    }
    for name in ["transaction_id", "campaign_type"] {
        if let Some(value) = object.text(name) {
            draft.metadata.add(name, &value);
        }
    }
    draft.identity = vec![object.text("event_id").unwrap_or_default(), link.unwrap_or_default()];
    draft.identity.extend(object.text("timestamp").filter(|_| draft.occurred_at.is_none()));
    draft.finish(context)
}

fn kind(event: &str, object: &Object<'_>) -> (Kind, Option<Failure>) {
    let bounced = |permanent| {
        let (kind, failure) = failure(object, permanent);
        (kind, Some(failure))
    };
    // Sweego writes `hard_bounce` but `soft-bounce`.
    match event.replace('-', "_").as_str() {
        "email_sent" | "sms_sent" => (Kind::Accepted, None),
        "delivered" | "sms_delivered" => (Kind::Delivered, None),
        "hard_bounce" => bounced(true),
        "soft_bounce" => bounced(false),
        "complaint" => (Kind::Complaint, None),
        "list_unsub" | "sms_stop" => (Kind::Unsubscribed, None),
        "email_opened" => (Kind::Opened, None),
        "email_clicked" | "sms_clicked" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

fn failure(object: &Object<'_>, permanent: bool) -> (Kind, Failure) {
    let (status, reply) = (object.text("status"), object.text("response").or_else(|| object.text("details")));
    let evidence = Evidence {
        word: None,
        permanent: Some(permanent),
        smtp_code: object.get("response_code").and_then(Value::integer),
        enhanced_status: status.as_deref(),
        diagnostic: reply.as_deref(),
    };
    draft::failure(&evidence, None, None)
}

#[cfg(test)]
mod tests;
