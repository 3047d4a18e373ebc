//! The way out, against a receiver on this machine.

use super::*;
use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::post};
use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, Json)>>>,
    n_requests: Arc<AtomicUsize>,
    /// Statuses of the first requests; then 200.
    first: Arc<Vec<StatusCode>>,
}

impl Receiver {
    async fn start(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let app = Router::new().route("/v1/traces", post(Self::take)).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
        let n = receiver.n_requests.fetch_add(1, Ordering::SeqCst);
        let status = receiver.first.get(n).copied().unwrap_or(StatusCode::OK);
        if status.is_success() {
            lock(&receiver.got).push((headers, serde_json::from_slice(&body).unwrap()));
        }
        (status, "{}")
    }

    fn spans(&self) -> Vec<Json> {
        let got = lock(&self.got);
        let spans =
            got.iter().flat_map(|(_, request)| request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array());
        spans.flatten().cloned().collect()
    }
}

fn settings(url: String) -> TraceSettings {
    let secret = (HeaderName::from_static("x-key"), HeaderValue::from_static("s3cret"));
    TraceSettings {
        url,
        sample: 1.0,
        callers_per_s: 1,
        headers: vec![secret],
        resource: vec![("service.name".to_owned(), "quell-test".to_owned())],
    }
}

fn span(n: u64) -> Span {
    let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    Span::new(context.of_stage("test", 0, n), None, Kind::Consumer, "process a".to_owned(), (1, 2))
}

fn dropped(metrics: &Metrics, reason: &str) -> u64 {
    let text = metrics.render();
    let series = format!("quell_traces_dropped_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn everything_recorded_is_sent_before_the_end() {
    let receiver = Receiver::default();
    let metrics = Metrics::new().unwrap();
    let traces = Traces::start(Some(settings(receiver.clone().start().await)), &metrics).unwrap();
    (0..1_300).for_each(|n| traces.record(span(n)));
    traces.close().await;
    traces.record(span(7));
    assert_eq!(receiver.spans().len(), 1_300);
    assert!(receiver.n_requests.load(Ordering::SeqCst) >= 3);
    let (headers, request) = lock(&receiver.got)[0].clone();
    assert_eq!(
        (headers["x-key"].as_bytes(), headers["content-type"].as_bytes()),
        (&b"s3cret"[..], &b"application/json"[..])
    );
    let attribute = &request["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!(attribute["value"]["stringValue"], "quell-test");
    let text = metrics.render();
    assert!(text.contains("quell_traces_spans_total 1300\n"), "{text}");
    assert_eq!((dropped(&metrics, "shutdown"), dropped(&metrics, "queue_full")), (1, 0));
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_and_a_refusing_one_is_not() {
    let first = vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::BAD_REQUEST];
    let receiver = Receiver { first: Arc::new(first), ..Receiver::default() };
    let metrics = Metrics::new().unwrap();
    let traces = Traces::start(Some(settings(receiver.clone().start().await)), &metrics).unwrap();
    traces.record(span(1));
    while receiver.spans().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    traces.record(span(2));
    while dropped(&metrics, "refused") == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    traces.close().await;
    assert_eq!((receiver.spans().len(), receiver.n_requests.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn without_a_receiver_spans_are_counted_and_nobody_waits() {
    // Takes connections and answers none.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let metrics = Metrics::new().unwrap();
    let traces = Traces::start(Some(settings(url)), &metrics).unwrap();
    let n_spans = exporter::QUEUE_MAX as u64 + 100;
    (0..n_spans).for_each(|n| traces.record(span(n)));
    assert_eq!(dropped(&metrics, "queue_full"), 100);
    let began = std::time::Instant::now();
    traces.close().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(dropped(&metrics, "queue_full") + dropped(&metrics, "shutdown"), n_spans);
}

#[tokio::test]
async fn a_call_lies_in_one_trace_and_is_linked_with_the_others() {
    let receiver = Receiver::default();
    let metrics = Metrics::new().unwrap();
    let traces = Traces::start(Some(settings(receiver.clone().start().await)), &metrics).unwrap();
    let parent = |n: u8| TraceContext { trace: TraceId::derive(&[&[n]]), is_sampled: n != 9, ..span(0).context };
    let carried = |n: u8| {
        let state = TraceState::parse([format!("vendor={n}").as_str()]).filter(|_| n != 1);
        Carried { context: parent(n), state }
    };
    let mut calls = Calls::new(traces.clone(), "lane");
    assert!(calls.begin("POST").is_none());
    calls.batch([("a", carried(1), 0, 1), ("b", carried(2), 0, 2), ("silent", carried(9), 0, 3)]);
    calls.next_for(&["silent"]);
    assert!(calls.begin("POST").is_none());
    calls.next_for(&["silent", "b", "unknown", "a"]);
    let call = calls.begin("POST").unwrap();
    let context = call.context();
    assert_eq!(call.state().map(TraceState::as_str), Some("vendor=2"), "that of the trace in which it lies");
    call.end(None);
    calls.begin("POST").unwrap().end(Some("503".to_owned()));
    let (first, other) = (parent(2).of_stage("lane", 0, 2), parent(1).of_stage("lane", 0, 1));
    assert_eq!(context.trace, first.trace);
    let links = traces.links(other.span);
    assert_eq!(
        (links.len(), links[0], traces.links(other.span).len(), traces.links(first.span).len()),
        (2, context, 0, 0)
    );
    calls.batch([]);
    assert!(calls.begin("POST").is_none());
    traces.close().await;
    let spans = receiver.spans();
    assert_eq!(spans.len(), 2);
    assert_ne!(spans[0]["spanId"], spans[1]["spanId"]);
    for span in &spans {
        assert_eq!(span["parentSpanId"], first.span.to_string());
        assert_eq!(span["links"][0]["spanId"], other.span.to_string());
        assert_eq!(span["kind"], 3);
    }
    assert_eq!(spans[1]["status"]["message"], "503");
}

#[test]
fn without_settings_nothing_is_made() {
    let metrics = Metrics::new().unwrap();
    let traces = Traces::start(None, &metrics).unwrap();
    assert!(!traces.is_on() && !traces.samples(TraceId::derive(&[]), None));
    traces.record(span(1));
    assert_eq!((traces.now_micros(), traces.links(span(1).context.span).len()), (0, 0));
    assert!(metrics.render().contains("# TYPE quell_traces_dropped_total counter"));
}

#[tokio::test]
async fn a_probe_holds_no_span_and_all_headers() {
    let receiver = Receiver { first: Arc::new(vec![StatusCode::FORBIDDEN]), ..Receiver::default() };
    let settings = settings(receiver.clone().start().await);
    let asked = async || probe(settings.clone(), Duration::from_secs(5)).await;
    assert_eq!((asked().await, asked().await), (Ok(StatusCode::FORBIDDEN), Ok(StatusCode::OK)));
    let (headers, request) = lock(&receiver.got)[0].clone();
    assert_eq!((headers["x-key"].as_bytes(), request), (&b"s3cret"[..], serde_json::json!({ "resourceSpans": [] })));
}
