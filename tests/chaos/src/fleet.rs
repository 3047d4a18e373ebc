//! All instances, and their supervisor.

use crate::{
    http::{self, Http},
    instance::{self, Common, Ended, Instance, ROLES, Role},
    journal::Journal,
};
use anyhow::{Context as _, bail};
use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const LOOK: Duration = Duration::from_millis(50);
const END_MAX: Duration = Duration::from_secs(30);

/// How many of each role.
pub(crate) const fn count(role: Role) -> usize {
    match role {
        Role::Gateway | Role::Normalizer | Role::Suppressor | Role::Syncer => 2,
        Role::Lookup => 1,
    }
}

/// Every process of `quell`. Clones are the same fleet.
#[derive(Debug, Clone)]
pub(crate) struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instances: Vec<Mutex<Instance>>,
    ended: Mutex<Vec<Ended>>,
}

/// An instance that was replaced.
#[derive(Debug)]
pub(crate) struct Replaced {
    name: String,
    ended_after: Duration,
    ready_after: Duration,
    /// How it ended, where that is wrong.
    pub(crate) unclean: Option<String>,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ended_after, ready_after, .. } = self;
        write!(f, "{name}: ended in {:.1} s, ready in {:.1} s", ended_after.as_secs_f64(), ready_after.as_secs_f64())
    }
}

impl Fleet {
    /// Makes places for all and starts them.
    pub(crate) fn start(dir: &Path, common: &Common) -> anyhow::Result<Self> {
        let mut instances = Vec::new();
        for role in ROLES {
            for number in 1..=count(role) {
                let mut instance = Instance::new(role, number, dir, common)?;
                instance.start()?;
                instances.push(Mutex::new(instance));
            }
        }
        Ok(Self(Arc::new(Inner { instances, ended: Mutex::default() })))
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, Instance>> {
        self.0.instances.iter().map(|instance| instance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.instances.len()
    }

    /// Where the instances of a role serve.
    pub(crate) fn addresses(&self, role: Role) -> Vec<String> {
        self.all().filter(|one| one.role == role).map(|one| one.address.clone()).collect()
    }

    /// Starts again what ended, for ever.
    pub(crate) async fn supervise(self, journal: Journal) {
        loop {
            for mut instance in self.all() {
                match instance.look_after() {
                    Ok(None) => {}
                    Ok(Some(ended)) => {
                        journal.say(&format!("{} ended by itself ({}): {}", ended.name, ended.status, ended.last));
                        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
                    }
                    Err(error) => journal.say(&format!("{} cannot be looked after: {error:#}", instance.name)),
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGKILL for one of them; its name where it was up.
    pub(crate) fn kill(&self, index: usize, down: Duration) -> anyhow::Result<Option<String>> {
        let Some(mut instance) = self.all().nth(index) else { return Ok(None) };
        Ok(instance.kill(down)?.then(|| instance.name.clone()))
    }

    /// SIGTERM for one of them; once it has ended, started again; returns when it is ready.
    pub(crate) async fn replace(&self, index: usize, http: &Http) -> anyhow::Result<Replaced> {
        let begun = Instant::now();
        let (name, admin, child) = {
            let mut one = self.all().nth(index).context("no such instance")?;
            (one.name.clone(), one.admin.clone(), one.take_out()?)
        };
        let child = child.with_context(|| format!("{name} is down"))?;
        let status = tokio::task::spawn_blocking(move || instance::wait(child, begun + END_MAX)).await??;
        let ended_after = begun.elapsed();
        self.all().nth(index).context("no such instance")?.start()?;
        let begun = Instant::now();
        while http.get(&format!("http://{admin}/readyz")).await.is_err() {
            if begun.elapsed() > END_MAX {
                bail!("{name} was not ready again after {} s", END_MAX.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
        let unclean = (!status.success()).then(|| format!("{name} ended with {status}"));
        Ok(Replaced { name, ended_after, ready_after: begun.elapsed(), unclean })
    }

    /// Everything is to be up.
    pub(crate) fn hurry(&self) {
        self.all().for_each(|mut instance| instance.hurry());
    }

    /// Kills by role.
    pub(crate) fn kills(&self) -> BTreeMap<&'static str, u64> {
        let mut kills = BTreeMap::new();
        self.all().for_each(|one| *kills.entry(one.role.word()).or_default() += one.kills);
        kills
    }

    /// How often one ended by itself, and the last words of each.
    pub(crate) fn ended(&self) -> Vec<String> {
        let ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().map(|one| format!("{} ({}): {}", one.name, one.status, one.last)).collect()
    }

    /// Waits until every process says that it is ready.
    pub(crate) async fn ready(&self, http: &Http, max: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + max;
        loop {
            let mut waiting = Vec::new();
            let places: Vec<(String, String, bool)> =
                self.all().map(|one| (one.name.clone(), one.admin.clone(), one.is_running())).collect();
            for (name, admin, is_running) in places {
                if !is_running || http.get(&format!("http://{admin}/readyz")).await.is_err() {
                    waiting.push(name);
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not ready after {} s: {}", max.as_secs(), waiting.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The sum of a metric over the instances of a role; none where one does not answer.
    pub(crate) async fn metric(&self, http: &Http, role: Role, name: &str) -> Option<f64> {
        let admins: Vec<String> = self.all().filter(|one| one.role == role).map(|one| one.admin.clone()).collect();
        let mut sum = 0.0;
        for admin in admins {
            sum += http::metric(&http.get(&format!("http://{admin}/metrics")).await.ok()?, name);
        }
        Some(sum)
    }

    /// SIGTERM for all; those that did not end well.
    pub(crate) fn stop(&self) -> anyhow::Result<Vec<String>> {
        for mut instance in self.all() {
            instance.terminate()?;
        }
        let deadline = Instant::now() + END_MAX;
        let mut unclean = Vec::new();
        for mut instance in self.all() {
            match instance.reap(deadline)? {
                Some(status) if status.success() => {}
                Some(status) => unclean.push(format!("{} ended with {status}", instance.name)),
                None => unclean.push(format!("{} was down", instance.name)),
            }
        }
        Ok(unclean)
    }
}
