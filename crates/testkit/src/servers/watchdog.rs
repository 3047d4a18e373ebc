//! A process that outlives ours just long enough to clean up after it, whichever way ours ends.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
};

/// Reads process ids, one a line, until the pipe closes; then kills the last one and runs the command it was given.
/// An empty line means that there is nothing to kill. Waits at most five seconds for the end of what it killed.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
  kill -9 "$pid"
  tries=0
  while kill -0 "$pid" && [ "$tries" -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
"$@"
"#;

/// A small shell that holds the read end of a pipe from this process. The kernel closes the pipe when this process ends,
/// also by `kill -9`; the shell then kills the guarded process and runs a last command.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts a watchdog that runs `last` (a command and its arguments) when this process ends or the watchdog is dropped.
    pub fn new(last: &[&OsStr]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "quell-test-watchdog"])
            .args(last)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal goes to the whole process group: not to this one.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// From now on this process is killed with ours.
    pub fn guard(&mut self, pid: u32) -> io::Result<()> {
        self.tell(&format!("{pid}\n"))
    }

    /// The guarded process has ended, and its id may belong to another one.
    pub fn release(&mut self) -> io::Result<()> {
        self.tell("\n")
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        self.pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(line.as_bytes())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.pipe = None;
        // Nothing can be done about a failure while going down.
        let _ = self.shell.wait();
    }
}
