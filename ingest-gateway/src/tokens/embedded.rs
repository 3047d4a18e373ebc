//! Tokens in a fjall keyspace: token key → end of the binding and hash of the body.
//!
//! One thread writes. What waits goes into one batch of the database, which is written to the journal before any webhook
//! of it is appended, and not synced: where the log lies in the same database, the append's fsync makes both durable, in
//! this order.

use super::{Bound, TokenKey, TokenStore, TokenStoreError, ends_at};
use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use service::Clock;
use std::{collections::HashMap, ops::Bound as Edge, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const KEYSPACE: &str = "gateway.tokens";
const END_BYTES: usize = 8;
const VALUE_BYTES: usize = END_BYTES + 32;
/// Requests that may wait; who comes later waits for a place, within the gateway's bound of requests in flight.
const QUEUE_MAX: usize = 1_024;
/// Requests of one batch.
const GROUP_MAX: usize = 512;
/// Bindings looked at in one step of the sweep.
const STEP: usize = 512;
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// From the end of one sweep to the next.
const SWEEP_PAUSE: Duration = Duration::from_secs(15 * 60);

/// A durable store on one machine. Clones are the same store; its thread ends with the last.
#[derive(Debug, Clone)]
pub struct EmbeddedTokens {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Bind(Binding, oneshot::Sender<Result<Bound, TokenStoreError>>),
    /// Remove what ended, in one step after a key; answers the last key seen, or none at the end.
    Sweep(Option<Vec<u8>>, i64, oneshot::Sender<Result<Option<Vec<u8>>, TokenStoreError>>),
}

#[derive(Debug, Clone, Copy)]
struct Binding {
    key: TokenKey,
    body: [u8; 32],
    now_ms: i64,
    ttl_ms: u64,
}

impl EmbeddedTokens {
    /// Opens the tokens of a database and starts their thread.
    pub fn open(db: &Database) -> Result<Self, TokenStoreError> {
        let options = || KeyspaceCreateOptions::default().manual_journal_persist(true);
        let keyspace = db.keyspace(KEYSPACE, options).map_err(|error| away(&error))?;
        let writer = Writer { db: db.clone(), keyspace };
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("token-writer".to_owned());
        thread.spawn(move || writer.run(queue)).map_err(|error| away(&error))?;
        Ok(Self { requests })
    }

    /// Removes bindings that ended, over and over in small steps, until `stop`.
    pub async fn sweep(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut after = None;
        loop {
            let now_ms = clock.now_millis();
            let from = after.take();
            let pause = match self.ask(|answer| Request::Sweep(from, now_ms, answer)).await {
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

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, TokenStoreError>>) -> Request,
    ) -> Result<T, TokenStoreError> {
        let (answer, answered) = oneshot::channel();
        let ended = || TokenStoreError("its thread ended: restart the process".to_owned());
        self.requests.send(request(answer)).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

#[async_trait]
impl TokenStore for EmbeddedTokens {
    async fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        let binding = Binding { key, body, now_ms, ttl_ms };
        self.ask(|answer| Request::Bind(binding, answer)).await
    }
}

/// What the thread works with. It alone looks and writes, so that of several at once one is first.
struct Writer {
    db: Database,
    keyspace: Keyspace,
}

impl Writer {
    fn run(self, mut queue: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let (mut bindings, mut answers) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
            for request in group.drain(..) {
                match request {
                    Request::Bind(binding, answer) => {
                        bindings.push(binding);
                        answers.push(answer);
                    }
                    // Whoever swept may be gone.
                    Request::Sweep(after, now_ms, answer) => {
                        drop(answer.send(self.sweep_step(after, now_ms).map_err(|error| away(&error))));
                    }
                }
            }
            let bound = self.bind(&bindings).map_err(|error| away(&error));
            for (index, answer) in answers.into_iter().enumerate() {
                // A request that was given up needs no answer; its binding stands.
                drop(answer.send(bound.as_ref().map(|bound| bound[index]).map_err(Clone::clone)));
            }
        }
    }

    /// Binds one after the other, in one batch: all of it, or nothing.
    fn bind(&self, bindings: &[Binding]) -> fjall::Result<Vec<Bound>> {
        let mut first: HashMap<TokenKey, (i64, [u8; 32])> = HashMap::new();
        let mut answers = Vec::with_capacity(bindings.len());
        for Binding { key, body, now_ms, ttl_ms } in bindings {
            let known = match first.get(key) {
                Some(known) => Some(*known),
                None => self.keyspace.get(key.as_bytes())?.as_deref().and_then(read),
            };
            answers.push(match known.filter(|(ends_ms, _)| ends_ms > now_ms) {
                Some((_, bound_to)) if bound_to == *body => Bound::Same,
                Some(_) => Bound::Other,
                None => {
                    first.insert(*key, (ends_at(*now_ms, *ttl_ms), *body));
                    Bound::First
                }
            });
        }
        let mut batch = self.db.batch();
        for (key, (ends_ms, body)) in first {
            batch.insert(&self.keyspace, key.as_bytes(), write(ends_ms, &body));
        }
        batch.commit()?;
        Ok(answers)
    }

    /// Looks at some bindings after a key; gives the last one seen, or none at the end.
    fn sweep_step(&self, after: Option<Vec<u8>>, now_ms: i64) -> fjall::Result<Option<Vec<u8>>> {
        let from = after.map_or(Edge::Unbounded, Edge::Excluded);
        let (mut last, mut n_seen, mut batch) = (None, 0, self.db.batch());
        for guard in self.keyspace.range((from, Edge::<Vec<u8>>::Unbounded)).take(STEP) {
            let (key, value) = guard.into_inner()?;
            if ended(&value, now_ms) {
                batch.remove(&self.keyspace, key.clone());
            }
            last = Some(key.to_vec());
            n_seen += 1;
        }
        batch.commit()?;
        Ok(last.filter(|_| n_seen == STEP))
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
    use event_log::embedded::open_database;

    fn writer(folder: &std::path::Path) -> Writer {
        let db = open_database(folder, 1 << 20).unwrap();
        let keyspace = db.keyspace(KEYSPACE, KeyspaceCreateOptions::default).unwrap();
        Writer { db, keyspace }
    }

    fn binding(token: &str, body: u8, now_ms: i64, ttl_ms: u64) -> Binding {
        Binding { key: TokenKey::of("mailgun", token), body: [body; 32], now_ms, ttl_ms }
    }

    #[test]
    fn sweeps_what_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let ttl = |n| if n % 2 == 0 { 10 } else { 1_000 };
        let bindings: Vec<_> = (0..2 * STEP + 10).map(|n| binding(&n.to_string(), 0, 0, ttl(n))).collect();
        writer.bind(&bindings).unwrap();
        let (mut after, mut steps) = (None, 0);
        loop {
            steps += 1;
            after = writer.sweep_step(after, 10).unwrap();
            if after.is_none() {
                break;
            }
        }
        assert_eq!(steps, 3);
        assert_eq!(writer.keyspace.len().unwrap(), STEP + 5);
    }

    #[test]
    fn within_one_batch_the_first_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let bindings = [binding("a", 1, 0, 9), binding("a", 2, 0, 9), binding("b", 2, 0, 9), binding("a", 1, 0, 9)];
        assert_eq!(writer.bind(&bindings).unwrap(), [Bound::First, Bound::Other, Bound::First, Bound::Same]);
        assert_eq!(writer.bind(&bindings[1..2]).unwrap(), [Bound::Other]);
        // One that ended within the batch gives way.
        let later = [binding("a", 2, 9, 9), binding("a", 1, 9, 9)];
        assert_eq!(writer.bind(&later).unwrap(), [Bound::First, Bound::Other]);
    }

    #[test]
    fn survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let bind = |writer: &Writer, body, now_ms| writer.bind(&[binding("t", body, now_ms, 1_000)]).unwrap()[0];
        let first = writer(folder.path());
        assert_eq!(bind(&first, 1, 0), Bound::First);
        // As the log does once the webhook is appended.
        first.db.persist(fjall::PersistMode::SyncData).unwrap();
        drop(first);
        let again = writer(folder.path());
        assert_eq!(bind(&again, 1, 1), Bound::Same);
        assert_eq!(bind(&again, 2, 1), Bound::Other);
    }
}
