//! The gateway's calls to the outside world. They are few: the certificate that a notification is signed with, and the
//! confirmation of a subscription. Which URLs those are the provider says, from its own hosts alone; here they are called,
//! within bounds, once for all who wait for the same, and what failed is not tried again at once.
//!
//! A call that fails refuses nothing for good: the provider is told to try again.

mod fetch;
mod once;

pub use fetch::{Fetch, FetchError, Fetched, HttpFetch, NoFetch};
pub(crate) use once::Unhad;

use once::Once;
use prometheus::IntCounterVec;
use providers::Certificate;
use service::Clock;
use std::sync::Arc;

/// Certificates remembered, those that could not be had among them. A sender has a handful in use.
const CERTIFICATES_MAX: usize = 64;
/// Confirmations remembered.
const CONFIRMATIONS_MAX: usize = 64;
/// Calls of a kind at a time.
const CALLS_MAX: usize = 4;
/// A confirmed subscription that is asked about again within this time is not confirmed again.
const CONFIRMED_FOR_MS: i64 = 3_600_000;
/// A certificate is kept at least this long, so that one that has ended is not fetched for each notification.
const CERTIFICATE_FOR_MS_MIN: i64 = 60_000;

/// What the gateway knows from outside.
#[derive(Debug)]
pub(crate) struct Outside {
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    calls: IntCounterVec,
    certificates: Once<Arc<Certificate>>,
    confirmations: Once<()>,
}

impl Outside {
    /// `calls` counts by call and outcome.
    pub(crate) fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, calls: IntCounterVec) -> Self {
        let (certificates, confirmations) =
            (Once::new(CERTIFICATES_MAX, CALLS_MAX), Once::new(CONFIRMATIONS_MAX, CALLS_MAX));
        Self { fetch, clock, calls, certificates, confirmations }
    }

    /// The certificate at a URL that its provider allows.
    pub(crate) async fn certificate(&self, url: &str) -> Result<Arc<Certificate>, Unhad> {
        let fetch = || async {
            let read = |answer: Fetched| {
                let pem = std::str::from_utf8(&answer.body).map_err(|_| "the answer is no text".to_owned())?;
                Certificate::read_pem(pem).map_err(|error| format!("what came is none: {error}"))
            };
            let certificate = self.call("certificate", url, read).await?;
            let until_ms = certificate.not_after().as_millis().max(self.now_ms() + CERTIFICATE_FOR_MS_MIN);
            Ok((Arc::new(certificate), until_ms))
        };
        self.certificates.get(url, || self.now_ms(), fetch).await
    }

    /// Opens a URL that confirms what its provider was asked to confirm.
    pub(crate) async fn confirm(&self, url: &str) -> Result<(), Unhad> {
        let open = || async {
            self.call("confirmation", url, |_| Ok(())).await?;
            Ok(((), self.now_ms() + CONFIRMED_FOR_MS))
        };
        self.confirmations.get(url, || self.now_ms(), open).await
    }

    /// One call, counted. URLs may hold tokens and stay out of the log; the error says what went wrong.
    async fn call<T>(
        &self,
        call: &'static str,
        url: &str,
        read: impl FnOnce(Fetched) -> Result<T, String>,
    ) -> Result<T, String> {
        let answer: Result<Fetched, String> = self.fetch.get(url).await.map_err(|error| error.to_string());
        let outcome = answer.and_then(|answer| match answer.status.is_success() {
            true => read(answer),
            false => Err(format!("the answer was {}", answer.status.as_u16())),
        });
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        self.calls.with_label_values(&[call, label]).inc();
        if let Err(error) = &outcome {
            tracing::warn!(call, error, "a call to a provider failed; it is told to try again");
        }
        outcome
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_micros() / 1_000
    }
}
