//! The seam to providers' APIs.

use async_trait::async_trait;
use providers::suppression_api::{ApiAnswer, ApiRequest};
use service::http_client::{HttpCall, HttpClient};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The request certainly had no effect: no connection.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have had its effect: no answer in time, or it broke off.
    #[error("no answer: {0}")]
    Unclear(String),
    /// No such request can ever be sent: the account's address is wrong or forbidden.
    #[error("cannot be called: {0}")]
    Unusable(String),
}

/// Sends one request. Any status is an answer.
#[async_trait]
pub trait ProviderApi: Send + Sync + std::fmt::Debug {
    /// Sends it and reads the whole answer.
    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, ApiError>;
}

/// Over HTTP. The client bounds the time and the size of an answer, and refuses inner addresses unless it is told not to.
#[derive(Debug, Clone)]
pub struct HttpApi {
    client: HttpClient,
}

impl HttpApi {
    /// Over this client.
    pub const fn new(client: HttpClient) -> Self {
        Self { client }
    }
}

#[async_trait]
impl ProviderApi for HttpApi {
    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, ApiError> {
        let mut headers = http::HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let mut value = http::HeaderValue::from_str(value)
                .map_err(|_| ApiError::Unusable(format!("the value of the header {name} cannot be sent")))?;
            value.set_sensitive(true);
            headers.insert(http::HeaderName::from_static(name), value);
        }
        let call = HttpCall {
            method: request.method.clone(),
            url: request.url.clone(),
            headers,
            body: request.body.clone().unwrap_or_default().into(),
        };
        use service::http_client::HttpError;
        match self.client.call(call).await {
            Ok(answer) => {
                Ok(ApiAnswer { status: answer.status.as_u16(), headers: answer.headers, body: answer.body.to_vec() })
            }
            Err(error @ (HttpError::Invalid(_) | HttpError::Inner(_))) => Err(ApiError::Unusable(error.to_string())),
            Err(error) if error.unsent() => Err(ApiError::NotSent(error.to_string())),
            Err(error) => Err(ApiError::Unclear(error.to_string())),
        }
    }
}
