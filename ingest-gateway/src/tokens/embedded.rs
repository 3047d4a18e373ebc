//! Tokens beside an embedded log: token key → end of the binding and hash of the body.
//!
//! Nothing waits for a binding: it is on disk no later than the webhook that is appended after it.

use super::{Bound, TokenKey, TokenStore, TokenStoreError, ends_at};
use async_trait::async_trait;
use event_log::embedded::{Aside, Change, EmbeddedLog};
use service::Clock;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const KEYSPACE: &str = "gateway.tokens";
const END_BYTES: usize = 8;
const VALUE_BYTES: usize = END_BYTES + 32;
/// Bindings looked at in one step of the sweep.
const STEP: usize = 512;
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// From the end of one sweep to the next.
const SWEEP_PAUSE: Duration = Duration::from_secs(15 * 60);

/// A durable store on one machine. Clones are the same store.
#[derive(Debug, Clone)]
pub struct EmbeddedTokens(Aside);

impl EmbeddedTokens {
    /// Opens the tokens beside a log.
    pub fn open(log: &EmbeddedLog) -> Result<Self, TokenStoreError> {
        log.aside(KEYSPACE).map(Self).map_err(|error| away(&error))
    }

    /// Removes bindings that ended, over and over in small steps, until `stop`.
    pub async fn sweep(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut after = None;
        loop {
            let now_ms = clock.now_millis();
            let pause = match self.sweep_step(after.take(), now_ms) {
                Ok(last) => {
                    after = last;
                    if after.is_some() { STEP_PAUSE } else { SWEEP_PAUSE }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot sweep the token store; trying again later");
                    SWEEP_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn bind_now(&self, key: TokenKey, body: &[u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        let decide = |known: Option<&[u8]>| match known.and_then(read).filter(|(ends_ms, _)| *ends_ms > now_ms) {
            Some((_, bound_to)) if bound_to == *body => (Change::Keep, Bound::Same),
            Some(_) => (Change::Keep, Bound::Other),
            None => (Change::Put(write(ends_at(now_ms, ttl_ms), body)), Bound::First),
        };
        self.0.change(key.as_bytes(), decide).map_err(|error| away(&error))
    }

    /// Looks at some bindings after a key; gives the last one seen, or none at the end.
    fn sweep_step(&self, after: Option<Vec<u8>>, now_ms: i64) -> Result<Option<Vec<u8>>, TokenStoreError> {
        self.0.sweep(after, STEP, |value| ended(value, now_ms)).map_err(|error| away(&error))
    }
}

#[async_trait]
impl TokenStore for EmbeddedTokens {
    async fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        self.bind_now(key, &body, now_ms, ttl_ms)
    }
}

fn away(error: &impl std::fmt::Display) -> TokenStoreError {
    TokenStoreError(error.to_string())
}

fn write(ends_ms: i64, body: &[u8; 32]) -> Vec<u8> {
    [ends_ms.to_be_bytes().as_slice(), body].concat()
}

fn read(value: &[u8]) -> Option<(i64, [u8; 32])> {
    let value: &[u8; VALUE_BYTES] = value.try_into().ok()?;
    let (end, body) = value.split_first_chunk::<END_BYTES>()?;
    Some((i64::from_be_bytes(*end), body.try_into().ok()?))
}

/// What cannot be read ended too.
fn ended(value: &[u8], now_ms: i64) -> bool {
    read(value).is_none_or(|(ends_ms, _)| ends_ms <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::embedded::{Limits, open_database};

    fn tokens(folder: &std::path::Path) -> EmbeddedTokens {
        let log = EmbeddedLog::open(open_database(folder, 1 << 20).unwrap(), &[], Limits::default()).unwrap();
        EmbeddedTokens::open(&log).unwrap()
    }

    fn bind(tokens: &EmbeddedTokens, token: &str, body: u8, now_ms: i64, ttl_ms: u64) -> Bound {
        tokens.bind_now(TokenKey::of("mailgun", token), &[body; 32], now_ms, ttl_ms).unwrap()
    }

    #[test]
    fn sweeps_what_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ttl = |n| if n % 2 == 0 { 10 } else { 1_000 };
        let n_tokens = 2 * STEP + 10;
        let first = tokens(folder.path());
        (0..n_tokens).for_each(|n| assert_eq!(bind(&first, &n.to_string(), 0, 0, ttl(n)), Bound::First));
        // Closing writes what waits.
        drop(first);
        let again = tokens(folder.path());
        let (mut after, mut n_steps) = (None, 0);
        loop {
            n_steps += 1;
            after = again.sweep_step(after, 10).unwrap();
            if after.is_none() {
                break;
            }
        }
        assert_eq!(n_steps, 3);
        for n in 0..n_tokens {
            let known = again
                .0
                .change(TokenKey::of("mailgun", &n.to_string()).as_bytes(), |known| (Change::Keep, known.is_some()));
            assert_eq!(known.unwrap(), n % 2 == 1, "{n}");
        }
    }

    #[test]
    fn one_that_ended_gives_way_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens(folder.path());
        let bound = [1, 2, 1].map(|body| bind(&tokens, "a", body, 0, 9));
        assert_eq!(bound, [Bound::First, Bound::Other, Bound::Same]);
        let later = [2, 1].map(|body| bind(&tokens, "a", body, 9, 9));
        assert_eq!(later, [Bound::First, Bound::Other]);
    }

    #[test]
    fn survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let first = tokens(folder.path());
        assert_eq!(bind(&first, "t", 1, 0, 1_000), Bound::First);
        drop(first);
        let again = tokens(folder.path());
        assert_eq!(bind(&again, "t", 1, 1, 1_000), Bound::Same);
        assert_eq!(bind(&again, "t", 2, 1, 1_000), Bound::Other);
    }
}
