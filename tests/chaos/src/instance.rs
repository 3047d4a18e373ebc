//! One process of `quell serve`: its folder, ports and configuration stay over restarts, as a supervisor keeps them.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use testkit::servers::Watchdog;

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Gateway,
    Normalizer,
    Suppressor,
    Syncer,
    Lookup,
}

/// Every role.
pub(crate) const ROLES: [Role; 5] = [Role::Gateway, Role::Normalizer, Role::Suppressor, Role::Syncer, Role::Lookup];

impl Role {
    /// As the command line has it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Normalizer => "normalizer",
            Self::Suppressor => "suppressor",
            Self::Syncer => "syncer",
            Self::Lookup => "lookup",
        }
    }
}

/// What all instances share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The `quell` binary.
    pub(crate) binary: PathBuf,
    /// The configuration's part that is the same for all: servers, sources, accounts.
    pub(crate) config: String,
    /// The secrets that it refers to.
    pub(crate) variables: Vec<(String, String)>,
}

/// One process and its place.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Where it serves, if its role serves anything.
    pub(crate) address: String,
    pub(crate) admin: String,
    dir: PathBuf,
    common: Common,
    child: Option<Child>,
    /// Ends the process with ours, however ours ends.
    watchdog: Watchdog,
    /// When the supervisor starts it again.
    restart_at: Option<Instant>,
    pub(crate) kills: u64,
}

/// How a process ended that nobody killed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) status: ExitStatus,
    /// What it said last.
    pub(crate) last: String,
}

const BACKOFF: Duration = Duration::from_millis(500);

impl Instance {
    /// A place for a process; nothing runs yet.
    pub(crate) fn new(role: Role, number: usize, dir: &Path, common: &Common) -> anyhow::Result<Self> {
        let name = format!("{}-{number}", role.word());
        let dir = dir.join(&name);
        fs::create_dir_all(&dir)?;
        let [serves, admin] = testkit::ports::free()?;
        let (address, admin) = (format!("127.0.0.1:{serves}"), format!("127.0.0.1:{admin}"));
        let folder = dir.display();
        let config = format!(
            "instance = \"{name}\"\ndata_dir = \"{folder}/data\"\n\n[gateway]\nlisten = \"{address}\"\n\n[gateway.spool]\n\
             directory = \"{folder}/spool\"\n\n[lookup]\nlisten = \"{address}\"\nopen = true\n\n[admin]\nlisten = \
             \"{admin}\"\n{}",
            common.config
        );
        fs::write(dir.join("quell.toml"), config)?;
        let common = common.clone();
        let watchdog = Watchdog::new(&[OsStr::new("true")])?;
        Ok(Self { role, name, address, admin, dir, common, child: None, watchdog, restart_at: None, kills: 0 })
    }

    /// Starts the process. The secrets go through its environment.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.common.binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
            command.env_remove(name);
        }
        command.arg("--config").arg(self.dir.join("quell.toml")).args(["serve", "--role", self.role.word()]);
        command.envs(self.common.variables.iter().map(|(name, value)| (name, value)));
        // Two cores carry a dozen processes and two servers.
        command.env("TOKIO_WORKER_THREADS", "2");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {}", self.common.binary.display()))?;
        self.watchdog.guard(child.id())?;
        self.child = Some(child);
        self.restart_at = None;
        Ok(())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL; up again after so long. False where it was down already.
    pub(crate) fn kill(&mut self, down: Duration) -> anyhow::Result<bool> {
        let Some(mut child) = self.child.take() else { return Ok(false) };
        child.kill()?;
        child.wait()?;
        self.watchdog.release()?;
        self.kills += 1;
        self.restart_at = Some(Instant::now() + down);
        Ok(true)
    }

    /// What a supervisor does: sees that it ended, and starts it again when it is time.
    pub(crate) fn look_after(&mut self) -> anyhow::Result<Option<Ended>> {
        let ended = match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => {
                self.child = None;
                self.watchdog.release()?;
                self.restart_at = Some(Instant::now() + BACKOFF);
                Some(Ended { name: self.name.clone(), status, last: self.last_line() })
            }
            None => None,
        };
        if self.child.is_none() && self.restart_at.is_some_and(|at| at <= Instant::now()) {
            self.start()?;
        }
        Ok(ended)
    }

    /// Up again at once, whatever was planned.
    pub(crate) fn hurry(&mut self) {
        self.restart_at = self.restart_at.map(|_| Instant::now());
    }

    /// SIGTERM, and out of the supervisor's hands: to be started again by whoever asked.
    pub(crate) fn take_out(&mut self) -> anyhow::Result<Option<Child>> {
        self.terminate()?;
        Ok(self.child.take())
    }

    /// SIGTERM.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        self.restart_at = None;
        match self.child.as_ref() {
            Some(child) => Ok(kill_process(Pid::from_child(child), Signal::TERM)?),
            None => Ok(()),
        }
    }

    /// Its exit status, once it has ended; SIGKILL after the deadline.
    pub(crate) fn reap(&mut self, deadline: Instant) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.take().map(|child| wait(child, deadline)).transpose()?;
        self.watchdog.release()?;
        Ok(status)
    }

    fn last_line(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(4_096)..];
        let tail = String::from_utf8_lossy(tail);
        tail.lines()
            .rev()
            .find(|line| line.starts_with("quell:"))
            .or_else(|| tail.lines().last())
            .unwrap_or("")
            .to_owned()
    }
}

/// The exit status of a process that was told to end; SIGKILL after the deadline. Blocks.
pub(crate) fn wait(mut child: Child, deadline: Instant) -> anyhow::Result<ExitStatus> {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    Ok(child.wait()?)
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nobody is left to be told.
            let _ = child.kill();
            let _ = child.wait();
            let _ = self.watchdog.release();
        }
    }
}
