//! The shape of an adapter's file: what `docs/adapters.md` documents, key by key.

use super::{path::Path, path::Paths, template::Template, time::TimeFormat};
use crate::SourceSpec;
use domain::{Attribution, Channel, FailureClass, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use std::collections::BTreeMap;

/// An adapter as it stands in its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterFile {
    /// The provider's word in paths, configuration and answers.
    pub name: String,
    /// The status of a webhook that was taken.
    #[serde(default = "accepted")]
    pub(super) accepted: u16,
    /// The status that makes the provider try again.
    #[serde(default = "overload")]
    pub(super) overload: u16,
    /// Methods by which it tries an endpoint out.
    #[serde(default)]
    pub(super) set_up: Vec<SetUpMethod>,
    /// Headers to store beside those that the adapter reads.
    #[serde(default)]
    pub(super) kept_headers: Vec<Header>,
    pub(super) authentication: AuthenticationSpec,
    #[serde(default)]
    pub(super) body: BodySpec,
    pub(super) event: EventSpec,
    #[serde(default, rename = "map")]
    pub(super) maps: Vec<MapSpec>,
    /// Requests with what must become of them.
    #[serde(default, rename = "fixture")]
    pub fixtures: Vec<Fixture>,
}

const fn accepted() -> u16 {
    202
}

const fn overload() -> u16 {
    503
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum SetUpMethod {
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "HEAD")]
    Head,
}

/// A header's name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Header(String);

const HEADER_BYTES_MAX: usize = 64;

impl Header {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Header {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let fine = (1..=HEADER_BYTES_MAX).contains(&name.len()) && http::HeaderName::try_from(name.as_str()).is_ok();
        if fine { Ok(Self(name.to_ascii_lowercase())) } else { Err(format!("`{name}` is no header's name")) }
    }
}

/// `[authentication]`: what the `secrets` of a source prove.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthenticationSpec {
    pub(super) scheme: Scheme,
    pub(super) header: Option<Header>,
    /// The pair of a header such as `t=…,v1=…` that holds the signature.
    pub(super) part: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) encoding: Option<Encoding>,
    pub(super) secret: Option<SecretForm>,
    pub(super) content: Option<Template>,
    pub(super) time_header: Option<Header>,
    /// The pair of the signature's header that holds the time.
    pub(super) time_part: Option<String>,
    pub(super) time_format: Option<TimeFormat>,
    /// Seconds of freshness where a source says nothing.
    pub(super) tolerance: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scheme {
    /// A header holds an HMAC under the secret.
    Hmac,
    /// A header holds the secret itself.
    Key,
    /// The provider signs nothing.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    Hex,
    Base64,
    Base64url,
}

/// How a secret's text stands for the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SecretForm {
    #[default]
    Text,
    Hex,
    Base64,
}

/// `[body]`: where the events are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BodySpec {
    #[serde(default)]
    pub(super) format: Format,
    /// In JSON: the path to the event or the list of events.
    pub(super) at: Option<Path>,
    /// In a form: the field that holds JSON.
    pub(super) field: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// One JSON document: an object, or a list of them.
    #[default]
    Json,
    /// A JSON document a line.
    Lines,
    /// `application/x-www-form-urlencoded` or `multipart/form-data`.
    Form,
}

/// `[event]`: what stands where in an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventSpec {
    pub(super) word: Paths,
    pub(super) detail: Option<Paths>,
    /// The list of recipients inside an event; paths that begin with `@` are read in each.
    pub(super) each: Option<Path>,
    pub(super) recipient: Paths,
    #[serde(default)]
    pub(super) channel: ChannelSpec,
    pub(super) channel_at: Option<Paths>,
    #[serde(default)]
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) phone_prefix: Option<String>,
    pub(super) id: Option<Paths>,
    pub(super) identity: Option<Paths>,
    pub(super) time: Option<Paths>,
    #[serde(default)]
    pub(super) time_format: TimeFormat,
    pub(super) message_id: Option<Paths>,
    pub(super) campaign: Option<Paths>,
    pub(super) categories: Option<Paths>,
    pub(super) metadata: Option<Paths>,
    pub(super) reason: Option<Paths>,
    pub(super) code: Option<Paths>,
    pub(super) smtp_code: Option<Paths>,
    pub(super) enhanced_status: Option<Paths>,
    pub(super) attempt: Option<Paths>,
    pub(super) machine: Option<Paths>,
    pub(super) user_agent: Option<Paths>,
    pub(super) list: Option<Paths>,
    pub(super) sender: Option<Paths>,
}

/// How the recipients are reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChannelSpec {
    #[default]
    Email,
    Sms,
    Push,
    /// What has an `@` is an email address, all else a phone number.
    Any,
}

impl ChannelSpec {
    pub(super) const fn channel(self) -> Option<Channel> {
        match self {
            Self::Email => Some(Channel::Email),
            Self::Sms => Some(Channel::Sms),
            Self::Push => Some(Channel::Push),
            Self::Any => None,
        }
    }
}

/// `[[map]]`: what the provider's words mean.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MapSpec {
    pub(super) word: Words,
    #[serde(default)]
    pub(super) detail: Words,
    pub(super) kind: MappedKind,
    pub(super) attribution: Option<Attribution>,
    pub(super) class: Option<FailureClass>,
    /// Nothing in codes and reply overrides the hint.
    #[serde(default)]
    pub(super) firm: bool,
    pub(super) scope: Option<String>,
    #[serde(default)]
    pub(super) machine: bool,
    #[serde(default)]
    pub(super) echo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MappedKind {
    Accepted,
    Delivered,
    Deferred,
    /// The failure decides how hard.
    Bounced,
    BouncedHard,
    BouncedSoft,
    Rejected,
    Complaint,
    Unsubscribed,
    Resubscribed,
    Opened,
    Clicked,
    Unknown,
    /// Concerns nobody.
    Ignored,
}

/// One word or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Words;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word or a list of words")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Words, E> {
                Ok(Words(vec![word.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        d.deserialize_any(OneOrMore)
    }
}

/// `[[fixture]]`: a request, and what must become of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// What it shows.
    pub name: String,
    /// Method in capitals.
    #[serde(default = "post")]
    pub method: String,
    /// Path and query; the adapter's own path where nothing stands here.
    #[serde(default)]
    pub url: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: Option<String>,
    /// The body in base64, where it is no text.
    pub body_base64: Option<String>,
    /// The source, its secrets written out; without, one that asks for no proof.
    pub source: Option<SourceSpec>,
    /// When it comes in.
    pub now: Option<Timestamp>,
    /// The status it must get.
    pub status: u16,
    /// The verdict on its proofs: `ok`, or the reason why not.
    pub authentication: Option<String>,
    /// The events it must become, each a part of a canonical event.
    pub events: Option<Vec<serde_json::Value>>,
    /// The reasons of what is ignored.
    pub ignored: Option<Vec<String>>,
    /// How the reasons of what is dead begin.
    pub dead: Option<Vec<String>>,
}

fn post() -> String {
    "POST".to_owned()
}
