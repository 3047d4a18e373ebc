//! `event-data` of Mailgun's JSON webhooks.

use crate::draft::{self, Draft, without_brackets};
use crate::json::{Object, Value};
use crate::{Context, Fate};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope};
use std::borrow::Cow;

/// Reads one webhook.
pub(super) fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(data) = object.object("event-data") else {
        return Fate::Dead("missing_event_data: the element has no `event-data`".to_owned());
    };
    let Some(event) = data.text("event").or_else(|| object.text("event")) else {
        return Fate::Dead("missing_event: `event-data` has no `event`".to_owned());
    };
    let message = data.object("message").unwrap_or_default();
    let headers = message.object("headers").unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, &data);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    // What Mailgun refuses to send carries its recipient in the headers only.
    draft.address = data
        .get("recipient")
        .and_then(Value::string)
        .or_else(|| message.get("recipients").and_then(|list| list.list().first()?.string()))
        .or_else(|| headers.get("to").and_then(Value::string));
    draft.occurred_at = data.get("timestamp").and_then(Value::seconds);
    draft.message_id = headers.text("message-id").map(without_brackets);
    draft.campaign = data.get("campaigns").and_then(|list| {
        let campaign = list.list().first()?.object()?;
        campaign.text("id").or_else(|| campaign.text("name"))
    });
    draft.categories =
        data.get("tags").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    let client = data.object("client-info").unwrap_or_default();
    draft.machine = client.text("client-type").as_deref() == Some("robot") || client.text("bot").is_some();
    draft.seen_by(client.text("user-agent"));
    if let Some(variables) = data.object("user-variables") {
        draft.metadata.extend(&variables);
    }
    draft.identity = [data.text("id"), data.text("url")].into_iter().map(Option::unwrap_or_default).collect();
    draft.finish(context)
}

fn kind(event: &str, data: &Object<'_>) -> (Kind, Option<Failure>) {
    let severity = data.text("severity");
    match event {
        "accepted" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "opened" => (Kind::Opened, None),
        "clicked" => (Kind::Clicked, None),
        "unsubscribed" => (Kind::Unsubscribed, None),
        "complained" => (Kind::Complaint, None),
        "rejected" => {
            let reason = data.object("reject").and_then(|reject| reject.text("reason")).unwrap_or_default();
            let word = Word::Firm(Attribution::Message, FailureClass::Content, "provider.rejected");
            let evidence = Evidence { word: Some(word), diagnostic: Some(&reason), ..Evidence::default() };
            (Kind::Rejected, Some(draft::failure(&evidence, None, None).1))
        }
        // The names under which webhooks are registered stand for the event in older set-ups.
        "failed" | "permanent_fail" | "temporary_fail" => {
            let temporary = event == "temporary_fail" || severity.as_deref() == Some("temporary");
            let permanent = event == "permanent_fail" || severity.as_deref() == Some("permanent");
            let status = data.object("delivery-status").unwrap_or_default();
            let reply = status.text("message").or_else(|| status.text("description"));
            let failed = Failed {
                reason: data.text("reason").unwrap_or_default(),
                code: status.text("code").unwrap_or_default(),
                enhanced: status.text("enhanced-code"),
                reply,
                attempt: status.get("attempt-no").and_then(Value::integer),
                permanent: if temporary { Some(false) } else { permanent.then_some(true) },
            };
            let (kind, failure) = failed.classify();
            (kind, Some(failure))
        }
        _ => (Kind::Unknown, None),
    }
}

/// A failed delivery, in either format.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    /// Mailgun's reason, e.g. `bounce`, `espblock`, `suppress-bounce`, `old`.
    pub(super) reason: Cow<'a, str>,
    /// An SMTP code, one of Mailgun's own (498, 499, 605 to 607, 625), or an enhanced status.
    pub(super) code: Cow<'a, str>,
    pub(super) enhanced: Option<Cow<'a, str>>,
    pub(super) reply: Option<Cow<'a, str>>,
    pub(super) attempt: Option<u32>,
    pub(super) permanent: Option<bool>,
}

impl Failed<'_> {
    /// Its kind and failure. Temporary failures are deferrals, unless Mailgun gave up (`old`), which it still calls
    /// temporary.
    pub(super) fn classify(&self) -> (Kind, Failure) {
        let given_up = self.reason == "old";
        let evidence = Evidence {
            word: self.word(),
            permanent: if given_up { Some(false) } else { self.permanent },
            smtp_code: self.code.parse().ok(),
            enhanced_status: self.enhanced.as_deref().or(Some(&self.code)),
            diagnostic: self.reply.as_deref(),
        };
        let code = if self.reason.is_empty() { &self.code } else { &self.reason };
        let (bounce, failure) = draft::failure(&evidence, Some(code), self.attempt);
        let kind = match failure.class {
            FailureClass::SuppressedByProvider => Kind::Rejected,
            _ if self.permanent == Some(false) && !given_up => Kind::Deferred,
            _ => bounce,
        };
        (kind, failure)
    }

    /// 605, 606 and 607 stand for an earlier bounce, unsubscription or complaint: the message was dropped because the
    /// address is on Mailgun's list already. 625 stands for a poor list.
    fn word(&self) -> Option<Word> {
        let on_list =
            Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list");
        let blocked = Word::Firm(Attribution::Sender, FailureClass::Reputation, "provider.blocked");
        match (self.reason.as_ref(), self.code.as_ref()) {
            ("suppress-bounce" | "suppress-complaint" | "suppress-unsubscribe", _) | (_, "605" | "606" | "607") => {
                Some(on_list)
            }
            (_, "625") => {
                Some(Word::Firm(Attribution::Sender, FailureClass::SuppressedByProvider, "provider.poor_list"))
            }
            ("espblock" | "blacklisted", _) => Some(blocked),
            ("greylisted", _) => Some(Word::Firm(Attribution::Domain, FailureClass::Policy, "provider.greylisted")),
            ("old", _) | (_, "498" | "499") => {
                Some(Word::Weak(Attribution::Domain, FailureClass::Timeout, "provider.given_up"))
            }
            _ => None,
        }
    }
}
