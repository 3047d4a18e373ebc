//! A real Prometheus, with the shipped configuration and rules, made faster.

use crate::{
    child::{Program, installed},
    instance::{client, get},
};
use serde_json::Value;
use service::http_client::HttpClient;
use std::{path::Path, process::Command, time::Duration};
use watch_tests::repository;

pub(crate) struct Prometheus {
    process: Program,
    url: String,
    client: HttpClient,
}

/// The text of a shipped file in which each of these stands, replaced.
#[track_caller]
pub(crate) fn with(file: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(repository(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

impl Prometheus {
    /// Starts it; it reads `admin` each second and tells `alertmanager`.
    pub(crate) async fn start(folder: &Path, admin: u16, alertmanager: u16) -> Self {
        let [port] = testkit::ports::free().unwrap();
        let rules = folder.join("rules");
        std::fs::create_dir(&rules).unwrap();
        let quick = regex::Regex::new(r"(?m)^(\s+for:) \d+[mh]$").unwrap();
        for entry in std::fs::read_dir(repository("deploy/prometheus/rules")).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            let text = std::fs::read_to_string(path).unwrap().replace("interval: 2m", "interval: 1s");
            std::fs::write(rules.join(name), quick.replace_all(&text, "$1 1s").as_ref()).unwrap();
        }
        let config = with(
            "deploy/prometheus/prometheus.yml",
            &[
                ("15s", "1s"),
                ("rules/*.yml", &format!("{}/*.yml", rules.display())),
                ("127.0.0.1:9093", &format!("127.0.0.1:{alertmanager}")),
                ("127.0.0.1:9464", &format!("127.0.0.1:{admin}")),
            ],
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(installed(&["prometheus"], "prometheus"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--log.level=warn");
        let process = Program::start(&mut command, &folder.join("prometheus.log"));
        let mut started = Self { process, url: format!("http://127.0.0.1:{port}"), client: client() };
        for _ in 0..300 {
            started.process.assert_alive();
            if get(&started.client, &format!("{}/-/ready", started.url))
                .await
                .is_some_and(|answer| answer.status == 200)
            {
                return started;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not ready after 30 s:\n{}", started.process.log());
    }

    /// What its API answers, or what it says is wrong.
    async fn api(&self, path: &str) -> Result<Value, String> {
        let answer = get(&self.client, &format!("{}/api/v1/{path}", self.url)).await.ok_or("no answer")?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(body["error"].to_string()) }
    }

    /// A query's answer now: values of any series.
    pub(crate) async fn instant(&self, expr: &str) -> Result<Vec<f64>, String> {
        Ok(values(&self.api(&format!("query?query={}", escaped(expr))).await?))
    }

    /// A query's answer over the last seconds, each: values of any series.
    pub(crate) async fn range(&self, expr: &str, seconds: u64) -> Result<Vec<f64>, String> {
        let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let path = format!("query_range?query={}&start={}&end={end}&step=1", escaped(expr), end - seconds);
        Ok(values(&self.api(&path).await?))
    }

    /// Values of a label.
    pub(crate) async fn label(&self, series: &str, label: &str) -> Vec<String> {
        let found = self.api(&format!("label/{label}/values?match[]={}", escaped(series))).await.unwrap();
        found.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// Every rule: its name, whether it could be evaluated, and what was wrong.
    pub(crate) async fn rules(&self) -> Vec<(String, String, String)> {
        let groups = self.api("rules").await.unwrap();
        let rules = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| (text(&rule["name"]), text(&rule["health"]), text(&rule["lastError"]))).collect()
    }
}

/// Every number of an answer that is one.
fn values(data: &Value) -> Vec<f64> {
    let number = |pair: &Value| pair[1].as_str().and_then(|text| text.parse::<f64>().ok());
    let one = |series: &Value| -> Vec<f64> {
        match series["values"].as_array() {
            Some(pairs) => pairs.iter().filter_map(number).collect(),
            None => number(&series["value"]).into_iter().collect(),
        }
    };
    let all = data["result"].as_array().into_iter().flatten().flat_map(one);
    all.filter(|value| value.is_finite()).collect()
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
