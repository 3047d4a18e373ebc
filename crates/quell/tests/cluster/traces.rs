//! One webhook is one trace, though each stage is a process of its own and Kafka lies between them.

use crate::bed::{Bed, DRIP_SECRET, Instance, until};
use axum::{Router, body::Bytes, extract::State, routing::any};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use testkit::sign;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// OTLP's words for what a span is.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

type Requests = Arc<Mutex<Vec<Bytes>>>;

/// Takes traces and what a provider is told, and answers as SendGrid does.
async fn take(State(requests): State<Requests>, uri: http::Uri, body: Bytes) -> (http::StatusCode, &'static str) {
    if uri.path() == "/v1/traces" {
        requests.lock().expect("nobody panics with it").push(body);
        return (http::StatusCode::OK, "{}");
    }
    (http::StatusCode::CREATED, "")
}

/// Every span that came, with the instance that sent it.
fn spans(requests: &Requests) -> Vec<(String, Value)> {
    let requests = requests.lock().expect("nobody panics with it");
    let of_request = |request: &Bytes| {
        let request: Value = serde_json::from_slice(request).expect("OTLP in JSON");
        let resource = &request["resourceSpans"][0];
        let attributes = resource["resource"]["attributes"].as_array().expect("attributes");
        let instance = attributes.iter().find(|one| one["key"] == "service.instance.id").expect("an instance");
        let instance = instance["value"]["stringValue"].as_str().expect("a name").to_owned();
        let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone();
        spans.into_iter().map(move |span| (instance.clone(), span))
    };
    requests.iter().flat_map(of_request).collect()
}

#[test]
fn a_trace_goes_through_every_process_and_topic() {
    let bed = Bed::start();
    bed.set_up();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let requests = Requests::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(any(take)).with_state(Arc::clone(&requests));
    runtime.spawn(async move { axum::serve(listener, router).await });
    let more = format!(
        "[traces]\nendpoint = \"{url}\"\nsample = 0\n\
         [[account]]\nname = \"main\"\nprovider = \"sendgrid\"\ncredential = \"env:BED_TOKEN\"\nbase_url = \"{url}\"\n\
         allow_private = true\nspacing_ms = 0\n"
    );
    let mut parts = ["gateway", "normalizer", "suppressor", "syncer"].map(|role| {
        std::fs::create_dir_all(bed.path(role)).expect("a folder");
        let config = |ports| bed.config(role, ports) + &more;
        Instance::spawn(&bed.path(""), role, config, &["serve", "--role", role])
    });
    parts.iter_mut().for_each(Instance::wait_ready);
    let event = json!({
        "event": "subscriber.bounced",
        "data": { "email": "jane@example.com", "bounce_type": "hard", "occurred_at": "2026-01-20T14:32:15Z" },
    });
    let mut request = sign::drip(&format!("{}/drip/bounce", parts[0].webhooks()), DRIP_SECRET, &event);
    request.headers.push(("traceparent", format!("00-{TRACE}-{CALLER}-01")));
    assert_eq!(parts[0].send(&request).0, 202);
    let kinds = [
        ("gateway", SERVER),
        ("gateway", PRODUCER),
        ("normalizer", CONSUMER),
        ("suppressor", CONSUMER),
        ("syncer", CONSUMER),
        ("syncer", CLIENT),
    ];
    until("a span of each part", || spans(&requests).len() >= kinds.len());
    for mut part in parts {
        assert_eq!(part.terminate(), Some(0), "{}", part.log());
    }
    let spans = spans(&requests);
    let found: BTreeSet<(&str, u64)> =
        spans.iter().map(|(instance, span)| (&**instance, span["kind"].as_u64().expect("a kind"))).collect();
    assert_eq!(found, kinds.map(|(instance, kind)| (instance, u64::from(kind))).into(), "{spans:#?}");
    assert_eq!(spans.len(), kinds.len(), "{spans:#?}");
    let mut above = json!(CALLER);
    for (instance, kind) in kinds {
        let of_part = |(by, span): &&(String, Value)| by == instance && span["kind"] == kind;
        let (_, span) = spans.iter().find(of_part).expect("found above");
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &above), "{instance}: {span:#?}");
        above = span["spanId"].clone();
    }
}
