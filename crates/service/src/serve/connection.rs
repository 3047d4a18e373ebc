//! One connection from accepting to its end.

use super::{Answers, PacedBody, ServerLimits, io::WriteTimeout, tls::Tls};
use crate::Problem;
use axum::{body::Body, response::IntoResponse};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What all connections of a listener share.
pub(super) struct Served<A> {
    pub(super) name: &'static str,
    pub(super) answers: A,
    pub(super) tls: Option<Tls>,
    pub(super) limits: ServerLimits,
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl<A: Answers> Served<A> {
    pub(super) async fn connection(&self, stream: TcpStream) {
        let accepted = Instant::now();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(listener = self.name, %error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else { return self.http(stream, accepted).await };
        let handshake = tokio::time::timeout(self.head_timeout(), tls.0.accept(stream));
        let handshake = tokio::select! {
            () = self.stop.cancelled() => return,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.http(stream, accepted).await,
            Ok(Err(error)) => tracing::debug!(listener = self.name, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(listener = self.name, "no TLS handshake in time"),
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, accepted: Instant) {
        let pulse = Arc::new(Pulse::new(accepted));
        let service = hyper::service::service_fn({
            let (answers, pulse) = (self.answers.clone(), pulse.clone());
            let (grace, rate) = (Duration::from_millis(self.limits.body_grace_ms), self.limits.body_bytes_per_s_min);
            move |request: Request<Incoming>| {
                let beat = Beat::begin(&pulse);
                let request = request.map(|body| Body::new(PacedBody::new(body, grace, rate)));
                answer(answers.clone(), request, beat)
            }
        });
        let builder = self.builder();
        let write_timeout = Duration::from_millis(self.limits.write_timeout_ms);
        let io = TokioIo::new(WriteTimeout::new(stream, write_timeout));
        let mut connection = pin!(builder.serve_connection(io, service));
        // Tokens of its own: waiting on the shared ones would make all connections meet at their locks.
        let (stop, cut) = (self.stop.child_token(), self.cut.child_token());
        let mut ending = false;
        let mut watch = pin!(tokio::time::sleep_until(accepted + self.head_timeout()));
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(listener = self.name, %error, "a connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = cut.cancelled(), if ending => return,
                () = watch.as_mut() => match pulse.idle_since() {
                    // It never sent a request's head: there is nobody to say goodbye to.
                    Some(_) if !pulse.began() => return,
                    Some(since) if since.elapsed() >= self.idle_timeout() => {
                        if ending { return; }
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                        watch.as_mut().reset(Instant::now() + self.head_timeout());
                    }
                    Some(since) => watch.as_mut().reset(since + self.idle_timeout()),
                    None => watch.as_mut().reset(Instant::now() + self.idle_timeout()),
                },
            }
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let head = self.limits.head_bytes_max.max(8_192);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // Hyper counts this from the end of the former answer: it bounds idling and a slow head alike.
            .header_read_timeout(self.idle_timeout())
            .max_buf_size(head)
            .max_headers(128)
            .pipeline_flush(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams_max)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1_024)
            .initial_connection_window_size(1_024 * 1_024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20));
        builder
    }

    fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.head_timeout_ms)
    }

    fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.idle_timeout_ms)
    }
}

async fn answer<A: Answers>(
    mut answers: A,
    request: Request<Body>,
    beat: Beat,
) -> Result<Response<Counted>, Infallible> {
    let handled = AssertUnwindSafe(async move { answers.call(request).await }).catch_unwind().await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!("a handler panicked; its request was answered 500");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side")
                .detail("try again; if it stays, the log of the service says more")
                .into_response()
        }
    };
    Ok(response.map(|body| Counted { body, _beat: beat }))
}

/// How many requests a connection has at work, and since when it has none.
#[derive(Debug)]
struct Pulse {
    accepted: Instant,
    at_work: AtomicUsize,
    begun: AtomicU64,
    /// Milliseconds from `accepted` to the end of the last answer.
    ended_ms: AtomicU64,
}

impl Pulse {
    fn new(accepted: Instant) -> Self {
        Self { accepted, at_work: AtomicUsize::new(0), begun: AtomicU64::new(0), ended_ms: AtomicU64::new(0) }
    }

    fn began(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    fn idle_since(&self) -> Option<Instant> {
        let idle = self.at_work.load(Ordering::Acquire) == 0;
        idle.then(|| self.accepted + Duration::from_millis(self.ended_ms.load(Ordering::Relaxed)))
    }
}

/// One request at work, from its head to the end of its answer's body.
#[derive(Debug)]
struct Beat(Arc<Pulse>);

impl Beat {
    fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.begun.fetch_add(1, Ordering::Relaxed);
        pulse.at_work.fetch_add(1, Ordering::AcqRel);
        Self(pulse.clone())
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let elapsed = self.0.accepted.elapsed().as_millis();
        self.0.ended_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer's body that keeps its request counted until it is sent.
#[derive(Debug)]
struct Counted {
    body: Body,
    _beat: Beat,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
