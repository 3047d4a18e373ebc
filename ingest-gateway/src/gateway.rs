//! The pipeline: bound, authenticate, triage, append, answer.

mod page;
pub(crate) mod unsubscribe;

use crate::{
    admission::{Admission, Limits, Place},
    answer::{Refusal, Taken},
    body::{self, Unread},
    judge::{self, Verdict},
    metrics::{GatewayMetrics, Tally},
    outside::{Fetch, Outside, Unhad},
    receipts::Receipts,
    record::{self, Verified},
    route,
    sources::{Configured, Sources},
    spool::{SpoolingError, Way},
    tokens::{Bound, TokenKey, TokenStore},
    trace::WebhookTrace,
};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use domain::Timestamp;
use event_log::AppendError;
use http::{Method, Request, header, request::Parts};
use providers::{Authentication, Context, Overload, Wanted};
use service::{Clock, Metrics, admin::Readiness, telemetry::TelemetryError, traces::Traces};
use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

/// Freshness where a source says nothing: Mailgun's, whose tokens are the ones that are bound.
const TOLERANCE_S: u64 = 43_200;
/// How long a provider goes on retrying at most, where tokens are bound: Mailgun, eight hours.
const RETRY_SPAN_S: u64 = 8 * 3_600;
/// The readiness check that fails for a while when the log cannot be written.
pub(crate) const LOG_CHECK: &str = "log";
pub(crate) const LOG_CHECK_FAILS_FOR: Duration = Duration::from_secs(5);

/// What the gateway works with.
#[derive(Debug)]
pub struct GatewayDeps {
    /// The log, with a spool or without.
    pub append: Way,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The configured endpoints.
    pub sources: Sources,
    /// Tokens bound to bodies.
    pub tokens: Arc<dyn TokenStore>,
    /// The way out: certificates to fetch, subscriptions to confirm.
    pub fetch: Arc<dyn Fetch>,
    /// Where to report that the log cannot be written.
    pub readiness: Readiness,
    /// Where to count.
    pub metrics: Metrics,
    /// Who makes traces.
    pub traces: Traces,
    /// Bounds.
    pub limits: Limits,
}

/// Why a gateway cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its metrics are registered already.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The system has no randomness.
    #[error("the system gives no random bytes, which receipt ids need")]
    Randomness,
}

/// The gateway: one for all connections.
#[derive(Debug)]
pub struct Gateway {
    append: Way,
    clock: Arc<dyn Clock>,
    sources: Sources,
    tokens: Arc<dyn TokenStore>,
    outside: Outside,
    readiness: Readiness,
    limits: Limits,
    traces: Traces,
    admission: Arc<Admission>,
    metrics: GatewayMetrics,
    receipts: Receipts,
}

impl Gateway {
    /// Builds it and registers its metrics.
    pub fn new(deps: GatewayDeps) -> Result<Arc<Self>, GatewayError> {
        let GatewayDeps { append, clock, sources, tokens, fetch, readiness, metrics, traces, limits } = deps;
        let admission = Admission::new(&limits);
        let metrics = GatewayMetrics::register(&metrics, &admission)?;
        let outside = Outside::new(fetch, clock.clone(), metrics.outside_calls());
        let receipts = Receipts::new().ok_or(GatewayError::Randomness)?;
        Ok(Arc::new(Self {
            append,
            clock,
            sources,
            tokens,
            outside,
            readiness,
            limits,
            traces,
            admission,
            metrics,
            receipts,
        }))
    }

    /// Answers requests for a server.
    pub fn service(self: &Arc<Self>) -> GatewayService {
        GatewayService(Arc::clone(self))
    }

    /// Answers one request. What is rare waits in boxes of its own, since this future is allocated for every request.
    async fn handle(self: Arc<Self>, request: Request<Body>) -> Result<Response, Infallible> {
        let (parts, mut body) = request.into_parts();
        if route::is_unsubscribe(parts.uri.path()) {
            return Ok(Box::pin(self.unsubscribe(&parts, &mut body)).await);
        }
        let configured = route::read(parts.uri.path()).and_then(|(provider, name)| self.sources.get(provider, name));
        let tally = self.metrics.begin(configured.map(Arc::as_ref));
        let outcome = match configured {
            Some(configured) => self.take(configured, &parts, &mut body, &tally).await,
            None => Err(Refusal::NotFound),
        };
        Ok(match outcome {
            Ok(taken) => {
                tally.finish(taken.status(), taken.cause());
                taken.into_response()
            }
            Err(refusal) => {
                tell(configured, &refusal);
                tally.finish(refusal.status(), refusal.cause());
                // Who waits for `100 Continue` has sent nothing yet, and reading on would ask for it.
                if refusal != Refusal::Slow && !parts.headers.contains_key(header::EXPECT) {
                    body::discard(&mut body).await;
                }
                refusal.into_response()
            }
        })
    }

    async fn take(
        &self,
        configured: &Configured,
        parts: &Parts,
        body: &mut Body,
        tally: &Tally<'_>,
    ) -> Result<Taken, Refusal> {
        if configured.provider.set_up_methods().contains(&parts.method.as_str()) {
            return Ok(Taken::Ignored("set_up"));
        }
        let (body, _place) = self.bound(configured, parts, body).await?;
        tally.body(body.len());
        let (source, url) = (&configured.source, parts.uri.path_and_query().map_or("/", |url| url.as_str()));
        let received_at = Timestamp::from_micros(self.clock.now_micros()).unwrap_or(Timestamp::EPOCH);
        let request = providers::Request { method: parts.method.as_str(), url, headers: &parts.headers, body: &body };

        let inner_id = self.receipts.next(received_at.as_millis());
        let context = Context { source, received_at, receipt_id: None };
        let proof = self.prove(configured, &request, received_at).await?;
        let verdict = judge::weigh(configured.provider, &request, &context, &proof, configured.shadow)?;
        if let Verdict::Ignore(reason) = verdict {
            let confirmed = Box::pin(self.confirm(configured, &request, &proof)).await;
            return confirmed.map(|done| Taken::Ignored(done.unwrap_or(reason)));
        }
        let mut failed = (!proof.ok).then_some(proof.reason);
        if failed.is_none() {
            failed = self.bind(configured, &proof, &body, received_at).await?;
        }
        if let Some(reason) = failed {
            if !configured.shadow {
                return Err(Refusal::unauthorized(source, reason));
            }
            tally.shadow_failure(reason);
        }
        let (scheme, shadow) = if failed.is_some() { ("none", true) } else { (proof.scheme, false) };
        let provider = configured.provider;
        let verified = Verified { provider, source, inner_id: &inner_id, received_at, url, scheme, shadow };
        self.append(configured, &verified, parts, body, tally).await
    }

    /// The verdict on a request's proofs, once what it needs from outside is there. What may be right and cannot be judged
    /// now is neither taken nor refused for good; a source that only reports takes it without.
    async fn prove(
        &self,
        configured: &Configured,
        request: &providers::Request<'_>,
        now: Timestamp,
    ) -> Result<Authentication, Refusal> {
        let (provider, source) = (configured.provider, &configured.source);
        let proof = provider.authenticate(request, source, now);
        let cause = match &proof.wanted {
            None => return Ok(proof),
            Some(Wanted::Pinned) => {
                let (provider, source) = (source.provider, source.name.as_str());
                tracing::warn!(provider, source, "a webhook names a signing certificate that is not in `certificates`");
                proof.reason
            }
            Some(Wanted::Fetched(url)) => match Box::pin(self.outside.certificate(url)).await {
                Ok(certificate) => return Ok(provider.authenticate_by(request, source, now, &certificate)),
                Err(Unhad::Failed) => "certificate_unavailable",
                Err(Unhad::Busy) => "certificates_busy",
            },
        };
        match configured.shadow {
            true => Ok(Authentication { reason: cause, ..proof }),
            false => Err(Refusal::wanting(provider, cause, self.limits.retry_after_s)),
        }
    }

    /// Confirms what a proven request asks to have confirmed; the tag says that it is done.
    async fn confirm(
        &self,
        configured: &Configured,
        request: &providers::Request<'_>,
        proof: &Authentication,
    ) -> Result<Option<&'static str>, Refusal> {
        let (provider, source) = (configured.provider, &configured.source);
        let Some(url) = provider.confirmation(request, source, proof) else { return Ok(None) };
        let cause = match self.outside.confirm(&url).await {
            Ok(()) => {
                let (provider, source) = (source.provider, source.name.as_str());
                tracing::info!(provider, source, "confirmed a subscription");
                return Ok(Some("confirmed"));
            }
            Err(Unhad::Failed) => "confirmation_failed",
            Err(Unhad::Busy) => "confirmations_busy",
        };
        Err(Refusal::wanting(provider, cause, self.limits.retry_after_s))
    }

    /// What can be refused without knowing the body, and the body within its bounds.
    async fn bound(&self, configured: &Configured, parts: &Parts, body: &mut Body) -> Result<(Bytes, Place), Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        let coding = body::coding(&parts.headers).ok_or(Refusal::Coding)?;
        if body::is_foreign(&parts.headers, configured.provider.takes_mail()) {
            return Err(Refusal::Type);
        }
        let mut place = self.admission.enter().await.ok_or_else(|| self.overload(configured, "too_many_requests"))?;
        let read = body::read(body, coding, &self.limits, &mut place).await;
        let body = read.map_err(|unread| match unread {
            Unread::TooLarge => Refusal::TooLarge,
            Unread::DecodedTooLarge => Refusal::DecodedTooLarge,
            Unread::Slow => Refusal::Slow,
            Unread::Broken => Refusal::Broken,
            Unread::Miscoded => Refusal::Miscoded,
            Unread::NoRoom => self.overload(configured, "too_many_bytes"),
            Unread::GaveWay => self.overload(configured, "gave_way"),
        })?;
        Ok((body, place))
    }

    /// Where the signature leaves the body out: binds its token to this body. Some reason says that it came with another
    /// body before.
    async fn bind(
        &self,
        configured: &Configured,
        proof: &Authentication,
        body: &Bytes,
        now: Timestamp,
    ) -> Result<Option<&'static str>, Refusal> {
        let Some(token) = &proof.token else { return Ok(None) };
        let key = TokenKey::of(configured.source.provider, token);
        let ttl_ms = token_ttl_s(configured.source.spec.tolerance).saturating_mul(1_000);
        match self.tokens.bind(key, sha256(body), now.as_millis(), ttl_ms).await {
            Ok(Bound::First | Bound::Same) => Ok(None),
            Ok(Bound::Other) => Ok(Some("replayed_token")),
            Err(error) => {
                tracing::warn!(%error, "cannot bind a token");
                let retry_after_s = self.limits.retry_after_s;
                let answer = Overload::ServiceUnavailable;
                let refusal = Refusal::Overload { answer, cause: "token_store_unavailable", retry_after_s };
                // A source that only reports does not refuse for want of a proof.
                if configured.shadow { Ok(Some("token_store_unavailable")) } else { Err(refusal) }
            }
        }
    }

    async fn append(
        &self,
        configured: &Configured,
        verified: &Verified<'_>,
        parts: &Parts,
        body: Bytes,
        tally: &Tally<'_>,
    ) -> Result<Taken, Refusal> {
        let trace = WebhookTrace::begin(&self.traces, verified, &parts.headers, || tally.elapsed());
        let record = record::record(verified, parts, &body, &trace);
        drop(body);
        let appended = self.append.append(record).await;
        let taken = appended
            .map(|kept| kept.receipt(verified.inner_id))
            .map_err(|error| self.unkept(verified, configured, error));
        trace.end(&self.traces, taken.as_ref().map_err(Refusal::cause));
        let receipt = taken?;
        let (provider, source) = (verified.source.provider, verified.source.name.as_str());
        tracing::debug!(provider, source, receipt_id = %receipt, "took a webhook");
        Ok(Taken::Accepted(configured.provider.accepted(), receipt))
    }

    /// The refusal of a webhook that is durable nowhere.
    fn unkept(&self, verified: &Verified<'_>, configured: &Configured, error: SpoolingError) -> Refusal {
        let cause = match &error {
            SpoolingError::Log(AppendError::TooLarge { .. }) => return Refusal::RecordTooLarge,
            SpoolingError::Log(AppendError::Busy) => return self.overload(configured, "log_busy"),
            SpoolingError::Log(AppendError::Unavailable(_)) => "log_unavailable",
            SpoolingError::Full => "spool_full",
            SpoolingError::Failed(_) => "spool_failed",
        };
        let (provider, source, inner_id) = (verified.source.provider, verified.source.name.as_str(), verified.inner_id);
        tracing::warn!(provider, source, inner_id, %error, "a webhook cannot be taken");
        self.readiness.fail_for(LOG_CHECK, LOG_CHECK_FAILS_FOR);
        self.overload(configured, cause)
    }

    fn overload(&self, configured: &Configured, cause: &'static str) -> Refusal {
        Refusal::Overload { answer: configured.provider.overload(), cause, retry_after_s: self.limits.retry_after_s }
    }
}

/// One line of a refusal: at a source of ours it may be a secret that was rotated on one side; anywhere else it is noise.
fn tell(configured: Option<&Arc<Configured>>, refusal: &Refusal) {
    let (status, cause) = (refusal.status().as_u16(), refusal.cause());
    match configured {
        Some(configured) => {
            let (provider, source) = (configured.source.provider, configured.source.name.as_str());
            tracing::warn!(provider, source, status, cause, "refused a webhook");
        }
        None => tracing::debug!(status, cause, "refused a webhook of no source"),
    }
}

/// The gateway as a server calls it. So few routes need no router.
#[derive(Debug, Clone)]
pub struct GatewayService(Arc<Gateway>);

impl tower::Service<Request<Body>> for GatewayService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).handle(request))
    }
}

/// A token can be used while its time is fresh: from before its time to after it, and for as long as the provider retries.
fn token_ttl_s(tolerance_s: Option<u64>) -> u64 {
    tolerance_s.unwrap_or(TOLERANCE_S).saturating_mul(2).max(RETRY_SPAN_S)
}

fn sha256(body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, body).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_as_long_as_it_can_be_used() {
        assert_eq!(token_ttl_s(None), 86_400);
        assert_eq!(token_ttl_s(Some(60)), 8 * 3_600);
        assert_eq!(token_ttl_s(Some(u64::MAX)), u64::MAX);
    }
}
