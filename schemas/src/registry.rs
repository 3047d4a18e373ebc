//! The API of a Confluent-compatible schema registry: which subjects there are, what is asked, and what the answers mean.
//! No HTTP here.
//!
//! Source: <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>. Apicurio, Karapace and Redpanda
//! speak the same.

use crate::{codec::Codec, topics, wire};
use serde_json::{Value, json};

/// Content type of bodies both ways.
pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Set where a subject has no level of its own and the registry checks nothing. Transitive, because topics that are
/// compacted keep what the oldest build wrote.
pub const COMPATIBILITY: &str = "BACKWARD_TRANSITIVE";

/// A subject: under which name the versions of a record's schema are kept.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// The record.
    pub codec: &'static Codec,
}

/// Every subject, one for each record. `topic_prefix` stands before each topic's name, and is usually empty.
///
/// A topic's record is at `<topic>-value` (TopicNameStrategy, what clients look for by themselves). The events topic has
/// more records, which are no versions of the first: they are at `<topic>-<full name>` (TopicRecordNameStrategy). Who reads needs
/// no subject, only the id.
pub fn subjects(topic_prefix: &str) -> Vec<Subject> {
    let [raw, event, policy, delta, state, outcome, dead, statistics, incident] = wire::codecs();
    let value = |topic: &str, codec| Subject { name: format!("{topic_prefix}{topic}-value"), codec };
    let second = |topic: &str, codec: &'static Codec| Subject {
        name: format!("{topic_prefix}{topic}-{}", codec.full_name()),
        codec,
    };
    vec![
        value(topics::RAW, raw),
        value(topics::EVENTS, event),
        second(topics::EVENTS, policy),
        value(topics::DELTAS, delta),
        value(topics::STATE, state),
        value(topics::OUTCOMES, outcome),
        value(topics::DEAD_LETTER, dead),
        value(topics::STATISTICS, statistics),
        second(topics::EVENTS, incident),
    ]
}

impl Subject {
    /// The schema as it is sent: without the white space between its parts, so that its layout makes no new version.
    pub fn schema_text(&self) -> String {
        compact(self.codec.text)
    }
}

/// JSON without white space outside of strings, its keys in their order.
fn compact(json: &str) -> String {
    let (mut out, mut is_text, mut is_escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if is_text {
            is_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            is_text = c == '"';
        }
        out.push(c);
    }
    out
}

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Registers or checks.
    Post,
    /// Sets.
    Put,
}

/// A request to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path and query below the registry's URL, with a leading slash.
    pub path: String,
    /// JSON; empty for [`Method::Get`].
    pub body: String,
    /// What it is about, for errors.
    pub about: String,
}

impl Ask {
    fn new(method: Method, about: &str, path: String, body: Option<Value>) -> Self {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        Self { method, path, body, about: about.to_owned() }
    }

    /// Registers a subject's schema; the answer is its id, also where it was registered before: [`read_id`].
    pub fn register(subject: &Subject) -> Self {
        let path = format!("/subjects/{}/versions", segment(&subject.name));
        Self::new(Method::Post, &subject.name, path, Some(json!({ "schema": subject.schema_text() })))
    }

    /// Looks a subject's schema up without registering it: [`read_id`].
    pub fn find(subject: &Subject) -> Self {
        let path = format!("/subjects/{}", segment(&subject.name));
        Self::new(Method::Post, &subject.name, path, Some(json!({ "schema": subject.schema_text() })))
    }

    /// Whether a subject's schema may follow the newest one there: [`read_compatible`].
    pub fn check(subject: &Subject) -> Self {
        let path = format!("/compatibility/subjects/{}/versions/latest?verbose=true", segment(&subject.name));
        Self::new(Method::Post, &subject.name, path, Some(json!({ "schema": subject.schema_text() })))
    }

    /// The subject's own compatibility level, or the registry's: [`read_level`].
    pub fn level(subject: Option<&Subject>) -> Self {
        match subject {
            Some(subject) => Self::new(Method::Get, &subject.name, format!("/config/{}", segment(&subject.name)), None),
            None => Self::new(Method::Get, "the registry's level", "/config".to_owned(), None),
        }
    }

    /// Sets the subject's level to [`COMPATIBILITY`].
    pub fn set_level(subject: &Subject) -> Self {
        let path = format!("/config/{}", segment(&subject.name));
        Self::new(Method::Put, &subject.name, path, Some(json!({ "compatibility": COMPATIBILITY })))
    }

    /// The schema behind an id: [`read_schema`].
    pub fn schema(id: u32) -> Self {
        Self::new(Method::Get, &format!("schema {id}"), format!("/schemas/ids/{id}"), None)
    }
}

/// A part of a path, with everything escaped that RFC 3986 does not leave unreserved.
fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Why a registry did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// 409: the new schema cannot read what was written with those before it.
    #[error(
        "{about}: the schema is not compatible with the versions registered before ({detail}). Start the build that fits \
         this registry, or mend the schema; records of this topic could no longer be read"
    )]
    Incompatible {
        /// Subject.
        about: String,
        /// What the registry said.
        detail: String,
    },
    /// 422: it refuses schema or level as such.
    #[error(
        "{about}: the registry takes no such schema or level ({detail}). Is it a Confluent-compatible one, with Avro?"
    )]
    Invalid {
        /// Subject.
        about: String,
        /// What the registry said.
        detail: String,
    },
    /// 401 or 403.
    #[error(
        "{about}: the registry refuses our credentials ({status}): set registry.basic_auth or registry.bearer, and grant read and write on its subject"
    )]
    Denied {
        /// Subject or id.
        about: String,
        /// The status.
        status: u16,
    },
    /// 404 that says so, and not that there is no such path.
    #[error("{about}: the registry has none ({detail})")]
    Missing {
        /// Subject or id.
        about: String,
        /// What the registry said.
        detail: String,
    },
    /// 408, 429, 5xx, or no answer: it may work later.
    #[error("{about}: the registry cannot answer now ({detail})")]
    Away {
        /// Subject or id.
        about: String,
        /// What went wrong.
        detail: String,
    },
    /// Anything else.
    #[error(
        "{about}: the registry answered {status} ({detail}). Check registry.url: it names the root of its API, as clients use it"
    )]
    Unexpected {
        /// Subject or id.
        about: String,
        /// The status.
        status: u16,
        /// What was odd.
        detail: String,
    },
}

impl RegistryError {
    /// Whether the same request may work later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// Longest part of an answer that stands in an error.
const DETAIL_CHARS_MAX: usize = 300;

fn read(ask: &Ask, status: u16, body: &[u8]) -> Result<Value, RegistryError> {
    let about = ask.about.clone();
    let document = serde_json::from_slice::<Value>(body);
    let said = document.as_ref().ok().and_then(|document| document["message"].as_str().map(str::to_owned));
    let detail = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
    match (status, document) {
        (200, Ok(document)) => Ok(document),
        (200, Err(error)) => Err(RegistryError::Unexpected { about, status, detail: error.to_string() }),
        (401 | 403, _) => Err(RegistryError::Denied { about, status }),
        (404, Ok(document)) if is_of_nothing(&document) => Err(RegistryError::Missing { about, detail }),
        (409, _) => Err(RegistryError::Incompatible { about, detail }),
        (422, _) => Err(RegistryError::Invalid { about, detail }),
        (408 | 429 | 500..=599, _) => Err(RegistryError::Away { about, detail: format!("{status}: {detail}") }),
        (_, _) => Err(RegistryError::Unexpected { about, status, detail }),
    }
}

/// Whether an error says that there is no such subject, version or schema, or that a subject has no level of its own. Any
/// other 404 comes from a wrong path or from what stands before the registry, and says nothing of what was asked.
fn is_of_nothing(error: &Value) -> bool {
    matches!(error["error_code"].as_u64(), Some(40401..=40403 | 40408))
}

fn unexpected(ask: &Ask, status: u16, detail: &str) -> RegistryError {
    RegistryError::Unexpected { about: ask.about.clone(), status, detail: detail.to_owned() }
}

/// The id in the answer to [`Ask::register`] or [`Ask::find`].
pub fn read_id(ask: &Ask, status: u16, body: &[u8]) -> Result<u32, RegistryError> {
    let id = read(ask, status, body)?["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| unexpected(ask, status, "no id in the answer"))
}

/// The answer to [`Ask::check`]: nothing where it is compatible, also where the subject has no version yet.
pub fn read_compatible(ask: &Ask, status: u16, body: &[u8]) -> Result<(), RegistryError> {
    let document = match read(ask, status, body) {
        Err(RegistryError::Missing { .. }) => return Ok(()),
        document => document?,
    };
    match document["is_compatible"].as_bool() {
        Some(true) => Ok(()),
        Some(false) => {
            let messages = document["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            let messages: Vec<&str> = messages.iter().filter_map(Value::as_str).collect();
            let detail = messages.join("; ").chars().take(DETAIL_CHARS_MAX).collect();
            Err(RegistryError::Incompatible { about: ask.about.clone(), detail })
        }
        None => Err(unexpected(ask, status, "no is_compatible in the answer")),
    }
}

/// The level in the answer to [`Ask::level`]; `None` where the subject has none of its own.
pub fn read_level(ask: &Ask, status: u16, body: &[u8]) -> Result<Option<String>, RegistryError> {
    let document = match read(ask, status, body) {
        Err(RegistryError::Missing { .. }) => return Ok(None),
        document => document?,
    };
    let level = document["compatibilityLevel"].as_str().or_else(|| document["compatibility"].as_str());
    level.map(|level| Some(level.to_owned())).ok_or_else(|| unexpected(ask, status, "no level in the answer"))
}

/// The answer to [`Ask::set_level`].
pub fn read_done(ask: &Ask, status: u16, body: &[u8]) -> Result<(), RegistryError> {
    read(ask, status, body).map(|_| ())
}

/// The Avro schema in the answer to [`Ask::schema`]. The inner error says why what is there cannot be used.
pub fn read_schema(ask: &Ask, status: u16, body: &[u8]) -> Result<Result<String, String>, RegistryError> {
    let document = read(ask, status, body)?;
    let kind = document["schemaType"].as_str().unwrap_or("AVRO");
    let n_references = document["references"].as_array().map_or(0, Vec::len);
    match document["schema"].as_str() {
        _ if kind != "AVRO" => Ok(Err(format!("{kind}, not Avro"))),
        _ if n_references > 0 => Ok(Err("a schema with references to others".to_owned())),
        Some(text) => Ok(Ok(text.to_owned())),
        None => Err(unexpected(ask, status, "no schema in the answer")),
    }
}

#[cfg(test)]
mod tests;
