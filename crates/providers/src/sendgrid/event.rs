//! One event of SendGrid's.

use crate::draft::{self, Draft, Metadata};
use crate::json::{Object, Value};
use crate::{Context, Element, Parsed};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope};
use std::borrow::Cow;

/// Fields that SendGrid itself writes. Whatever else stands in an event is the sender's unique and custom arguments, which
/// SendGrid merges into the top level. Sorted.
pub(super) const OWN_FIELDS: &[&str] = &[
    "asm_group_id",
    "attempt",
    "bounce_classification",
    "category",
    "cert_err",
    "email",
    "event",
    "ip",
    "marketing_campaign_id",
    "marketing_campaign_name",
    "marketing_campaign_split_id",
    "marketing_campaign_version",
    "newsletter",
    "pool",
    "post_type",
    "reason",
    "response",
    "send_at",
    "sg_content_type",
    "sg_event_id",
    "sg_machine_open",
    "sg_message_id",
    "sg_template_id",
    "sg_template_name",
    "singlesend_id",
    "singlesend_name",
    "smtp-id",
    "status",
    "template_id",
    "timestamp",
    "tls",
    "type",
    "url",
    "url_offset",
    "useragent",
];

#[derive(Default)]
struct Fields<'a> {
    event: Option<Value<'a>>,
    email: Option<Value<'a>>,
    timestamp: Option<Value<'a>>,
    event_id: Option<Value<'a>>,
    message_id: Option<Value<'a>>,
    smtp_id: Option<Value<'a>>,
    category: Option<Value<'a>>,
    campaign: Option<Value<'a>>,
    group: Option<Value<'a>>,
    bounce_type: Option<Value<'a>>,
    classification: Option<Value<'a>>,
    status: Option<Value<'a>>,
    reason: Option<Value<'a>>,
    response: Option<Value<'a>>,
    attempt: Option<Value<'a>>,
    url: Option<Value<'a>>,
    machine: Option<Value<'a>>,
    agent: Option<Value<'a>>,
    metadata: Metadata,
}

impl<'a> Fields<'a> {
    fn of(object: &Object<'a>) -> Self {
        let mut fields = Self::default();
        for (name, value) in object.iter() {
            let field = match name {
                "event" => &mut fields.event,
                "email" => &mut fields.email,
                "timestamp" => &mut fields.timestamp,
                "sg_event_id" => &mut fields.event_id,
                "sg_message_id" => &mut fields.message_id,
                "smtp-id" => &mut fields.smtp_id,
                "category" => &mut fields.category,
                "singlesend_id" | "marketing_campaign_id" => &mut fields.campaign,
                "asm_group_id" => &mut fields.group,
                "type" => &mut fields.bounce_type,
                "bounce_classification" => &mut fields.classification,
                "status" => &mut fields.status,
                "reason" => &mut fields.reason,
                "response" => &mut fields.response,
                "attempt" => &mut fields.attempt,
                "url" => &mut fields.url,
                "sg_machine_open" => &mut fields.machine,
                "useragent" => &mut fields.agent,
                other => {
                    if OWN_FIELDS.binary_search(&other).is_err() {
                        fields.metadata.extend_by(other, value);
                    }
                    continue;
                }
            };
            *field = Some(value);
        }
        fields
    }
}

/// Reads one element.
pub(super) fn parse(element: &Element<'_>, context: &Context<'_>) -> Parsed {
    let object = match Object::read(element) {
        Ok(object) => object,
        Err(reason) => return draft::dead(reason),
    };
    let fields = Fields::of(&object);
    let text = |value: Option<Value<'_>>| value.and_then(|value| value.text().map(Cow::into_owned));
    let Some(event) = fields.event.and_then(Value::string) else {
        return draft::dead("missing_event: the element has no `event`");
    };
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, &fields);
    draft.scope = scope(&event, fields.group);
    draft.address = fields.email.and_then(Value::string);
    draft.occurred_at = fields.timestamp.and_then(Value::seconds);
    draft.message_id = fields.message_id.or(fields.smtp_id).and_then(Value::text);
    draft.campaign = fields.campaign.and_then(Value::text);
    draft.categories =
        fields.category.map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    draft.machine = fields.machine.is_some_and(Value::is_true);
    draft.seen_by(fields.agent.and_then(Value::string));
    draft.metadata = fields.metadata;
    draft.identity = match fields.event_id.and_then(Value::text) {
        Some(id) => vec![id],
        None => [fields.reason, fields.url, fields.group, fields.attempt]
            .into_iter()
            .map(|value| Cow::Owned(text(value).unwrap_or_default()))
            .collect(),
    };
    vec![draft.finish(context)]
}

fn scope(event: &str, group: Option<Value<'_>>) -> Option<Scope> {
    let group = group.and_then(Value::text).map(|group| Scope::category(&group));
    match event {
        "group_unsubscribe" | "group_resubscribe" => Some(group.unwrap_or(Scope::Marketing)),
        "unsubscribe" | "resubscribe" => Some(Scope::Marketing),
        _ => None,
    }
}

fn kind(event: &str, fields: &Fields<'_>) -> (Kind, Option<Failure>) {
    match event {
        "processed" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "deferred" => (Kind::Deferred, Some(failure(fields, None, Some(false)).1)),
        "bounce" | "blocked" => bounce(event, fields),
        "dropped" => (Kind::Rejected, Some(dropped(fields))),
        "spamreport" => (Kind::Complaint, None),
        "unsubscribe" | "group_unsubscribe" => (Kind::Unsubscribed, None),
        "resubscribe" | "group_resubscribe" => (Kind::Resubscribed, None),
        "open" => (Kind::Opened, None),
        "click" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

/// `type` is `bounce` (or missing) for what SendGrid puts on its bounce list, `blocked` for what it does not.
fn bounce(event: &str, fields: &Fields<'_>) -> (Kind, Option<Failure>) {
    let blocked = event == "blocked" || fields.bounce_type.and_then(Value::string).as_deref() == Some("blocked");
    let word = match fields.classification.and_then(Value::string).as_deref().map(str::trim) {
        Some("Invalid Address") => {
            Some(Word::Weak(Attribution::Recipient, FailureClass::UnknownRecipient, "provider.invalid_address"))
        }
        Some("Mailbox Unavailable") if !blocked => {
            Some(Word::Weak(Attribution::Recipient, FailureClass::Disabled, "provider.mailbox_unavailable"))
        }
        Some("Mailbox Unavailable") => {
            Some(Word::Weak(Attribution::Recipient, FailureClass::Unreachable, "provider.mailbox_unavailable"))
        }
        Some("Technical" | "Technical Failure") => {
            Some(Word::Weak(Attribution::Domain, FailureClass::Undetermined, "provider.technical"))
        }
        Some("Content") => Some(Word::Weak(Attribution::Message, FailureClass::Content, "provider.content")),
        Some("Reputation") => Some(Word::Weak(Attribution::Sender, FailureClass::Reputation, "provider.reputation")),
        Some("Frequency or Volume Too High") => {
            Some(Word::Weak(Attribution::Sender, FailureClass::Rate, "provider.volume"))
        }
        _ if blocked => Some(Word::Weak(Attribution::Sender, FailureClass::Policy, "provider.blocked")),
        _ => None,
    };
    let (kind, failure) = failure(fields, word, Some(!blocked));
    (kind, Some(failure))
}

fn dropped(fields: &Fields<'_>) -> Failure {
    use Attribution::{Message, Provider, Sender};
    let reason = fields.reason.and_then(Value::string).unwrap_or_default().to_ascii_lowercase();
    let on_list = ["bounced address", "unsubscribed address", "spam reporting address", "invalid"];
    let word = match reason.trim() {
        reason if on_list.contains(&reason) => {
            Word::Firm(Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list")
        }
        reason if reason.starts_with("spam content") => {
            Word::Firm(Message, FailureClass::Content, "provider.spam_content")
        }
        reason if reason.contains("quota") => Word::Firm(Sender, FailureClass::Rate, "provider.package_quota"),
        reason if reason.starts_with("invalid smtpapi") => {
            Word::Firm(Message, FailureClass::Protocol, "provider.invalid_header")
        }
        _ => Word::Firm(Provider, FailureClass::Undetermined, "provider.dropped"),
    };
    failure(fields, Some(word), None).1
}

fn failure(fields: &Fields<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let status = fields.status.and_then(Value::text);
    let diagnostic = fields.reason.and_then(Value::string).or_else(|| fields.response.and_then(Value::string));
    let evidence = Evidence {
        word,
        permanent,
        smtp_code: None,
        enhanced_status: status.as_deref(),
        diagnostic: diagnostic.as_deref(),
    };
    let code = fields.classification.and_then(Value::string).or_else(|| fields.bounce_type.and_then(Value::string));
    draft::failure(&evidence, code.as_deref(), fields.attempt.and_then(Value::integer))
}
