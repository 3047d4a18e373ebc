//! `quell up` as a child process: its configuration, its start and its end.

use crate::{fakes::Fakes, http::Http, webhooks::SourceEntry};
use anyhow::{Context as _, bail};
use std::{
    fmt::Write as _,
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::{NamedTempFile, TempDir};

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);

/// Where it listens, as `host:port`.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) gateway: String,
    pub(crate) lookup: String,
    pub(crate) admin: String,
}

impl Addresses {
    /// The usual ports, if they are wanted and all of them are free; else free ones.
    pub(crate) fn choose(usual: bool) -> anyhow::Result<Self> {
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let ports = match [8080, 8081, 9464] {
            ports if usual && ports.iter().all(is_free) => ports,
            _ => testkit::ports::free().context("no free port on loopback")?,
        };
        let [gateway, lookup, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
        Ok(Self { gateway, lookup, admin })
    }
}

/// The configuration file. It holds no secret, only the names of environment variables.
pub(crate) fn config(data_dir: &Path, addresses: &Addresses, sources: &[SourceEntry], accounts: &str) -> String {
    let Addresses { gateway, lookup, admin } = addresses;
    // Nobody else reaches loopback, and the demo's visitors are to try the API without ado.
    let mut text = format!(
        "data_dir = {:?}\n\n[gateway]\nlisten = \"{gateway}\"\n\n[lookup]\nlisten = \"{lookup}\"\nopen = true\n\n\
         [admin]\nlisten = \"{admin}\"\n",
        data_dir.display().to_string()
    );
    for SourceEntry { provider, key, variable, public_url, secret: _ } in sources {
        let _ = write!(text, "\n[[source]]\nprovider = \"{provider}\"\n{key} = [\"env:{variable}\"]\n");
        if let Some(url) = public_url {
            let _ = writeln!(text, "public_url = \"{url}\"");
        }
    }
    text.push_str(accounts);
    text
}

/// The running child and its files. Ends it, and removes them, when dropped.
#[derive(Debug)]
pub(crate) struct Quell {
    binary: PathBuf,
    child: Option<Child>,
    log: Option<NamedTempFile>,
    folder: TempDir,
}

impl Quell {
    /// A place for its files; nothing runs yet.
    pub(crate) fn prepare(binary: &Path) -> anyhow::Result<Self> {
        if !binary.is_file() {
            bail!("{} is not there: build it by `cargo build -p quell`, or type `./dev demo`", binary.display());
        }
        let log = tempfile::Builder::new().prefix("quell-demo-").suffix(".log").tempfile()?;
        let folder = tempfile::Builder::new().prefix("quell-demo-").tempdir()?;
        Ok(Self { binary: binary.to_owned(), child: None, log: Some(log), folder })
    }

    /// A folder for this run, gone with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binary's path.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A command of the binary, out of reach of what the visitor's own environment says to `quell`.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts it. The secrets go through its environment, and its log into a file.
    pub(crate) fn start(
        &mut self,
        addresses: &Addresses,
        sources: &[SourceEntry],
        fakes: &Fakes,
    ) -> anyhow::Result<()> {
        let file = self.folder().join("quell.toml");
        std::fs::write(&file, config(&self.folder().join("data"), addresses, sources, &fakes.config()))?;
        let log: File = self.log.as_ref().context("the log file is kept already")?.reopen()?;
        let mut command = self.command();
        command.arg("--config").arg(&file).arg("up");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(sources.iter().map(|source| (source.variable, &source.secret)));
        command.envs(Fakes::credentials());
        // Out of the terminal's group: a Ctrl-C is for the demo, which then stops the child itself.
        command.process_group(0);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {}", self.binary.display()))?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self, http: &Http, admin: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.check_alive()?;
            if http.get(&format!("http://{admin}/readyz")).await.is_ok() {
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                bail!("quell was not ready after {} s", START_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fails if it has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => bail!("quell ended by itself ({status})"),
            None => Ok(()),
        }
    }

    /// SIGTERM, and its exit status; SIGKILL if it does not end in time.
    pub(crate) fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        // The shell's own `kill`: the command of this name is not on every machine.
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status();
        let begun = Instant::now();
        while sent.as_ref().is_ok_and(ExitStatus::success) && begun.elapsed() < STOP_MAX {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            sleep(Duration::from_millis(20));
        }
        child.kill()?;
        Ok(Some(child.wait()?))
    }

    /// Keeps the log file beyond the demo's end, and says where it is.
    pub(crate) fn keep_log(&mut self) -> Option<PathBuf> {
        self.log.take().and_then(|log| log.keep().ok()).map(|(_, path)| path)
    }
}

impl Drop for Quell {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.stop();
    }
}
