//! The gateway's verdict on a request, without any effect: the gateway acts on it, and `quell inspect` shows it.

use crate::{answer::Refusal, body, gateway::unsubscribe};
use domain::Timestamp;
use http::{Method, StatusCode};
use providers::{Authentication, Context, Provider, Request, Source, Triage, one_click};

/// What the gateway would answer, and its verdict on the proofs, which stands on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the proofs hold.
    pub authentication: Authentication,
    /// What it would answer.
    pub status: StatusCode,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Store,
    Ignore(&'static str),
}

/// Triages a request whose proofs were judged. Where the source only reports (`shadow`), a failed proof is no refusal.
pub(crate) fn weigh(
    provider: &dyn Provider,
    request: &Request<'_>,
    context: &Context<'_>,
    proof: &Authentication,
    shadow: bool,
) -> Result<Verdict, Refusal> {
    if !proof.ok && !shadow {
        return Err(Refusal::unauthorized(context.source, proof.reason));
    }
    match provider.triage(request, context) {
        Triage::Accept => Ok(Verdict::Store),
        Triage::Ignore(reason) => Ok(Verdict::Ignore(reason)),
        Triage::Refuse(reason) => Err(Refusal::Malformed(reason)),
    }
}

/// Judges a request as the gateway does, but binds no token, appends nothing, and calls nobody: what would have to be
/// fetched is missing. `request.body` is taken as decoded.
pub fn judge(provider: &dyn Provider, request: &Request<'_>, source: &Source, now: Timestamp) -> Judgement {
    let context = Context { source, received_at: now, receipt_id: None };
    let authentication = provider.authenticate(request, source, now);
    let verdict = match &authentication.wanted {
        Some(_) => Err(Refusal::wanting(provider, authentication.reason, 0)),
        None => weigh(provider, request, &context, &authentication, false),
    };
    let status = if provider.name() == one_click::NAME {
        unsubscribe::status(request, source, now)
    } else if provider.set_up_methods().contains(&request.method) {
        StatusCode::OK
    } else if request.method != Method::POST.as_str() {
        Refusal::Method.status()
    } else if body::is_foreign(request.headers, provider.takes_mail()) {
        Refusal::Type.status()
    } else {
        match verdict {
            Ok(Verdict::Store) => provider.accepted(),
            Ok(Verdict::Ignore(_)) => StatusCode::OK,
            Err(refusal) => refusal.status(),
        }
    };
    Judgement { authentication, status }
}
