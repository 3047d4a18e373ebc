//! The plan of faults, and its execution: instances killed all the time, one server out at a time.

use crate::{
    cluster::{Cluster, steer},
    dice::Dice,
    fleet::Fleet,
    journal::Journal,
    providers::{ACCOUNTS, Providers},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Something that is out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outage {
    BrokerStop,
    BrokerPause,
    StoreStop,
    StoreKill,
    StorePause,
    ProviderDown,
}

/// Every outage. The first four come first in a run, so that a short one has them too. The one broker is never killed: back
/// again, Apache Kafka 4.3 drops the ends of the transactions that were under way, and their groups wait for ever. Several
/// brokers have another leader to write them.
const OUTAGES: [Outage; 6] = [
    Outage::BrokerStop,
    Outage::StorePause,
    Outage::StoreStop,
    Outage::ProviderDown,
    Outage::StoreKill,
    Outage::BrokerPause,
];
/// Outages that every run has.
pub(crate) const FIRST: u64 = 4;

impl Outage {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::BrokerStop => "broker stopped",
            Self::BrokerPause => "broker paused",
            Self::StoreStop => "store stopped",
            Self::StoreKill => "store killed",
            Self::StorePause => "store paused",
            Self::ProviderDown => "provider down",
        }
    }
}

/// One step of a plan: after so long, this, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step<T> {
    pub(crate) after: Duration,
    pub(crate) what: T,
    pub(crate) lasts: Duration,
}

/// Kills, for ever: each instance once in turn, in an order of chance. Most are up again at once; some are missed by their
/// group first.
pub(crate) fn kills(seed: u64, n_instances: usize) -> impl Iterator<Item = Step<usize>> {
    let mut dice = Dice::new(seed, 3);
    let mut deck: Vec<usize> = Vec::new();
    std::iter::from_fn(move || {
        if deck.is_empty() {
            deck = (0..n_instances).collect();
            dice.shuffle(&mut deck);
        }
        let lasts = if dice.roll(8) == 0 { dice.between(12_000, 16_000) } else { dice.between(100, 2_500) };
        let after = Duration::from_millis(dice.between(2_000, 8_000));
        Some(Step { after, what: deck.pop()?, lasts: Duration::from_millis(lasts) })
    })
}

/// Outages, for ever, one after the other.
pub(crate) fn outages(seed: u64) -> impl Iterator<Item = Step<Outage>> {
    let mut dice = Dice::new(seed, 4);
    let mut n_told = 0;
    std::iter::from_fn(move || {
        let what = match OUTAGES.get(n_told) {
            Some(first) => *first,
            None => dice.pick(&OUTAGES)?,
        };
        // The first follow closely; then there is time between them to get on with the work, or nothing ever comes through:
        // a server alone takes ten seconds and more to be back.
        let after = Duration::from_millis(if n_told < 4 { 4_000 } else { dice.between(20_000, 45_000) });
        n_told += 1;
        // Longer than a request may take, where it is a pause.
        let lasts = match what {
            Outage::StorePause => dice.between(7_000, 10_000),
            Outage::BrokerPause => dice.between(4_000, 14_000),
            Outage::ProviderDown => dice.between(3_000, 12_000),
            _ => dice.between(2_000, 9_000),
        };
        Some(Step { after, what, lasts: Duration::from_millis(lasts) })
    })
}

/// The faults of a run.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) fleet: Fleet,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) providers: Arc<Providers>,
    pub(crate) journal: Journal,
    /// At least so many kills.
    pub(crate) kills_min: u64,
    /// The load has been sent: end as soon as the least was done.
    pub(crate) enough: AtomicBool,
    pub(crate) n_kills: AtomicU64,
}

/// How often each outage was.
pub(crate) type Outages = BTreeMap<Outage, u64>;

impl Faults {
    /// Until the load has been sent and the least was done.
    pub(crate) async fn run(self: &Arc<Self>) -> anyhow::Result<Outages> {
        let (one, other) = (Arc::clone(self), Arc::clone(self));
        let killing = tokio::spawn(async move { one.kill_instances().await });
        let outages = tokio::spawn(async move { other.take_servers_out().await });
        killing.await??;
        outages.await?
    }

    fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    async fn kill_instances(&self) -> anyhow::Result<()> {
        for step in kills(self.seed, self.fleet.len()) {
            if self.is_enough() && self.n_kills.load(Ordering::Relaxed) >= self.kills_min {
                break;
            }
            tokio::time::sleep(step.after).await;
            if let Some(name) = self.fleet.kill(step.what, step.lasts)? {
                self.n_kills.fetch_add(1, Ordering::Relaxed);
                self.journal.say(&format!("kill -9 {name}, up again in {:.1} s", step.lasts.as_secs_f64()));
            }
        }
        Ok(())
    }

    async fn take_servers_out(&self) -> anyhow::Result<Outages> {
        let mut done = Outages::new();
        for (step, number) in outages(self.seed).zip(0_u64..) {
            if self.is_enough() && number >= FIRST {
                break;
            }
            tokio::time::sleep(step.after).await;
            self.journal.say(&format!("{} for {:.1} s", step.what.words(), step.lasts.as_secs_f64()));
            self.take_out(step.what, step.lasts, number).await?;
            self.journal.say(&format!("{}: over", step.what.words()));
            *done.entry(step.what).or_default() += 1;
        }
        Ok(done)
    }

    async fn take_out(&self, what: Outage, lasts: Duration, number: u64) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        match what {
            Outage::BrokerStop => steer(cluster, |cluster| cluster.broker.stop()).await?,
            Outage::BrokerPause => steer(cluster, |cluster| cluster.broker.pause()).await?,
            Outage::StoreStop => steer(cluster, |cluster| cluster.store.stop()).await?,
            Outage::StoreKill => steer(cluster, |cluster| cluster.store.kill()).await?,
            Outage::StorePause => steer(cluster, |cluster| cluster.store.pause()).await?,
            Outage::ProviderDown => {
                let which = usize::try_from(number).unwrap_or(0) % ACCOUNTS.len();
                let name = self.providers.take_away(which, number.is_multiple_of(2));
                let other = self.providers.stumble(which + 1);
                self.journal.say(&format!("{name} is down, {other} stumbles"));
            }
        }
        tokio::time::sleep(lasts).await;
        match what {
            Outage::BrokerStop => steer(cluster, |cluster| cluster.broker.start_again()).await,
            Outage::BrokerPause => steer(cluster, |cluster| cluster.broker.resume()).await,
            Outage::StoreStop | Outage::StoreKill => steer(cluster, |cluster| cluster.store.start_again()).await,
            Outage::StorePause => steer(cluster, |cluster| cluster.store.resume()).await,
            Outage::ProviderDown => {
                self.providers.bring_back();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_plan_and_everyone_has_a_turn() {
        let plan = |seed| kills(seed, 9).take(27).collect::<Vec<_>>();
        assert_eq!(plan(4), plan(4));
        assert_ne!(plan(4), plan(5));
        let turns: BTreeSet<usize> = plan(4).iter().take(9).map(|step| step.what).collect();
        assert_eq!(turns.len(), 9);
        let first: Vec<Outage> = outages(4).take(6).map(|step| step.what).collect();
        assert_eq!(first, OUTAGES);
        assert!(outages(4).take(100).all(|step| step.lasts < Duration::from_secs(15)));
    }
}
