//! A cluster of a test's own, and instances of `quell serve` on it.
//!
//! Topic names are fixed, so each bed has a Kafka of its own; the CQL store is the one that the tests share, under a
//! keyspace of the bed's own. Everything that a bed starts ends with it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::{
    SignedRequest,
    servers::{JvmKafka, KafkaOptions},
    sign,
};

/// How a cluster of one broker overrides the declaration.
pub(crate) const SMALL: [&str; 6] = ["--partitions", "4", "--replication-factor", "1", "--min-insync", "1"];
pub(crate) const DRIP_SECRET: &str = "drip-secret-of-a-test";
pub(crate) const MAILGUN_KEY: &str = "mailgun-key-of-a-test";
pub(crate) const TOKEN: &str = "a-token-that-may-write";
/// Far more than anything takes; only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
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
    command.env("QUELL_BY", "tester").env("BED_DRIP", DRIP_SECRET).env("BED_TOKEN", TOKEN);
    command.env("BED_ERASURE", "an-erasure-key-of-a-test").env("BED_MAILGUN", MAILGUN_KEY).stdin(Stdio::null());
    command
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: status.code().expect("no signal ended it"), out: text(stdout), err: text(stderr) }
}

/// A Kafka, a keyspace, and a folder.
pub(crate) struct Bed {
    pub(crate) kafka: JvmKafka,
    pub(crate) keyspace: String,
    /// The section `kafka` of every configuration, as far as it says where the brokers are and who we are.
    pub(crate) reached: String,
    /// The address of its own store, if that is not the one that the tests share.
    pub(crate) store: Option<String>,
    /// The URL of its schema registry, if it has one.
    pub(crate) registry: Option<String>,
    /// How long a member that is not heard of keeps its partitions.
    pub(crate) session_timeout_ms: u64,
    dir: tempfile::TempDir,
}

impl Bed {
    /// A cluster on which nothing was set up yet.
    pub(crate) fn start() -> Self {
        Self::start_like(&KafkaOptions::default())
    }

    /// The same, with a Kafka that has secure listeners beside the plain one.
    pub(crate) fn start_secure() -> Self {
        Self::start_like(&KafkaOptions { secure: true, ..KafkaOptions::default() })
    }

    /// The same, with a Kafka of these options.
    pub(crate) fn start_like(options: &KafkaOptions) -> Self {
        let kafka = JvmKafka::start(options).unwrap_or_else(|error| panic!("{error}"));
        let reached = format!("brokers = \"{}\"\n", kafka.bootstrap());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let keyspace = format!("quell_{}_{}", std::process::id(), since.as_nanos() % 1_000_000_000_000);
        Self {
            kafka,
            keyspace,
            reached,
            store: None,
            registry: None,
            session_timeout_ms: 6_000,
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// The same, with the schema registry that the tests share.
    pub(crate) fn start_with_registry() -> Self {
        let registry = testkit::servers::registry().unwrap_or_else(|error| panic!("{error}"));
        Self { registry: Some(registry.url().to_owned()), ..Self::start() }
    }

    /// Makes the topics and the tables.
    pub(crate) fn set_up(&self) {
        self.set_up_like(&SMALL);
    }

    /// The same, with other numbers.
    pub(crate) fn set_up_like(&self, numbers: &[&str]) {
        self.run(&[&["topics", "apply", "--yes"], numbers].concat()).with(0);
        self.run(&["store", "migrate", "--yes"]).with(0);
    }

    /// A path in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into its folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// A command with the configuration of an operator's machine.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let config = self.write("operator.toml", &self.config("operator", [0, 0, 0]));
        let mut command = quell();
        command.args(["--config", &config]).args(args);
        command
    }

    /// Runs such a command.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args))
    }

    /// A configuration; the ports are gateway, lookup and admin.
    pub(crate) fn config(&self, instance: &str, [gateway, lookup, admin]: [u16; 3]) -> String {
        let dir = self.path(instance).display().to_string();
        let shared = || testkit::servers::cql().unwrap_or_else(|error| panic!("{error}")).address().to_owned();
        let contact_point = self.store.clone().unwrap_or_else(shared);
        let registry = self.registry.as_ref().map(|url| format!("[registry]\nurl = \"{url}\"\n")).unwrap_or_default();
        let Self { reached, keyspace, session_timeout_ms, .. } = self;
        format!(
            "data_dir = \"{dir}/data\"\ninstance = \"{instance}\"\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\n[gateway.spool]\ndirectory = \"{dir}/spool\"\n\
             [lookup]\nlisten = \"127.0.0.1:{lookup}\"\n\
             [[lookup.token]]\nname = \"desk\"\nsecret = \"env:BED_TOKEN\"\nrole = \"write\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[logs]\nfilter = \"info\"\n\
             [kafka]\nsession_timeout_ms = {session_timeout_ms}\n{reached}\
             [store]\ncontact_points = [\"{contact_point}\"]\nkeyspace = \"{keyspace}\"\nrequest_timeout_ms = 20000\n\
             [store.replication]\nclass = \"SimpleStrategy\"\nfactor = 1\n\
             [erasure]\nkey = \"env:BED_ERASURE\"\n\
             {registry}[[source]]\nprovider = \"drip\"\nsecrets = [\"env:BED_DRIP\"]\n\
             [[source]]\nprovider = \"mailgun\"\nsecrets = [\"env:BED_MAILGUN\"]\n"
        )
    }

    /// Starts an instance with these roles (`gateway,lookup`). It may not be ready yet.
    pub(crate) fn serve(&self, name: &str, roles: &str) -> Instance {
        std::fs::create_dir_all(self.path(name)).expect("a folder");
        Instance::spawn(self.dir.path(), name, |ports| self.config(name, ports), &["serve", "--role", roles])
    }
}

/// A process of `quell serve`; killed when it is dropped.
pub(crate) struct Instance {
    gateway: u16,
    lookup: u16,
    admin: u16,
    config: String,
    log: PathBuf,
    child: Child,
}

impl Instance {
    /// Starts a process of this name with its files in this folder. The ports are gateway, lookup and admin.
    pub(crate) fn spawn(dir: &Path, name: &str, config: impl FnOnce([u16; 3]) -> String, args: &[&str]) -> Self {
        let [gateway, lookup, admin] = testkit::ports::free().expect("loopback has ports");
        let file = dir.join(format!("{name}.toml"));
        std::fs::write(&file, config([gateway, lookup, admin])).expect("a file");
        let (config, log) = (file.display().to_string(), dir.join(format!("{name}.log")));
        let written = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = quell();
        command.args(["--config", &config]).args(args).stdout(Stdio::null()).stderr(written);
        let child = command.spawn().expect("the binary runs");
        Self { gateway, lookup, admin, config, log, child }
    }

    /// Waits until `/readyz` answers 200.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        let began = Instant::now();
        while get(self.admin, "/readyz").is_none_or(|answer| answer.status != 200) {
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "not ready ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What its admin port shows.
    pub(crate) fn metrics(&self) -> String {
        let answer = get(self.admin, "/metrics").expect("the admin port answers");
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs a command that asks it.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let mut command = quell();
        command.env("QUELL_API", format!("http://127.0.0.1:{}", self.lookup)).env("QUELL_TOKEN", TOKEN);
        ended(command.args(["--config", &self.config]).args(args))
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
            assert!(began.elapsed() < PATIENCE, "never {code}: {ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends a hard bounce that Drip tells, and gives back its receipt.
    #[track_caller]
    pub(crate) fn drip_bounce(&self, address: &str, at: &str) -> String {
        let event = serde_json::json!({
            "event": "subscriber.bounced",
            "data": { "email": address, "bounce_type": "hard", "bounce_reason": "Address does not exist", "occurred_at": at },
        });
        let request = sign::drip(&format!("{}/drip/bounce", self.webhooks()), DRIP_SECRET, &event);
        let (status, answer) = self.send(&request);
        assert_eq!(status, 202, "{answer}\n{}", self.log());
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["receipt_id"].as_str().expect("a receipt").to_owned()
    }

    /// Waits until the events of this webhook lie in the log.
    #[track_caller]
    pub(crate) fn until_processed(&self, receipt: &str) {
        let began = Instant::now();
        loop {
            let ended = self.run(&["receipt", receipt, "-o", "json"]);
            if ended.code == 0 && ended.json()["status"] == "processed" {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{ended:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every delta that its log holds, of each recipient in their order.
    #[track_caller]
    pub(crate) fn deltas(&self) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/v1/deltas", self.lookup);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {TOKEN}").parse().expect("a header's value"));
        let answer = call_once(HttpCall { method: Method::GET, url, headers, body: Bytes::new() });
        let answer = answer.unwrap_or_else(|| panic!("no answer:\n{}", self.log()));
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let end = lines.pop().expect("a last line");
        assert!(end.get("delta_id").is_none(), "cut off: {end}");
        lines
    }

    /// Where its gateway takes webhooks.
    pub(crate) fn webhooks(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks", self.gateway)
    }

    /// Sends a request; gives back status and body.
    #[track_caller]
    pub(crate) fn send(&self, request: &SignedRequest) -> (u16, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(HeaderName::from_static(name), value.parse().expect("a header's value"));
        }
        let (url, body) = (request.url.clone(), Bytes::from(request.body.clone()));
        let answer = call_once(HttpCall { method: Method::POST, url, headers, body });
        let answer = answer.unwrap_or_else(|| panic!("no answer:\n{}", self.log()));
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// SIGTERM; gives back the exit code.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        self.until_ended()
    }

    /// Waits until it ends; gives back the exit code.
    #[track_caller]
    pub(crate) fn until_ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn get(port: u16, path: &str) -> Option<HttpAnswer> {
    let url = format!("http://127.0.0.1:{port}{path}");
    call_once(HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() })
}

fn call_once(call: HttpCall) -> Option<HttpAnswer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = HttpClient::new(&HttpClientOptions { allow_private: true, ..HttpClientOptions::default() });
    runtime.block_on(client.expect("a client").call(call)).ok()
}
