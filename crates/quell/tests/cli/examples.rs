//! The worked consumers of deploy/examples, as programs to run. They need Python 3, which `./dev test` installs.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const OTHER_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const PATIENCE: Duration = Duration::from_secs(90);

/// A program of deploy/examples.
pub(crate) fn program(path: &str) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples").join(path);
    let mut command = Command::new("python3");
    command.arg(file).stdin(Stdio::null());
    command
}

/// Rows of an SQLite file, as the standard library of Python reads them.
pub(crate) fn rows(database: &Path, query: &str) -> Vec<Value> {
    const READ: &str = "import json, sqlite3, sys\n\
        print(json.dumps(sqlite3.connect(sys.argv[1], timeout=30).execute(sys.argv[2]).fetchall()))";
    let output = Command::new("python3").args(["-c", READ]).arg(database).arg(query).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    rows.as_array().expect("rows").clone()
}

/// A receiver of webhooks, `deploy/examples/webhook/receive.py`; killed when it is dropped.
pub(crate) struct Receiver {
    database: PathBuf,
    child: Child,
}

impl Receiver {
    /// Starts one on this port, with its file in this folder. It knows the second secret only.
    pub(crate) fn start(port: u16, folder: &Path) -> Self {
        let database = folder.join(format!("webhooks-{port}.db"));
        let mut command = program("webhook/receive.py");
        command.arg(port.to_string()).arg(&database).env("WEBHOOK_SECRETS", OTHER_SECRET);
        let child = command.spawn().expect("python3 runs: install it, or let ./dev test do so");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "the receiver does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { database, child }
    }

    /// Ids and bodies, in the order in which they came.
    pub(crate) fn kept(&self) -> Vec<(String, String, Value)> {
        let rows = rows(&self.database, "SELECT id, type, data FROM webhook ORDER BY number");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        rows.iter()
            .map(|row| (text(&row[0]), text(&row[1]), serde_json::from_str(&text(&row[2])).expect("JSON")))
            .collect()
    }

    /// Waits until so many came.
    #[track_caller]
    pub(crate) fn until(&self, number: usize) -> Vec<(String, String, Value)> {
        let began = Instant::now();
        loop {
            let kept = self.kept();
            if kept.len() >= number {
                return kept;
            }
            assert!(began.elapsed() < PATIENCE, "{} of {number} came: {kept:?}", kept.len());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
