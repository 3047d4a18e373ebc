//! Tokens in a fjall keyspace: token key → end of the binding and hash of the body.
//!
//! A binding is written to the database's journal before its webhook is appended. Where the log lies in the same
//! database, the append's fsync makes both durable, in this order.

use super::{Bound, TokenKey, TokenStore, TokenStoreError, ends_at};
use async_trait::async_trait;
use fjall::Keyspace;
use service::Clock;
use std::{
    ops::Bound as Edge,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const SHARDS: usize = 64;
const END_BYTES: usize = 8;
const VALUE_BYTES: usize = END_BYTES + 32;
/// Bindings looked at in one step of the sweep.
const STEP: usize = 512;
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// From the end of one sweep to the next.
const SWEEP_PAUSE: Duration = Duration::from_secs(15 * 60);

/// A durable store on one machine. Clones are the same store.
#[derive(Clone)]
pub struct EmbeddedTokens {
    inner: Arc<Inner>,
}

struct Inner {
    keyspace: Keyspace,
    /// First insert wins: one lock for each share of the keys makes look and write one act.
    locks: [Mutex<()>; SHARDS],
}

impl std::fmt::Debug for EmbeddedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedTokens")
    }
}

impl EmbeddedTokens {
    /// Over a keyspace of its own.
    pub fn new(keyspace: Keyspace) -> Self {
        Self { inner: Arc::new(Inner { keyspace, locks: std::array::from_fn(|_| Mutex::new(())) }) }
    }

    /// Removes bindings that ended, over and over in small steps, until `stop`.
    pub async fn sweep(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut after = None;
        loop {
            let (inner, now_ms) = (self.inner.clone(), clock.now_millis());
            let step = tokio::task::spawn_blocking(move || inner.sweep_step(after, now_ms)).await;
            let pause = match step {
                Ok(Ok(last)) => {
                    after = last;
                    if after.is_some() { STEP_PAUSE } else { SWEEP_PAUSE }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot sweep the token store; trying again later");
                    after = None;
                    SWEEP_PAUSE
                }
                Err(_) => return,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

#[async_trait]
impl TokenStore for EmbeddedTokens {
    async fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        let inner = self.inner.clone();
        // The database may wait for its disk.
        let bound = tokio::task::spawn_blocking(move || inner.bind(key, body, now_ms, ttl_ms)).await;
        bound.map_err(|error| TokenStoreError(error.to_string()))?.map_err(|error| TokenStoreError(error.to_string()))
    }
}

impl Inner {
    fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> fjall::Result<Bound> {
        let _lock = self.lock(key.as_bytes());
        if let Some((ends_ms, bound_to)) = self.keyspace.get(key.as_bytes())?.as_deref().and_then(read)
            && ends_ms > now_ms
        {
            return Ok(if bound_to == body { Bound::Same } else { Bound::Other });
        }
        self.keyspace.insert(key.as_bytes(), write(ends_at(now_ms, ttl_ms), &body))?;
        Ok(Bound::First)
    }

    /// Looks at some bindings after a key; gives the last one seen, or none at the end.
    fn sweep_step(&self, after: Option<Vec<u8>>, now_ms: i64) -> fjall::Result<Option<Vec<u8>>> {
        let from = after.map_or(Edge::Unbounded, Edge::Excluded);
        let mut seen = Vec::with_capacity(STEP);
        for guard in self.keyspace.range((from, Edge::<Vec<u8>>::Unbounded)).take(STEP) {
            let (key, value) = guard.into_inner()?;
            seen.push((key.to_vec(), ended(&value, now_ms)));
        }
        for (key, _) in seen.iter().filter(|(_, ended)| *ended) {
            let _lock = self.lock(key);
            // It may have been bound anew since it was looked at.
            if self.keyspace.get(key)?.is_some_and(|value| ended(&value, now_ms)) {
                self.keyspace.remove(key.as_slice())?;
            }
        }
        let more = seen.len() == STEP;
        Ok(seen.pop().filter(|_| more).map(|(key, _)| key))
    }

    fn lock(&self, key: &[u8]) -> MutexGuard<'_, ()> {
        let shard = usize::from(key.first().copied().unwrap_or_default()) % SHARDS;
        self.locks[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    use fjall::{Database, KeyspaceCreateOptions};

    #[test]
    fn sweeps_what_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::builder(folder.path()).open().unwrap();
        let keyspace = database.keyspace("tokens", KeyspaceCreateOptions::default).unwrap();
        let inner = EmbeddedTokens::new(keyspace).inner;
        for n in 0..(2 * STEP as u64 + 10) {
            let ttl = if n % 2 == 0 { 10 } else { 1_000 };
            inner.bind(TokenKey::of("mailgun", &n.to_string()), [0; 32], 0, ttl).unwrap();
        }
        let (mut after, mut steps) = (None, 0);
        loop {
            steps += 1;
            after = inner.sweep_step(after, 10).unwrap();
            if after.is_none() {
                break;
            }
        }
        assert_eq!(steps, 3);
        assert_eq!(inner.keyspace.len().unwrap(), STEP + 5);
    }

    #[test]
    fn survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let database = Database::builder(folder.path()).open().unwrap();
            let keyspace = database.keyspace("tokens", KeyspaceCreateOptions::default).unwrap();
            (database, EmbeddedTokens::new(keyspace).inner)
        };
        let key = TokenKey::of("mailgun", "t");
        let (database, inner) = open();
        assert_eq!(inner.bind(key, [1; 32], 0, 1_000).unwrap(), Bound::First);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
        drop((database, inner));
        let (_database, inner) = open();
        assert_eq!(inner.bind(key, [1; 32], 1, 1_000).unwrap(), Bound::Same);
        assert_eq!(inner.bind(key, [2; 32], 1, 1_000).unwrap(), Bound::Other);
    }
}
