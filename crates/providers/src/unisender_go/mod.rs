//! Unisender Go's webhooks: `events_by_user`, a list of users each with a list of events; or one event alone, where the
//! webhook is set to that.
//!
//! `auth` in the body is the MD5, in hex, of the body as sent with the API key in the place of that value. The text is taken as
//! it stands: reading and writing it again would change it.
//!
//! At set-up Unisender Go tries the URL with a GET, which wants 200.
//!
//! Identity: job id, recipient, status and time, the link and the delivery status. There is no event id, and the `ID` header is
//! another on each attempt. A job may have many recipients.
//!
//! Source: <https://godocs.unisender.ru/web-api-ref#webhook>.

mod status;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{Object, Value};
use crate::verify::{self, Signed, hmac, md5};
use crate::{Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source};
use domain::{Kind, Scope, Timestamp};
pub use suppression_api::UnisenderGoLists;

/// As for the elements of other providers: each may become a dead letter larger than itself.
const ELEMENTS_MAX: usize = 10_000;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct UnisenderGo;

impl Provider for UnisenderGo {
    fn name(&self) -> &'static str {
        "unisender-go"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "md5-body", |secrets| signature(request, secrets))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        let whole = Element { index: 0, bytes: request.body };
        if request.body.trim_ascii().is_empty() {
            return Err(Malformed { reason: "empty_body".to_owned() });
        }
        let object = Object::read(&whole).map_err(|reason| Malformed { reason })?;
        let Some(users) = object.get("events_by_user") else {
            return Ok(vec![whole]);
        };
        let events = users.list().into_iter().flat_map(events_of).take(ELEMENTS_MAX + 1);
        let elements: Vec<Element<'a>> = events.enumerate().map(|(index, bytes)| Element { index, bytes }).collect();
        match elements.len() {
            0..=ELEMENTS_MAX => Ok(elements),
            _ => Err(Malformed { reason: "too_many_elements: a webhook holds at most 10000".to_owned() }),
        }
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => vec![parse(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn set_up_methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    /// Only 200 is documented as a success.
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }
}

/// One user's events; a user that is no object, or whose events are no list, is one element that cannot be read.
fn events_of(user: Value<'_>) -> Vec<&[u8]> {
    match user.object().and_then(|user| user.get("events")) {
        Some(events) if events.raw().starts_with('[') => {
            events.list().into_iter().map(|event| event.raw().as_bytes()).collect()
        }
        _ => vec![b"no events"],
    }
}

fn signature(request: &Request<'_>, secrets: &[String]) -> Signed {
    let whole = Element { index: 0, bytes: request.body };
    let auth = Object::read(&whole).map_err(|_| "malformed_body")?.get("auth").ok_or("missing_signature")?;
    let given = auth.raw().strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or("malformed_signature")?;
    let tag = hmac::hex_tag::<16>(given).ok_or("malformed_signature")?;
    // The value is a piece of the body, so its place is known.
    let start = given.as_ptr().addr().checked_sub(request.body.as_ptr().addr()).ok_or("malformed_body")?;
    let before = request.body.get(..start).ok_or("malformed_body")?;
    let after = request.body.get(start + given.len()..).ok_or("malformed_body")?;
    if md5::matches(secrets, before, after, &tag) { Ok(None) } else { Err("wrong_signature") }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    match object.text("event_name").as_deref() {
        Some("transactional_email_status") => {}
        Some("transactional_spam_block") => return Fate::Ignored("spam_block"),
        Some(_) => return Fate::Ignored("other_event"),
        None if object.get("status").is_none() => {
            return Fate::Dead("missing_event: the element has no `event_name`".to_owned());
        }
        None => {}
    }
    let inner = object.object("event_data");
    let data = inner.as_ref().unwrap_or(object);
    let Some(word) = data.get("status").and_then(Value::string) else {
        return Fate::Dead("missing_status: `event_data` has no `status`".to_owned());
    };
    let info = data.object("delivery_info").unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    (draft.kind, draft.failure) = status::read(&word, &info);
    if matches!(draft.kind, Kind::Unsubscribed | Kind::Resubscribed) {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = data.get("email").and_then(Value::string);
    draft.occurred_at = data.get("event_time").and_then(Value::utc);
    draft.message_id = data.text("job_id");
    if let Some(metadata) = data.object("metadata") {
        draft.campaign = metadata.text("campaign_id");
        draft.metadata.extend(&metadata);
    }
    draft.seen_by(info.text("user_agent"));
    draft.identity = vec![data.text("url").unwrap_or_default(), info.text("delivery_status").unwrap_or_default()];
    draft.finish(context)
}

#[cfg(test)]
mod tests;
