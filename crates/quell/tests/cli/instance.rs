//! A `quell up` with a folder and ports of its own, and the commands that ask it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};
use testkit::{SignedRequest, sign};

pub(crate) const DRIP_SECRET: &str = "drip-secret-of-a-test";
pub(crate) const GENERIC_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
/// The one of docs/unsubscribe.md.
pub(crate) const UNSUBSCRIBE_SECRET: &str = "an example secret that nobody should ever use";
pub(crate) const WRITE_TOKEN: &str = "a-token-that-may-write";
pub(crate) const READ_TOKEN: &str = "a-token-that-may-read";
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Instance {
    dir: tempfile::TempDir,
    gateway: u16,
    lookup: u16,
    admin: u16,
    child: Option<Child>,
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The same, once it ended with this code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The binary, out of reach of what the environment says to it.
pub(crate) fn quell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
        command.env_remove(name);
    }
    command.env("QUELL_BY", "tester").stdin(Stdio::null());
    command
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: status.code().expect("no signal ended it"), out: text(stdout), err: text(stderr) }
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    testkit::ports::free().expect("loopback has ports")
}

pub(crate) fn unix() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

impl Instance {
    /// Starts one and waits until it is ready.
    pub(crate) fn start() -> Self {
        let mut instance = Self::prepare(4);
        instance.begin();
        instance
    }

    /// One with a configuration of so many partitions, not started yet.
    pub(crate) fn prepare(partitions: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [gateway, lookup, admin] = free_ports();
        let config = format!(
            "data_dir = \"{}\"\n[gateway]\nlisten = \"127.0.0.1:{gateway}\"\n\
             [lookup]\nlisten = \"127.0.0.1:{lookup}\"\n\
             [[lookup.token]]\nname = \"desk\"\nsecret = \"env:CLI_WRITE\"\nrole = \"write\"\n\
             [[lookup.token]]\nname = \"sender\"\nsecret = \"env:CLI_READ\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[engine]\npartitions = {partitions}\n[logs]\nfilter = \"warn\"\n\
             [[source]]\nprovider = \"drip\"\nsecrets = [\"env:CLI_DRIP\"]\n\
             [[source]]\nprovider = \"generic\"\nsecrets = [\"env:CLI_GENERIC\"]\n\
             [[source]]\nprovider = \"dsn\"\nbearer = [\"env:CLI_WRITE\"]\n\
             [unsubscribe]\nbase_url = \"http://127.0.0.1:{gateway}\"\n\
             [[unsubscribe.key]]\nid = \"2026a\"\nsecret = \"env:CLI_UNSUBSCRIBE\"\n",
            dir.path().join("data").display(),
        );
        std::fs::write(dir.path().join("quell.toml"), config).expect("a configuration file");
        Self { dir, gateway, lookup, admin, child: None }
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn begin(&mut self) {
        let log = std::fs::File::create(self.path("log")).expect("a log file");
        let mut command = secrets(quell());
        command.arg("--config").arg(self.path("quell.toml")).arg("up").stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("the binary runs");
        let began = Instant::now();
        while self.get(self.admin, "/readyz").is_none_or(|answer| answer.status != 200) {
            let log = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let ended = child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "not ready ({ended:?}):\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    /// Ends it as a supervisor does, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let told = kill_process(Pid::from_child(&child), Signal::TERM);
        assert!(told.is_ok() && child.wait().expect("it ends").success(), "{}", read(&self.path("log")));
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Adds to the configuration of one that is not started yet.
    pub(crate) fn configure(&self, more: &str) {
        let config = read(&self.path("quell.toml"));
        self.write("quell.toml", &format!("{config}\n{more}"));
    }

    /// Where its lookups are answered.
    pub(crate) fn lookup_port(&self) -> u16 {
        self.lookup
    }

    /// Asks the lookup API; gives back the lines of the answer as JSON.
    pub(crate) fn lines(&self, path: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.lookup);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {READ_TOKEN}").parse().expect("a header's value"));
        let answer = call_once(HttpCall { method: Method::GET, url, headers, body: Bytes::new() }).expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What the admin port says.
    pub(crate) fn admin(&self, path: &str) -> String {
        let answer = self.get(self.admin, path).expect("the admin port answers");
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    }

    /// A path in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into its folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A command that asks it, with this token.
    pub(crate) fn command(&self, token: &str) -> Command {
        let mut command = secrets(quell());
        command.env("QUELL_API", format!("http://127.0.0.1:{}", self.lookup)).env("QUELL_TOKEN", token);
        command.env("QUELL_CONFIG", self.path("quell.toml"));
        command
    }

    /// Runs a command with the token that may write.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(WRITE_TOKEN).args(args))
    }

    /// Runs a command again and again until it ends with this code.
    #[track_caller]
    pub(crate) fn until(&self, code: i32, args: &[&str]) -> Ended {
        let began = Instant::now();
        loop {
            let ended = self.run(args);
            if ended.code == code {
                return ended;
            }
            assert!(began.elapsed() < PATIENCE, "never {code}: {ended:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends a bounce that Drip tells, and gives back its receipt.
    pub(crate) fn drip_bounce(&self, address: &str, at: &str) -> String {
        let event = serde_json::json!({
            "event": "subscriber.bounced",
            "data": { "email": address, "bounce_type": "hard", "bounce_reason": "Address does not exist", "occurred_at": at },
        });
        self.send(&sign::drip(&self.url("/webhooks/drip/bounce"), DRIP_SECRET, &event))
    }

    /// Sends events of the generic format, and gives back their receipt.
    pub(crate) fn generic(&self, events: &Value) -> String {
        let body = events.to_string().into_bytes();
        let id = format!("msg_{}", body.len());
        let url = self.url("/webhooks/email/events");
        self.send(&sign::standard_webhooks(&url, GENERIC_SECRET, &id, unix(), body).expect("a key"))
    }

    /// Where the gateway takes webhooks.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.gateway)
    }

    /// Sends a webhook, which must be taken, and gives back its receipt.
    pub(crate) fn send(&self, request: &SignedRequest) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(HeaderName::from_static(name), value.parse().expect("a header's value"));
        }
        let body = Bytes::from(request.body.clone());
        let call = HttpCall { method: Method::POST, url: request.url.clone(), headers, body };
        let answer = call_once(call).expect("the gateway answers");
        assert_eq!(answer.status, 202, "{:?}", answer.body);
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        answer["receipt_id"].as_str().expect("a receipt").to_owned()
    }

    /// What its admin port shows.
    pub(crate) fn metrics(&self) -> String {
        let answer = self.get(self.admin, "/metrics").expect("the admin port answers");
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    }

    fn get(&self, port: u16, path: &str) -> Option<HttpAnswer> {
        let url = format!("http://127.0.0.1:{port}{path}");
        call_once(HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn secrets(mut command: Command) -> Command {
    command.env("CLI_DRIP", DRIP_SECRET).env("CLI_GENERIC", GENERIC_SECRET);
    command.env("CLI_UNSUBSCRIBE", UNSUBSCRIBE_SECRET);
    command.env("CLI_WRITE", WRITE_TOKEN).env("CLI_READ", READ_TOKEN);
    command
}

pub(crate) fn call_once(call: HttpCall) -> Option<HttpAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = HttpClient::new(&HttpClientOptions { allow_private: true, ..HttpClientOptions::default() });
    runtime.block_on(client.expect("a client").call(call)).ok()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
