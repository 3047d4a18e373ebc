use super::*;
use crate::testing::{self, NOW, event, headers, now, post, secrets, source};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac as ring_hmac;

const KEY: &[u8] = b"a key of twenty-four byte";

#[test]
fn fixtures() {
    testing::run_fixtures(&Sweego, include_str!("fixtures/events.json"));
}

#[test]
fn signatures() {
    let sign = |id: &str, time: &str, body: &str| {
        STANDARD.encode(ring_hmac::sign(
            &ring_hmac::Key::new(ring_hmac::HMAC_SHA256, KEY),
            format!("{id}.{time}.{body}").as_bytes(),
        ))
    };
    let check = |pairs: &[(&str, &str)], body: &str| {
        let headers = headers(pairs);
        let keys = secrets(&["b2xk", &STANDARD.encode(KEY)]);
        Sweego.authenticate(&post("/", &headers, body.as_bytes()), &source(&Sweego, keys), now()).reason
    };
    let full = |id: &str, time: &str, signature: &str, body: &str| {
        check(&[("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)], body)
    };
    let (time, body) = (NOW.to_string(), r#"{"event_type":"delivered"}"#);
    let right = sign("i", &time, body);
    assert_eq!(full("i", &time, &right, body), "ok");
    assert_eq!(full("i", &time, &format!("v1,AAAA v1,{right}"), body), "ok");
    assert_eq!(full("j", &time, &right, body), "wrong_signature");
    assert_eq!(full("i", &(NOW + 1).to_string(), &right, body), "wrong_signature");
    assert_eq!(full("i", &time, &right, "{}"), "wrong_signature");
    assert_eq!(full("i", &time, &right[..20], body), "wrong_signature");
    assert_eq!(full("i", &time, &format!("{}{right}", "AAAA ".repeat(16)), body), "wrong_signature");
    assert_eq!(full("i", "soon", &right, body), "malformed_timestamp");
    for late in [NOW - 301, NOW + 301] {
        assert_eq!(full("i", &late.to_string(), &sign("i", &late.to_string(), body), body), "stale");
    }
    assert_eq!(check(&[("webhook-id", "i"), ("webhook-timestamp", &time)], body), "missing_signature");
    assert_eq!(check(&[("webhook-signature", &right), ("webhook-timestamp", &time)], body), "missing_id");
    assert_eq!(check(&[("webhook-signature", &right), ("webhook-id", "i")], body), "missing_timestamp");
}

#[test]
fn sources_are_checked() {
    assert!(Sweego.check_source(&secrets(&["c2VjcmV0"])).is_ok());
    assert!(Sweego.check_source(&secrets(&["with spaces"])).is_err());
}

#[test]
fn identity() {
    let body = r#"{"event_type":"email_clicked","timestamp":"2026-01-20T14:32:15+00:00","swg_uid":"m-1","event_id":"e-1","channel":"email","recipient":"jane@example.com","click":{"url":"a"}}"#;
    let id = |body: &str| event(&Sweego, body).event_id;
    assert_eq!(id(body), id(&body.replace("+00:00", "Z")), "the same moment");
    for (from, to) in [("e-1", "e-2"), ("m-1", "m-2"), ("clicked", "opened"), (":15+", ":16+"), ("jane", "joe")] {
        assert_ne!(id(body), id(&body.replace(from, to)), "{from}");
    }
    let sms = r#"{"event_type":"sms_stop","timestamp":"2026-01-20T15:32:15","swg_uid":"m-1","channel":"sms","phone_number":"0033612345678"}"#;
    assert_eq!(event(&Sweego, sms).occurred_at, now(), "a time without a zone is no time");
    assert_ne!(id(sms), id(&sms.replace(":15\"", ":16\"")));
}
