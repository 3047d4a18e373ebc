//! `POST /v1/check` in its three forms, and who may ask.

use super::bed::{self, Bed, DAY, at, event_of, hard, soft, unsubscribed};
use crate::{
    StoreError,
    lookup::{LookupLimits, Role, router},
    store::memory::Weather,
};
use axum::body::Body;
use bytes::Bytes;
use domain::{CanonicalEvent, Kind, Scope, Tenant};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

async fn filled() -> Bed {
    let bed = Bed::new();
    bed.tell(hard("hard@example.com", 0));
    bed.tell(soft("soft@example.com", 0));
    bed.tell(event_of("angry@example.com", Kind::Complaint, 0));
    bed.tell(unsubscribed("left@example.com", 0, Scope::category("news")));
    bed.tell(hard("+15551234567", 0));
    bed.tell(CanonicalEvent { tenant: Tenant::new("acme").unwrap(), ..hard("theirs@example.com", 0) });
    bed.settle().await;
    bed.advance(10);
    bed
}

async fn ask(bed: &Bed, body: Value) -> Vec<Value> {
    let answer = bed.call("POST", "/v1/check", Some("application/json"), &body.to_string()).await;
    assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
    assert_eq!(answer.json()["as_of"], at(10).to_string());
    answer.json()["results"].as_array().unwrap().clone()
}

#[tokio::test]
async fn json_in_the_order_asked() {
    let bed = filled().await;
    let asked =
        ["free@example.com", " Hard@EXAMPLE.com", "soft@example.com", "nobody", "+1-555-123-4567", "a\u{e9}\"@x"];
    let results = ask(&bed, json!({ "recipients": asked })).await;
    let echoed: Vec<&str> = results.iter().map(|result| result["recipient"].as_str().unwrap()).collect();
    assert_eq!(echoed, asked);
    let suppressed: Vec<bool> = results.iter().map(|result| result["suppressed"].as_bool().unwrap()).collect();
    assert_eq!(suppressed, [false, true, true, true, true, true]);
    let end = at(7 * DAY).to_string();
    assert_eq!(
        results[2],
        json!({ "recipient": "soft@example.com", "suppressed": true, "reason": "soft_bounce", "scope": "all",
            "since": at(0).to_string(), "until": end, "retry_at": end })
    );
    assert_eq!((&results[1]["reason"], &results[1]["retry_at"]), (&json!("hard_bounce"), &Value::Null));
    assert_eq!(results[3]["reason"], "invalid_address");
    assert!(results[3]["error"].as_str().unwrap().contains("phone number"));
    assert_eq!(results[4]["reason"], "invalid_number");
    assert_eq!(ask(&bed, json!({ "recipients": [] })).await, Vec::<Value>::new());
}

#[tokio::test]
async fn class_categories_sources_and_channel_count() {
    let bed = filled().await;
    let one = async |address: &str, more: Value| {
        let mut body = json!({ "recipients": [address] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&bed, body).await[0]["suppressed"].clone()
    };
    assert_eq!(one("angry@example.com", json!({ "class": "transactional" })).await, true);
    assert_eq!(one("angry@example.com", json!({ "class": "critical" })).await, false);
    assert_eq!(one("left@example.com", json!({})).await, false);
    assert_eq!(one("left@example.com", json!({ "categories": ["news"] })).await, true);
    assert_eq!(one("hard@example.com", json!({ "sources": ["drip", "manual"] })).await, false);
    assert_eq!(one("hard@example.com", json!({ "sources": ["sendgrid"] })).await, true);
    assert_eq!(one("+15551234567", json!({ "channel": "push" })).await, false);
    assert_eq!(one("theirs@example.com", json!({})).await, false);
    assert_eq!(one("theirs@example.com", json!({ "tenant": "acme" })).await, true);
}

#[tokio::test]
async fn an_end_that_passed_is_not_waited_for() {
    let bed = Bed::new();
    bed.tell(soft("soft@example.com", 0));
    bed.settle().await;
    let line = async |bed: &Bed| {
        let answer = bed.call("POST", "/v1/check", Some("application/x-ndjson"), "\"soft@example.com\"").await;
        answer.lines()[0]["suppressed"].clone()
    };
    bed.advance(7 * DAY - 1);
    assert_eq!(line(&bed).await, true);
    bed.advance(1);
    assert_eq!(line(&bed).await, false);
}

#[tokio::test]
async fn ndjson_a_recipient_a_line() {
    let bed = filled().await;
    let body =
        "\"hard@example.com\"\r\n\n{\"recipient\":\"free@example.com\",\"id\":7}\nbare@example.com\n{\"x\":1}\n[1]";
    let answer = bed.call("POST", "/v1/check?class=critical", Some("application/x-ndjson"), body).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/x-ndjson"));
    let told: Vec<(Value, Value)> =
        answer.lines().iter().map(|line| (line["recipient"].clone(), line["suppressed"].clone())).collect();
    let expected = [
        ("hard@example.com", true),
        ("free@example.com", false),
        ("bare@example.com", false),
        ("{\"x\":1}", true),
        ("[1]", true),
    ];
    assert_eq!(told, expected.map(|(recipient, suppressed)| (json!(recipient), json!(suppressed))));
}

#[tokio::test]
async fn csv_keeps_its_columns() {
    let bed = filled().await;
    let body = "\u{feff}name, Email ,note\r\n\"Doe, J\",soft@example.com,\"two\nlines\"\r\nx,free@example.com\r\ny,,\"a \"\"b\"\"\",\r\n";
    let answer = bed.call("POST", "/v1/check", Some("text/csv; charset=utf-8"), body).await;
    let end = at(7 * DAY);
    let expected = format!(
        "name, Email ,note,suppressed,reason,scope,since,until,retry_at\n\
         \"Doe, J\",soft@example.com,\"two\nlines\",true,soft_bounce,all,{},{end},{end}\n\
         x,free@example.com,,false,,,,,\n\
         y,,\"a \"\"b\"\"\",true,invalid_address,,,,\n",
        at(0)
    );
    assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    let answer = bed.call("POST", "/v1/check", Some("text/csv"), "phone\n+1 555 123 4567\n").await;
    assert!(answer.text().contains("+1 555 123 4567,true,invalid_number,all"), "{}", answer.text());
    for (body, detail) in [("", "is empty"), ("a,b\n1,2\n", "no column is named"), ("email\na@b.c,1\n", "more columns")]
    {
        let answer = bed.call("POST", "/v1/check", Some("text/csv"), body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused() {
    let bed = filled().await;
    let check = async |uri: &str, content_type: Option<&str>, body: &str, status: u16, detail: &str| {
        let answer = bed.call("POST", uri, content_type, body).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (status, "application/problem+json"), "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{}", answer.text());
    };
    let json = Some("application/json");
    check("/v1/check", json, "{", 400, "the body").await;
    check("/v1/check", json, "{\"recipients\":[1]}", 400, "expected a string").await;
    check("/v1/check", json, "{\"recipients\":[],\"categorys\":[]}", 400, "unknown field").await;
    check("/v1/check", json, "{\"recipients\":[],\"class\":\"bulk\"}", 400, "unknown message class").await;
    check("/v1/check?klass=critical", json, "{}", 400, "unknown parameter \"klass\"").await;
    check("/v1/check?tenant=NO", json, "{\"recipients\":[]}", 400, "tenant").await;
    check("/v1/check", None, "jane@example.com", 415, "application/x-ndjson").await;
    let limits = LookupLimits { check_bytes_max: 64, check_recipients_max: 2, ..LookupLimits::default() };
    let small = Bed::with(bed.store.clone(), limits);
    let many = json!({ "recipients": ["a", "b", "c"] }).to_string();
    assert_eq!(small.call("POST", "/v1/check", json, &many).await.status, 413);
    let long = json!({ "recipients": ["a".repeat(100)] }).to_string();
    assert_eq!(small.call("POST", "/v1/check", json, &long).await.status, 413);
}

#[tokio::test]
async fn who_may_ask() {
    let bed = filled().await;
    let body = json!({ "recipients": ["theirs@example.com"] }).to_string();
    let call = async |authorization: Option<&str>, uri: &str| {
        let mut request = http::Request::post(uri).header("content-type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let router = router(Bed::deps(
            &bed.store,
            &bed.log,
            &bed.clock,
            vec![bed::token("reader", Role::Read, None), bed::token("acme", Role::Write, Some("acme"))],
            false,
            LookupLimits::default(),
        ));
        bed::send(router, request.body(Body::from(body.clone())).unwrap()).await
    };
    for wrong in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic c2VjcmV0"), Some("Bearer secret-of-reader2")]
    {
        let answer = call(wrong, "/v1/check").await;
        assert_eq!((answer.status, answer.headers.contains_key("www-authenticate")), (401, true), "{wrong:?}");
    }
    assert_eq!(call(Some("bearer secret-of-reader"), "/v1/check").await.json()["results"][0]["suppressed"], false);
    // The tenant is the token's.
    let theirs = Some("Bearer secret-of-acme");
    assert_eq!(call(theirs, "/v1/check").await.json()["results"][0]["suppressed"], true);
    assert_eq!(call(theirs, "/v1/check?tenant=acme").await.status, 200);
    assert_eq!(call(theirs, "/v1/check?tenant=default").await.status, 403);
    let answer = bed.call("POST", "/v1/suppressions", None, "{}").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (403, "application/problem+json"));
}

#[tokio::test]
async fn without_tokens_nobody_may_unless_it_was_opened() {
    let bed = filled().await;
    for (open, status) in [(false, 401), (true, 200)] {
        let limits = LookupLimits::default();
        let router = router(Bed::deps(&bed.store, &bed.log, &bed.clock, Vec::new(), open, limits));
        let request = http::Request::get("/v1/recipients/jane@example.com").body(Body::empty()).unwrap();
        assert_eq!(bed::send(router, request).await.status, status);
    }
}

/// Fails after so many steps.
#[derive(Debug)]
struct Failing(AtomicUsize);

impl Weather for Failing {
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let away = left.map(|_| ()).map_err(|_| StoreError::Unavailable("away".to_owned()));
        Box::pin(std::future::ready(away))
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_never_allowed() {
    let bed = filled().await;
    let forms = [
        ("application/json", json!({ "recipients": ["free@example.com"] }).to_string()),
        ("application/x-ndjson", "\"free@example.com\"\n".to_owned()),
        ("text/csv", "email\nfree@example.com\n".to_owned()),
    ];
    for (content_type, body) in forms {
        let away = bed.under(Arc::new(Failing(AtomicUsize::new(0))), LookupLimits::default());
        let request = http::Request::post("/v1/check")
            .header("authorization", "Bearer secret-of-reader")
            .header("content-type", content_type);
        let answer = bed::send(away, request.body(Body::from(body)).unwrap()).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (503, "application/problem+json"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    let away = bed.under(Arc::new(Failing(AtomicUsize::new(0))), LookupLimits::default());
    let request = http::Request::get("/v1/recipients/a@example.com").header("authorization", "Bearer secret-of-reader");
    assert_eq!(bed::send(away, request.body(Body::empty()).unwrap()).await.status, 503);
}

#[tokio::test]
async fn a_store_that_fails_on_the_way_breaks_the_stream() {
    let bed = filled().await;
    let lines: String = (0..5_000).map(|n| format!("free{n}@example.com\n")).collect();
    let limits = LookupLimits { block_bytes: 1_024, ..LookupLimits::default() };
    for (content_type, body) in [("application/x-ndjson", lines.clone()), ("text/csv", format!("email\n{lines}"))] {
        let failing = bed.under(Arc::new(Failing(AtomicUsize::new(3))), limits);
        let request = http::Request::post("/v1/check")
            .header("authorization", "Bearer secret-of-reader")
            .header("content-type", content_type);
        let answer = bed::send(failing, request.body(Body::from(body)).unwrap()).await;
        assert_eq!((answer.status, answer.broken), (200, true));
        let is_told = answer.text().lines().last().unwrap().starts_with("{\"error\":");
        assert_eq!(is_told, content_type == "application/x-ndjson");
        assert!(answer.text().lines().count() < 1_000);
    }
    // A large JSON check: its first pieces are awaited, the rest breaks off and leaves no whole document.
    let recipients: Vec<String> = (0..130_000).map(|n| format!("f{n}@example.com")).collect();
    let body = json!({ "recipients": recipients }).to_string();
    for (steps, status) in [(3, 503), (22, 200)] {
        let failing = bed.under(Arc::new(Failing(AtomicUsize::new(steps))), LookupLimits::default());
        let request = http::Request::post("/v1/check")
            .header("authorization", "Bearer secret-of-reader")
            .header("content-type", "application/json");
        let answer = bed::send(failing, request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!((answer.status, answer.broken), (status, status == 200));
    }
}

/// 200,000 rows, read slowly: what lies between the body and the client stays bounded, and nothing is lost.
#[tokio::test]
async fn streams_are_bounded_by_who_reads_them() {
    const ROWS: usize = 200_000;
    let bed = filled().await;
    let limits = LookupLimits { block_bytes: 16 * 1_024, blocks_ahead: 4, ..LookupLimits::default() };
    for (content_type, head) in [("text/csv", "email,n\n"), ("application/x-ndjson", "")] {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let rows = (0..ROWS).map(move |n| {
            counted.fetch_add(1, Ordering::SeqCst);
            let row = match (head.is_empty(), n % 100) {
                (true, 0) => "\"hard@example.com\"\n".to_owned(),
                (true, _) => format!("\"free{n}@example.com\"\n"),
                (false, 0) => format!("hard@example.com,{n}\n"),
                (false, _) => format!("free{n}@example.com,{n}\n"),
            };
            Ok::<_, std::io::Error>(Bytes::from(row))
        });
        let head = futures_util::stream::iter([Ok(Bytes::from(head))]);
        let body = Body::from_stream(futures_util::StreamExt::chain(head, futures_util::stream::iter(rows)));
        let request = http::Request::post("/v1/check")
            .header("authorization", "Bearer secret-of-reader")
            .header("content-type", content_type)
            .body(body)
            .unwrap();
        let router = bed.under(Arc::new(crate::store::memory::Calm), limits);
        let mut response = tower::ServiceExt::oneshot(router, request).await.unwrap().into_body();
        let mut answered = 0;
        let mut suppressed = 0;
        while let Some(frame) = response.frame().await {
            let frame = frame.unwrap();
            let block = frame.data_ref().unwrap();
            answered += block.iter().filter(|byte| **byte == b'\n').count();
            let text = std::str::from_utf8(block).unwrap();
            suppressed += text.matches("hard@example.com").count();
            tokio::task::yield_now().await;
            // A block holds at most some 700 rows; four wait, two are under way, one is being read, one gathered.
            let ahead = taken.load(Ordering::SeqCst).saturating_sub(answered);
            assert!(ahead < 12_000, "{ahead} rows ahead of the reader");
        }
        let heads = usize::from(content_type == "text/csv");
        assert_eq!((answered, suppressed), (ROWS + heads, ROWS / 100));
    }
}
