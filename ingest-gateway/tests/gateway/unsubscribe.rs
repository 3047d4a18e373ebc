//! Unsubscribing by one click, and mail handed over, over real HTTP.

use crate::running::{Mode, NOW_S, Running, Setup, source, start};
use domain::{Scope, Tenant};
use event_log::AppendError;
use providers::one_click::{Claims, Key, ONE_CLICK};
use reqwest::header::{ACCEPT, CONTENT_TYPE};

const KEY: &str = "2026a:a-secret-of-more-than-thirty-two-bytes";
const FORM: &str = "application/x-www-form-urlencoded";
const PAGE: &str = "text/html,application/xhtml+xml;q=0.9";

fn claims() -> Claims {
    Claims {
        tenant: Tenant::new("acme").unwrap(),
        recipient: "jane@example.com".to_owned(),
        scope: Scope::category("news & <more>"),
        issued_at: NOW_S - 3_600,
        message_id: Some("m-1@acme.example".to_owned()),
        campaign: None,
    }
}

fn link(claims: &Claims) -> String {
    format!("/unsubscribe/{}", Key::read(KEY).unwrap().seal(claims, [9; 16]).unwrap())
}

async fn gateway() -> Running {
    let mut setup = Setup::default();
    setup.sources.push(source("one-click", "default", false, |spec| {
        spec.secrets = vec![KEY.to_owned()];
        spec.tolerance = Some(30 * 86_400);
    }));
    setup.sources.push(source("dsn", "default", false, |spec| spec.bearer = vec!["token".to_owned()]));
    start(setup).await
}

/// Status, content type and text of an answer.
async fn told(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), content_type.unwrap_or_default(), response.text().await.unwrap())
}

#[tokio::test]
async fn looking_changes_nothing() {
    let gateway = gateway().await;
    let url = gateway.url(&link(&claims()));
    let response = gateway.client.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert!(header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer".into(), "no-store".into()));
    let page = response.text().await.unwrap();
    assert!(page.contains("method=\"post\"") && page.contains("news &amp; &lt;more&gt;"), "{page}");
    assert!(page.contains("j***@example.com") && !page.contains("jane"), "{page}");
    let head = gateway.client.head(&url).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
    let scanner = gateway.client.get(format!("{url}?utm_source=mail")).header("accept", "*/*");
    assert_eq!(scanner.send().await.unwrap().status(), 200);
    assert_eq!(gateway.appended(), 0);
    assert_eq!(
        gateway
            .count(r#"quell_gateway_webhooks_total{cause="page",provider="one-click",source="default",status="200"}"#),
        3
    );
}

#[tokio::test]
async fn a_click_is_in_the_log_before_it_is_answered() {
    let gateway = gateway().await;
    let url = gateway.url(&link(&claims()));
    let (status, _, text) = told(gateway.client.post(&url).header(CONTENT_TYPE, FORM).body(ONE_CLICK)).await;
    assert!(status == 200 && text.contains(r#""status":"accepted""#), "{text}");
    let raw = gateway.raw(0);
    assert_eq!((raw.provider.as_str(), raw.source.as_str(), raw.tenant.as_str()), ("one-click", "default", "acme"));
    assert_eq!((raw.url.as_str(), raw.verified.as_str(), raw.shadow), ("/unsubscribe", "aes-256-gcm", false));
    assert_eq!(raw.headers["content-type"], "application/json");
    // What is stored is what the token said, and no link that works.
    assert_eq!(Claims::from_json(&raw.body), Some(claims()));
    assert!(!String::from_utf8(raw.body).unwrap().contains("1.2026a"));

    let boundary = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let multipart = gateway.client.post(&url).header(CONTENT_TYPE, "multipart/form-data; boundary=b").body(boundary);
    assert_eq!(told(multipart).await.0, 200);
    let person = gateway.client.post(&url).header(CONTENT_TYPE, FORM).header(ACCEPT, PAGE).body(ONE_CLICK);
    let (status, content_type, page) = told(person).await;
    assert!(status == 200 && content_type.starts_with("text/html") && page.contains("You are unsubscribed"), "{page}");
    assert_eq!(gateway.appended(), 3);
    assert_eq!((gateway.raw(1).body, gateway.raw(2).body), (gateway.raw(0).body, gateway.raw(0).body));
}

#[tokio::test]
async fn what_is_no_click_is_refused_with_the_reason() {
    let gateway = gateway().await;
    let good = link(&claims());
    let post = |path: &str| gateway.client.post(gateway.url(path)).header(CONTENT_TYPE, FORM).body(ONE_CLICK);
    let old = link(&Claims { issued_at: NOW_S - 31 * 86_400, ..claims() });
    for (path, status, reason) in [
        (format!("{good}A"), 404, "no_such_link"),
        (good[..good.len() - 9].to_owned(), 404, "no_such_link"),
        (good.replace("2026a", "2025b"), 404, "unknown_key"),
        (good.replace("/1.", "/9."), 404, "malformed_token"),
        ("/unsubscribe/".to_owned(), 404, "missing_token"),
        (format!("{good}/more"), 404, "missing_token"),
        (old, 400, "expired_token"),
    ] {
        let (found, content_type, text) = told(post(&path)).await;
        assert_eq!((found, content_type.as_str()), (status, "application/problem+json"), "{path}");
        assert!(text.contains(reason), "{text}");
        // A person is told in words, with the same status.
        let (found, content_type, page) = told(gateway.client.get(gateway.url(&path))).await;
        assert!(found == status && content_type.starts_with("text/html") && page.contains("This link is"), "{page}");
    }
    for body in ["", "List-Unsubscribe=Two-Clicks", r#"{"recipient":"victim@example.com","issued_at":1}"#] {
        let (status, _, text) = told(post(&good).body(body)).await;
        assert!(status == 400 && text.contains("not_one_click"), "{body}: {text}");
    }
    let put = gateway.client.put(gateway.url(&good)).body(ONE_CLICK).send().await.unwrap();
    assert_eq!((put.status().as_u16(), put.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD, POST"));
    assert_eq!(told(post(&good).body(" ".repeat(5_000))).await.0, 413);
    // The stored form has no endpoint of its own.
    for path in ["/webhooks/one-click", "/webhooks/one-click/default", "/unsubscribe"] {
        let (status, ..) = told(gateway.client.post(gateway.url(path)).body(claims().to_json())).await;
        assert_eq!(status, 404, "{path}");
    }
    assert_eq!(gateway.appended(), 0);
    // While nothing can be kept, nobody is told that it was.
    *gateway.log.mode.lock().unwrap() = Mode::Fails(AppendError::Unavailable("disk".into()));
    let response = post(&good).header(ACCEPT, PAGE).send().await.unwrap();
    assert!(response.status() == 503 && response.headers().contains_key("retry-after"));
    let page = response.text().await.unwrap();
    assert!(page.contains("try again") && !page.contains("You are unsubscribed"), "{page}");
}

#[tokio::test]
async fn without_keys_there_are_no_links() {
    let gateway = start(Setup::default()).await;
    for request in
        [gateway.client.get(gateway.url(&link(&claims()))), gateway.client.post(gateway.url("/unsubscribe/x"))]
    {
        assert_eq!(told(request).await.0, 404);
    }
}

#[tokio::test]
async fn mail_is_taken_as_mail() {
    let gateway = gateway().await;
    let mail = "From: MAILER-DAEMON@mx.example\r\nMessage-ID: <1@mx.example>\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
        Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
        Final-Recipient: rfc822; jane@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n";
    let post = |kind: &'static str| {
        gateway.client.post(gateway.url("/webhooks/dsn")).header(CONTENT_TYPE, kind).bearer_auth("token")
    };
    for kind in ["message/rfc822", "text/plain", "application/octet-stream", FORM] {
        assert_eq!(told(post(kind).body(mail)).await.0, 202, "{kind}");
    }
    assert_eq!((gateway.appended(), gateway.raw(0).body), (4, mail.as_bytes().to_vec()));
    assert_eq!(told(post("text/html").body(mail)).await.0, 415);
    let (status, _, text) = told(post("message/rfc822").body("From: jane@example.com\n\nhello")).await;
    assert!(status == 400 && text.contains("not_a_report"), "{text}");
    let away = "From: jane@example.com\nAuto-Submitted: auto-replied\n\nAway";
    let (status, _, text) = told(post("message/rfc822").body(away)).await;
    assert!(status == 200 && text.contains(r#""reason":"auto_reply""#), "{text}");
    // Other providers still take no mail.
    assert_eq!(told(gateway.drip("/webhooks/drip", b"{}").header(CONTENT_TYPE, "message/rfc822")).await.0, 415);
    assert_eq!(gateway.appended(), 4);
}
