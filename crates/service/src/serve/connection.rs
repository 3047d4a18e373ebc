//! One connection from accepting to its end.

use super::{
    Answers, PacedBody, ServerLimits,
    crowd::{Beat, Member, Pulse},
    io::WriteTimeout,
    metrics::End,
    tls::Tls,
};
use crate::Problem;
use axum::{body::Body, response::IntoResponse};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
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
    pub(super) short_answers: bool,
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
}

impl<A: Answers> Served<A> {
    /// Serves one connection to its end.
    pub(super) async fn connection(&self, stream: TcpStream, member: &Member) -> End {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(listener = self.name, %error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else { return self.http(stream, member).await };
        let handshake = tokio::time::timeout(self.head_timeout(), tls.0.accept(stream));
        let handshake = tokio::select! {
            () = self.stop.cancelled() => return End::Stopped,
            () = member.pulse.asked_to_leave() => return End::MadeRoom,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.http(stream, member).await,
            Ok(Err(error)) => {
                tracing::debug!(listener = self.name, %error, "no TLS handshake");
                End::Handshake
            }
            Err(_) => {
                tracing::debug!(listener = self.name, "no TLS handshake in time");
                End::SlowHead
            }
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, member: &Member) -> End {
        let pulse = &member.pulse;
        let service = hyper::service::service_fn({
            let (answers, pulse) = (self.answers.clone(), pulse.clone());
            let (grace, rate) = (Duration::from_millis(self.limits.body_grace_ms), self.limits.body_bytes_per_s_min);
            move |request: Request<Incoming>| {
                let beat = Beat::begin(&pulse);
                let is_framed = is_framed(request.headers());
                if !is_framed {
                    pulse.found_malformed();
                }
                let request = request.map(|body| Body::new(PacedBody::new(body, grace, rate)));
                let answers = answers.clone();
                async move { if is_framed { answer(answers, request, beat).await } else { Ok(unframed(beat)) } }
            }
        });
        let builder = self.builder();
        let write_timeout = Duration::from_millis(self.limits.write_timeout_ms);
        let io = TokioIo::new(WriteTimeout::new(stream, write_timeout));
        let mut connection = pin!(builder.serve_connection(io, service));
        // Tokens of its own: waiting on the shared ones would make all connections meet at their locks.
        let (stop, cut) = (self.stop.child_token(), self.cut.child_token());
        let (mut ending, mut watch) = (None, pulse.accepted() + self.head_timeout());
        // What holds it wakes only for itself, so that the many wakes of a connection do not ask it each time.
        let mut outside = FuturesUnordered::new();
        loop {
            if outside.is_empty() {
                outside.push(said(pulse, &stop, &cut, ending, watch));
            }
            let said = tokio::select! {
                biased;
                ended = connection.as_mut() => return match ended {
                    Ok(()) if pulse.is_malformed() => End::MalformedHead,
                    Ok(()) => ending.unwrap_or(End::Closed),
                    Err(error) => {
                        tracing::debug!(listener = self.name, %error, "a connection ended early");
                        End::of(error.as_ref())
                    }
                },
                Some(said) = outside.next() => said,
            };
            let end = match (said, pulse.idle_since()) {
                (Said::Stop, _) => Some(End::Stopped),
                (Said::Cut, _) => return End::Stopped,
                (Said::Leave, None) => {
                    pulse.stay();
                    None
                }
                (Said::Leave, Some(_)) if !pulse.began() => return End::MadeRoom,
                (Said::Leave, Some(_)) => Some(End::MadeRoom),
                // It never sent a request's head: there is nobody to say goodbye to.
                (Said::Look, Some(_)) if !pulse.began() => return End::SlowHead,
                (Said::Look, Some(since)) if ending.is_some() || since.elapsed() >= self.idle_timeout() => {
                    if let Some(end) = ending {
                        return end;
                    }
                    Some(End::Idle)
                }
                (Said::Look, since) => {
                    watch = since.unwrap_or_else(Instant::now) + self.idle_timeout();
                    None
                }
            };
            if let Some(end) = end {
                ending = Some(end);
                connection.as_mut().graceful_shutdown();
                if end != End::Stopped {
                    watch = Instant::now() + self.head_timeout();
                }
            }
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let head = self.limits.head_bytes_max.max(8_192);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            // A slow head counts as idling, which is minded here (`watch`): hyper would set a timer anew for each request.
            .header_read_timeout(None)
            .max_buf_size(head)
            // Answers are never held back for the requests behind them (`pipeline_flush`): what follows may not be whole, or no
            // request at all, and then nobody would get an answer.
            .max_headers(128);
        if self.short_answers {
            builder.http1().writev(false);
        }
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

/// What is said to a connection from outside.
#[derive(Debug)]
enum Said {
    /// Finish what was begun.
    Stop,
    /// The time for that is over.
    Cut,
    /// Others need the room.
    Leave,
    /// It is time to look whether it idles.
    Look,
}

async fn said(
    pulse: &Pulse,
    stop: &CancellationToken,
    cut: &CancellationToken,
    ending: Option<End>,
    watch: Instant,
) -> Said {
    tokio::select! {
        biased;
        () = stop.cancelled(), if ending != Some(End::Stopped) => Said::Stop,
        () = cut.cancelled(), if ending.is_some() => Said::Cut,
        () = pulse.asked_to_leave(), if ending.is_none() => Said::Leave,
        () = tokio::time::sleep_until(watch) => Said::Look,
    }
}

async fn answer<A: Answers>(
    mut answers: A,
    request: Request<Body>,
    beat: Beat,
) -> Result<Response<Counted>, Infallible> {
    let handled = match std::panic::catch_unwind(AssertUnwindSafe(|| answers.call(request))) {
        Ok(answering) => AssertUnwindSafe(answering).catch_unwind().await,
        Err(panicked) => Err(panicked),
    };
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

/// Whether the end of a request's body is beyond doubt. Hyper takes every transfer coding that ends in `chunked` for chunked; a
/// proxy before us that read `gzip, chunked` or `chunked, chunked` in another way would see another end, and take what follows
/// for another's request (RFC 9112, 6.1 and 11.2). Length beside coding hyper answers and then closes.
fn is_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

fn unframed(beat: Beat) -> Response<Counted> {
    Problem::new(StatusCode::BAD_REQUEST, "transfer_coding", "the transfer coding is not supported")
        .detail("send the body with a Content-Length, or chunked and nothing else")
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .into_response()
        .map(|body| Counted { body, _beat: beat })
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
