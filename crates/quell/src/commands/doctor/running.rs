//! An instance that runs here: whether it answers, whether it is ready, and what its metrics say.

use super::Findings;
use crate::config::Config;
use bytes::Bytes;
use http::{HeaderMap, Method};
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Samples that are read, at most.
const SAMPLES_MAX: usize = 100_000;

/// What an instance counted since its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads Prometheus's text format, as far as our own metrics use it.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(sample).take(SAMPLES_MAX).collect())
    }

    /// Whether there is such a metric at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// The sum of a metric's samples with these labels; `None` where there is none.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples(name, labels).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// The sums of a metric's samples with these labels, by another label's value.
    pub(super) fn sums_by(&self, name: &str, labels: &[(&str, &str)], by: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples(name, labels) {
            if let Some(value) = sample.labels.get(by) {
                *sums.entry(value.clone()).or_default() += sample.value;
            }
        }
        sums
    }

    fn samples<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let has =
            |sample: &Sample, (label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|is| is == value);
        self.0.iter().filter(move |sample| sample.name == name && labels.iter().all(|label| has(sample, label)))
    }
}

/// `name{label="value",…} 1`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let end = value.char_indices().find(|(at, c)| *c == '"' && !is_escaped(value, *at))?.0;
            labels.insert(
                label.to_owned(),
                value[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\"),
            );
            rest = value[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

fn is_escaped(text: &str, at: usize) -> bool {
    text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Whether an instance answers on the admin port, what it says of itself, and what it counted. None where nobody runs.
pub(super) async fn check(config: &Config, findings: &mut Findings) -> Option<Samples> {
    let options = HttpClientOptions {
        timeout: Duration::from_secs(3),
        connect_timeout: Duration::from_secs(2),
        allow_private: true,
        ..HttpClientOptions::default()
    };
    let client = HttpClient::new(&options).ok()?;
    let admin = reachable(config.admin.listen);
    let alive = get(&client, format!("http://{admin}/livez")).await.ok()?;
    if alive.status.is_success() {
        findings.ok("running", format!("an instance answers at {admin}"));
    } else {
        findings.fail("running", format!("http://{admin}/livez answers {}: {}", alive.status, first_line(&alive)));
    }
    match get(&client, format!("http://{admin}/readyz")).await {
        Ok(ready) if ready.status.is_success() => {
            findings.ok("ready", format!("http://{admin}/readyz answers {}", ready.status))
        }
        Ok(ready) => {
            let detail =
                format!("http://{admin}/readyz answers {}: {}; its log says why", ready.status, first_line(&ready));
            findings.fail("ready", detail);
        }
        Err(error) => findings.fail("ready", format!("http://{admin}/readyz: {error}")),
    }
    match get(&client, format!("http://{admin}/metrics")).await {
        Ok(told) if told.status.is_success() => Some(Samples::read(&String::from_utf8_lossy(&told.body))),
        Ok(told) => {
            findings.fail("metrics", format!("http://{admin}/metrics answers {}: its log says why", told.status));
            Some(Samples::default())
        }
        Err(error) => {
            findings.fail("metrics", format!("http://{admin}/metrics: {error}: its log says why"));
            Some(Samples::default())
        }
    }
}

async fn get(client: &HttpClient, url: String) -> Result<HttpAnswer, HttpError> {
    client.call(HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }).await
}

fn first_line(answer: &HttpAnswer) -> String {
    String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Health;

    #[test]
    fn metrics_are_read_and_added_up() {
        let text = "# HELP a_total What.\n# TYPE a_total counter\na_total{source=\"x\",status=\"202\"} 3\n\
                    a_total{source=\"x\",status=\"401\"} 4\na_total{source=\"y \\\"z\\\"\",status=\"202\"} 5\nb 1.5\nnonsense\n";
        let samples = Samples::read(text);
        assert_eq!(samples.sum("a_total", &[]), Some(12.0));
        assert_eq!(samples.sum("a_total", &[("source", "y \"z\""), ("status", "202")]), Some(5.0));
        assert_eq!(samples.sum("a_total", &[("source", "w")]), None);
        assert_eq!(samples.sum("b", &[]), Some(1.5));
        let by = samples.sums_by("a_total", &[("source", "x")], "status");
        assert_eq!(by, BTreeMap::from([("202".to_owned(), 3.0), ("401".to_owned(), 4.0)]));
        assert!(samples.has("b") && !samples.has("c"));
    }

    /// Answers each path with a status and a body, one connection a request.
    fn instance(answers: &'static [(&'static str, &'static str, &'static str)]) -> SocketAddr {
        use std::io::{BufRead as _, BufReader, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(answers.len()) {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                let (_, status, body) = answers.iter().find(|(path, ..)| first.contains(path)).unwrap();
                let length = body.len();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                    .unwrap();
            }
        });
        address
    }

    async fn looked_at(admin: SocketAddr) -> (Option<Samples>, Vec<(String, Health)>) {
        let config: Config = service::config::parse("test", &format!("[admin]\nlisten = \"{admin}\"\n"), []).unwrap();
        let mut findings = Findings::default();
        let samples = check(&config, &mut findings).await;
        (samples, findings.0.into_iter().map(|finding| (finding.check, finding.health)).collect())
    }

    #[tokio::test]
    async fn an_instance_is_well_or_ill_or_not_there() {
        let named = |checks: &[(&str, Health)]| -> Vec<(String, Health)> {
            checks.iter().map(|(name, health)| ((*name).to_owned(), *health)).collect()
        };
        let well =
            instance(&[("/livez", "200 OK", "{}"), ("/readyz", "200 OK", "{}"), ("/metrics", "200 OK", "up 1\n")]);
        let (samples, found) = looked_at(well).await;
        assert_eq!(found, named(&[("running", Health::Ok), ("ready", Health::Ok)]));
        assert_eq!(samples.unwrap().sum("up", &[]), Some(1.0));
        let ill = instance(&[
            ("/livez", "503 Service Unavailable", "{\"live\":false}"),
            ("/readyz", "503 Service Unavailable", "{\"ready\":false}"),
            ("/metrics", "500 Internal Server Error", ""),
        ]);
        let (samples, found) = looked_at(ill).await;
        assert_eq!(found, named(&[("running", Health::Fail), ("ready", Health::Fail), ("metrics", Health::Fail)]));
        assert_eq!(samples, Some(Samples::default()));
        // A port that was free a moment ago.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(looked_at(nobody).await, (None, Vec::new()));
    }
}
