//! Traces: whether their receiver takes a request without spans.

use super::{Findings, Health, endpoint, running::Samples};
use crate::config::Config;
use http::StatusCode;
use service::{
    http_client::HttpError,
    traces::{Environment, probe},
};

/// Checks where traces go, as the file and the common variables say.
pub(super) async fn check(
    config: &Config,
    environment: Environment,
    is_offline: bool,
    running: Option<&Samples>,
    findings: &mut Findings,
) {
    let mut traces = config.traces.clone();
    let settings = traces.adopt(environment).and_then(|()| traces.settings("doctor"));
    let settings = match settings {
        Ok(Some(settings)) => settings,
        Ok(None) => return findings.ok("traces", "off: no traces.endpoint"),
        Err(error) => return findings.fail("traces", format!("{error:#}")),
    };
    let (health, detail) = if is_offline {
        (Health::Ok, "not asked (--offline)".to_owned())
    } else {
        judge(&probe(settings, endpoint::PATIENCE).await)
    };
    findings.add("traces", health, detail);
    let dropped = running.and_then(|samples| samples.sum("quell_traces_dropped_total", &[])).unwrap_or_default();
    if dropped > 0.0 {
        let detail = format!(
            "{dropped} spans were lost since the start: the receiver was away or too slow, or traces.sample is too high \
             (quell_traces_dropped_total says which)"
        );
        findings.warn("spans", detail);
    }
}

/// What the receiver said to nothing at all (OTLP: it should be a success).
fn judge(answer: &Result<StatusCode, HttpError>) -> (Health, String) {
    let status = match answer {
        Ok(status) => *status,
        Err(error) => return (Health::Fail, endpoint::unreachable("traces.endpoint", error)),
    };
    match status.as_u16() {
        200..=299 => (Health::Ok, "the receiver takes requests".to_owned()),
        401 | 403 => {
            (Health::Fail, format!("the receiver answers {status}: put its key into traces.headers, or mend it there"))
        }
        404 | 405 => (
            Health::Fail,
            format!(
                "the receiver answers {status}: traces.endpoint is to be its whole path for OTLP over HTTP, often /v1/traces"
            ),
        ),
        415 => (Health::Fail, format!("the receiver answers {status}: it must take OTLP over HTTP in JSON")),
        429 | 500..=599 => (
            Health::Warn,
            format!(
                "the receiver answers {status}: spans are lost while it does, and nothing waits for it; look at it"
            ),
        ),
        _ => (Health::Fail, format!("the receiver answers {status}: compare traces.endpoint with its manual")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::endpoint::tests::endpoint, *};

    async fn found(endpoint: &str, is_offline: bool, metrics: Option<&str>) -> Vec<(String, Health, String)> {
        let config: Config =
            service::config::parse("test", &format!("[traces]\nendpoint = \"{endpoint}\"\n"), []).unwrap();
        let mut findings = Findings::default();
        let running = metrics.map(Samples::read);
        check(&config, Environment::default(), is_offline, running.as_ref(), &mut findings).await;
        findings.0.into_iter().map(|found| (found.check, found.health, found.detail)).collect()
    }

    #[tokio::test]
    async fn the_receiver_of_traces_is_judged_by_what_it_says_to_none() {
        use Health::*;
        for (status, health, says) in [
            (200, Ok, "takes requests"),
            (401, Fail, "traces.headers"),
            (404, Fail, "/v1/traces"),
            (415, Fail, "JSON"),
            (400, Fail, "manual"),
            (503, Warn, "503"),
        ] {
            let (url, got) = endpoint(status).await;
            let all = found(&url, false, None).await;
            assert!(all.len() == 1 && all[0].1 == health && all[0].2.contains(says), "{status}: {all:?}");
            assert_eq!(*got.lock().unwrap(), [(http::Method::POST, br#"{"resourceSpans":[]}"#.len())]);
        }
        let (url, got) = endpoint(200).await;
        assert_eq!(found(&url, true, None).await[0].1, Ok);
        assert_eq!(got.lock().unwrap().len(), 0);
        let away =
            found("http://127.0.0.1:1/?key=s3cret", false, Some("quell_traces_dropped_total{reason=\"a\"} 5\n")).await;
        assert!(
            away[0].1 == Fail && away[0].2.contains("traces.endpoint") && !away[0].2.contains("s3cret"),
            "{away:?}"
        );
        assert!(away[1].1 == Warn && away[1].2.starts_with("5 spans"), "{away:?}");
    }

    #[tokio::test]
    async fn the_common_variables_count_here_too() {
        let judged = async |environment: Environment| {
            let mut findings = Findings::default();
            check(&Config::default(), environment, false, None, &mut findings).await;
            (findings.0[0].health, findings.0[0].detail.clone())
        };
        assert_eq!(judged(Environment::default()).await.0, Health::Ok);
        let (url, got) = endpoint(200).await;
        assert_eq!(judged(Environment { url: Some(url), ..Environment::default() }).await.0, Health::Ok);
        assert_eq!(got.lock().unwrap().len(), 1);
        let grpc = Environment {
            url: Some("http://c:4317".to_owned()),
            foreign_protocol: Some("grpc".to_owned()),
            ..Environment::default()
        };
        let (health, detail) = judged(grpc).await;
        assert!(health == Health::Fail && detail.contains("4318"), "{detail}");
    }
}
