//! What following changes, and what it tells.

use super::*;
use axum::{Router, extract::State, routing::post};
use domain::{Tenant, Timestamp};
use event_log::{Position, Record};
use normalizer::{Nobody, Normalizer};
use schemas::{encode, wire::RawWebhook};
use serde_json::Value;
use service::{Metrics, traces::TraceSettings};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const ADDRESS: &str = "jane.doe@example.com";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SILENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

type Bodies = Arc<Mutex<Vec<String>>>;

/// Traces that go to a receiver on this machine.
async fn traces() -> (Traces, Bodies) {
    let got = Bodies::default();
    let take = |State(got): State<Bodies>, body: String| async move {
        got.lock().unwrap().push(body);
        "{}"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(take)).with_state(got.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let settings = TraceSettings { url, sample: 1.0, callers_per_s: 0, headers: Vec::new(), resource: Vec::new() };
    (Traces::start(Some(settings), &Metrics::new().unwrap()).unwrap(), got)
}

fn spans(got: &Bodies) -> Vec<Value> {
    let requests = got.lock().unwrap().iter().map(|body| serde_json::from_str(body).unwrap()).collect::<Vec<Value>>();
    let spans = requests.iter().flat_map(|request| request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array());
    spans.flatten().cloned().collect()
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == name);
    found.map_or(&Value::Null, |attribute| &attribute["value"])
}

/// Drip webhooks at offsets from 0, with these headers; the last word of a body's kind decides what becomes of it.
fn batch(headers: &[Option<&str>]) -> Batch {
    let records = headers.iter().zip(0..).map(|(traceparent, offset)| {
        let raw = RawWebhook {
            receipt_id: "01jd5xg6z5".to_owned(),
            provider: "drip".to_owned(),
            source: "default".to_owned(),
            tenant: Tenant::default().as_str().to_owned(),
            received_at: Timestamp::EPOCH.as_micros(),
            method: "POST".to_owned(),
            url: "/webhooks/drip".to_owned(),
            headers: BTreeMap::new(),
            body: format!(
                r#"{{"event":"subscriber.bounced","data":{{"email":"{ADDRESS}","bounce_type":"hard","occurred_at":"2026-01-20T14:32:15Z"}}}}"#
            )
            .into_bytes(),
            verified: "hmac".to_owned(),
            shadow: false,
        };
        let header = |name: &'static str, value: &str| Header { name: name.into(), value: Bytes::from(value.to_owned()) };
        let mut headers = vec![header(headers::RECEIPT_ID, "01jd5xg6z5")];
        headers.extend(traceparent.map(|text| header(headers::TRACEPARENT, text)));
        headers.extend(traceparent.map(|_| header(headers::TRACESTATE, "vendor=1")));
        let record = Record { key: None, value: Some(encode(&raw).unwrap()), headers, timestamp_ms: 0 };
        Consumed { topic: topics::RAW.into(), position: Position { epoch: 0, partition: 3, offset }, record }
    });
    Batch { records: records.collect(), generation: 0 }
}

fn normalizer() -> Normalizer {
    Normalizer::new(Arc::new(Nobody))
}

fn carried(verdict: &Verdict) -> Vec<&str> {
    named(verdict, headers::TRACEPARENT)
}

fn named<'a>(verdict: &'a Verdict, name: &str) -> Vec<&'a str> {
    let headers = verdict.outputs.iter().flat_map(|output| &output.record.headers);
    let headers = headers.filter(|header| header.name == name);
    headers.map(|header| std::str::from_utf8(&header.value).unwrap()).collect()
}

#[tokio::test]
async fn what_is_not_traced_is_not_changed() {
    let (on, got) = traces().await;
    let plain = normalizer().process(&batch(&[None, Some(SILENT), Some("nonsense"), Some(SAMPLED)])).await.unwrap();
    let mut off = Followed::new(normalizer(), "normalizer", Traces::off());
    assert_eq!(off.process(&batch(&[None, Some(SILENT), Some("nonsense"), Some(SAMPLED)])).await, Ok(plain.clone()));
    let mut followed = Followed::new(normalizer(), "normalizer", on.clone());
    let three = batch(&[None, Some(SILENT), Some("nonsense")]);
    let outputs = followed.process(&three).await.unwrap();
    assert_eq!(outputs.verdicts, plain.verdicts[..3]);
    followed.committed(&three).await.unwrap();
    on.close().await;
    assert_eq!(got.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn the_same_records_bring_the_same_bytes_and_the_same_spans() {
    let (traces, got) = traces().await;
    let batch = batch(&[Some(SAMPLED), None, Some(SAMPLED)]);
    let mut outputs = Vec::new();
    // Two instances, and the first of them twice: after a rewind only what is committed is told.
    let mut first = Followed::new(normalizer(), "normalizer", traces.clone());
    outputs.push(first.process(&batch).await.unwrap());
    first.revoked(&[3]);
    outputs.push(first.process(&batch).await.unwrap());
    first.committed(&batch).await.unwrap();
    let mut second = Followed::new(normalizer(), "normalizer", traces.clone());
    outputs.push(second.process(&batch).await.unwrap());
    second.committed(&batch).await.unwrap();
    traces.close().await;
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);

    let spans = spans(&got);
    assert_eq!(spans.len(), 4);
    let ids: Vec<&Value> = spans.iter().map(|span| &span["spanId"]).collect();
    assert_eq!((ids[0], ids[1]), (ids[2], ids[3]));
    assert_ne!(ids[0], ids[1]);
    for (span, verdict) in spans.iter().zip([&outputs[0].verdicts[0], &outputs[0].verdicts[2]]) {
        let own = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", span["spanId"].as_str().unwrap());
        assert_eq!(carried(verdict), [own]);
        assert_eq!(named(verdict, headers::TRACESTATE), ["vendor=1"], "what others say goes on as it stands");
        assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
        assert_eq!((&span["name"], &span["kind"]), (&"process quell.raw.v1".into(), &5.into()));
    }
    assert_eq!(carried(&outputs[0].verdicts[1]), [""; 0]);
    assert!(!got.lock().unwrap().concat().contains("jane"), "an address in a span");
}

#[tokio::test]
async fn a_span_says_what_it_was_about() {
    let (traces, got) = traces().await;
    let mut followed = Followed::new(normalizer(), "normalizer", traces.clone());
    let mut batch = batch(&[Some(SAMPLED), Some(SAMPLED)]);
    batch.records[1].record.value = Some(Bytes::from_static(b"no record"));
    let outputs = followed.process(&batch).await.unwrap();
    followed.committed(&batch).await.unwrap();
    traces.close().await;
    let spans = spans(&got);
    let event = outputs.verdicts[0].outputs[0].record.value.as_deref().map(Ids::of_value).unwrap();
    let named = &attribute(&spans[0], "quell.event_ids")["arrayValue"]["values"][0]["stringValue"];
    assert_eq!(named.as_str(), event.event_id.as_deref());
    for (name, value) in [
        ("quell.receipt_id", "r0.3.0.01jd5xg6z5"),
        ("quell.fate", "emitted"),
        ("messaging.system", "quell"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "quell.raw.v1"),
        ("messaging.destination.partition.id", "3"),
    ] {
        assert_eq!(attribute(&spans[0], name)["stringValue"], value, "{name}");
    }
    assert_eq!(attribute(&spans[1], "messaging.kafka.offset")["intValue"], "1");
    assert_eq!(attribute(&spans[1], "quell.fate")["stringValue"], "dead");
    assert_eq!(spans[1]["status"]["message"], "undecodable");
    assert!(spans[0].get("status").is_none());
}
