//! One process of `quell serve`.

use super::servers::{Cluster, clean};
use crate::{child::Process, http, instance::free_addresses, scrape::Scrape};
use anyhow::bail;
use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

const START_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(30);

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Gateway,
    Normalizer,
    Suppressor,
    Syncer,
    Lookup,
}

impl Role {
    /// As the command line has it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Normalizer => "normalizer",
            Self::Suppressor => "suppressor",
            Self::Syncer => "syncer",
            Self::Lookup => "lookup",
        }
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) role: Role,
    /// Where it serves, if its role serves anything.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

impl Served {
    /// Starts it. It goes on where the process of this role before it ended.
    pub(super) fn spawn(cluster: &Cluster, role: Role, accounts: &str) -> anyhow::Result<Self> {
        let [address, admin] = free_addresses()?;
        let (name, folder) = (role.word(), cluster.folder(role.word())?);
        let (data, spool) = (folder.join("data"), folder.join("spool"));
        let own = format!(
            "instance = \"{name}\"\ndata_dir = {data:?}\n\n[gateway]\nlisten = \"{address}\"\n\n[gateway.spool]\ndirectory = \
             {spool:?}\n\n[lookup]\nlisten = \"{address}\"\nopen = true\n\n[admin]\nlisten = \"{admin}\"\n"
        );
        let file = folder.join("quell.toml");
        std::fs::write(&file, cluster.role_config(&own, accounts))?;
        let mut command = clean(&cluster.quell);
        command.arg("--config").arg(&file).args(["serve", "--role", name]).envs(cluster.keys.environment());
        // Its log goes to standard error, where progress is.
        let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        Ok(Self { role, address, admin, process })
    }

    /// Starts it and waits until it is ready.
    pub(super) fn start(cluster: &Cluster, role: Role, accounts: &str) -> anyhow::Result<Self> {
        let mut served = Self::spawn(cluster, role, accounts)?;
        let began = Instant::now();
        while !http::get(served.admin, "/readyz").is_ok_and(|answer| answer.status == 200) {
            served.alive()?;
            if began.elapsed() > START_WITHIN {
                bail!("{} was not ready within {} s; its log is above", role.word(), START_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(served)
    }

    /// An error once it has ended by itself.
    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        if !self.process.is_alive() {
            bail!("{} ended by itself; its log is above", self.role.word());
        }
        Ok(())
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it tells of itself.
    pub(super) fn scrape(&self) -> anyhow::Result<Scrape> {
        Scrape::of(self.admin)
    }

    /// Ends it as a supervisor does.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        let status = self.process.stop(END_WITHIN)?;
        anyhow::ensure!(status.success(), "{} ended with {status}", self.role.word());
        Ok(())
    }
}
