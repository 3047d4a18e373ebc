//! A partition that begins: from `state`, because deltas are not kept for ever.
//!
//! Partition P of the deltas and partition P of `state` hold the same recipients. Where a lane has no committed position in
//! P, or one that is no longer kept, P's owner tells the provider all that partition P of `state` says, and only then
//! begins in the deltas. Where they ended is noted before `state` is read: what changed since is told in the right order.
//!
//! Nobody else tells anything of these recipients meanwhile, so nothing stale is told after what is newer. An owner that
//! loses P, or dies, leaves nothing behind: the next one begins P anew, which repeats calls and changes nothing.
//!
//! Releases are told as far as `state` still keeps their tombstones. A lane that stood still for longer than deltas and
//! tombstones are kept may therefore leave a recipient suppressed who was released meanwhile: the safe side. Comparing
//! whole lists mends that, and is not done here.

use crate::{
    Account,
    plan::{Plan, Target},
    releases::Releases,
};
use domain::{RecipientKey, Scope};
use event_log::{Browse, BrowseError, Consumed, session::Assigned};
use providers::suppression_api::{Desired, edits};
use schemas::{DecodeError, decode, headers, topics, wire::StateRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Records read, and recipients told, in one slice.
const SLICE_MAX: usize = 1_000;
/// Recipients with a release that are held at once: some tens of megabytes. Where there are more, `state` is read again for
/// the next of them.
const RELEASES_MAX: usize = 100_000;
/// So many deltas before the noted end are told again. A transaction becomes visible in each partition by itself: the newest
/// deltas may be there a moment before their `state` is. Some batches of the suppressor.
const TOLD_AGAIN: u64 = 8_192;

/// Why a slice could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("what is in force cannot be read: {0}")]
    Log(#[from] BrowseError),
    /// Another build wrote it.
    #[error("what is in force cannot be read yet: {0}")]
    Schema(#[from] DecodeError),
}

/// How far a pass over the partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Finding what was released.
    Find,
    /// Telling what is in force.
    Tell,
    /// Telling what was released.
    Release,
}

/// The next slice.
#[derive(Debug)]
pub(crate) enum Slice {
    /// To be told. [`Bootstrap::told`] once it is.
    Plan(Plan),
    /// Nothing is left.
    Done,
}

/// A bootstrap of one partition under way.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    partition: u32,
    start: u64,
    /// The part of `state` to read: what came later is in the deltas.
    end: u64,
    /// Read so far.
    offset: u64,
    pass: Pass,
    is_first_part: bool,
    releases: Releases,
    /// What the slice that was handed out covers.
    handed: Handed,
    /// Suppressions told.
    pub(crate) n_in_force: u64,
    /// Recipients of whom a release was told.
    pub(crate) n_released: u64,
}

/// What is done with once the slice is told.
#[derive(Debug, Default)]
struct Handed {
    /// Where to read on.
    offset: u64,
    n_in_force: u64,
    released: Vec<(RecipientKey, Desired)>,
}

impl Bootstrap {
    /// The bootstrap of a new partition; `None` where it needs none: the lane's position in it is kept, or there is nothing.
    pub(crate) async fn of(group: &str, assigned: &Assigned, browse: &dyn Browse) -> Result<Option<Self>, BrowseError> {
        let partition = assigned.partition;
        let (oldest, deltas_end) = browse.range(topics::DELTAS, partition).await?;
        if let Some(committed) = assigned.committed {
            // The session may have moved a position that is not kept: the group's own tells.
            let committed = browse.committed(group, topics::DELTAS, partition).await?.unwrap_or(committed.offset());
            if committed >= oldest {
                return Ok(None);
            }
        }
        // After the end of the deltas.
        let (state_oldest, state_end) = browse.range(topics::STATE, partition).await?;
        if deltas_end == 0 && state_oldest == state_end {
            return Ok(None);
        }
        Ok(Some(Self {
            partition,
            start: deltas_end.saturating_sub(TOLD_AGAIN),
            end: state_end,
            offset: 0,
            pass: Pass::Find,
            is_first_part: true,
            releases: Releases::new(RELEASES_MAX),
            handed: Handed::default(),
            n_in_force: 0,
            n_released: 0,
        }))
    }

    pub(crate) const fn partition(&self) -> u32 {
        self.partition
    }

    /// Deltas below this offset are covered by what was told.
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// The next slice; the same again until it was told.
    pub(crate) async fn slice(&mut self, account: &Account, browse: &dyn Browse) -> Result<Slice, ReadError> {
        if self.pass == Pass::Release {
            let released = self.releases.first(SLICE_MAX);
            if released.is_empty() && !self.releases.has_more() {
                return Ok(Slice::Done);
            }
            let mut plan = Plan::default();
            released.iter().for_each(|(key, desired)| push_target(account, key, desired, &mut plan));
            self.handed = Handed { released, ..Handed::default() };
            return Ok(Slice::Plan(plan));
        }
        let mut records = match self.offset < self.end {
            true => browse.read(topics::STATE, self.partition, self.offset, SLICE_MAX).await?,
            false => Vec::new(),
        };
        records.retain(|consumed| consumed.position.offset < self.end);
        let offset = records.last().map_or(self.end, |last| last.position.offset + 1);
        self.handed = Handed { offset, ..Handed::default() };
        if self.pass == Pass::Find {
            self.find(account, &records);
            return Ok(Slice::Plan(Plan::default()));
        }
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await?;
        let in_force = self.in_force(account, &records)?;
        let mut plan = Plan::default();
        for (key, in_force) in in_force {
            push_target(account, &key, &Desired { in_force, ..Desired::default() }, &mut plan);
        }
        Ok(Slice::Plan(plan))
    }

    /// The slice handed out last is told.
    pub(crate) fn told(&mut self) {
        let Handed { offset, n_in_force, released } = std::mem::take(&mut self.handed);
        self.n_in_force += n_in_force;
        self.n_released += released.len() as u64;
        let is_read = offset >= self.end;
        match self.pass {
            Pass::Find | Pass::Tell if !is_read => self.offset = offset,
            Pass::Find => (self.pass, self.offset) = (Pass::Tell, 0),
            Pass::Tell => self.pass = Pass::Release,
            // The next part of the releases.
            Pass::Release if released.is_empty() => {
                self.releases.next_part();
                (self.pass, self.offset, self.is_first_part) = (Pass::Find, 0, false);
            }
            Pass::Release => self.releases.forget(&released),
        }
    }

    fn find(&mut self, account: &Account, records: &[Consumed]) {
        for consumed in records {
            let text = consumed.record.key.as_ref().and_then(|key| std::str::from_utf8(key).ok());
            if let Some((key, scope)) = text.and_then(read_key).filter(|(key, scope)| concerns(account, key, scope)) {
                // Who was erased stays suppressed, and is gone from `state` all the same.
                let is_erased = consumed.record.headers.iter().any(|header| header.name == headers::ERASED);
                let is_released = consumed.record.value.is_none() && !is_erased;
                self.releases.note(&key, &scope, consumed.position.offset, is_released);
            }
        }
    }

    /// What these records say is in force. That of recipients with a release is kept for the end, when all of it is known.
    fn in_force(
        &mut self,
        account: &Account,
        records: &[Consumed],
    ) -> Result<BTreeMap<RecipientKey, BTreeSet<Scope>>, DecodeError> {
        let mut in_force: BTreeMap<RecipientKey, BTreeSet<Scope>> = BTreeMap::new();
        for consumed in records {
            let state = match consumed.record.value.as_ref().map(|value| decode::<StateRecord>(value)) {
                Some(Err(error)) if error.is_unresolved() => return Err(error),
                state => state.and_then(Result::ok),
            };
            let Some(Ok((key, scope, standing))) = state.map(|state| state.parts()) else { continue };
            // Told once it is confirmed.
            if standing.incident.is_some() {
                continue;
            }
            if !concerns(account, &key, &scope) || self.releases.is_over(&key, &scope, consumed.position.offset) {
                continue;
            }
            self.handed.n_in_force += u64::from(self.is_first_part);
            if !self.releases.keep(&key, &scope) && self.is_first_part {
                in_force.entry(key).or_default().insert(scope);
            }
        }
        Ok(in_force)
    }
}

fn push_target(account: &Account, key: &RecipientKey, desired: &Desired, plan: &mut Plan) {
    let edits = edits(account.lists, &account.settings, desired);
    if !edits.is_empty() {
        // There is no delta: the state itself names what was told.
        let scopes: Vec<String> = desired.in_force.iter().map(Scope::to_string).collect();
        let mut fields = vec!["state", key.recipient.as_str()];
        fields.extend(scopes.iter().map(String::as_str));
        plan.targets.push(Target { key: key.clone(), delta_id: domain::EventId::derive(&fields), edits });
    }
}

/// The way back from [`StateRecord::log_key`].
fn read_key(text: &str) -> Option<(RecipientKey, Scope)> {
    let (key, scope) = text.rsplit_once('\n')?;
    Some((RecipientKey::from_log_key(key)?, scope.parse().ok()?))
}

fn concerns(account: &Account, key: &RecipientKey, scope: &Scope) -> bool {
    key.tenant == account.tenant && key.recipient.channel() == account.lists.channel() && account.is_told(scope)
}
