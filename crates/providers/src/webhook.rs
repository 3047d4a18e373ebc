//! What every provider's folder answers.

use crate::{Certificate, Request, Source, SourceError, SourceSpec, verify};
use domain::{CanonicalEvent, Timestamp};

/// Verdict on a request's proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Whether every proof that the source asks for was given.
    pub ok: bool,
    /// The scheme that decided, e.g. `hmac-sha256`, `basic`, `none`.
    pub scheme: &'static str,
    /// Why not, as a stable tag (`missing_signature`, `wrong_signature`, `stale`, …); `ok` otherwise.
    pub reason: &'static str,
    /// Where the signature leaves the body out: the token to bind to the first body it came with.
    pub token: Option<String>,
    /// What is missing to judge it; `ok` is false then, but the request may be a good one.
    pub wanted: Option<Wanted>,
}

impl Authentication {
    /// Every proof was given; this scheme decided.
    pub(crate) const fn passed(scheme: &'static str) -> Self {
        Self { ok: true, scheme, reason: "ok", token: None, wanted: None }
    }

    /// A proof of this scheme is missing or wrong.
    pub(crate) const fn refused(scheme: &'static str, reason: &'static str) -> Self {
        Self { ok: false, scheme, reason, token: None, wanted: None }
    }
}

/// A certificate without which a request cannot be judged. Everything that can be judged without it was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Whoever may call out fetches it from this URL, which the provider allows, and asks again by
    /// [`Provider::authenticate_by`].
    Fetched(String),
    /// The source names its certificates and this one is not among them: only the operator can add it.
    Pinned,
}

/// A body that cannot be split into elements.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// A stable tag and what stood there, safe to show to the caller.
    pub reason: String,
}

/// One element of a webhook: what one call of [`Provider::parse`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its place in the webhook, from 0.
    pub index: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What became of one fact in an element.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// A canonical event.
    Event(Box<CanonicalEvent>),
    /// What would be a canonical event if the webhook had its receipt ([`Context::receipt_id`]).
    Found,
    /// Concerns nobody; the reason is a stable tag.
    Ignored(&'static str),
    /// Cannot be understood; the reason is safe to show.
    Dead(String),
}

/// What an element says: one fate or several (a webhook element may name several recipients).
pub type Parsed = Vec<Fate>;

/// What the gateway does with an authenticated webhook before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Triage {
    /// It holds at least one event: store it.
    Accept,
    /// It concerns nobody: 200, with the reason.
    Ignore(&'static str),
    /// It says nothing that can be understood: 400, with the reason.
    Refuse(String),
}

/// The status that makes a provider try again when we are overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// 429 Too Many Requests.
    TooManyRequests,
    /// 503 Service Unavailable.
    ServiceUnavailable,
}

/// What is known when an element is read.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The endpoint it came to.
    pub source: &'a Source,
    /// When the gateway took it.
    pub received_at: Timestamp,
    /// Its receipt; nothing before it has one, and then of an event only is told that it is there ([`Fate::Found`]).
    pub receipt_id: Option<&'a str>,
}

/// One provider's knowledge of webhooks. Implementations are stateless.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// The one lower-case word for it in paths, configuration and answers.
    fn name(&self) -> &'static str;

    /// Judges the request's proofs as the source asks for them, over the raw bytes, in constant time.
    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication;

    /// Judges like [`Self::authenticate`], with the certificate that it wanted.
    fn authenticate_by(
        &self,
        request: &Request<'_>,
        source: &Source,
        now: Timestamp,
        _certificate: &Certificate,
    ) -> Authentication {
        self.authenticate(request, source, now)
    }

    /// The URL by which whoever may call out confirms what this request asks to have confirmed, such as a subscription.
    /// None unless the proof holds, the source allows it, and the URL is one of the provider's own.
    fn confirmation(&self, _request: &Request<'_>, _source: &Source, _proof: &Authentication) -> Option<String> {
        None
    }

    /// Splits the body into elements, checking its syntax as a whole.
    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed>;

    /// Reads one element. Never panics, whatever it holds; its output is bounded by its input.
    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed;

    /// Headers that are stored with its webhooks, in lower case, beside those that every webhook keeps (content type, user
    /// agent, request id): its signatures, times and ids. Never credentials.
    fn kept_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether its webhooks are raw mail, so that bodies of type `message/rfc822` and the like are taken too.
    fn takes_mail(&self) -> bool {
        false
    }

    /// Methods other than POST by which it tries an endpoint out when it is set up. They are answered 200, without a proof
    /// and without any effect.
    fn set_up_methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// What tells it that a webhook was taken: 202, or 200 where it takes nothing else for a success.
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::ACCEPTED
    }

    /// What makes this provider try again.
    fn overload(&self) -> Overload {
        Overload::ServiceUnavailable
    }

    /// Says whether a source of this provider can work as configured. Providers add what they know about their keys.
    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)
    }

    /// Decides whether a webhook is worth storing: reads elements until one holds an event. Costs least where the context
    /// has no receipt.
    fn triage(&self, request: &Request<'_>, context: &Context<'_>) -> Triage {
        let elements = match self.elements(request) {
            Ok(elements) => elements,
            Err(malformed) => return Triage::Refuse(malformed.reason),
        };
        let (mut ignored, mut dead) = (None, None);
        for element in &elements {
            for fate in self.parse(request, element, context) {
                match fate {
                    Fate::Event(_) | Fate::Found => return Triage::Accept,
                    Fate::Ignored(reason) => ignored = ignored.or(Some(reason)),
                    Fate::Dead(reason) => dead = dead.or(Some(reason)),
                }
            }
        }
        match (dead, ignored) {
            (Some(reason), _) => Triage::Refuse(reason),
            (None, reason) => Triage::Ignore(reason.unwrap_or("no_events")),
        }
    }
}
