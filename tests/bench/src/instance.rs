//! A `quell up` to measure.

use crate::{
    child::Process,
    http,
    requests::{self, Keys},
    scrape::Scrape,
};
use anyhow::{Context as _, bail};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const START_WITHIN: Duration = Duration::from_secs(120);

/// A running instance; killed when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    process: Process,
    /// Where webhooks go.
    pub(crate) gateway: SocketAddr,
    /// Where checks go.
    pub(crate) lookup: SocketAddr,
    admin: SocketAddr,
    /// From the start to the first readiness.
    pub(crate) started_in: Duration,
}

impl Instance {
    /// Starts one on a data directory, with defaults for all that bears on speed, and waits until it is ready.
    pub(crate) fn start(quell: &Path, data: &Path, keys: &Keys) -> anyhow::Result<Self> {
        let [gateway, lookup, admin] = free_addresses()?;
        let config = tempfile::Builder::new().suffix(".toml").tempfile()?;
        std::fs::write(config.path(), configuration(data, gateway, lookup, admin))?;
        let mut command = Command::new(quell);
        command.arg("--config").arg(config.path()).arg("up").envs(keys.environment());
        let began = Instant::now();
        // Its log goes to standard error, where progress is.
        let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let mut instance = Self { process, gateway, lookup, admin, started_in: Duration::ZERO };
        while !http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200) {
            if !instance.process.is_alive() || began.elapsed() > START_WITHIN {
                bail!("quell up did not become ready; its log is above");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        instance.started_in = began.elapsed();
        Ok(instance)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The sum of a counter over its labels, from `/metrics`.
    pub(crate) fn counter(&self, name: &str) -> anyhow::Result<f64> {
        Ok(Scrape::of(self.admin)?.sum(name))
    }
}

fn configuration(data: &Path, gateway: SocketAddr, lookup: SocketAddr, admin: SocketAddr) -> String {
    let mut text = format!(
        "data_dir = {data:?}\n[gateway]\nlisten = \"{gateway}\"\n[lookup]\nlisten = \"{lookup}\"\nopen = true\n\
         [admin]\nlisten = \"{admin}\"\n[logs]\nfilter = \"warn\"\n[unengaged]\nscheduled = false\n"
    );
    text.push_str(&sources());
    text
}

/// The sources that take what is sent here. They stand at the end of a configuration.
pub(crate) fn sources() -> String {
    let source = |(provider, secret): (&str, &str)| {
        format!("[[source]]\nprovider = \"{provider}\"\nsecrets = [\"env:{secret}\"]\ntolerance = 86400\n")
    };
    [("generic", requests::GENERIC), ("sendgrid", requests::SENDGRID), ("mailgun", requests::MAILGUN)]
        .map(source)
        .concat()
}

/// Places to listen on.
pub(crate) fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let ports: [u16; N] = testkit::ports::free().context("no free port on loopback")?;
    Ok(ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}
