//! Erasures: what keeps a recipient suppressed goes under their pseudonym at one position, and all else is taken away at a
//! later one (R5).

use super::{Change, Suppressor, Work, broken, trimmed_id, unavailable};
use crate::{
    Evidence,
    erasure::{Erased, keep},
    evidence::{Engagement, inner},
    policy::{decide, policy_version},
    store::{Due, ErasedAt, Forget, InForce, Store},
};
use domain::{CanonicalEvent, Decision, Delta, Scope, Standing};
use event_log::{Consumed, Fate, StageError, Verdict};
use schemas::wire::DeltaRecord;
use std::collections::BTreeSet;

/// Changes of one recipient that are looked through for ends to come.
const AUDIT_MAX: usize = 10_000;

impl<S: Store> Suppressor<S> {
    /// Processes an erasure at its position, or what makes it whole.
    pub(super) async fn erased(
        &mut self,
        consumed: &Consumed,
        event: &CanonicalEvent,
        seen: Option<u64>,
        work: &mut Work,
    ) -> Result<Verdict, StageError> {
        let number = consumed.position.number();
        if seen.is_some_and(|first| first < number) {
            return Ok(Verdict { fate: Fate::Ignored("duplicate"), outputs: Vec::new() });
        }
        // Its row lies elsewhere: told again, it is found there.
        work.write.seen.push((event.occurred_at, trimmed_id(&event.event_id, event.rules), number));
        work.touched = true;
        match event.metadata.get(inner::FORGETS) {
            Some(below) => self.forget(consumed, event, below, work).await,
            None => self.keep(consumed, event, work).await,
        }
    }

    async fn keep(
        &mut self,
        consumed: &Consumed,
        event: &CanonicalEvent,
        work: &mut Work,
    ) -> Result<Verdict, StageError> {
        let (number, partition) = (consumed.position.number(), consumed.position.partition);
        let Some(pseudonym) = self.store.pseudonym(&event.key()) else {
            return Err(StageError::Broken(
                "a recipient is to be erased, and [erasure] key is not configured here: set the same key for every \
                 suppressor and lookup, then start again"
                    .to_owned(),
            ));
        };
        let in_partition = self.policies.at(partition, number);
        let Some(row) = Evidence::of(event, number, in_partition) else {
            return Ok(Verdict { fate: Fate::Ignored("echo"), outputs: Vec::new() });
        };
        let version = policy_version(work.history.before(number)).unwrap_or(in_partition);
        let (policy, channel) = (self.policy(version)?, event.channel);
        let was = decide(work.history.before(number), channel, &policy);
        // Made once: at a replay the evidence may be gone. It is put again, as whoever was killed in the middle of it may have
        // told nobody that it is there; what was taken off it since stays off, being of the same position.
        let at = ErasedAt { position: number, partition, pseudonym };
        let erased = match self.store.erased_at(at).await.map_err(unavailable)? {
            Some(erased) => erased,
            None => {
                let rows = keep(work.history.before(number), channel, &policy, &row, &pseudonym);
                let decision = decide(rows.iter(), channel, &policy);
                let in_force = InForce { position: number, policy: version, address: String::new(), decision };
                let (recipient, erased_at) = (Some(event.key()), event.received_at);
                Erased { pseudonym, recipient, erased_at, by: row.actor, rows, in_force }
            }
        };
        if !work.history.erasures().any(|position| position == number) {
            work.history.kept.extend(erased.rows.iter().cloned());
        }
        self.store.put_erased(partition, number, erased).await.map_err(unavailable)?;
        let now = decide(work.history.kept.iter().filter(|row| row.position == number), channel, &policy);
        if work.history.address.is_empty() {
            work.history.address.clone_from(&event.address);
        }
        let outputs = self.deltas(consumed, event, changes(&was, &now), &now, version, work)?;
        if work.write.in_force.as_ref().is_none_or(|known| known.position < number) {
            let address = work.history.address.clone();
            work.write.in_force = Some(InForce { position: number, policy: version, address, decision: now });
        }
        Ok(Verdict { fate: Fate::Emitted, outputs })
    }

    /// Takes away what lies below an erasure that was committed.
    async fn forget(
        &mut self,
        consumed: &Consumed,
        event: &CanonicalEvent,
        below: &str,
        work: &mut Work,
    ) -> Result<Verdict, StageError> {
        let number = consumed.position.number();
        let below = below.parse::<u64>().ok().filter(|below| *below < number);
        let Some(below) = below.filter(|below| work.history.erasures().any(|position| position == *below)) else {
            return Ok(Verdict { fate: Fate::Ignored("not_erased"), outputs: Vec::new() });
        };
        let ends = self.ends(event, work, below).await?;
        let history = &mut work.history;
        // Told again, what is forgotten is a duplicate, and no news.
        let gone = history.rows.iter().filter(|row| row.position < below);
        work.write.seen.extend(gone.map(|row| (row.occurred_at, trimmed_id(&row.event_id, row.rules), row.position)));
        history.rows.retain(|row| row.position >= below);
        history.engagement = Engagement::default();
        if history.rows.is_empty() {
            history.address.clear();
        }
        work.write.rows.retain(|row| row.position >= below);
        work.write.forget = Some(Forget { position: number, below, ends, places: Vec::new() });
        Ok(Verdict { fate: Fate::Emitted, outputs: Vec::new() })
    }

    /// Every end to come that was set below an erasure and not again since, as far as it is known.
    async fn ends(&self, event: &CanonicalEvent, work: &Work, below: u64) -> Result<Vec<Due>, StageError> {
        let key = event.key();
        let mut audit = self.store.audit(&key, AUDIT_MAX).await.map_err(unavailable)?;
        audit.extend(work.write.audit.iter().cloned());
        let away = |error: schemas::DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(audit.iter().map(|(_, _, bytes)| bytes.as_slice())).await.map_err(away)?;
        let (mut before, mut since) = (BTreeSet::new(), BTreeSet::new());
        for (position, scope, bytes) in audit {
            let record: DeltaRecord = schemas::decode(&bytes).map_err(broken)?;
            let delta = Delta::try_from(record).map_err(broken)?;
            let end =
                |standing: Option<Standing>| Some(Due { at: standing?.until?, key: key.clone(), scope: scope.clone() });
            let set = if position <= below { &mut before } else { &mut since };
            set.extend([end(delta.before), end(delta.now)].into_iter().flatten());
        }
        // What the erasure keeps is no longer waited for.
        Ok(before.difference(&since).cloned().collect())
    }
}

/// For each scope in force: what holds is the same, and from here on rests on what was kept.
fn changes(was: &Decision, now: &Decision) -> Vec<Change> {
    let before = was.by_scope();
    let change = |(scope, cause): (&Scope, &domain::Cause)| {
        let was = before.get(scope).map(|cause| cause.standing());
        (scope.clone(), domain::Change::Erased, was, Some(cause.standing()))
    };
    now.by_scope().into_iter().map(change).collect()
}
