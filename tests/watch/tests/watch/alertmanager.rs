//! A real Alertmanager, with the shipped configuration, and somebody on call.

use crate::{
    child::{Program, installed},
    instance::{client, get},
    prometheus::with,
};
use axum::{Router, extract::State, routing::post};
use serde_json::Value;
use service::http_client::HttpClient;
use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) struct Alertmanager {
    process: Program,
    pub(crate) port: u16,
    client: HttpClient,
    calls: Arc<Mutex<Vec<Value>>>,
}

/// Who is on call: keeps what the pager is told.
async fn on_call(calls: Arc<Mutex<Vec<Value>>>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = |State(calls): State<Arc<Mutex<Vec<Value>>>>, body: String| async move {
        calls.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    };
    let app = Router::new().route("/alertmanager", post(told)).with_state(calls);
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

impl Alertmanager {
    /// Starts it.
    pub(crate) async fn start(folder: &Path) -> Self {
        let [port] = testkit::ports::free().unwrap();
        let calls = Arc::default();
        let pager = on_call(Arc::clone(&calls)).await;
        let config = with(
            "deploy/prometheus/alertmanager.yml",
            &[
                ("https://on-call.example.com/", &format!("http://127.0.0.1:{pager}/")),
                ("group_wait: 10s", "group_wait: 1s"),
                // Nobody takes mail here.
                ("smtp.example.com:587", "127.0.0.1:9"),
            ],
        );
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, config).unwrap();
        let program = installed(&["prometheus-alertmanager", "alertmanager"], "prometheus-alertmanager");
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.path={}", folder.join("alertmanager").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let process = Program::start(&mut command, &folder.join("alertmanager.log"));
        let mut started = Self { process, port, client: client(), calls };
        for _ in 0..300 {
            started.process.assert_alive();
            if get(&started.client, &format!("http://127.0.0.1:{port}/-/ready"))
                .await
                .is_some_and(|answer| answer.status == 200)
            {
                return started;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not ready after 30 s:\n{}", started.process.log());
    }

    /// The alert of this name, if it has come in.
    pub(crate) async fn alert(&self, name: &str) -> Option<Value> {
        let answer = get(&self.client, &format!("http://127.0.0.1:{}/api/v2/alerts", self.port)).await?;
        let alerts: Vec<Value> = serde_json::from_slice(&answer.body).ok()?;
        alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name)
    }

    /// Names of the alerts that whoever is on call was told of.
    pub(crate) fn told(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let alerts = calls.iter().flat_map(|call| call["alerts"].as_array().cloned().unwrap_or_default());
        alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}
