//! Calls to the registry.

use super::RegistryConfig;
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use schemas::registry::{self, Ask, CONTENT_TYPE, Method, RegistryError};
use service::http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::time::Duration;

/// The largest answer that is read: a schema of ours has 3 KB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// One registry, with our credentials.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: HttpClient,
    url: String,
    headers: HeaderMap,
}

impl Client {
    pub(super) fn new(config: &RegistryConfig) -> anyhow::Result<Self> {
        let mut options = HttpClientOptions {
            timeout: Duration::from_millis(config.timeout_ms),
            connect_timeout: Duration::from_millis(config.timeout_ms),
            answer_bytes_max: ANSWER_BYTES_MAX,
            idle_per_host_max: 1,
            allow_private: config.allow_private,
            ..HttpClientOptions::default()
        };
        if let Some(file) = &config.roots {
            let pem = std::fs::read(file).with_context(|| format!("cannot read registry.roots {}", file.display()))?;
            options.roots_pem.push(pem);
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/vnd.schemaregistry.v1+json, application/json"),
        );
        let basic = config.basic_auth.as_ref().map(|pair| format!("Basic {}", STANDARD.encode(pair.expose())));
        let bearer = || config.bearer.as_ref().map(|token| format!("Bearer {}", token.expose()));
        if let Some(credentials) = basic.or_else(bearer) {
            // The error would show the secret.
            let wrong = || anyhow::anyhow!("the registry's credentials hold what no header may");
            let mut value = HeaderValue::try_from(credentials).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let url = config.url.trim_end_matches('/').to_owned();
        Ok(Self { http: HttpClient::new(&options)?, url, headers })
    }

    async fn call(&self, ask: &Ask) -> Result<HttpAnswer, RegistryError> {
        let mut headers = self.headers.clone();
        let method = match ask.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Put => http::Method::PUT,
        };
        if ask.method != Method::Get {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        }
        let url = format!("{}{}", self.url, ask.path);
        let call = HttpCall { method, url, headers, body: ask.body.clone().into() };
        self.http.call(call).await.map_err(|error| {
            let (about, detail) = (ask.about.clone(), error.to_string());
            match error {
                HttpError::Invalid(_) | HttpError::Inner(_) | HttpError::TooLarge(_) => {
                    RegistryError::Unexpected { about, status: 0, detail }
                }
                HttpError::Connect(_) | HttpError::Timeout | HttpError::Broken(_) => {
                    RegistryError::Away { about, detail }
                }
            }
        })
    }

    pub(super) async fn id(&self, ask: &Ask) -> Result<u32, RegistryError> {
        let answer = self.call(ask).await?;
        registry::read_id(ask, answer.status.as_u16(), &answer.body)
    }

    pub(super) async fn level(&self, ask: &Ask) -> Result<Option<String>, RegistryError> {
        let answer = self.call(ask).await?;
        registry::read_level(ask, answer.status.as_u16(), &answer.body)
    }

    pub(super) async fn compatible(&self, ask: &Ask) -> Result<(), RegistryError> {
        let answer = self.call(ask).await?;
        registry::read_compatible(ask, answer.status.as_u16(), &answer.body)
    }

    pub(super) async fn done(&self, ask: &Ask) -> Result<(), RegistryError> {
        let answer = self.call(ask).await?;
        registry::read_done(ask, answer.status.as_u16(), &answer.body)
    }

    /// The schema's text; the inner error says why what is there can never be used.
    pub(super) async fn schema(&self, id: u32) -> Result<Result<String, String>, RegistryError> {
        let ask = Ask::schema(id);
        let answer = self.call(&ask).await?;
        registry::read_schema(&ask, answer.status.as_u16(), &answer.body)
    }
}
