//! The least that takes a webhook into Kafka: hyper, the proof of the body, an idempotent producer, an answer after the
//! delivery report. It writes the bytes that the gateway writes, or the body alone, and does nothing else of what the
//! gateway does: no source is looked up, nothing is bounded or checked, nothing counted.

use crate::{
    requests::{GENERIC, GENERIC_SECRET},
    servers::{any_port, runtime, tell},
};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::HeaderMap, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use rdkafka::{
    ClientConfig,
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    util::AsyncRuntime,
};
use ring::hmac;
use schemas::{headers as names, wire::RawWebhookRef};
use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Headers of a webhook that the gateway keeps, in their order.
const KEPT: [&str; 5] = ["content-type", "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp"];

/// Tokio, as the producer wants it.
#[derive(Debug)]
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}

struct Minimal {
    key: hmac::Key,
    producer: FutureProducer<DefaultClientContext, Tokio>,
    topic: String,
    /// The body alone, where the gateway writes a raw webhook.
    bare: bool,
    n_taken: AtomicU64,
}

/// Serves. Ends when it is killed.
pub(crate) fn serve(brokers: &str, topic: &str, compression: &str, bare: bool) -> anyhow::Result<()> {
    let secret = std::env::var(GENERIC).unwrap_or_else(|_| GENERIC_SECRET.to_owned());
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).context("the secret is not base64")?;
    runtime()?.block_on(async {
        // As quell's own producer is by default, but for the compression, which is compared.
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "10000")
            .set("compression.type", compression)
            .create()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let minimal = Arc::new(Minimal { key, producer, topic: topic.to_owned(), bare, n_taken: AtomicU64::new(0) });
        let listener = tokio::net::TcpListener::bind(any_port()).await?;
        tell(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let minimal = Arc::clone(&minimal);
            let service = service_fn(move |request| {
                let minimal = Arc::clone(&minimal);
                async move { Ok::<_, Infallible>(minimal.take(request).await) }
            });
            tokio::spawn(async move {
                // A connection that breaks is the load generator's to tell.
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

impl Minimal {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let status = match body.collect().await {
            Ok(body) => self.append(&head.headers, &body.to_bytes()).await,
            Err(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"accepted"}"#)));
        *response.status_mut() = status;
        response
    }

    async fn append(&self, headers: &HeaderMap, body: &Bytes) -> StatusCode {
        if !proves(&self.key, headers, body) {
            return StatusCode::UNAUTHORIZED;
        }
        let sent = if self.bare {
            self.producer.send_result(FutureRecord::<(), [u8]>::to(&self.topic).payload(body)).ok()
        } else {
            let receipt = format!("{:026}", self.n_taken.fetch_add(1, Ordering::Relaxed));
            let raw = raw_webhook(&receipt, headers, body);
            let headers = OwnedHeaders::new().insert(Header { key: names::RECEIPT_ID, value: Some(&receipt) });
            self.producer.send_result(FutureRecord::<(), [u8]>::to(&self.topic).payload(&raw).headers(headers)).ok()
        };
        match sent {
            Some(report) => match report.await {
                Ok(Ok(_)) => StatusCode::ACCEPTED,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
            None => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What the gateway would write of it.
fn raw_webhook(receipt_id: &str, headers: &HeaderMap, body: &[u8]) -> Bytes {
    let kept: Vec<(&str, &str)> =
        KEPT.iter().filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?))).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    RawWebhookRef {
        receipt_id,
        provider: "generic",
        source: "default",
        tenant: "default",
        received_at: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        method: "POST",
        url: "/webhooks/email/events",
        headers: &kept,
        body,
        verified: "standard_webhooks",
        shadow: false,
    }
    .encode()
}

/// Standard Webhooks: HMAC-SHA256 over id, time and body.
fn proves(key: &hmac::Key, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(time), Some(signature)) =
        (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
    else {
        return false;
    };
    let Some(Ok(claimed)) = signature.strip_prefix("v1,").map(|text| STANDARD.decode(text)) else { return false };
    let mut context = hmac::Context::with_key(key);
    [id.as_bytes(), b".", time.as_bytes(), b".", body].into_iter().for_each(|part| context.update(part));
    context.sign().as_ref() == claimed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_signed_and_nothing_else() {
        let signed =
            testkit::sign::standard_webhooks("http://bench/x", GENERIC_SECRET, "msg_1", 1_768_867_200, b"[]".to_vec())
                .unwrap();
        let headers: HeaderMap =
            signed.headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let key = STANDARD.decode(GENERIC_SECRET.trim_start_matches("whsec_")).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        assert!(proves(&key, &headers, b"[]"));
        assert!(!proves(&key, &headers, b"[ ]"));
        assert!(!proves(&key, &HeaderMap::new(), b"[]"));
    }

    #[test]
    fn writes_what_the_gateway_writes() {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("host", "bench".parse().unwrap());
        let raw: schemas::wire::RawWebhook = schemas::decode(&raw_webhook("r", &headers, b"[]")).unwrap();
        assert_eq!((raw.receipt_id.as_str(), raw.body.as_slice(), raw.headers.len()), ("r", b"[]".as_slice(), 1));
    }
}
