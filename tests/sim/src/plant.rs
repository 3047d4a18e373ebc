//! The store as the simulator runs it, and what can be broken in it on purpose: one breach for each rule.

use crate::{Scenario, fold::erasure_key, weather::pause};
use async_trait::async_trait;
use domain::{EventId, Kind, RecipientKey, Scope, Tenant, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};
use suppressor::{
    History, Store, StoreError,
    erasure::Erased,
    evidence::RowKey,
    guard::incidents,
    store::{
        Due, ErasedAt, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Write, erasing::Erasing,
        memory::MemoryStore,
    },
};

/// A breach of one of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None.
    None,
    /// R1: evidence is a register for each kind that the last to arrive overwrites.
    R1Register,
    /// R2: what is stored counts as known, wherever it lies.
    R2StoredIsKnown,
    /// R2: what is in force is written without its position, so that the last to write wins.
    R2Unfenced,
    /// R3: a new log begins again at the old one's numbers.
    R3SameEpoch,
    /// R4: the store loses its tail but claims that it never does.
    R4NoWindow,
    /// R4: a group without committed positions starts from zero beside a store that is not empty.
    R4FromZero,
    /// R5: an end's row goes as soon as it is read.
    R5DueAtOnce,
    /// R5: an erasure deletes at its own position.
    R5ErasedAtOnce,
    /// R6: what overrides is trimmed too.
    R6TrimsOverrides,
    /// R7: an end is judged by the clock of whoever decides.
    R7WallClock,
    /// R7: an expired event's id depends on when it was scanned.
    R7ExpiredIdFromScan,
    /// R8: what was loaded once is kept, whoever writes it meanwhile.
    R8CacheKept,
    /// R9: the newest policy holds for every position.
    R9NewestPolicy,
    /// A verdict on an incident holds from when it is stored, and not from its position.
    IncidentByWallTime,
    /// What is said of an incident goes from the store before what makes it forgotten is committed.
    IncidentForgottenAtOnce,
    /// A lane that begins takes deltas for covered by `state` that came after it.
    LaneCoversTooMuch,
    /// No breach: the group loses its positions, and the owner must refuse to start (R4).
    GroupLost,
}

impl Bug {
    /// Every breach.
    pub const ALL: [Self; 16] = [
        Self::R1Register,
        Self::R2StoredIsKnown,
        Self::R2Unfenced,
        Self::R3SameEpoch,
        Self::R4NoWindow,
        Self::R4FromZero,
        Self::R5DueAtOnce,
        Self::R5ErasedAtOnce,
        Self::R6TrimsOverrides,
        Self::R7WallClock,
        Self::R7ExpiredIdFromScan,
        Self::R8CacheKept,
        Self::R9NewestPolicy,
        Self::IncidentByWallTime,
        Self::IncidentForgottenAtOnce,
        Self::LaneCoversTooMuch,
    ];

    /// Turns on what the breach needs in order to show. The same world without the breach is the control.
    pub(crate) fn prepare(self, scenario: &mut Scenario) {
        match self {
            Self::None | Self::R1Register | Self::R6TrimsOverrides => {}
            Self::R2StoredIsKnown => (scenario.crashes, scenario.log_faults) = (true, true),
            Self::R2Unfenced | Self::R8CacheKept => {
                (scenario.zombies, scenario.log_faults) = (true, true);
            }
            Self::R3SameEpoch | Self::R4FromZero => {
                scenario.erasures = false;
                scenario.new_logs = 1;
            }
            // The store learns of a first commit just after it; nothing is to come between.
            Self::GroupLost => {
                (scenario.erasures, scenario.new_logs) = (false, 1);
                (scenario.crashes, scenario.log_faults, scenario.store_faults) = (false, false, false);
            }
            Self::R4NoWindow => (scenario.sync_window, scenario.n_partitions) = (6, 1),
            Self::R5DueAtOnce | Self::R7WallClock | Self::R7ExpiredIdFromScan => {
                (scenario.time, scenario.log_faults, scenario.crashes) = (true, true, true);
            }
            Self::R5ErasedAtOnce => {
                (scenario.erasures, scenario.raw, scenario.new_logs) = (true, false, 0);
                (scenario.log_faults, scenario.crashes) = (true, true);
            }
            Self::R9NewestPolicy => {
                (scenario.policies, scenario.crashes, scenario.log_faults) = (true, true, true);
            }
            // Two incidents half a year apart, and a bounce of the first just before the second is told of.
            Self::IncidentForgottenAtOnce => {
                (scenario.incidents, scenario.crashes, scenario.log_faults) = (true, true, true);
                (scenario.n_partitions, scenario.n_acts, scenario.batch_max) = (1, 150, 8);
            }
            Self::IncidentByWallTime => {
                (scenario.incidents, scenario.crashes, scenario.log_faults) = (true, true, true);
                // A bounce, a verdict after it and a crash that has the bounce applied again have to meet.
                scenario.n_acts *= 4;
            }
            Self::LaneCoversTooMuch => scenario.lanes = scenario.n_acts / 2,
        }
    }
}

/// What a breach keeps beside the store.
#[derive(Debug, Default)]
struct Aside {
    in_force: BTreeMap<String, InForce>,
    applied: BTreeMap<u32, u64>,
}

/// The store in memory behind the breach, if there is one.
#[derive(Debug)]
pub(crate) struct Plant {
    inner: MemoryStore,
    bug: Bug,
    clock: Arc<AtomicI64>,
    /// Of all processes.
    aside: Arc<Mutex<Aside>>,
    /// Of this process.
    cache: Mutex<HashMap<RecipientKey, History>>,
}

impl Plant {
    pub(crate) fn new(inner: MemoryStore, bug: Bug, clock: Arc<AtomicI64>) -> Self {
        Self { inner, bug, clock, aside: Arc::default(), cache: Mutex::default() }
    }

    /// As another process sees it.
    pub(crate) fn for_process(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            bug: self.bug,
            clock: Arc::clone(&self.clock),
            aside: Arc::clone(&self.aside),
            cache: Mutex::default(),
        }
    }

    /// As another process's stages and lookups see it: with who was erased.
    pub(crate) fn for_lookups(&self) -> Erasing<Self> {
        Erasing::new(self.for_process(), Some(Arc::new(erasure_key())))
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<RecipientKey, History>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load_cached(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        let fresh = self.inner.load(keys).await?;
        let mut cache = self.cache();
        Ok(keys.iter().zip(fresh).map(|(key, fresh)| cache.entry(key.clone()).or_insert(fresh).clone()).collect())
    }

    fn distort(&self, history: &mut History) {
        match self.bug {
            Bug::R1Register => {
                let mut newest: HashMap<Kind, u64> = HashMap::new();
                for row in &history.rows {
                    let at = newest.entry(row.kind).or_default();
                    *at = row.position.max(*at);
                }
                history.rows.retain(|row| newest.get(&row.kind) == Some(&row.position));
            }
            Bug::R2StoredIsKnown => history.rows.iter_mut().for_each(|row| row.position = 0),
            Bug::R7WallClock => {
                let now = Timestamp::from_micros(self.clock.load(Ordering::Relaxed)).unwrap_or_default();
                if let Some(row) = history.rows.iter_mut().max_by_key(|row| row.received_at) {
                    row.received_at = row.received_at.max(now);
                }
            }
            _ => {}
        }
    }

    /// Rows that a breach deletes together with this write.
    async fn deletes(&self, write: &Write) -> Result<Vec<RowKey>, StoreError> {
        let erased = write.history.erasures().max();
        let (floor, overriding_only) = match (self.bug, erased, write.rows.iter().map(|row| row.position).min()) {
            (Bug::R5ErasedAtOnce, Some(erased), _) => (erased, false),
            (Bug::R6TrimsOverrides, _, Some(first)) => (first.saturating_sub(8), true),
            _ => return Ok(Vec::new()),
        };
        let overrides = |kind| matches!(kind, Kind::Delivered | Kind::ReleasedManually | Kind::Resubscribed);
        let histories = self.inner.load(std::slice::from_ref(&write.key)).await?;
        let rows = histories.iter().flat_map(|history| &history.rows);
        let gone = rows.filter(|row| row.position < floor && (!overriding_only || overrides(row.kind)));
        Ok(gone.map(suppressor::Evidence::row_key).collect())
    }
}

#[async_trait]
impl Store for Plant {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        let mut histories = match self.bug {
            Bug::R8CacheKept => self.load_cached(keys).await?,
            _ => self.inner.load(keys).await?,
        };
        histories.iter_mut().for_each(|history| self.distort(history));
        Ok(histories)
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        self.inner.seen(events).await
    }

    async fn apply(&self, mut writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        let mut in_force = Vec::new();
        for write in &mut writes {
            write.trimmed.extend(self.deletes(write).await?);
            match self.bug {
                Bug::R2Unfenced => {
                    in_force.extend(write.in_force.clone().map(|row| (write.key.to_log_key(), row)));
                }
                Bug::R8CacheKept => {
                    self.cache().insert(write.key.clone(), write.history.clone());
                }
                _ => {}
            }
        }
        self.inner.apply(writes, applied).await?;
        for (key, row) in in_force {
            pause().await;
            self.aside().in_force.insert(key, row);
        }
        for (partition, number) in applied {
            let mut aside = self.aside();
            let most = aside.applied.entry(*partition).or_default();
            *most = (*most).max(*number);
        }
        Ok(())
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        match self.bug {
            Bug::R3SameEpoch | Bug::R4FromZero => Ok(None),
            Bug::R4NoWindow => Ok(self.aside().applied.get(&partition).copied()),
            _ => self.inner.applied(partition).await,
        }
    }

    fn sync_window(&self) -> u64 {
        if self.bug == Bug::R4NoWindow { 0 } else { self.inner.sync_window() }
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        if self.bug == Bug::R2Unfenced {
            let aside = self.aside();
            return Ok(keys.iter().map(|key| aside.in_force.get(&key.to_log_key()).cloned()).collect());
        }
        self.inner.in_force(keys).await
    }

    async fn message(&self, tenant: &Tenant, id: &str, max: usize) -> Result<Vec<MessageEntry>, StoreError> {
        self.inner.message(tenant, id, max).await
    }

    async fn audit(&self, key: &RecipientKey, max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        self.inner.audit(key, max).await
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        let due = self.inner.due(from, until, max).await?;
        if self.bug == Bug::R5DueAtOnce {
            self.inner.spent(&due).await?;
        }
        Ok(due)
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        self.inner.spent(due).await
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        self.inner.scan(after, max).await
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        self.inner.scan_in_force(after, max).await
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        self.inner.put_policy(partition, position, row).await
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        let mut rows = self.inner.policies(partition).await?;
        if self.bug == Bug::R9NewestPolicy {
            (0..).zip(&mut rows).for_each(|(at, row)| row.0 = at);
        }
        Ok(rows)
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        self.inner.put_incident(partition, position, row).await
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        let mut rows = self.inner.incidents(partition).await?;
        if self.bug == Bug::IncidentByWallTime {
            (0..).zip(&mut rows).for_each(|(at, row)| row.0 = at);
        }
        if self.bug == Bug::IncidentForgottenAtOnce {
            let known = incidents(rows.iter().map(|(_, row)| row));
            rows.retain(|(_, row)| known.contains_key(&row.incident));
        }
        Ok(rows)
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        self.inner.drop_incidents(partition, positions).await
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.inner.erased_up_to().await
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.inner.erased(partition, after, max).await
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.inner.erased_at(at).await
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        self.inner.put_erased(partition, position, row).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        // A store that tells nothing of what was applied tells nothing of what was committed.
        if matches!(self.bug, Bug::R3SameEpoch | Bug::R4FromZero) && name.starts_with("committed") {
            return Ok(None);
        }
        self.inner.note(name).await
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.inner.put_note(name, text).await
    }
}
