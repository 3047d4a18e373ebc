//! A fake provider behind a real HTTP server on loopback.

use super::{Call, FakeApi, FakeProvider};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use std::{io, net::SocketAddr};
use tokio::{net::TcpListener, task::JoinHandle};

const BODY_BYTES_MAX: usize = 25 * 1_024 * 1_024;

/// A running fake; ends when dropped. Dereferences to its [`FakeApi`].
#[derive(Debug)]
pub struct Fake {
    api: FakeApi,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts on a free port of loopback.
    pub async fn start(provider: FakeProvider) -> io::Result<Self> {
        Self::start_on(provider, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on this address.
    pub async fn start_on(provider: FakeProvider, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let api = FakeApi::new(provider);
        let app = Router::new().fallback(serve).with_state(api.clone());
        let task = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { api, address, task })
    }

    /// What to configure as the account's `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The provider itself.
    pub const fn api(&self) -> &FakeApi {
        &self.api
    }
}

impl std::ops::Deref for Fake {
    type Target = FakeApi;
    fn deref(&self) -> &FakeApi {
        &self.api
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(api): State<FakeApi>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return plain(StatusCode::PAYLOAD_TOO_LARGE) };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.to_vec(),
    };
    let answer = api.answer(&call).await;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = answer.headers;
    response
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
