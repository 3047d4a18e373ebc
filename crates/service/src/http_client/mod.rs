//! Outgoing HTTP: the one place where reqwest lives. Every wait and every body is bounded, redirects are not followed
//! (a provider's API has no reason to send us elsewhere), proxies of the environment are not used, and inner addresses
//! are not called unless the client is allowed to.

mod guard;

use bytes::{Bytes, BytesMut};
use guard::{InnerOnly, PublicOnly};
use http::{HeaderMap, Method, StatusCode};
use std::{fmt, net::IpAddr, time::Duration};

/// How a client behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientOptions {
    /// From the call to the end of the answer.
    pub timeout: Duration,
    /// Until connected, TLS included.
    pub connect_timeout: Duration,
    /// The largest answer that is read.
    pub answer_bytes_max: usize,
    /// Idle connections kept open a host.
    pub idle_per_host_max: usize,
    /// Whether loopback, private and link-local addresses may be called: for provider APIs that stand inside.
    pub allow_private: bool,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Further roots to trust, as PEM, beside the system's.
    pub roots_pem: Vec<Vec<u8>>,
}

impl Default for HttpClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            answer_bytes_max: 8 * 1_024 * 1_024,
            idle_per_host_max: 4,
            allow_private: false,
            user_agent: concat!("quell/", env!("CARGO_PKG_VERSION")).to_owned(),
            roots_pem: Vec::new(),
        }
    }
}

/// One request to send.
#[derive(Clone)]
pub struct HttpCall {
    /// Method.
    pub method: Method,
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// Headers, credentials among them.
    pub headers: HeaderMap,
    /// Body; may be empty.
    pub body: Bytes,
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URL and headers hold addresses and credentials.
        f.debug_struct("HttpCall")
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What came back, whatever its status.
#[derive(Clone)]
pub struct HttpAnswer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The call cannot be made at all: do not try again.
    #[error("cannot call this: {0}")]
    Invalid(String),
    /// The host is, or resolves to, an inner address.
    #[error("{0} is an inner address (loopback, private, link-local) and may not be called; allow_private permits it")]
    Inner(String),
    /// No connection: the request was not sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No whole answer in time: whether the request was carried out is not known.
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than is read; it was carried out, or not.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Broken on the way: whether the request was carried out is not known.
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

impl HttpError {
    /// Whether the request was certainly not carried out.
    pub const fn unsent(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Inner(_) | Self::Connect(_))
    }
}

/// A client for HTTP calls. Clones share connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    timeout: Duration,
    answer_bytes_max: usize,
    allow_private: bool,
}

/// An answer of any length, taken piece by piece.
#[derive(Debug)]
pub struct HttpStream {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    response: reqwest::Response,
    timeout: Duration,
}

impl HttpStream {
    /// The next piece of the body; `None` at its whole end. A body that breaks off is an error, never an end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let piece = tokio::time::timeout(self.timeout, self.response.chunk()).await;
        piece.map_err(|_| HttpError::Timeout)?.map_err(classify)
    }
}

impl HttpClient {
    /// A client with these options.
    pub fn new(options: &HttpClientOptions) -> Result<Self, HttpError> {
        crate::serve::install_crypto();
        let mut builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.idle_per_host_max)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(&options.user_agent);
        if !options.allow_private {
            builder = builder.dns_resolver(PublicOnly);
        }
        for pem in &options.roots_pem {
            let root = reqwest::Certificate::from_pem(pem).map_err(|error| invalid(&error))?;
            builder = builder.add_root_certificate(root);
        }
        let client = builder.build().map_err(|error| invalid(&error))?;
        let HttpClientOptions { timeout, answer_bytes_max, allow_private, .. } = *options;
        Ok(Self { client, timeout, answer_bytes_max, allow_private })
    }

    /// Sends a call and reads the whole answer. An answer with any status is `Ok`.
    pub async fn call(&self, call: HttpCall) -> Result<HttpAnswer, HttpError> {
        let url = reqwest::Url::parse(&call.url).map_err(|error| HttpError::Invalid(error.to_string()))?;
        self.check(&url)?;
        let request = self.client.request(call.method, url).headers(call.headers).body(call.body);
        let mut response = request.send().await.map_err(classify)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(classify)? {
            if body.len() + chunk.len() > self.answer_bytes_max {
                return Err(HttpError::TooLarge(self.answer_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer { status, headers, body: body.freeze() })
    }

    /// Sends a call and hands its answer over piece by piece. The client's timeout bounds the wait for the head and for
    /// each piece, and there is no bound on the whole: for answers that the caller passes on as they come.
    pub async fn open(&self, call: HttpCall) -> Result<HttpStream, HttpError> {
        const LONGEST: Duration = Duration::from_secs(24 * 3_600);
        let url = reqwest::Url::parse(&call.url).map_err(|error| HttpError::Invalid(error.to_string()))?;
        self.check(&url)?;
        let request = self.client.request(call.method, url).headers(call.headers).body(call.body).timeout(LONGEST);
        let sent = tokio::time::timeout(self.timeout, request.send()).await;
        let mut response = sent.map_err(|_| HttpError::Timeout)?.map_err(classify)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Ok(HttpStream { status, headers, response, timeout: self.timeout })
    }

    /// Literal addresses never reach the resolver: they are looked at here.
    fn check(&self, url: &reqwest::Url) -> Result<(), HttpError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpError::Invalid(format!("the scheme {:?}; use http or https", url.scheme())));
        }
        let host = url.host_str().ok_or_else(|| HttpError::Invalid("a URL without a host".into()))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.allow_private && !guard::is_public(address) => Err(HttpError::Inner(host.to_owned())),
            _ => Ok(()),
        }
    }
}

fn invalid(error: &reqwest::Error) -> HttpError {
    HttpError::Invalid(chain(error))
}

fn classify(error: reqwest::Error) -> HttpError {
    // URLs hold addresses of recipients: errors are shown without them.
    let error = error.without_url();
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = source {
        if let Some(inner) = at.downcast_ref::<InnerOnly>() {
            return HttpError::Inner(inner.host.clone());
        }
        source = at.source();
    }
    if error.is_connect() {
        HttpError::Connect(chain(&error))
    } else if error.is_timeout() {
        HttpError::Timeout
    } else if error.is_builder() {
        invalid(&error)
    } else {
        HttpError::Broken(chain(&error))
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(at) = source {
        text.push_str(": ");
        text.push_str(&at.to_string());
        source = at.source();
    }
    text
}

#[cfg(test)]
mod tests;
