//! `quell_suppressions_in_force`: counted in the store at the start, whenever partitions come, and every hour; moved by the
//! deltas of committed batches in between. Each process shows its own partitions' part.
//!
//! Who was erased is suppressed still, and counted: under their tenant until the next count, then under `other`, as whose they
//! were is not kept. So the sum is right at any time, also where one of them is released or bounces again.

mod count;
mod erased;

pub(crate) use count::{InForce, Move, Series};

use super::labels::{OTHER, Tenants};
use crate::process::Process;
use domain::{Decision, RecipientKey, Timestamp};
use erased::ErasedOnly;
use event_log::{
    partition::partition_of,
    runner::{Fatal, Observer, PhaseName, RunnerEvent},
};
use prometheus::IntGaugeVec;
use service::telemetry::{Metrics, TelemetryError};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use suppressor::{Store, StoreError, stage::scope_sort, store};

/// From one count to the next.
const EVERY: Duration = Duration::from_secs(3_600);
/// How soon a count may follow another, when partitions come and go.
const AGAIN: Duration = Duration::from_secs(30);
/// From one look at whether to count to the next; partitions that come together are counted together.
const LOOK: Duration = Duration::from_secs(1);
/// Rows read at once: some milliseconds.
const PAGE: usize = 500;
/// For every moment of reading so many of rest: a count takes a fifth of a core at most.
const REST: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(5);
/// How long a store that cannot answer is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// Positions below the last that was applied, before which surely every delta was told: more than the batches that may be
/// open, with the markers between their records.
const OPEN_MAX: u64 = 10_000;

/// The gauge, and what stands behind it. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct InForceGauge {
    gauge: IntGaugeVec,
    tenants: Arc<Tenants>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    in_force: InForce,
    /// What the gauge shows.
    shown: BTreeSet<Series>,
}

/// Tells one recipient from another.
pub(crate) fn recipient_hash(key: (&str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl InForceGauge {
    pub(crate) fn register(metrics: &Metrics, tenants: Arc<Tenants>) -> Result<Self, TelemetryError> {
        let gauge = metrics.gauges(
            "quell_suppressions_in_force",
            "Suppressions in force in this process's partitions: counted in the store at the start and every hour, moved by \
             deltas between; nothing until the first count.",
            &["tenant", "reason", "scope"],
        )?;
        Ok(Self { gauge, tenants, state: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deltas of a committed batch.
    pub(crate) fn moved(&self, changes: &[Move]) {
        let mut state = self.state();
        for change in changes {
            if state.in_force.moved(*change) {
                self.add(&mut state.shown, change.before, -1);
                self.add(&mut state.shown, change.now, 1);
            }
        }
    }

    fn add(&self, shown: &mut BTreeSet<Series>, series: Option<Series>, n: i64) {
        let Some(series) = series else { return };
        shown.insert(series);
        self.child(series).add(n);
    }

    fn child(&self, (tenant, reason, scope): Series) -> prometheus::IntGauge {
        self.gauge.with_label_values(&[self.tenants.name(tenant), reason.as_str(), scope])
    }

    /// Shows what holds after partitions came or went, or a count ended.
    fn show(&self, state: &mut State) {
        let totals = state.in_force.totals();
        for series in state.shown.iter().filter(|series| !totals.contains_key(series)) {
            self.child(*series).set(0);
        }
        for (series, count) in totals {
            self.child(series).set(count);
            state.shown.insert(series);
        }
    }

    /// An observer of a suppressor's worker that also minds which partitions are ours.
    pub(crate) fn observed_by<O: Observer>(&self, inner: O) -> InForceObserver<O> {
        InForceObserver { inner, gauge: self.clone() }
    }

    /// Counts whenever it is time, until the process ends.
    pub(crate) async fn keep<S: Store>(self, process: Process, store: S, partitions: u32) {
        let mut counted_at: Option<Instant> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = process.shutdown.requested() => return,
            }
            let wants_count = self.state().in_force.wants_count();
            let is_time = counted_at.is_none_or(|at| at.elapsed() > if wants_count { AGAIN } else { EVERY });
            if is_time && !self.state().in_force.partitions().is_empty() {
                let began = Instant::now();
                if !self.count(&process, &store, partitions).await {
                    return;
                }
                counted_at = Some(Instant::now());
                tracing::debug!(seconds = began.elapsed().as_secs_f64(), "counted what is in force");
            }
        }
    }

    /// One count; goes on where it was when the store could not answer. False where the process ended before.
    async fn count<S: Store>(&self, process: &Process, store: &S, partitions: u32) -> bool {
        let owned = self.state().in_force.partitions();
        let (floors, mut erased) = loop {
            match begun(store, &owned).await {
                Ok(begun) => break begun,
                Err(error) if again(process, &error).await => {}
                Err(_) => return false,
            }
        };
        self.state().in_force.begin(floors);
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = match store.scan_in_force(after.as_deref(), PAGE).await {
                Ok(page) => page,
                Err(error) if again(process, &error).await => continue,
                Err(_) => {
                    self.state().in_force.abandon();
                    return false;
                }
            };
            self.rows(&page.items, partitions);
            page.items.iter().for_each(|(key, _)| erased.found(store, key));
            after = page.next;
            if after.is_none() {
                break;
            }
            tokio::time::sleep((began.elapsed() * REST).max(REST_MIN)).await;
        }
        let now = Timestamp::from_micros(process.clock.now_micros()).unwrap_or_default();
        self.erased(erased, now, partitions);
        let mut state = self.state();
        let n_forgotten = state.in_force.end();
        if n_forgotten > 0 {
            tracing::warn!(
                n_forgotten,
                "much changed while suppressions in force were counted: the figure may be off by as many"
            );
        }
        self.show(&mut state);
        true
    }

    fn rows(&self, rows: &[(RecipientKey, store::InForce)], partitions: u32) {
        let mut state = self.state();
        for (key, row) in rows {
            let tenant = self.tenants.number(key.tenant.as_str());
            let series = series_of(tenant, &row.decision);
            let partition = partition_of(key.to_log_key().as_bytes(), partitions);
            let recipient = recipient_hash((key.tenant.as_str(), key.recipient.as_str()));
            state.in_force.row(partition, recipient, row.position, series);
        }
    }

    /// Those of whom the table holds nothing. Partitions that there are no more, as the erasures came from another
    /// installation, are somebody's as well.
    fn erased(&self, erased: ErasedOnly, now: Timestamp, partitions: u32) {
        let tenant = self.tenants.number(OTHER);
        let mut state = self.state();
        for left in erased.rest(now) {
            let recipient = recipient_hash(("", &left.pseudonym.to_string()));
            let partition = left.partition % partitions.max(1);
            state.in_force.row(partition, recipient, left.position, series_of(tenant, &left.decision));
        }
    }
}

fn series_of(tenant: u16, decision: &Decision) -> impl Iterator<Item = Series> {
    decision.by_scope().into_iter().map(move |(scope, cause)| (tenant, cause.reason, scope_sort(scope)))
}

/// Where a count begins: before which positions every delta was told, and who was erased.
async fn begun<S: Store>(store: &S, owned: &[u32]) -> Result<(BTreeMap<u32, u64>, ErasedOnly), StoreError> {
    Ok((floors(store, owned).await?, ErasedOnly::read(store).await?))
}

/// For each partition a position before which every delta was told.
async fn floors<S: Store>(store: &S, owned: &[u32]) -> Result<BTreeMap<u32, u64>, StoreError> {
    let mut floors = BTreeMap::new();
    for partition in owned {
        let floor = store.applied(*partition).await?.map_or(0, |last| last.saturating_sub(OPEN_MAX));
        floors.insert(*partition, floor);
    }
    Ok(floors)
}

/// Waits before asking again; false where the process ends.
async fn again(process: &Process, error: &StoreError) -> bool {
    tracing::warn!(%error, "suppressions in force cannot be counted now; going on later");
    tokio::select! {
        () = tokio::time::sleep(RETRY) => true,
        () = process.shutdown.requested() => false,
    }
}

/// See [`InForceGauge::observed_by`].
#[derive(Debug)]
pub(crate) struct InForceObserver<O> {
    inner: O,
    gauge: InForceGauge,
}

impl<O: Observer> Observer for InForceObserver<O> {
    fn stepped(&self, stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        match event {
            RunnerEvent::Ready(partition) => {
                let mut state = self.gauge.state();
                state.in_force.own(*partition);
                self.gauge.show(&mut state);
            }
            RunnerEvent::Revoked(partitions) => {
                let mut state = self.gauge.state();
                partitions.iter().for_each(|partition| state.in_force.lose(*partition));
                self.gauge.show(&mut state);
            }
            _ => {}
        }
        self.inner.stepped(stage, phase, event, took);
    }

    fn lag(&self, stage: &'static str, n_records: u64) {
        self.inner.lag(stage, n_records);
    }

    fn oldest(&self, stage: &'static str, at_ms: Option<i64>) {
        self.inner.oldest(stage, at_ms);
    }

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        self.inner.ended(stage, result);
    }
}
