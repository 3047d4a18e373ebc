//! The store over CQL, for ScyllaDB and Apache Cassandra: one row a thing, every row idempotent.
//!
//! - Reads and writes are at a quorum of one data centre; one data centre writes (R4).
//! - What is written at a position carries it as timestamp ([`write`] says which and why), so that rows may arrive in any
//!   order and any number of times, from an owner of before as well.
//! - Within `apply` nothing is ordered but this: what is trimmed goes after all else is written, and the applied position
//!   moves last. A crash between leaves what a replay of the batch completes.
//! - A store that is away is an error, never an empty answer.
//!
//! Verified on Apache Cassandra 5; ScyllaDB takes the same statements.

mod config;
mod due;
mod erased;
mod look;
mod migrate;
mod scan;
mod session;
mod statements;
mod tokens;
mod write;

pub use config::{Consistency, CqlConfig, CqlConfigError, CqlTls, Replication, ReplicationClass, SerialConsistency};
use due::{Listed, now_micros};
pub use due::{bucket_of, hour_of};
pub use look::{StoreNow, look};
pub use migrate::{Finding, Migration, SchemaReport, check, migrate};
pub use session::ConnectError;
pub use tokens::TokenBinding;

use super::{
    Due, ErasedAt, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Store, StoreError, Write,
    value::{read_value, write_value},
};
use crate::{History, erasure::Erased};
use async_trait::async_trait;
use domain::{EventId, RecipientKey, Scope, Tenant, Timestamp};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::{
    client::session::Session,
    response::{PagingState, PagingStateResponse, query_result::QueryResult},
    serialize::row::SerializeRow,
    statement::{bound::BoundStatement, prepared::PreparedStatement},
};
use session::failed;
use statements::Statements;
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Semaphore, SemaphorePermit};
use write::{Request, Requests, signed, stamp};

/// Entries of one message or recipient that an answer may hold.
const ENTRIES_MAX: usize = 10_000;

/// State in the tables of a keyspace. Clones are the same session; they may be used from any runtime that has a timer,
/// as long as the one they were connected on lives.
#[derive(Clone)]
pub struct CqlStore {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    statements: Statements,
    /// One permit a request of this process.
    permits: Semaphore,
    concurrency: usize,
    sync_window: u64,
    listed: Listed,
    n_reads: AtomicU64,
    n_writes: AtomicU64,
}

/// Requests sent so far; a batch counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Pages read.
    pub reads: u64,
    /// Inserts and deletes.
    pub writes: u64,
}

impl std::fmt::Debug for CqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlStore").finish_non_exhaustive()
    }
}

/// One page of an answer, and how to get the next.
struct Driven {
    result: QueryResult,
    next: PagingStateResponse,
}

impl CqlStore {
    /// Connects to a keyspace of exactly this program's version. The driver's own work stays on the calling runtime.
    pub async fn connect(config: &CqlConfig) -> Result<Self, ConnectError> {
        let session = session::connect(config).await?;
        migrate::refuse_others(&session, &config.keyspace).await?;
        let statements = Statements::prepare(&session, config).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                session,
                statements,
                permits: Semaphore::new(config.concurrency),
                concurrency: config.concurrency,
                sync_window: config.sync_window,
                listed: Listed::default(),
                n_reads: AtomicU64::new(0),
                n_writes: AtomicU64::new(0),
            }),
        })
    }

    /// How many requests it has sent.
    pub fn counts(&self) -> RequestCounts {
        RequestCounts {
            reads: self.inner.n_reads.load(Ordering::Relaxed),
            writes: self.inner.n_writes.load(Ordering::Relaxed),
        }
    }

    fn bound(
        &self,
        pick: impl Fn(&Statements) -> &PreparedStatement,
        values: &impl SerializeRow,
    ) -> Result<BoundStatement, StoreError> {
        statements::bind(pick(&self.inner.statements), values)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.inner.permits.acquire().await.map_err(|_| StoreError::Unavailable("closed".to_owned()))
    }

    async fn page_of(&self, statement: &BoundStatement, state: PagingState) -> Result<Driven, StoreError> {
        let _permit = self.permit().await?;
        self.inner.n_reads.fetch_add(1, Ordering::Relaxed);
        let (result, next) = self.inner.session.execute_bound_single_page(statement, state).await.map_err(failed)?;
        Ok(Driven { result, next })
    }

    /// Writes, and answers once so many replicas have it as configured.
    async fn write(&self, request: Request) -> Result<(), StoreError> {
        let _permit = self.permit().await?;
        self.inner.n_writes.fetch_add(1, Ordering::Relaxed);
        match request {
            Request::One(statement) => self.inner.session.execute_bound_unpaged(&statement).await,
            Request::Rows(values) => {
                let batch = write::batch_of(&self.inner.statements.put_evidence, values.len());
                self.inner.session.batch(&batch, values).await
            }
        }
        .map(drop)
        .map_err(failed)
    }

    async fn write_all(&self, requests: Vec<Request>) -> Result<(), StoreError> {
        let writes = requests.into_iter().map(|request| {
            let store = self.clone();
            async move { store.write(request).await }
        });
        stream::iter(writes).buffer_unordered(self.inner.concurrency).try_collect().await
    }

    /// Every row of an answer.
    async fn rows<R>(&self, statement: BoundStatement) -> Result<Vec<R>, StoreError>
    where
        R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm> + Send,
    {
        let mut rows = Vec::new();
        self.pages(statement, |row| {
            rows.push(row);
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(rows)
    }

    /// The answers to one statement bound to many values, in their order.
    async fn each<T, F>(&self, n: usize, read: impl Fn(Self, usize) -> F) -> Result<Vec<T>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let reads = (0..n).map(|at| read(self.clone(), at));
        stream::iter(reads).buffered(self.inner.concurrency).try_collect().await
    }

    async fn history(&self, statement: BoundStatement) -> Result<History, StoreError> {
        let mut history = History::default();
        self.pages(statement, |(position, row, profile): (Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>)| {
            scan::add(&mut history, position, row.as_deref(), profile.as_deref())?;
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(history)
    }

    /// Notes which receipt the log gave to a webhook that was answered from the spool with another.
    pub async fn put_receipt(&self, spooled: &str, receipt: &str) -> Result<(), StoreError> {
        self.write(Request::One(self.bound(|statements| &statements.put_receipt, &(spooled, receipt))?)).await
    }

    /// The receipt that the log gave to a spooled webhook, if it was noted and is still kept.
    pub async fn receipt(&self, spooled: &str) -> Result<Option<String>, StoreError> {
        let found: Vec<(String,)> = self.rows(self.bound(|statements| &statements.receipt, &(spooled,))?).await?;
        Ok(found.into_iter().next().map(|(receipt,)| receipt))
    }
}

fn number(position: i64) -> Result<u64, StoreError> {
    u64::try_from(position).map_err(|_| StoreError::Corrupt("a position below zero".to_owned()))
}

fn partition_key(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[async_trait]
impl Store for CqlStore {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        let load = |key: &RecipientKey| self.bound(|statements| &statements.load, &(key.to_log_key(),));
        let statements: Vec<BoundStatement> = keys.iter().map(load).collect::<Result<_, _>>()?;
        let read = |store: Self, at: usize| {
            let statement = statements[at].clone();
            async move { store.history(statement).await }
        };
        self.each(keys.len(), read).await
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        let read = |store: Self, at: usize| {
            let (at, id) = events[at];
            async move {
                let values = (at.as_micros(), id.as_bytes().as_slice());
                let found: Vec<(i64,)> = store.rows(store.bound(|statements| &statements.seen, &values)?).await?;
                found.first().map(|(position,)| number(*position)).transpose()
            }
        };
        self.each(events.len(), read).await
    }

    async fn apply(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        let Requests { mut first, trims } = Requests::of(&self.inner.statements, &writes)?;
        let hours = self.inner.listed.missing(writes.iter().flat_map(|write| &write.due), now_micros());
        for hour in &hours {
            first.push(Request::One(self.bound(|statements| &statements.put_due_hour, &(*hour,))?));
        }
        drop(writes);
        let began = now_micros();
        self.write_all(first).await?;
        self.inner.listed.add(hours, began);
        self.write_all(trims).await?;
        let moved = applied.iter().map(|(partition, number)| {
            let values = (partition_key(*partition), signed(*number), stamp(*number));
            Ok(Request::One(self.bound(|statements| &statements.put_applied, &values)?))
        });
        self.write_all(moved.collect::<Result<_, StoreError>>()?).await
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        let statement = self.bound(|statements| &statements.applied, &(partition_key(partition),))?;
        let found: Vec<(i64,)> = self.rows(statement).await?;
        found.first().map(|(position,)| number(*position)).transpose()
    }

    fn sync_window(&self) -> u64 {
        self.inner.sync_window
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        let read = |store: Self, at: usize| {
            let key = keys[at].to_log_key();
            async move {
                let statement = store.bound(|statements| &statements.in_force, &(key,))?;
                let found: Vec<(Vec<u8>,)> = store.rows(statement).await?;
                found.first().map(|(row,)| read_value(row)).transpose()
            }
        };
        self.each(keys.len(), read).await
    }

    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        let statement = self.bound(|statements| &statements.message, &(tenant.as_str(), message_id))?;
        let entries_max = entries_max.min(ENTRIES_MAX);
        let (mut entries, mut last) = (Vec::new(), None);
        self.pages(statement, |(at, id, entry): (i64, Vec<u8>, Vec<u8>)| {
            // Of one event the lowest position comes first, and stays.
            let told = Some((at, id));
            if last != told {
                if entries.len() >= entries_max {
                    return Ok(ControlFlow::Break(()));
                }
                entries.push(read_value(&entry)?);
                last = told;
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(entries)
    }

    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        let limit = i32::try_from(entries_max.clamp(1, ENTRIES_MAX)).unwrap_or(i32::MAX);
        let statement = self.bound(|statements| &statements.audit, &(key.to_log_key(), limit))?;
        let found: Vec<(i64, String, Vec<u8>)> = self.rows(statement).await?;
        let entry = |(position, scope, delta): (i64, String, Vec<u8>)| {
            let scope = scope.parse().map_err(|_| StoreError::Corrupt("a delta's scope".to_owned()))?;
            Ok((number(position)?, scope, delta))
        };
        let mut rows: Vec<(u64, Scope, Vec<u8>)> = found.into_iter().map(entry).collect::<Result<_, StoreError>>()?;
        rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(rows)
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        self.ends(from, until, max).await
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        self.spend(due).await
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        self.histories(after, max).await
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        self.all_in_force(after, max).await
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        let values = (partition_key(partition), signed(position), write_value(&row)?, stamp(position));
        self.write(Request::One(self.bound(|statements| &statements.put_policy, &values)?)).await
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        let statement = self.bound(|statements| &statements.policies, &(partition_key(partition),))?;
        let found: Vec<(i64, Vec<u8>)> = self.rows(statement).await?;
        found.into_iter().map(|(position, row)| Ok((number(position)?, read_value(&row)?))).collect()
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        let values = (partition_key(partition), signed(position), write_value(&row)?, stamp(position));
        self.write(Request::One(self.bound(|statements| &statements.put_incident, &values)?)).await
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        let statement = self.bound(|statements| &statements.incidents, &(partition_key(partition),))?;
        let found: Vec<(i64, Vec<u8>)> = self.rows(statement).await?;
        found.into_iter().map(|(position, row)| Ok((number(position)?, read_value(&row)?))).collect()
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        for position in positions {
            let values = (stamp(*position), partition_key(partition), signed(*position));
            self.write(Request::One(self.bound(|statements| &statements.drop_incident, &values)?)).await?;
        }
        Ok(())
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.newest_erased().await
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.erased_after(partition, after, max).await
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.erased_one(at).await
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        self.write_erased(partition, position, row).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found: Vec<(String,)> = self.rows(self.bound(|statements| &statements.note, &(name,))?).await?;
        Ok(found.into_iter().next().map(|(text,)| text))
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.write(Request::One(self.bound(|statements| &statements.put_note, &(name, text))?)).await
    }
}
