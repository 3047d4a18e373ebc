//! A `quell up` to attack, and the account of what it was sent.

use crate::{
    beside::Beside,
    keys::{DOMAIN, Keys, unix},
    wire::{Answer, Line, PATIENCE, Raw, exchange},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Resident memory at most, in MiB. Bodies at work have 48 MiB at most and are held about three times over; the rest is the
/// embedded store and log.
const MEMORY_MIB_MAX: u64 = 320;

/// Provider, status, cause: what stands in `quell_gateway_webhooks_total`.
type Refused = BTreeMap<(String, String, String), u64>;

/// What differs from the usual configuration.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Lines of `[gateway.server]`.
    pub(crate) server: &'static str,
    /// Further sources.
    pub(crate) sources: String,
}

/// The process under attack, with good traffic beside it.
pub(crate) struct Bed {
    dir: tempfile::TempDir,
    child: Child,
    pub(crate) gateway: SocketAddr,
    admin: SocketAddr,
    pub(crate) keys: Arc<Keys>,
    beside: Option<Beside>,
    refused: Refused,
    accepted: u64,
    /// Causes of which nobody can say how often they come.
    any: Vec<&'static str>,
    malformed: u64,
}

impl Bed {
    pub(crate) fn start() -> Self {
        Self::with(&Change::default())
    }

    pub(crate) fn with(change: &Change) -> Self {
        let (dir, keys) = (tempfile::tempdir().expect("a temporary directory"), Arc::new(Keys::new()));
        let [gateway, lookup, admin] =
            testkit::ports::free().expect("ports").map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let config = dir.path().join("quell.toml");
        let data = dir.path().join("data");
        let text = format!(
            "data_dir = \"{}\"\n[gateway]\nlisten = \"{gateway}\"\n[gateway.server]\n{}\n\
             [lookup]\nlisten = \"{lookup}\"\nopen = true\n[admin]\nlisten = \"{admin}\"\n\
             [logs]\nfilter = \"info,ingest_gateway=debug,service=debug,providers=debug,quell=debug\"\n\
             [unengaged]\nscheduled = false\n{}{}",
            data.display(),
            change.server,
            sources(gateway),
            change.sources,
        );
        std::fs::write(&config, text).expect("a configuration file");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
            command.env_remove(name);
        }
        command.arg("--config").arg(&config).arg("up").envs(keys.environment());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the binary runs");
        let mut bed = Self {
            dir,
            child,
            gateway,
            admin,
            keys,
            beside: None,
            refused: Refused::new(),
            accepted: 0,
            any: Vec::new(),
            malformed: 0,
        };
        bed.wait_until_ready();
        bed.beside = Some(Beside::start(gateway, bed.keys.clone()));
        bed
    }

    fn wait_until_ready(&mut self) {
        let began = Instant::now();
        while self.admin_page("/readyz").is_none_or(|answer| answer.status != 200) {
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "not ready ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The origin under which the gateway is reached.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.gateway)
    }

    /// Sends a good webhook, which must be taken.
    #[track_caller]
    pub(crate) fn good(&mut self, what: &str, raw: &Raw) {
        let answer = one(what, exchange(self.gateway, &raw.bytes()));
        assert!((200..300).contains(&answer.status), "{what}: {answer:?}");
        self.accepted += 1;
    }

    /// Sends an attack, which must be refused with this status, and for this cause.
    #[track_caller]
    pub(crate) fn refused(&mut self, what: &str, raw: &Raw, status: u16, cause: &str) -> Answer {
        let answer = one(what, exchange(self.gateway, &raw.bytes()));
        self.refusal(what, &raw.target, &answer, status, cause);
        answer
    }

    /// Takes down that this was the answer to an attack.
    #[track_caller]
    pub(crate) fn refusal(&mut self, what: &str, target: &str, answer: &Answer, status: u16, cause: &str) {
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(
            answer.head.to_ascii_lowercase().contains("content-type: application/problem+json"),
            "{what}: {answer:?}"
        );
        self.expect(target, &status.to_string(), cause, 1);
    }

    /// Takes down what else must be counted.
    pub(crate) fn expect(&mut self, target: &str, status: &str, cause: &str, count: u64) {
        let provider = target.strip_prefix("/webhooks/").unwrap_or_default();
        let provider =
            if cause == "not_found" { "unknown" } else { provider.split(['/', '?']).next().unwrap_or_default() };
        *self.refused.entry((provider.to_owned(), status.to_owned(), cause.to_owned())).or_default() += count;
    }

    /// Takes down that so many good ones were sent otherwise.
    pub(crate) fn taken(&mut self, count: u64) {
        self.accepted += count;
    }

    /// Takes down that nobody can say how often these causes come.
    pub(crate) fn any_of(&mut self, causes: &[&'static str]) {
        self.any.extend(causes);
    }

    /// How often these causes were counted.
    pub(crate) fn counted_as(&self, causes: &[&str]) -> u64 {
        let figures = self.figures("quell_gateway_webhooks_total");
        let is_one =
            |labels: &BTreeMap<String, String>| causes.contains(&labels.get("cause").map_or("", String::as_str));
        figures.iter().filter(|(labels, _)| is_one(labels)).map(|(_, value)| value).sum()
    }

    /// Sends what is no request: nothing in it may be answered but by this status, and the connection must end.
    #[track_caller]
    pub(crate) fn malformed(&mut self, what: &str, bytes: &[u8], status: u16) {
        let answer = one(what, exchange(self.gateway, bytes));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        self.malformed += 1;
    }

    /// How many connections ended for this cause.
    pub(crate) fn ended(&self, cause: &str) -> u64 {
        self.figures("quell_http_connections_ended_total")
            .iter()
            .filter(|(labels, _)| labels.get("listener").is_some_and(|name| name == "gateway"))
            .filter(|(labels, _)| labels.get("cause").is_some_and(|other| other == cause))
            .map(|(_, value)| value)
            .sum()
    }

    /// Takes down that so many malformed requests were sent otherwise.
    pub(crate) fn malformed_elsewhere(&mut self, count: u64) {
        self.malformed += count;
    }

    /// How many connections the gateway has.
    pub(crate) fn open_connections(&self) -> u64 {
        let is_ours = |labels: &BTreeMap<String, String>| labels.get("listener").is_some_and(|name| name == "gateway");
        let figures = self.figures("quell_http_connections");
        figures.iter().filter(|(labels, _)| is_ours(labels)).map(|(_, value)| value).sum()
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "{what} did not come:\n{}", self.metrics());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Resident now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// A counter's values by their labels.
    pub(crate) fn figures(&self, name: &str) -> Vec<(BTreeMap<String, String>, u64)> {
        let read = |line: &str| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
            let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
            let labels = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect();
            Some((labels, value.parse::<f64>().ok()? as u64))
        };
        self.metrics().lines().filter_map(read).collect()
    }

    fn metrics(&self) -> String {
        self.admin_page("/metrics").map(|answer| answer.body).unwrap_or_default()
    }

    fn admin_page(&self, path: &str) -> Option<Answer> {
        let mut line = Line::open(self.admin).ok()?;
        line.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
        line.answer().ok()?
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn counted(&self) -> (Refused, u64) {
        let (mut refused, mut accepted) = (Refused::new(), 0);
        for (labels, value) in self.figures("quell_gateway_webhooks_total") {
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            if label("cause") == "accepted" {
                accepted += value;
            } else if !self.any.contains(&label("cause").as_str()) {
                *refused.entry((label("provider"), label("status"), label("cause"))).or_default() += value;
            }
        }
        (refused, accepted)
    }

    /// Holds the process to what the module promises, and ends it.
    pub(crate) fn finish(mut self) {
        let sent = self.beside.take().expect("it runs").finish();
        let accepted = self.accepted + sent;
        self.refused.retain(|(_, _, cause), _| !self.any.contains(&cause.as_str()));
        // A refusal is counted before it is answered; what is not answered may come a little later.
        let began = Instant::now();
        while self.counted() != (self.refused.clone(), accepted) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.counted(), (self.refused.clone(), accepted), "refused and accepted, as counted and as sent");
        self.until("a count of every malformed head", |bed| {
            bed.ended("malformed_head") + bed.ended("head_too_large") == bed.malformed
        });
        assert_eq!(self.admin_page("/livez").map(|answer| answer.status), Some(200));
        let peak = self.status_kib("VmHWM:") / 1_024;
        assert!(peak <= MEMORY_MIB_MAX, "{peak} MiB at most resident");
        // A mailbox provider that is much written to has a name there: it is nobody's address.
        let metrics = self.metrics().replace(&format!("mailbox=\"{}\"", DOMAIN), "");
        let told = kill_process(Pid::from_child(&self.child), Signal::TERM);
        assert!(told.is_ok() && self.ends_well(), "it did not end as it was told:\n{}", self.log());
        for (place, text) in [("log", self.log()), ("metrics", metrics)] {
            for secret in Keys::never_told() {
                assert!(!text.contains(secret), "{secret} stands in the {place}:\n{text}");
            }
            assert!(!text.contains("panicked"), "{place}:\n{text}");
        }
    }

    fn ends_well(&mut self) -> bool {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                return status.success();
            }
            if began.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[track_caller]
fn one(what: &str, answers: Vec<Answer>) -> Answer {
    assert_eq!(answers.len(), 1, "{what}: {answers:?}");
    answers.into_iter().next().expect("one")
}

fn sources(gateway: SocketAddr) -> String {
    let source = |provider: &str, name: &str, more: &str| {
        format!("[[source]]\nprovider = \"{provider}\"\nname = \"{name}\"\n{more}\n")
    };
    [
        source("generic", "default", "secrets = [\"env:ATTACK_GENERIC\"]"),
        source("sendgrid", "default", "secrets = [\"env:ATTACK_SENDGRID\"]"),
        source("mailgun", "default", "secrets = [\"env:ATTACK_MAILGUN\"]"),
        source("vonage", "default", "secrets = [\"env:ATTACK_VONAGE\"]"),
        source("drip", "acme", "secrets = [\"env:ATTACK_DRIP\"]"),
        source("postmark", "default", "basic_auth = [\"env:ATTACK_POSTMARK\"]"),
        source("dsn", "default", "bearer = [\"env:ATTACK_DSN\"]"),
        source("twilio", "default", &format!("secrets = [\"env:ATTACK_TWILIO\"]\npublic_url = \"http://{gateway}\"")),
    ]
    .concat()
}

/// So many seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    unix() + seconds
}
