//! A `quell up` of its own: data directory, ports, configuration, process.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use serde_json::Value;
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use testkit::SignedRequest;

pub(crate) const DRIP_SECRET: &str = "drip-secret";
pub(crate) const MAILGUN_KEY: &str = "mailgun-key";
pub(crate) const GENERIC_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

pub(crate) struct Instance {
    dir: tempfile::TempDir,
    webhooks: u16,
    lookups: u16,
    admin: u16,
    child: Option<Child>,
    client: HttpClient,
}

fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    let target = here.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps");
    let binary = target.join("quell");
    assert!(binary.exists(), "{} is missing: build it first with `cargo build -p quell`", binary.display());
    binary
}

impl Instance {
    pub(crate) fn new() -> Self {
        let client = HttpClient::new(&HttpClientOptions {
            allow_private: true,
            timeout: Duration::from_secs(10),
            answer_bytes_max: 256 << 20,
            ..HttpClientOptions::default()
        });
        let [webhooks, lookups, admin] = testkit::ports::free().expect("loopback has ports");
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            webhooks,
            lookups,
            admin,
            child: None,
            client: client.expect("a client"),
        }
    }

    fn config(&self) -> String {
        format!(
            r#"
data_dir = "{}"
[gateway]
listen = "127.0.0.1:{}"
[lookup]
listen = "127.0.0.1:{}"
open = true
[admin]
listen = "127.0.0.1:{}"
[logs]
filter = "warn"
[[source]]
provider = "drip"
secrets = ["env:E2E_DRIP"]
[[source]]
provider = "mailgun"
secrets = ["env:E2E_MAILGUN"]
[[source]]
provider = "generic"
secrets = ["env:E2E_GENERIC"]
"#,
            self.dir.path().join("data").display(),
            self.webhooks,
            self.lookups,
            self.admin
        )
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        let config = self.dir.path().join("quell.toml");
        std::fs::write(&config, self.config()).expect("a configuration file");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"));
        let child = Command::new(binary())
            .arg("--config")
            .arg(&config)
            .arg("up")
            .env("E2E_DRIP", DRIP_SECRET)
            .env("E2E_MAILGUN", MAILGUN_KEY)
            .env("E2E_GENERIC", GENERIC_SECRET)
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn();
        self.child = Some(child.expect("the binary runs"));
        for _ in 0..3_600 {
            if self.get(self.admin, "/readyz").await.is_some_and(|answer| answer.status == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not ready after 90 s; its log:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Waits for a process that was killed from outside.
    pub(crate) fn reap(&mut self) {
        let status = self.child.take().expect("it ran").wait().expect("it ends");
        assert!(status.code().is_none(), "it ended by itself ({status}); its log:\n{}", self.log());
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -TERM");
        child.wait().expect("it ends")
    }

    /// The root that signed requests are made for.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.webhooks)
    }

    /// Sends a webhook; `None` where the connection broke.
    pub(crate) async fn send(&self, request: &SignedRequest) -> Option<HttpAnswer> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(HeaderName::from_static(name), value.parse().expect("a header's value"));
        }
        let body = Bytes::from(request.body.clone());
        self.client.call(HttpCall { method: Method::POST, url: request.url.clone(), headers, body }).await.ok()
    }

    async fn get(&self, port: u16, path: &str) -> Option<HttpAnswer> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let call = HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() };
        self.client.call(call).await.ok()
    }

    /// An answer of the lookup API as text; it must be a 200.
    pub(crate) async fn lookup(&self, path: &str) -> String {
        let answer = self.get(self.lookups, path).await.expect("the lookup API answers");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{path}: {text}");
        text
    }

    /// Lines of a stream of the lookup API.
    pub(crate) async fn lines(&self, path: &str) -> Vec<Value> {
        let text = self.lookup(path).await;
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// Sum of a metric over its labels; 0 where it was never counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.get(self.admin, "/metrics").await.expect("the admin port answers");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let own = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        text.lines().filter(own).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
