//! A lane that begins: from `state`, because its deltas are not kept for ever.
//!
//! A new account, or one that stood still for longer than deltas are kept, is told all that is in force, and begins in the
//! deltas where they ended before `state` was read. What changed while it was read is told twice, in the right order.
//!
//! Releases are told as far as `state` still keeps their tombstones. A lane that stood still for longer than deltas are
//! kept may therefore leave a recipient suppressed who was released meanwhile: the safe side. Comparing whole lists mends
//! that, and is not done here.

use crate::{
    Lane,
    plan::{Plan, Target},
    status::Halt,
};
use domain::{Channel, RecipientKey, Scope};
use event_log::{Browse, BrowseError, Consumed};
use providers::suppression_api::{Desired, edits};
use schemas::{DecodeError, decode, topics, wire::StateRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Records read and told at once.
const CHUNK_MAX: usize = 1_000;

/// Why a bootstrap stands still. Run it again after a wait: it goes on where it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] BrowseError),
    /// The provider cannot be told.
    #[error(transparent)]
    Provider(#[from] Halt),
    /// What another build wrote cannot be read yet.
    #[error(transparent)]
    Schema(#[from] DecodeError),
}

/// A bootstrap under way.
#[derive(Debug, Default)]
pub struct Bootstrap {
    /// Where the deltas ended before `state` was read; `None` before the first run.
    starts: Option<BTreeMap<u32, u64>>,
    /// Keys of `state` whose newest record may be a tombstone, with its place.
    tombstones: BTreeMap<String, u64>,
    /// Whose scopes are released, and what else is in force for them. As many as `state` keeps tombstones.
    released: BTreeMap<RecipientKey, Desired>,
    /// Read so far: partition and offset of `state`.
    partition: u32,
    offset: u64,
}

impl Bootstrap {
    /// Whether the lane is new, or stands below what the log keeps in any partition. A lane that lives may have partitions
    /// in which it never had anything to commit: their deltas are told from the first on, without another look at `state`
    /// beside the lane's living members.
    pub async fn is_needed(lane: &Lane, browse: &dyn Browse) -> Result<bool, BootstrapError> {
        let group = lane.account().group();
        let (mut has_committed, mut has_deltas, mut is_cut_off) = (false, false, false);
        for partition in 0..browse.partitions(topics::DELTAS)? {
            let (oldest, end) = browse.range(topics::DELTAS, partition).await?;
            has_deltas |= end > 0;
            match browse.committed(&group, topics::DELTAS, partition).await? {
                Some(committed) => {
                    has_committed = true;
                    is_cut_off |= committed < oldest;
                }
                None => is_cut_off |= oldest > 0 && oldest < end,
            }
        }
        Ok(if has_committed { is_cut_off } else { has_deltas })
    }

    /// Tells the lane's provider all of `state`, and makes the lane begin after the deltas that `state` covers. Returns how
    /// many records of `state` were told.
    pub async fn run(&mut self, lane: &mut Lane, browse: &dyn Browse) -> Result<u64, BootstrapError> {
        let starts = match &self.starts {
            Some(starts) => starts.clone(),
            None => {
                let starts = self.begin(lane, browse).await?;
                self.find_tombstones(lane, browse).await?;
                self.starts.insert(starts).clone()
            }
        };
        let mut told = 0;
        let partitions = browse.partitions(topics::STATE)?;
        while self.partition < partitions {
            let records = browse.read(topics::STATE, self.partition, self.offset, CHUNK_MAX).await?;
            let Some(last) = records.last() else {
                (self.partition, self.offset) = (self.partition + 1, 0);
                continue;
            };
            schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await?;
            let plan = self.plan_chunk(lane, &records)?;
            lane.execute(&plan).await?;
            lane.forget_done();
            told += records.len() as u64;
            self.offset = last.position.offset + 1;
        }
        let mut released = Plan::default();
        for (key, desired) in &self.released {
            push_target(lane, key, desired, &mut released);
        }
        lane.execute(&released).await?;
        lane.forget_done();
        lane.begin_at(starts);
        Ok(told)
    }

    /// The ends of the deltas' partitions in which the lane has to begin anew.
    async fn begin(&self, lane: &Lane, browse: &dyn Browse) -> Result<BTreeMap<u32, u64>, BootstrapError> {
        let group = lane.account().group();
        let mut starts = BTreeMap::new();
        for partition in 0..browse.partitions(topics::DELTAS)? {
            let (oldest, end) = browse.range(topics::DELTAS, partition).await?;
            let committed = browse.committed(&group, topics::DELTAS, partition).await?;
            if committed.is_none_or(|committed| committed < oldest) {
                starts.insert(partition, end);
            }
        }
        Ok(starts)
    }

    async fn find_tombstones(&mut self, lane: &Lane, browse: &dyn Browse) -> Result<(), BootstrapError> {
        self.tombstones.clear();
        self.released.clear();
        for partition in 0..browse.partitions(topics::STATE)? {
            let mut offset = 0;
            loop {
                let records = browse.read(topics::STATE, partition, offset, CHUNK_MAX).await?;
                let Some(last) = records.last() else { break };
                offset = last.position.offset + 1;
                for consumed in &records {
                    let Some(key) = text_key(consumed) else { continue };
                    match &consumed.record.value {
                        None => {
                            self.tombstones.insert(key.to_owned(), consumed.position.offset);
                        }
                        // A newer suppression: the tombstone before it says nothing.
                        Some(_) => {
                            self.tombstones.remove(key);
                        }
                    }
                }
            }
        }
        for key in self.tombstones.keys() {
            if let Some((key, scope)) = read_key(key).filter(|(key, scope)| concerns(lane, key, scope)) {
                self.released.entry(key).or_default().released.insert(scope);
            }
        }
        Ok(())
    }

    /// What a part of `state` asks for. Recipients with a released scope are kept for the end, when all that is in force for
    /// them is known.
    fn plan_chunk(&mut self, lane: &Lane, records: &[Consumed]) -> Result<Plan, DecodeError> {
        let mut in_force: BTreeMap<RecipientKey, BTreeSet<Scope>> = BTreeMap::new();
        for consumed in records {
            let Some(text) = text_key(consumed) else { continue };
            let is_dead = self.tombstones.get(text).is_some_and(|offset| *offset > consumed.position.offset);
            let state = match consumed.record.value.as_ref().map(|value| decode::<StateRecord>(value)) {
                Some(Err(error)) if error.is_unresolved() => return Err(error),
                state => state.and_then(Result::ok),
            };
            let Some(Ok((key, scope, _))) = state.filter(|_| !is_dead).map(|state| state.parts()) else { continue };
            if !concerns(lane, &key, &scope) {
                continue;
            }
            match self.released.get_mut(&key) {
                Some(desired) => {
                    desired.in_force.insert(scope);
                }
                None => {
                    in_force.entry(key).or_default().insert(scope);
                }
            }
        }
        let mut plan = Plan::default();
        for (key, in_force) in in_force {
            push_target(lane, &key, &Desired { in_force, ..Desired::default() }, &mut plan);
        }
        Ok(plan)
    }
}

fn push_target(lane: &Lane, key: &RecipientKey, desired: &Desired, plan: &mut Plan) {
    let account = lane.account();
    let edits = edits(account.lists, &account.settings, desired);
    if !edits.is_empty() {
        // There is no delta: the state itself names what was told.
        let scopes: Vec<String> = desired.in_force.iter().map(Scope::to_string).collect();
        let mut fields = vec!["state", key.recipient.as_str()];
        fields.extend(scopes.iter().map(String::as_str));
        plan.targets.push(Target { key: key.clone(), delta_id: domain::EventId::derive(&fields), edits });
    }
}

fn text_key(consumed: &Consumed) -> Option<&str> {
    consumed.record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok())
}

/// The way back from [`StateRecord::log_key`].
fn read_key(text: &str) -> Option<(RecipientKey, Scope)> {
    let (key, scope) = text.rsplit_once('\n')?;
    Some((RecipientKey::from_log_key(key)?, scope.parse().ok()?))
}

fn concerns(lane: &Lane, key: &RecipientKey, scope: &Scope) -> bool {
    let account = lane.account();
    key.tenant == account.tenant && key.recipient.channel() == Channel::Email && account.is_told(scope)
}
