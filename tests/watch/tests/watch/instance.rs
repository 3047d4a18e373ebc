//! A real `quell up`, with sources of two tenants, accounts at two fake providers, and somebody who listens.

use crate::child::Program;
use axum::{Router, routing::post};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions};
use std::{path::Path, path::PathBuf, process::Command, time::Duration};
use testkit::{Fake, SignedRequest, fake::FakeProvider, sign::SendGridKey};

pub(crate) const POSTMARK_USER: [&str; 2] = ["postmark", "a-password-of-a-test"];
const SENDGRID_API_KEY: &str = "SG.watch";
const POSTMARK_TOKEN: &str = "watch-token";
const SIGNS: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// The process, its providers and where it listens.
pub(crate) struct Instance {
    process: Program,
    pub(crate) sendgrid_key: SendGridKey,
    pub(crate) sendgrid: Fake,
    pub(crate) postmark: Fake,
    gateway: u16,
    lookup: u16,
    pub(crate) admin: u16,
    client: HttpClient,
}

/// The `quell` of the same build.
pub(crate) fn binary() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let binary = here.parent().and_then(Path::parent).unwrap().join("quell");
    assert!(binary.is_file(), "{} is missing: build it first with `cargo build -p quell`", binary.display());
    binary
}

/// A client for what runs on this machine.
pub(crate) fn client() -> HttpClient {
    let options = HttpClientOptions { allow_private: true, answer_bytes_max: 64 << 20, ..HttpClientOptions::default() };
    HttpClient::new(&options).unwrap()
}

/// Who takes deltas and alarms.
async fn listener() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().route("/deltas", post(async || ())).route("/alarms", post(async || ()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

impl Instance {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(folder: &Path) -> Self {
        let sendgrid = FakeProvider::SendGrid { api_key: SENDGRID_API_KEY.to_owned(), groups: Vec::new() };
        let postmark =
            FakeProvider::Postmark { token: POSTMARK_TOKEN.to_owned(), streams: vec!["broadcast".to_owned()] };
        let (sendgrid, postmark) = (Fake::start(sendgrid).await.unwrap(), Fake::start(postmark).await.unwrap());
        // So that the provider tells how many calls are left.
        sendgrid.set_rate_limit(Some(20));
        let sendgrid_key = SendGridKey::generate().unwrap();
        let [gateway, lookup, admin] = testkit::ports::free().unwrap();
        let config = format!(
            r#"
data_dir = "{data}"
[gateway]
listen = "127.0.0.1:{gateway}"
[lookup]
listen = "127.0.0.1:{lookup}"
open = true
[admin]
listen = "127.0.0.1:{admin}"
[logs]
filter = "warn"
[[source]]
provider = "sendgrid"
tenant = "acme"
secrets = ["env:WATCH_SENDGRID_KEY"]
[[source]]
provider = "postmark"
tenant = "beta"
basic_auth = ["env:WATCH_POSTMARK_USER"]
[[account]]
name = "sendgrid-acme"
provider = "sendgrid"
tenant = "acme"
base_url = "{sendgrid}"
credential = "env:WATCH_SENDGRID_API_KEY"
allow_private = true
sources = []
[[account]]
name = "postmark-beta"
provider = "postmark"
tenant = "beta"
base_url = "{postmark}"
credential = "env:WATCH_POSTMARK_TOKEN"
stream = "broadcast"
allow_private = true
sources = []
[[subscriber]]
name = "crm"
url = "http://127.0.0.1:{listener}/deltas"
secrets = ["env:WATCH_SIGNS"]
allow_private = true
[alarms]
every_s = 1
url = "http://127.0.0.1:{listener}/alarms"
secrets = ["env:WATCH_SIGNS"]
allow_private = true
"#,
            data = folder.join("data").display(),
            sendgrid = sendgrid.url(),
            postmark = postmark.url(),
            listener = listener().await,
        );
        let file = folder.join("quell.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
            command.env_remove(name);
        }
        command.arg("--config").arg(&file).arg("up");
        command.env("WATCH_SENDGRID_KEY", sendgrid_key.public()).env("WATCH_SENDGRID_API_KEY", SENDGRID_API_KEY);
        command.env("WATCH_POSTMARK_USER", POSTMARK_USER.join(":")).env("WATCH_POSTMARK_TOKEN", POSTMARK_TOKEN);
        command.env("WATCH_SIGNS", SIGNS);
        let process = Program::start(&mut command, &folder.join("quell.log"));
        let mut instance = Self { process, sendgrid_key, sendgrid, postmark, gateway, lookup, admin, client: client() };
        for _ in 0..600 {
            instance.process.assert_alive();
            if get(&instance.client, &format!("http://127.0.0.1:{admin}/readyz"))
                .await
                .is_some_and(|answer| answer.status == 200)
            {
                return instance;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not ready after 30 s:\n{}", instance.process.log());
    }

    /// Where a provider sends its webhooks.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/webhooks/{path}", self.gateway)
    }

    /// Sends a webhook; the status of its answer.
    pub(crate) async fn send(&self, request: &SignedRequest) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let body = Bytes::from(request.body.clone());
        let call = HttpCall { method: Method::POST, url: request.url.clone(), headers, body };
        self.client.call(call).await.unwrap().status.as_u16()
    }

    /// Asks the lookup API; the status of its answer.
    pub(crate) async fn lookup(&self, path: &str) -> u16 {
        get(&self.client, &format!("http://127.0.0.1:{}{path}", self.lookup)).await.unwrap().status.as_u16()
    }

    /// Puts the policy that is in force into force once more, as an operator does.
    pub(crate) fn apply_policy(&self, folder: &Path) {
        let api = format!("http://127.0.0.1:{}", self.lookup);
        let run = |arguments: &[&str]| {
            let done = Command::new(binary()).args(arguments).args(["--api", &api]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            done.stdout
        };
        let file = folder.join("policy.toml");
        std::fs::write(&file, run(&["policy", "show"])).unwrap();
        run(&["policy", "apply", &file.display().to_string(), "--by", "watch"]);
    }

    /// Fails, with its log, if it has ended.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        self.process.assert_alive();
    }
}

/// An answer, or nothing where nobody answers.
pub(crate) async fn get(client: &HttpClient, url: &str) -> Option<HttpAnswer> {
    let call = HttpCall { method: Method::GET, url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
    client.call(call).await.ok()
}
