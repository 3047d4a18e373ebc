//! Declared adapters: a provider that has no folder here, told by a TOML file instead of code.
//!
//! The file says how its webhooks are authenticated, where in a body the events are, at which paths an event's parts stand
//! and what the provider's words mean; `docs/adapters.md` is its manual. What a source asks for (`basic_auth`, `bearer`,
//! `headers`) works on top of it, as for every provider. It is checked as a whole when it is read: what could not work is
//! refused there, with the key.
//!
//! Identity: message id, recipient, the provider's word, its time, and the id that the event carries; without one, what the
//! adapter names in `identity`; without that, a digest of the whole event, white space between its parts left out. An id
//! that stands in a header is that of the request, so the digest stands beside it.

mod authentication;
mod body;
mod event;
mod file;
mod mapping;
mod path;
mod template;
mod time;
mod values;

pub use file::{AdapterFile, Fixture};

use crate::{
    Authentication, Context, Element, Malformed, Overload, PROVIDERS, Parsed, Provider, Request, Source, SourceError,
    SourceSpec, form, verify,
};
use authentication::Proof;
use body::Body;
use domain::Timestamp;
use event::Event;
use file::SetUpMethod;
use mapping::{Given, Mapping};

const NAME_BYTES_MAX: usize = 32;
const KEPT_HEADERS_MAX: usize = 32;
const FIXTURES_MAX: usize = 500;
const FIELD_BYTES_MAX: usize = 128;
/// Words that stand for something else in paths, labels or filters.
const RESERVED: &[&str] = &[
    "all",
    "arf",
    "default",
    "dsn",
    "email",
    "events",
    "manual",
    "one-click",
    "push",
    "quell",
    "sms",
    "sns",
    "unknown",
    "unsubscribe",
    "webhooks",
];

/// An adapter that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct AdapterError {
    /// Where in the file, e.g. `authentication.content` or `map 3`.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

fn wrong<T>(key: &str, problem: &str) -> Result<T, AdapterError> {
    Err(AdapterError { key: key.to_owned(), problem: problem.to_owned() })
}

/// A declared provider.
#[derive(Debug)]
pub struct Adapter {
    name: &'static str,
    accepted: http::StatusCode,
    overload: Overload,
    set_up: &'static [&'static str],
    kept: &'static [&'static str],
    proof: Proof,
    body: Body,
    event: Event,
}

impl Adapter {
    /// Checks what a file says. The adapter stays in memory until the process ends, like the providers that are built in:
    /// sources, records in flight and metrics name it. So it is to be called once for each file, when the configuration is
    /// read; what one keeps is bounded by its file's size.
    pub fn declare(file: AdapterFile) -> Result<&'static Self, AdapterError> {
        check_name(&file.name)?;
        if file.fixtures.len() > FIXTURES_MAX {
            return wrong("fixture", &format!("at most {FIXTURES_MAX}"));
        }
        let accepted = match file.accepted {
            200 => http::StatusCode::OK,
            202 => http::StatusCode::ACCEPTED,
            _ => return wrong("accepted", "write 202, or 200 for a provider that takes nothing else for a success"),
        };
        let overload = match file.overload {
            429 => Overload::TooManyRequests,
            503 => Overload::ServiceUnavailable,
            _ => return wrong("overload", "write 503 or 429: the one after which this provider tries again"),
        };
        if file.body.field.as_ref().is_some_and(|field| field.len() > FIELD_BYTES_MAX) {
            return wrong("body.field", "no form's field has so long a name");
        }
        let proof = Proof::new(file.authentication)?;
        let body = Body::new(file.body)?;
        let event = &file.event;
        let given =
            Given { detail: event.detail.is_some(), list: event.list.is_some(), sender: event.sender.is_some() };
        let mapping = Mapping::new(file.maps, given)?;
        let (event, read) = Event::new(file.event, matches!(body, Body::Form), mapping)?;
        let kept = kept_headers(&proof, read.into_iter(), &file.kept_headers)?;
        let set_up = set_up_methods(&file.set_up);
        let name = file.name.leak();
        let kept: Vec<&'static str> = kept.into_iter().map(|header| &*header.leak()).collect();
        Ok(Box::leak(Box::new(Self { name, accepted, overload, set_up, kept: kept.leak(), proof, body, event })))
    }
}

fn check_name(name: &str) -> Result<(), AdapterError> {
    let fine = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fine {
        return wrong(
            "name",
            &format!(
                "{name:?} is no lower-case word: use 1 to {NAME_BYTES_MAX} of a-z 0-9 -, the first a letter; it stands in the path"
            ),
        );
    }
    if PROVIDERS.iter().any(|provider| provider.name() == name) {
        return wrong("name", &format!("{name:?} is a provider that is built in: give the adapter another name"));
    }
    if RESERVED.contains(&name) {
        return wrong(
            "name",
            &format!("{name:?} stands for something else in paths or answers: give the adapter another name"),
        );
    }
    Ok(())
}

/// Everything that parsing and explaining a stored webhook needs, once each. Never a credential.
fn kept_headers(
    proof: &Proof,
    read: impl Iterator<Item = String>,
    asked: &[file::Header],
) -> Result<Vec<String>, AdapterError> {
    let asked = asked.iter().map(|header| header.as_str().to_owned());
    let mut headers: Vec<String> = proof.headers().into_iter().chain(read).chain(asked).collect();
    headers.sort_unstable();
    headers.dedup();
    let is_secret = |header: &&String| is_credential(header) || proof.secret_header() == Some(header.as_str());
    if let Some(secret) = headers.iter().find(is_secret) {
        return wrong(
            "kept_headers",
            &format!("the header {secret} holds credentials, which are never stored: leave it out"),
        );
    }
    if headers.len() > KEPT_HEADERS_MAX {
        return wrong("kept_headers", &format!("at most {KEPT_HEADERS_MAX} headers, with those that are read"));
    }
    Ok(headers)
}

/// Whether a header holds credentials, whoever sends it.
fn is_credential(header: &str) -> bool {
    matches!(header, "authorization" | "proxy-authorization" | "cookie")
}

fn set_up_methods(methods: &[SetUpMethod]) -> &'static [&'static str] {
    match (methods.contains(&SetUpMethod::Get), methods.contains(&SetUpMethod::Head)) {
        (true, true) => &["GET", "HEAD"],
        (true, false) => &["GET"],
        (false, true) => &["HEAD"],
        (false, false) => &[],
    }
}

impl Provider for Adapter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        let judge = |secrets: &[String]| self.proof.judge(request, source, secrets, now);
        verify::judge(request, source, self.proof.scheme(), judge)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        self.body.elements(request)
    }

    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        if let Body::FormField(_) = self.body {
            let decoded = form::decode(element.bytes);
            return self.event.parse(request, &Element { index: element.index, bytes: &decoded }, context);
        }
        self.event.parse(request, element, context)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        self.kept
    }

    fn set_up_methods(&self) -> &'static [&'static str] {
        self.set_up
    }

    fn accepted(&self) -> http::StatusCode {
        self.accepted
    }

    fn overload(&self) -> Overload {
        self.overload
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        self.proof.check_source(spec, self.name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
