//! One webhook is one trace, from the gateway to the provider's API, at a receiver of OTLP.

use crate::instance::{DRIP_SECRET, Instance, read};
use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    routing::{any, post},
};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use testkit::sign;

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const ADDRESS: &str = "jane.doe@example.com";

/// A receiver of traces and a provider, on ports of their own.
struct World {
    seen: Arc<Seen>,
    traces: String,
    provider: String,
    subscriber: String,
    /// Holds the servers.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Seen {
    /// Bodies that the receiver got.
    requests: Mutex<Vec<Vec<u8>>>,
    /// Their `x-key`.
    keys: Mutex<Vec<String>>,
    /// What each call at the provider and each post at the subscriber told of its trace.
    calls: Mutex<Vec<Told>>,
    posts: Mutex<Vec<Told>>,
}

/// `traceparent` and `tracestate` of a request.
type Told = (Option<String>, Option<String>);

fn told(request: &Request) -> Told {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    (header("traceparent"), header("tracestate"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

/// A receiver of OTLP.
async fn take(State(seen): State<Arc<Seen>>, headers: http::HeaderMap, body: Bytes) -> &'static str {
    lock(&seen.keys).push(format!("{:?}", headers.get("x-key")));
    lock(&seen.requests).push(body.to_vec());
    "{}"
}

/// A provider that answers as SendGrid does to additions.
async fn called(State(seen): State<Arc<Seen>>, request: Request) -> (http::StatusCode, &'static str) {
    lock(&seen.calls).push(told(&request));
    (http::StatusCode::CREATED, "")
}

/// A subscriber that takes everything.
async fn posted(State(seen): State<Arc<Seen>>, request: Request) -> http::StatusCode {
    lock(&seen.posts).push(told(&request));
    http::StatusCode::NO_CONTENT
}

impl World {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let seen = Arc::new(Seen::default());
        let serve = |router: Router<Arc<Seen>>| {
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let router = router.with_state(Arc::clone(&seen));
            runtime.spawn(async move { axum::serve(listener, router).await });
            url
        };
        let traces = serve(Router::new().route("/v1/traces", post(take)));
        let provider = serve(Router::new().fallback(any(called)));
        let subscriber = serve(Router::new().fallback(post(posted)));
        Self { seen, traces, provider, subscriber, _runtime: runtime }
    }

    /// An instance that sends its traces here, has two accounts at the provider and tells two subscribers; only one of each
    /// is told of traces.
    fn instance(&self, traces: &str) -> Instance {
        let instance = Instance::prepare(2);
        let account = |name: &str, more: &str| {
            format!(
                "[[account]]\nname = \"{name}\"\nprovider = \"sendgrid\"\ncredential = \"env:CLI_WRITE\"\n\
                 base_url = \"{}\"\nallow_private = true\nspacing_ms = 0\n{more}",
                self.provider
            )
        };
        let config = read(&instance.path("quell.toml"));
        let (told, plain) = (account("told", "traceparent = true\n"), account("plain", ""));
        let subscriber = |name: &str, more: &str| {
            format!(
                "[[subscriber]]\nname = \"{name}\"\nurl = \"{}/hooks?token=hidden\"\nsecrets = [\"env:CLI_GENERIC\"]\n\
                 allow_private = true\n{more}",
                self.subscriber
            )
        };
        let plain = plain + &subscriber("told", "traceparent = true\n") + &subscriber("plain", "");
        let traces = format!("[traces]\nendpoint = \"{}\"\n{traces}", self.traces);
        instance.write("quell.toml", &format!("{config}{told}{plain}{traces}"));
        instance
    }

    fn spans(&self) -> Vec<Value> {
        let requests = lock(&self.seen.requests);
        let mut spans = Vec::new();
        for request in requests.iter() {
            let request: Value = serde_json::from_slice(request).expect("OTLP in JSON");
            let of_request = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array();
            spans.extend(of_request.expect("spans").iter().cloned());
        }
        spans
    }

    /// Waits for spans that fit.
    #[track_caller]
    fn until(&self, what: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let spans = self.spans();
            if fits(&spans) {
                return spans;
            }
            assert!(began.elapsed() < PATIENCE, "never {what}: {spans:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The spans of requests as OpenTelemetry's own definition reads them.
fn as_others_read(requests: &[Vec<u8>]) -> Vec<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../target/otlp/bin/python");
    assert!(python.exists(), "no {}: `./dev test` makes it, and so does `./dev otlp-tool`", python.display());
    let mut command = Command::new(python);
    command.arg("-B").arg(here.join("tests/cli/otlp/read.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Python runs");
    let mut lines = child.stdin.take().expect("a pipe");
    for request in requests {
        lines.write_all(request).expect("it reads");
        lines.write_all(b"\n").expect("it reads");
    }
    drop(lines);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it refuses them; see above");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array().expect("attributes");
    let value = &attributes.iter().find(|attribute| attribute["key"] == name)?["value"];
    value["stringValue"].as_str().or_else(|| value["intValue"].as_str())
}

fn of_stage<'a>(spans: &'a [Value], stage: &str, kind: u8) -> Vec<&'a Value> {
    let fits = |span: &&Value| attribute(span, "quell.stage") == Some(stage) && span["kind"] == kind;
    spans.iter().filter(fits).collect()
}

/// The only span of a stage and kind.
#[track_caller]
fn only<'a>(spans: &'a [Value], stage: &str, kind: u8) -> &'a Value {
    let found = of_stage(spans, stage, kind);
    assert_eq!(found.len(), 1, "{stage} {kind}: {spans:#?}");
    found[0]
}

fn send(instance: &Instance, address: &str, traceparent: &str) -> String {
    let event = json!({
        "event": "subscriber.bounced",
        "data": { "email": address, "bounce_type": "hard", "occurred_at": "2026-01-20T14:32:15Z" },
    });
    let mut request = sign::drip(&instance.url("/webhooks/drip"), DRIP_SECRET, &event);
    request.headers.push(("traceparent", traceparent.to_owned()));
    request.headers.push(("tracestate", STATE.to_owned()));
    instance.send(&request)
}

const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

#[test]
fn a_webhook_is_one_trace_from_the_gateway_to_the_provider() {
    let world = World::start();
    let mut instance = world.instance("sample = 0\nheaders = { x-key = \"env:CLI_READ\" }\n");
    instance.begin();
    // Who says that its trace is not recorded is believed, and comes first here: nothing of it may follow.
    send(&instance, "silent@example.com", &format!("00-{}-{CALLER}-00", "1".repeat(32)));
    let receipt = send(&instance, ADDRESS, &format!("00-{TRACE}-{CALLER}-01"));
    let calls = |spans: &[Value]| spans.iter().filter(|span| span["kind"] == CLIENT).count();
    world.until("two calls and two posts", |spans| calls(spans) == 4);
    instance.stop();
    let spans = world.spans();

    // All of one trace, each below the one before it.
    for span in &spans {
        assert_eq!(span["traceId"], TRACE, "{span:#?}");
        assert_eq!(attribute(span, "quell.receipt_id").is_some(), span["kind"] != CLIENT, "{span:#?}");
        let nanos = |name: &str| span[name].as_str().and_then(|text| text.parse::<u64>().ok()).expect("nanoseconds");
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"));
    }
    let webhook = only(&spans, "gateway", SERVER);
    let append = only(&spans, "gateway", PRODUCER);
    let (normalizer, suppressor) = (only(&spans, "normalizer", CONSUMER), only(&spans, "suppressor", CONSUMER));
    assert_eq!(webhook["parentSpanId"], CALLER);
    for (below, above) in [(append, webhook), (normalizer, append), (suppressor, normalizer)] {
        assert_eq!(below["parentSpanId"], above["spanId"], "{below:#?}");
    }
    for lane in ["quell.syncer.told", "quell.syncer.plain"] {
        let (told, call) = (only(&spans, lane, CONSUMER), only(&spans, lane, CLIENT));
        assert_eq!((&told["parentSpanId"], &call["parentSpanId"]), (&suppressor["spanId"], &told["spanId"]));
        assert_eq!(attribute(call, "http.response.status_code"), Some("201"));
        assert!(attribute(told, "quell.delta_id").is_some());
    }
    for lane in ["quell.notifier.told", "quell.notifier.plain"] {
        let (told, post) = (only(&spans, lane, CONSUMER), only(&spans, lane, CLIENT));
        assert_eq!((&told["parentSpanId"], &post["parentSpanId"]), (&suppressor["spanId"], &told["spanId"]));
        assert_eq!(attribute(post, "http.response.status_code"), Some("204"));
        assert_eq!(attribute(post, "server.address"), Some("127.0.0.1"));
    }
    // They carry the ids.
    for span in [webhook, append, normalizer, suppressor] {
        assert_eq!(attribute(span, "quell.receipt_id"), Some(&*receipt));
    }
    let event_id = attribute(suppressor, "quell.event_id").expect("an event id");
    assert!(normalizer.to_string().contains(event_id), "{normalizer:#?}");
    assert_eq!(
        (attribute(suppressor, "quell.provider"), attribute(suppressor, "quell.source")),
        (Some("drip"), Some("default"))
    );
    assert_eq!(attribute(normalizer, "messaging.destination.name"), Some("quell.raw.v1"));

    // Provider and subscriber learn of it only where that is wanted, and of the call's own span.
    let call = only(&spans, "quell.syncer.told", CLIENT)["spanId"].as_str().expect("an id");
    let post = only(&spans, "quell.notifier.told", CLIENT)["spanId"].as_str().expect("an id");
    for (seen, span) in [(&world.seen.calls, call), (&world.seen.posts, post)] {
        let seen = lock(seen).clone();
        let (told, untold): (Vec<&Told>, Vec<&Told>) = seen.iter().partition(|told| told.0.is_some());
        let state = Some(STATE.to_owned());
        assert_eq!(told, [&(Some(format!("00-{TRACE}-{span}-01")), state)]);
        assert!(!untold.is_empty() && untold.iter().all(|told| **told == (None, None)), "both are called: {untold:?}");
    }

    // Who knows OTLP better than we do reads the same.
    let read = as_others_read(&lock(&world.seen.requests));
    assert_eq!(read.len(), spans.len());
    for (theirs, ours) in read.iter().zip(&spans) {
        assert_eq!(
            (&theirs["trace"], &theirs["span"], &theirs["name"]),
            (&ours["traceId"], &ours["spanId"], &ours["name"])
        );
        assert_eq!((&theirs["parent"], &theirs["kind"]), (&ours["parentSpanId"], &ours["kind"]));
        assert_eq!(theirs["service"], "quell");
    }

    // No address, whole or encoded, and no secret of ours but the one meant for the receiver.
    let sent = lock(&world.seen.requests).concat();
    let sent = String::from_utf8_lossy(&sent);
    for private in
        ["jane", "hidden", "silent", "%40", DRIP_SECRET, crate::instance::WRITE_TOKEN, crate::instance::READ_TOKEN]
    {
        assert!(!sent.contains(private), "{private} in {sent}");
    }
    assert!(lock(&world.seen.keys).iter().all(|key| key.contains(crate::instance::READ_TOKEN)));
}

#[test]
fn without_a_callers_trace_the_share_decides_and_a_batch_belongs_to_many() {
    let world = World::start();
    let mut instance = world.instance("sample = 1\nservice_name = \"quell-of-a-test\"\n");
    instance.begin();
    let n_webhooks = 20;
    for n in 0..n_webhooks {
        instance.drip_bounce(&format!("number.{n}@example.com"), "2026-01-20T14:32:15Z");
    }
    let lane = "quell.syncer.plain";
    world.until("all lanes' spans", |spans| of_stage(spans, lane, CONSUMER).len() == n_webhooks);
    instance.stop();
    let spans = world.spans();
    let webhooks = of_stage(&spans, "gateway", SERVER);
    let mut traces: Vec<&str> = webhooks.iter().filter_map(|span| span["traceId"].as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), n_webhooks);
    assert!(webhooks.iter().all(|span| span.get("parentSpanId").is_none()));
    // Each recipient's span leads to the call that told of it: below it, or linked.
    let calls = of_stage(&spans, lane, CLIENT);
    for told in of_stage(&spans, lane, CONSUMER) {
        let is_below = |call: &&&Value| call["parentSpanId"] == told["spanId"] && call["traceId"] == told["traceId"];
        let linked = |call: &&&Value| {
            let leads = |from: &Value, to: &Value| {
                from["links"].as_array().is_some_and(|links| links.iter().any(|link| link["spanId"] == to["spanId"]))
            };
            leads(call, told) && leads(told, call)
        };
        assert!(calls.iter().any(|call| is_below(&call) || linked(&call)), "{told:#?}");
    }
    let sent = lock(&world.seen.requests).concat();
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.contains("quell-of-a-test") && !sent.contains("@example.com") && !sent.contains("number."));
}
