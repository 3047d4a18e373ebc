//! The seam to receivers of webhooks.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use service::http_client::{HttpCall, HttpClient, HttpError, HttpStream};
use std::{fmt, time::Duration};

/// One webhook, ready to go.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Its proof: id, time, signatures.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Bytes,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs hold tokens, and bodies hold addresses.
        f.debug_struct("Post").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What a receiver said. Nobody reads its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// `Retry-After`, as it stands.
    pub retry_after: Option<String>,
}

/// Why there is no answer. Holds no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// No connection: it was not received.
    #[error("{0}")]
    NotSent(String),
    /// It may have been received: no answer in time, or it broke off.
    #[error("{0}")]
    NoAnswer(String),
    /// It can never be sent: the address is wrong or forbidden.
    #[error("{0}")]
    Unusable(String),
}

/// Posts one webhook. Any status is an answer.
#[async_trait]
pub trait Receiver: Send + Sync + fmt::Debug {
    /// Posts it and waits for the status.
    async fn post(&self, post: &Post) -> Result<Answer, PostError>;
}

/// Over HTTP. The client bounds the wait, follows no redirect, and refuses inner addresses unless it is told not to.
#[derive(Debug, Clone)]
pub struct HttpReceiver {
    client: HttpClient,
}

impl HttpReceiver {
    /// Over this client.
    pub const fn new(client: HttpClient) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Receiver for HttpReceiver {
    async fn post(&self, post: &Post) -> Result<Answer, PostError> {
        let mut headers = HeaderMap::with_capacity(post.headers.len() + 1);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &post.headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| PostError::Unusable(format!("the value of the header {name} cannot be sent")))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let call = HttpCall { method: Method::POST, url: post.url.clone(), headers, body: post.body.clone() };
        let mut stream = self.client.open(call).await.map_err(refused)?;
        let retry_after = stream.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer { status: stream.status.as_u16(), retry_after: retry_after.map(str::to_owned) };
        drain(&mut stream).await;
        Ok(answer)
    }
}

fn refused(error: HttpError) -> PostError {
    match error {
        HttpError::Invalid(_) | HttpError::Inner(_) => PostError::Unusable(error.to_string()),
        error if error.unsent() => PostError::NotSent(error.to_string()),
        error => PostError::NoAnswer(error.to_string()),
    }
}

/// A short body is read to its end, so that the connection can be used again. The status counts all the same.
async fn drain(stream: &mut HttpStream) {
    const BYTES_MAX: usize = 64 * 1_024;
    const WAIT_MAX: Duration = Duration::from_secs(1);
    let read = async {
        let mut bytes = 0;
        while let Ok(Some(piece)) = stream.next().await {
            bytes += piece.len();
            if bytes > BYTES_MAX {
                return;
            }
        }
    };
    // Where this takes longer, the connection is closed.
    let _is_over = tokio::time::timeout(WAIT_MAX, read).await;
}
