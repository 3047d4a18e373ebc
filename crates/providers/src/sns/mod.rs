//! Notifications of Amazon SNS, and of what speaks its format: an envelope of JSON around the publisher's text, signed with
//! RSA under a certificate that the envelope names.
//!
//! The envelope is read in one place, so what was signed is what is parsed. Header fields (`x-amz-sns-message-type` and its
//! kin) decide nothing; where they are there they must agree with the envelope.
//!
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.

mod proof;
mod urls;

use crate::json::{Object, Value};
use crate::{Authentication, Element, Request, Source};
use std::borrow::Cow;

pub(crate) use proof::{authenticate, check_source};
pub(crate) use urls::Hosts;

/// Header fields that are kept with a notification.
pub(crate) const KEPT_HEADERS: &[&str] =
    &["x-amz-sns-message-type", MESSAGE_ID_HEADER, TOPIC_HEADER, "x-amz-sns-rawdelivery"];
/// Where the notification's id stands beside a bare text.
pub(crate) const MESSAGE_ID_HEADER: &str = "x-amz-sns-message-id";
/// Where the topic stands beside a bare text.
pub(crate) const TOPIC_HEADER: &str = "x-amz-sns-topic-arn";

/// What an envelope is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It carries a text.
    Notification,
    /// It asks whether the endpoint wants to be subscribed.
    SubscriptionConfirmation,
    /// It says that the endpoint is subscribed no more.
    UnsubscribeConfirmation,
}

impl Purpose {
    fn read(word: &str) -> Option<Self> {
        match word {
            "Notification" => Some(Self::Notification),
            "SubscriptionConfirmation" => Some(Self::SubscriptionConfirmation),
            "UnsubscribeConfirmation" => Some(Self::UnsubscribeConfirmation),
            _ => None,
        }
    }
}

/// An envelope as it stands in a body.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    /// What it is for.
    pub(crate) purpose: Purpose,
    fields: Object<'a>,
}

impl<'a> Envelope<'a> {
    /// The envelope of a body; none where the text was delivered bare, or is no JSON. The error is a stable tag.
    pub(crate) fn read(body: &'a [u8]) -> Option<Result<Self, &'static str>> {
        Object::read(&Element { index: 0, bytes: body }).ok().and_then(Self::of)
    }

    /// The envelope that an object is, as [`Self::read`].
    pub(crate) fn of(fields: Object<'a>) -> Option<Result<Self, &'static str>> {
        let word = fields.get("Type").and_then(Value::string)?;
        Some(match Purpose::read(&word) {
            Some(purpose) => Ok(Self { purpose, fields }),
            None => Err("unknown_type"),
        })
    }

    /// A field as it was signed: to the letter, even if it is empty. `null` is a field that is not there.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Cow<'a, str>>, &'static str> {
        match self.fields.get(name).map(Value::raw) {
            None | Some("null") => Ok(None),
            Some(raw) => text(raw).map(Some).ok_or("malformed_envelope"),
        }
    }

    /// A field that has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<Cow<'a, str>, &'static str> {
        self.field(name)?.ok_or("incomplete_envelope")
    }

    /// The topic it came from.
    pub(crate) fn topic(&self) -> Result<Cow<'a, str>, &'static str> {
        self.required("TopicArn")
    }
}

/// A JSON string to the letter.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// The URL that confirms the subscription a request asks for. Only where its signature was judged and right, its topic
/// stands in the source's list, and the URL does nothing else on the sender's own host.
pub(crate) fn confirmation(
    request: &Request<'_>,
    source: &Source,
    proof: &Authentication,
    hosts: Hosts,
) -> Option<String> {
    let is_signed = proof.ok && matches!(proof.scheme, proof::SCHEME_SHA1 | proof::SCHEME_SHA256);
    let envelope = if is_signed { Envelope::read(request.body)?.ok()? } else { return None };
    let is_listed = source.spec.topics.iter().any(|topic| envelope.topic().is_ok_and(|found| found == topic.as_str()));
    if is_listed { urls::confirmation_url(&envelope, hosts) } else { None }
}

/// Whether a source takes notifications of a topic. One that lists none has other proofs, or judges recorded requests.
pub(crate) fn allows(source: &Source, topic: &str) -> bool {
    source.spec.topics.is_empty() || source.spec.topics.iter().any(|allowed| allowed == topic)
}

/// Whether the header fields that repeat parts of the envelope agree with it, as far as they are there.
fn headers_agree(request: &Request<'_>, envelope: &Envelope<'_>) -> bool {
    let pairs = [("x-amz-sns-message-type", "Type"), (MESSAGE_ID_HEADER, "MessageId"), (TOPIC_HEADER, "TopicArn")];
    pairs.iter().all(|(header, field)| {
        !request.headers.contains_key(*header) || request.header(header) == envelope.fields.text(field).as_deref()
    })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
