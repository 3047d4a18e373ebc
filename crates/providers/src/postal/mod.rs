//! Postal's webhooks: one JSON object with `event`, `timestamp`, `payload` and `uuid`.
//!
//! Signed with the installation's own RSA key over the raw body: `X-Postal-Signature-256` with SHA-256, and
//! `X-Postal-Signature` with SHA-1, which older versions send alone. Where both are there the better one decides.
//!
//! Identity: `uuid`, which Postal keeps over its retries, beside message id, recipient, event name and time.
//!
//! A bounce names the message that bounced but not how hard: it counts as undetermined. What Postal itself was told while
//! sending (`MessageDeliveryFailed`) is the hard word, unless it only gave up trying.
//!
//! Source: <https://docs.postalserver.io/developer/webhooks>.

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, Signed, rsa};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Timestamp};

const SHA1: &str = "x-postal-signature";
const SHA256: &str = "x-postal-signature-256";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Postal;

impl Provider for Postal {
    fn name(&self) -> &'static str {
        "postal"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "rsa-pkcs1", |keys| signature(request, keys))
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
        &[SHA1, SHA256, "x-postal-signature-kid"]
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        match spec.secrets.iter().all(|key| rsa::key(key).is_some()) {
            true => Ok(()),
            false => Err(SourceError(
                "`secrets` holds text that is no RSA public key: copy the key from `postal default-dkim-record`"
                    .to_owned(),
            )),
        }
    }
}

/// A header that is there but no text, or there twice, is no missing header: it must not lead to the weaker one.
fn signature(request: &Request<'_>, keys: &[String]) -> Signed {
    let (header, algorithm) = match request.headers.contains_key(SHA256) {
        true => (SHA256, rsa::SHA256),
        false if request.headers.contains_key(SHA1) => (SHA1, rsa::SHA1),
        false => return Err("missing_signature"),
    };
    let signature = request.header(header).and_then(rsa::base64_signature).ok_or("malformed_signature")?;
    if rsa::matches(algorithm, keys, request.body, &signature) { Ok(None) } else { Err("wrong_signature") }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(event) = object.get("event").and_then(Value::string) else {
        return Fate::Dead("missing_event: the element has no `event`".to_owned());
    };
    match event.as_ref() {
        "DomainDNSError" => return Fate::Ignored("domain_dns_error"),
        "SendLimitApproaching" | "SendLimitExceeded" => return Fate::Ignored("send_limit"),
        _ => {}
    }
    let payload = object.object("payload").unwrap_or_default();
    let Some(message) = payload.object("message").or_else(|| payload.object("original_message")) else {
        return match event.starts_with("Message") {
            true => Fate::Dead("missing_message: `payload` names no message".to_owned()),
            false => Fate::Ignored("no_recipient"),
        };
    };
    // Mail that came in through Postal, and went to an endpoint of ours, concerns no recipient.
    if message.text("direction").as_deref() == Some("incoming") {
        return Fate::Ignored("incoming_message");
    }
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, &payload);
    draft.address = message.get("to").and_then(Value::string);
    draft.occurred_at = object.get("timestamp").or_else(|| payload.get("timestamp")).and_then(Value::seconds);
    draft.message_id = message.text("id").or_else(|| message.text("message_id"));
    draft.categories = message.text("tag").into_iter().collect();
    for (name, field) in [("message_id", "message_id"), ("token", "token"), ("tag", "tag")] {
        if let Some(value) = message.text(field) {
            draft.metadata.add(name, &value);
        }
    }
    draft.seen_by(payload.text("user_agent"));
    draft.identity = match object.text("uuid") {
        Some(uuid) => vec![uuid],
        None => ["url", "status", "timestamp"].map(|name| payload.text(name).unwrap_or_default()).into(),
    };
    draft.finish(context)
}

fn kind(event: &str, payload: &Object<'_>) -> (Kind, Option<Failure>) {
    let failed = |kind: Option<Kind>, (bounce, failure)| (kind.unwrap_or(bounce), Some(failure));
    match event {
        "MessageSent" => (Kind::Delivered, None),
        "MessageDelayed" => failed(Some(Kind::Deferred), failure(payload, None, Some(false))),
        "MessageDeliveryFailed" => {
            // After its last attempt at what was only put off Postal fails the message as well.
            let given_up = details(payload).contains("maximum number of delivery attempts");
            let word = Word::Weak(Attribution::Domain, FailureClass::Timeout, "provider.given_up");
            failed(None, failure(payload, given_up.then_some(word), Some(!given_up)))
        }
        "MessageHeld" => failed(Some(Kind::Rejected), failure(payload, Some(held(payload)), Some(false))),
        "MessageBounced" => failed(None, failure(payload, None, None)),
        "MessageLinkClicked" => (Kind::Clicked, None),
        "MessageLoaded" => (Kind::Opened, None),
        _ => (Kind::Unknown, None),
    }
}

/// Postal holds what goes to an address of its suppression list, and what its limits, its spam check or an operator stopped.
fn held(payload: &Object<'_>) -> Word {
    match details(payload).contains("suppression list") {
        true => Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list"),
        false => Word::Firm(Attribution::Sender, FailureClass::Policy, "provider.held"),
    }
}

fn details(payload: &Object<'_>) -> String {
    payload.text("details").map(|details| details.to_ascii_lowercase()).unwrap_or_default()
}

/// `output` is the host's reply; `details` is Postal's own account of the attempt.
fn failure(payload: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let diagnostic = payload.text("output").or_else(|| payload.text("details"));
    let evidence = Evidence { word, permanent, diagnostic: diagnostic.as_deref(), ..Evidence::default() };
    draft::failure(&evidence, payload.text("status").as_deref(), None)
}

#[cfg(test)]
mod tests;
