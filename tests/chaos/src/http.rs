//! Calls over loopback.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::time::Duration;
use testkit::SignedRequest;

/// A client as senders have one: it waits ten seconds for an answer.
#[derive(Debug, Clone)]
pub(crate) struct Http(HttpClient);

impl Http {
    pub(crate) fn new(connections: usize) -> anyhow::Result<Self> {
        let options = HttpClientOptions {
            timeout: Duration::from_secs(10),
            allow_private: true,
            idle_per_host_max: connections,
            answer_bytes_max: 512 << 20,
            ..HttpClientOptions::default()
        };
        Ok(Self(HttpClient::new(&options)?))
    }

    /// Sends a webhook once.
    pub(crate) async fn send(&self, request: SignedRequest) -> Result<HttpAnswer, HttpError> {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let value = value.parse().map_err(|_| HttpError::Invalid(format!("the header {name}")))?;
            headers.insert(name, value);
        }
        self.0.call(HttpCall { method: Method::POST, url: request.url, headers, body: Bytes::from(request.body) }).await
    }

    /// Posts JSON once: status and body.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> anyhow::Result<(StatusCode, String)> {
        let mut all = HeaderMap::new();
        for (name, value) in headers.iter().chain(&[("content-type", "application/json")]) {
            all.insert(*name, value.parse().with_context(|| format!("the header {name}"))?);
        }
        let body = Bytes::from(body.to_string());
        let call = HttpCall { method: Method::POST, url: url.to_owned(), headers: all, body };
        let answer = self.0.call(call).await.with_context(|| format!("POST {url}"))?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// The body of a 200; anything else is an error.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<String> {
        let call = HttpCall { method: Method::GET, url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
        let answer = self.0.call(call).await.with_context(|| format!("GET {url}"))?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != StatusCode::OK {
            bail!("GET {url} was answered {}: {body}", answer.status);
        }
        Ok(body)
    }
}

/// The sum of a metric over its series.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let is_it = rest.starts_with('{') || rest.starts_with(' ');
        if is_it { rest.rsplit(' ').next()?.parse::<f64>().ok() } else { None }
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed() {
        let text = "# TYPE a gauge\na{x=\"1\"} 3\na{x=\"2\"} 4\nab 9\nb 2\n";
        assert_eq!((metric(text, "a"), metric(text, "b"), metric(text, "c")), (7.0, 2.0, 0.0));
    }
}
