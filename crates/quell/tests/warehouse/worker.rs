//! A Kafka Connect worker with `deploy/connect/worker.properties`, and its REST API.

use crate::bed::Bed;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use service::http_client::{HttpCall, HttpClient, HttpClientOptions};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use testkit::servers::{ConnectOptions, JvmConnect};

const PATIENCE: Duration = Duration::from_secs(90);

/// A file of `deploy/connect`.
pub(crate) fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/connect").join(name)
}

/// The text of such a file.
#[track_caller]
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) struct Worker(pub(crate) JvmConnect);

impl Worker {
    /// Starts one for the Kafka and the registry of a bed, which writes to a database.
    pub(crate) fn start(bed: &Bed, [url, user, password]: [String; 3]) -> Self {
        let registry = bed.registry.as_deref().expect("the bed has a registry");
        // Beside the Confluent API that Quell speaks stands the one that Apicurio's own converter does.
        let registry = registry.replace("/apis/ccompat/v7", "/apis/registry/v2");
        let environment = [("URL", url), ("USER", user), ("PASSWORD", password), ("REGISTRY", registry)];
        let environment = environment.map(|(name, value)| (format!("WAREHOUSE_{name}"), value));
        let options = ConnectOptions {
            bootstrap: bed.kafka.bootstrap().to_owned(),
            properties: text("worker.properties"),
            environment: environment.to_vec(),
        };
        Self(JvmConnect::start(&options).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Puts a connector there as it is shipped; gives back its name.
    #[track_caller]
    pub(crate) fn put(&self, file: &str) -> String {
        let config = text(file);
        let name = serde_json::from_str::<Value>(&config).expect("JSON")["name"].as_str().expect("a name").to_owned();
        self.rest(Method::PUT, &format!("/connectors/{name}/config"), &config);
        name
    }

    /// Calls the REST API until it takes the call: a worker says 409 while its group finds together.
    #[track_caller]
    pub(crate) fn rest(&self, method: Method, path: &str, body: &str) -> Value {
        let began = Instant::now();
        loop {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            let url = format!("{}{path}", self.0.url());
            let call = HttpCall { method: method.clone(), url, headers, body: Bytes::from(body.to_owned()) };
            let answer = call_once(call);
            let said = answer.as_ref().map(|(status, text)| (*status, text.as_str()));
            match said {
                Some((200..300, text)) => return serde_json::from_str(text).unwrap_or(Value::Null),
                None | Some((409 | 500.., _)) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(250));
                }
                other => panic!("{method} {path}: {other:?}\n{}", self.log()),
            }
        }
    }

    /// Waits until a connector and so many tasks run.
    #[track_caller]
    pub(crate) fn until_running(&self, name: &str, tasks: usize) {
        let began = Instant::now();
        loop {
            let status = self.rest(Method::GET, &format!("/connectors/{name}/status"), "");
            let states: Vec<&Value> =
                status["tasks"].as_array().into_iter().flatten().map(|task| &task["state"]).collect();
            if states.len() == tasks && states.iter().all(|state| *state == "RUNNING") {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// How many records of its topic a connector has committed; none where it has not begun.
    pub(crate) fn committed(&self, name: &str) -> u64 {
        let offsets = self.rest(Method::GET, &format!("/connectors/{name}/offsets"), "");
        let offsets = offsets["offsets"].as_array().into_iter().flatten();
        offsets.filter_map(|partition| partition["offset"]["kafka_offset"].as_u64()).sum()
    }

    /// Waits until a connector has come that far.
    #[track_caller]
    pub(crate) fn until_committed(&self, name: &str, records: u64) {
        let began = Instant::now();
        while self.committed(name) < records {
            assert!(began.elapsed() < PATIENCE, "{name} is at {} of {records}\n{}", self.committed(name), self.log());
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// What it wrote that is worth reading.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.0.log_path()).unwrap_or_default();
        let worth = |line: &&str| ["ERROR", "WARN", "Caused by", "Exception"].iter().any(|word| line.contains(word));
        let lines: Vec<&str> = log.lines().filter(worth).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

fn call_once(call: HttpCall) -> Option<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
    let client = HttpClient::new(&options).expect("a client");
    let answer = runtime.block_on(client.call(call)).ok()?;
    Some((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()))
}
