//! A server process on the local Java machine: started, watched, steered, and gone with the test process.

use super::{Kind, ServerError, cache, watchdog::Watchdog};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(50);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const PAUSED_WITHIN: Duration = Duration::from_secs(10);
const PAUSED_POLL: Duration = Duration::from_millis(1);
const RELEASE_MIN: u32 = 17;
const JDK: &str = "openjdk-17-jdk-headless";

/// Waits for the word that a watchdog stands guard, then becomes the server under the same process id. Should the parent
/// die before that word, the pipe closes and nothing starts.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// Says whether the server serves.
pub(crate) type Probe = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// How to run a server.
pub(crate) struct Plan {
    pub kind: Kind,
    /// Holds everything that the server writes. It goes with this process.
    pub dir: TempDir,
    /// What follows the program.
    pub arguments: Vec<OsString>,
    pub probe: Probe,
    /// How long a start may take on a busy machine.
    pub patience: Duration,
}

/// One server process.
pub(crate) struct JavaServer {
    plan: Plan,
    program: PathBuf,
    environment: Vec<(String, String)>,
    state: Mutex<State>,
}

struct State {
    child: Option<Child>,
    watchdog: Watchdog,
    starts: u32,
}

impl JavaServer {
    /// Starts and waits until the server serves.
    pub(crate) fn start(plan: Plan) -> Result<Self, ServerError> {
        Self::start_program(plan, program("java")?)
    }

    /// The same with a program that is not `java`.
    pub(crate) fn start_program(plan: Plan, program: PathBuf) -> Result<Self, ServerError> {
        Self::start_with(plan, program, &[])
    }

    /// The same, with further variables in its environment.
    pub(crate) fn start_with(
        plan: Plan,
        program: PathBuf,
        environment: &[(String, String)],
    ) -> Result<Self, ServerError> {
        let watchdog = Watchdog::new(&["rm".as_ref(), "-rf".as_ref(), "--".as_ref(), plan.dir.path().as_os_str()])
            .map_err(ServerError::io("starting a watchdog"))?;
        let state = Mutex::new(State { child: None, watchdog, starts: 0 });
        let server = Self { plan, program, environment: environment.to_vec(), state };
        server.start_again()?;
        Ok(server)
    }

    /// Starts the process with the same command and data, and waits until it serves.
    pub(crate) fn start_again(&self) -> Result<(), ServerError> {
        {
            let mut state = self.state();
            if state.child.is_some() {
                return Err(ServerError::Running { kind: self.plan.kind });
            }
            state.starts += 1;
            let log = File::create(self.log_of(state.starts)).map_err(ServerError::io("creating a server's log"))?;
            state.child = Some(self.spawn(log, &mut state.watchdog)?);
        }
        // The lock is free while waiting: another thread may well kill a server that starts.
        self.wait_ready().inspect_err(|_| {
            let _ = self.kill();
        })
    }

    fn spawn(&self, log: File, watchdog: &mut Watchdog) -> Result<Child, ServerError> {
        let errors = log.try_clone().map_err(ServerError::io("sharing a server's log"))?;
        let mut child = Command::new("sh")
            .args(["-c", GATE, "quell-test-server"])
            .arg(&self.program)
            .args(self.temporary_files())
            .args(&self.plan.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.plan.dir.path())
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            // A Ctrl-C at the terminal must not reach it: the watchdog ends it, after the tests.
            .process_group(0)
            .spawn()
            .map_err(ServerError::io("starting a shell for a server"))?;
        let go = watchdog.guard(child.id()).and_then(|()| match child.stdin.take() {
            Some(mut gate) => gate.write_all(b"go\n"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        });
        match go {
            Ok(()) => Ok(child),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(ServerError::io("opening the gate for a server")(error))
            }
        }
    }

    /// Native libraries that a Java program unpacks go with its folder; one that is killed would leave them in `/tmp`.
    fn temporary_files(&self) -> Option<OsString> {
        let is_java = self.program.file_name() == Some(OsStr::new("java"));
        is_java.then(|| format!("-Djava.io.tmpdir={}", self.plan.dir.path().display()).into())
    }

    fn wait_ready(&self) -> Result<(), ServerError> {
        let kind = self.plan.kind;
        let deadline = Instant::now() + self.plan.patience;
        loop {
            {
                let mut state = self.state();
                let Some(child) = state.child.as_mut() else { return Err(ServerError::NotRunning { kind }) };
                if child.try_wait().map_err(ServerError::io("looking after a server"))?.is_some() {
                    return Err(ServerError::Died { kind, log: self.log_tail(state.starts) });
                }
            }
            if (self.plan.probe)().is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let log = self.log_tail(self.state().starts);
                return Err(ServerError::NotReady { kind, after: self.plan.patience, log });
            }
            thread::sleep(POLL);
        }
    }

    /// SIGTERM, and after thirty seconds SIGKILL; returns when the process has ended. Its data stays.
    pub(crate) fn stop(&self) -> Result<(), ServerError> {
        self.signal(Signal::TERM)?;
        // A paused process would hear of it only when it goes on.
        self.signal(Signal::CONT)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            let mut state = self.state();
            let Some(child) = state.child.as_mut() else { return Ok(()) };
            if child.try_wait().map_err(ServerError::io("looking after a server"))?.is_some() {
                return state.ended();
            }
            drop(state);
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// SIGKILL; returns when the process has ended. Its data stays as it was.
    pub(crate) fn kill(&self) -> Result<(), ServerError> {
        let mut state = self.state();
        let Some(child) = state.child.as_mut() else { return Err(ServerError::NotRunning { kind: self.plan.kind }) };
        child.kill().and_then(|()| child.wait()).map_err(ServerError::io("killing a server"))?;
        state.ended()
    }

    /// SIGSTOP: connections stay open and nothing answers, from the moment on that this returns. Threads take the signal one
    /// by one, and until they all have it a question may be answered still.
    pub(crate) fn pause(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + PAUSED_WITHIN;
        while !self.pid().is_none_or(is_stopped) {
            if Instant::now() > deadline {
                return Err(ServerError::io("pausing a server")(io::ErrorKind::TimedOut.into()));
            }
            thread::sleep(PAUSED_POLL);
        }
        Ok(())
    }

    /// SIGCONT: the end of a pause.
    pub(crate) fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let state = self.state();
        let Some(child) = state.child.as_ref() else { return Err(ServerError::NotRunning { kind: self.plan.kind }) };
        // Nobody waited for this child yet, so its id cannot belong to another process.
        kill_process(Pid::from_child(child), signal)
            .map_err(|error| ServerError::io("signalling a server")(error.into()))
    }

    /// The process id while a process is there.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.state().child.as_ref().map(Child::id)
    }

    /// What the latest process wrote.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.log_of(self.state().starts)
    }

    fn log_of(&self, start: u32) -> PathBuf {
        log_of(self.plan.dir.path(), start)
    }

    fn log_tail(&self, start: u32) -> String {
        cache::tail(&fs::read(self.log_of(start)).unwrap_or_default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ended(&mut self) -> Result<(), ServerError> {
        self.child = None;
        self.watchdog.release().map_err(ServerError::io("telling the watchdog"))
    }
}

impl Drop for JavaServer {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.kill();
    }
}

impl fmt::Debug for JavaServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JavaServer").field("kind", &self.plan.kind).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// What the first process of a server in this folder writes.
pub(crate) fn first_log(dir: &Path) -> PathBuf {
    log_of(dir, 1)
}

/// Whether no thread of a process runs, as `/proc/PID/task/TID/stat` (Linux) tells by its third field.
fn is_stopped(pid: u32) -> bool {
    let runs = |task: fs::DirEntry| {
        // One that ended meanwhile runs no more.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !"TtZX".contains(state))
    };
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| !tasks.flatten().any(runs))
}

fn log_of(dir: &Path, start: u32) -> PathBuf {
    dir.join(format!("server-{start}.log"))
}

/// The path of `java` or `keytool`: from `JAVA_HOME` if that is set, else as the shell finds it.
pub(crate) fn program(name: &'static str) -> Result<PathBuf, ServerError> {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) if !home.is_empty() => Path::new(&home).join("bin").join(name),
        _ => PathBuf::from(name),
    };
    if name != "java" {
        return Ok(program);
    }
    let missing = |detail| ServerError::Program { program: name, package: JDK, detail };
    let output = Command::new(&program).arg("-version").output().map_err(|error| missing(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match release(&said) {
        Some(found) if found >= RELEASE_MIN => Ok(program),
        Some(found) => Err(missing(format!("it is Java {found}, and {RELEASE_MIN} or newer is needed"))),
        None => Err(missing("it does not say its version".to_owned())),
    }
}

/// The release from what `java -version` says: `openjdk version "17.0.15" 2025-04-15` is 17, and `"1.8.0_402"` is 8.
fn release(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    let mut parts = version.split(['.', '-', '_', '+']).map(str::parse);
    match parts.next()?.ok()? {
        1 => parts.next()?.ok(),
        release => Some(release),
    }
}

/// All jars of a folder as a class path, in the order of their names: class-data sharing wants the same order each time.
pub(crate) fn class_path(lib: &Path) -> Result<OsString, ServerError> {
    let mut jars: Vec<PathBuf> = fs::read_dir(lib)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>())
        .map_err(ServerError::io("reading the fetched jars"))?;
    jars.retain(|path| path.extension() == Some(OsStr::new("jar")));
    jars.sort();
    std::env::join_paths(jars).map_err(|error| ServerError::io("joining the class path")(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_stopped_once_all_its_threads_are() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_stopped(child.id()) && !is_stopped(std::process::id()));
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        let deadline = Instant::now() + PAUSED_WITHIN;
        while !is_stopped(child.id()) {
            assert!(Instant::now() < deadline, "it goes on");
            thread::sleep(PAUSED_POLL);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(child.id()), "who is gone is not stopped");
    }

    #[test]
    fn releases_of_java_are_read() {
        let check = |said, expected| assert_eq!(release(said), expected, "{said}");
        check("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment", Some(17));
        check("openjdk version \"21\" 2023-09-19", Some(21));
        check("openjdk version \"22-ea\" 2024-03-19", Some(22));
        check("java version \"1.8.0_402\"", Some(8));
        check("command not found", None);
        check("version \"\"", None);
    }
}
