//! The lookup API, as its client.

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use service::{
    Secret,
    http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions, HttpError, HttpStream},
};
use std::{path::PathBuf, time::Duration};

/// The largest answer taken whole. Exports are streamed instead.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Questions (never acts) are asked so often before we give up.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How the lookup API is reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ApiArgs {
    /// URL of the lookup API
    #[arg(long, env = "QUELL_API", default_value = "http://127.0.0.1:8081", value_name = "URL")]
    api: String,
    /// File that holds the bearer token; without it, the environment variable QUELL_TOKEN does
    #[arg(long, env = "QUELL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Root certificate (PEM) to trust beside the system's
    #[arg(long, env = "QUELL_API_CA", value_name = "FILE")]
    api_ca: Option<PathBuf>,
    /// Whose recipients; without it the token's tenant, or `default`
    #[arg(long, env = "QUELL_TENANT", value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nothing of that name is there (404).
    #[error("{0}")]
    NotThere(String),
    /// The server says no, and what to do.
    #[error("the API at {api} answered {status}: {detail}{hint}")]
    Refused { api: String, status: StatusCode, detail: String, hint: &'static str },
    /// Nobody answers there.
    #[error(
        "nobody answers at {api} ({detail}): is `quell up` running? Start it (`quell --config FILE up`), or say where it \
         is with --api URL or QUELL_API"
    )]
    Away { api: String, detail: String },
    /// The exchange failed.
    #[error("no answer from {api}: {error}")]
    Failed { api: String, error: HttpError },
    /// What came is no answer of this API.
    #[error("{api} answered what the lookup API never does ({detail}): does --api name its port?")]
    Strange { api: String, detail: String },
}

/// A client of the lookup API.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    client: HttpClient,
    base: String,
    headers: HeaderMap,
    pub(crate) tenant: Option<String>,
}

impl ApiArgs {
    /// The client, with its token.
    pub(crate) fn connect(&self) -> anyhow::Result<Api> {
        let roots_pem = match &self.api_ca {
            Some(path) => {
                vec![std::fs::read(path).with_context(|| format!("cannot read --api-ca {}", path.display()))?]
            }
            None => Vec::new(),
        };
        let options = HttpClientOptions {
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            answer_bytes_max: ANSWER_BYTES_MAX,
            // The operator says where it is, and it usually is this machine.
            allow_private: true,
            roots_pem,
            ..HttpClientOptions::default()
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = self.token()? {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value =
                value.context("the token holds characters that no token has: check QUELL_TOKEN or --token-file")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let base = self.api.trim_end_matches('/').to_owned();
        Ok(Api { client: HttpClient::new(&options)?, base, headers, tenant: self.tenant.clone() })
    }

    /// Never an argument: arguments stand in the list of processes.
    fn token(&self) -> anyhow::Result<Option<String>> {
        if let Some(path) = &self.token_file {
            let secret = Secret::follow(&format!("file:{}", path.display())).map_err(anyhow::Error::msg);
            return Ok(Some(secret.context("--token-file")?.expose().to_owned()));
        }
        Ok(std::env::var("QUELL_TOKEN").ok().filter(|token| !token.is_empty()))
    }
}

impl Api {
    /// A GET with a query; parameters without a value are left out. Asked again where the server is busy.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<Value, ApiError> {
        let answer = self.ask(Method::GET, &with_query(path, query), None).await?;
        self.json(&answer.body)
    }

    /// A question with a body, asked again where the server is busy or the connection breaks: it changes nothing.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<HttpAnswer, ApiError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            let told = match self.client.call(self.call(method.clone(), path, body.clone())).await {
                Ok(answer) if is_busy(answer.status) => retry_after(&answer.headers),
                Ok(answer) => return self.judged(answer),
                Err(HttpError::Broken(_)) => None,
                Err(error) => return Err(self.failed(error)),
            };
            tokio::time::sleep(told.unwrap_or(wait).min(WAIT_MAX)).await;
            wait *= 2;
        }
        self.once(method, path, body).await
    }

    /// An act, called once; the answer as JSON.
    pub(crate) async fn act(&self, method: Method, path: &str, body: &Value) -> Result<Value, ApiError> {
        let answer = self.once(method, path, Some(("application/json", body.to_string().into()))).await?;
        self.json(&answer.body)
    }

    /// An act that is the same act however often it is called: its key is derived from what it says.
    pub(crate) async fn act_once(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let text = body.to_string();
        let key = format!("import-{}", domain::EventId::derive(&[path, &text]));
        let mut keyed = self.clone();
        if let Ok(value) = HeaderValue::try_from(key) {
            keyed.headers.insert("idempotency-key", value);
        }
        let answer = keyed.ask(Method::POST, path, Some(("application/json", text.into()))).await?;
        self.json(&answer.body)
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<HttpAnswer, ApiError> {
        let answer = self.client.call(self.call(method, path, body)).await.map_err(|error| self.failed(error))?;
        self.judged(answer)
    }

    /// An answer of any length, piece by piece.
    pub(crate) async fn open(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<HttpStream, ApiError> {
        let call = self.call(Method::GET, &with_query(path, query), None);
        let mut stream = self.client.open(call).await.map_err(|error| self.failed(error))?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let body = stream.next().await.ok().flatten().unwrap_or_default();
        Err(self.refused(stream.status, &body))
    }

    /// What a stream's failure means.
    pub(crate) fn failed(&self, error: HttpError) -> ApiError {
        let api = self.base.clone();
        match error {
            HttpError::Connect(detail) => ApiError::Away { api, detail },
            error => ApiError::Failed { api, error },
        }
    }

    fn call(&self, method: Method, path: &str, body: Option<(&'static str, Bytes)>) -> HttpCall {
        let mut headers = self.headers.clone();
        let body = match body {
            Some((content_type, body)) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                body
            }
            None => Bytes::new(),
        };
        HttpCall { method, url: format!("{}{path}", self.base), headers, body }
    }

    fn judged(&self, answer: HttpAnswer) -> Result<HttpAnswer, ApiError> {
        if answer.status.is_success() { Ok(answer) } else { Err(self.refused(answer.status, &answer.body)) }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ApiError {
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
        }
        let Ok(Problem { detail }) = serde_json::from_slice(body) else {
            return ApiError::Strange { api: self.base.clone(), detail: status.to_string() };
        };
        let hint = match status {
            StatusCode::NOT_FOUND => return ApiError::NotThere(detail),
            StatusCode::UNAUTHORIZED => "; put the token into QUELL_TOKEN, or its file's name into --token-file",
            StatusCode::FORBIDDEN => "; take another token (QUELL_TOKEN or --token-file)",
            _ => "",
        };
        ApiError::Refused { api: self.base.clone(), status, detail, hint }
    }

    fn json(&self, body: &[u8]) -> Result<Value, ApiError> {
        serde_json::from_slice(body)
            .map_err(|error| ApiError::Strange { api: self.base.clone(), detail: error.to_string() })
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

/// `Retry-After` in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// A path with its query, percent-encoded.
pub(crate) fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let given = query.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    for (at, (name, value)) in given.enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&encoded(value));
    }
    out
}

/// Percent-encodes all but the unreserved characters (RFC 3986 2.3): a path segment or a query's value.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Api {
        let options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
        let (base, headers) = ("http://127.0.0.1:1".to_owned(), HeaderMap::new());
        Api { client: HttpClient::new(&options).unwrap(), base, headers, tenant: None }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(with_query("/v1/x", &[]), "/v1/x");
        let query = [("a", None), ("tenant", Some("acme")), ("at", Some("2026-01-01T00:00:00+01:00"))];
        assert_eq!(with_query("/v1/x", &query), "/v1/x?tenant=acme&at=2026-01-01T00%3A00%3A00%2B01%3A00");
        assert_eq!(encoded("jane+a/b?c@example.com"), "jane%2Ba%2Fb%3Fc%40example.com");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let problem = br#"{"type":"urn:quell:problem:unauthorized","detail":"this token is not known here"}"#;
        let text = api().refused(StatusCode::UNAUTHORIZED, problem).to_string();
        assert!(text.contains("this token is not known here") && text.contains("QUELL_TOKEN"), "{text}");
        assert!(matches!(api().refused(StatusCode::NOT_FOUND, problem), ApiError::NotThere(_)));
        let other = api().refused(StatusCode::NOT_FOUND, b"<html>").to_string();
        assert!(other.contains("--api"), "{other}");
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_said_to_be() {
        let text = api().get("/v1/x", &[]).await.unwrap_err().to_string();
        assert!(text.contains("is `quell up` running?") && text.contains("http://127.0.0.1:1"), "{text}");
    }
}
