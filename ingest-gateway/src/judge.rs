//! The gateway's verdict on a request without its effects: what `quell inspect` shows.

use crate::{answer::Refusal, body};
use domain::Timestamp;
use http::{Method, StatusCode};
use providers::{Authentication, Context, Provider, Request, Source, Triage};

/// What the gateway would answer, and its verdict on the proofs, which stands on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the proofs hold.
    pub authentication: Authentication,
    /// What it would answer.
    pub status: StatusCode,
}

/// Judges a request as the gateway does, but binds no token and appends nothing. `request.body` is taken as decoded.
pub fn judge(provider: &dyn Provider, request: &Request<'_>, source: &Source, now: Timestamp) -> Judgement {
    let authentication = provider.authenticate(request, source, now);
    let context = Context { source, received_at: now, receipt_id: "" };
    let status = if request.method != Method::POST.as_str() {
        Refusal::Method.status()
    } else if body::is_foreign(request.headers) {
        Refusal::Type.status()
    } else if !authentication.ok {
        StatusCode::UNAUTHORIZED
    } else {
        match provider.triage(request, &context) {
            Triage::Accept => StatusCode::ACCEPTED,
            Triage::Ignore(_) => StatusCode::OK,
            Triage::Refuse(reason) => Refusal::Malformed(reason).status(),
        }
    };
    Judgement { authentication, status }
}
