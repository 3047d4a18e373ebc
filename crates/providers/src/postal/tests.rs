use super::*;
use crate::testing::{self, event, headers, now, post, secrets, source};
use crate::verify::rsa::tests::{BY_SHA1, BY_SHA256, KEY, MESSAGE, OTHER};

#[test]
fn fixtures() {
    testing::run_fixtures(&Postal, include_str!("fixtures/events.json"));
}

#[test]
fn signatures() {
    let check = |keys: &[&str], pairs: &[(&str, &str)], body: &[u8]| {
        let headers = headers(pairs);
        Postal.authenticate(&post("/", &headers, body), &source(&Postal, secrets(keys)), now()).reason
    };
    let (strong, weak) = (("X-Postal-Signature-256", BY_SHA256), ("X-Postal-Signature", BY_SHA1));
    assert_eq!(check(&[OTHER, KEY], &[strong], MESSAGE), "ok");
    assert_eq!(check(&[KEY], &[weak], MESSAGE), "ok");
    assert_eq!(check(&[KEY], &[strong, weak], MESSAGE), "ok");
    assert_eq!(check(&[OTHER], &[strong, weak], MESSAGE), "wrong_signature");
    assert_eq!(check(&[KEY], &[strong, weak], b"{}"), "wrong_signature");
    assert_eq!(check(&[KEY], &[], MESSAGE), "missing_signature");
    // The weaker signature never makes up for the better one.
    assert_eq!(check(&[KEY], &[weak, ("x-postal-signature-256", BY_SHA1)], MESSAGE), "wrong_signature");
    assert_eq!(check(&[KEY], &[weak, ("x-postal-signature-256", "")], MESSAGE), "malformed_signature");
    assert_eq!(check(&[KEY], &[weak, ("x-postal-signature-256", &BY_SHA256[..100])], MESSAGE), "wrong_signature");
    assert_eq!(check(&[KEY], &[("x-postal-signature-256", "not base64")], MESSAGE), "malformed_signature");
    let mut twice = headers(&[weak, strong]);
    twice.append("x-postal-signature-256", http::HeaderValue::from_static("AAAA"));
    let verdict = Postal.authenticate(&post("/", &twice, MESSAGE), &source(&Postal, secrets(&[KEY])), now());
    assert_eq!(verdict.reason, "malformed_signature");
}

#[test]
fn sources_are_checked() {
    assert!(Postal.check_source(&secrets(&[KEY, OTHER])).is_ok());
    assert!(Postal.check_source(&secrets(&["a shared secret"])).is_err());
}

#[test]
fn identity() {
    let body = r#"{"event":"MessageLoaded","timestamp":1768919535.5,"uuid":"u-1","payload":{"message":{"id":1,"to":"jane@example.com"}}}"#;
    let id = |body: &str| event(&Postal, body).event_id;
    assert_eq!(id(body), id(body));
    for (from, to) in
        [("u-1", "u-2"), ("535.5", "535.6"), ("Loaded", "Sent"), ("jane", "joe"), ("\"id\":1", "\"id\":2")]
    {
        assert_ne!(id(body), id(&body.replace(from, to)), "{from}");
    }
    let bare = r#"{"event":"MessageLinkClicked","timestamp":1768919535.5,"payload":{"url":"a","message":{"id":1,"to":"jane@example.com"}}}"#;
    assert_ne!(id(bare), id(&bare.replace(r#""url":"a""#, r#""url":"b""#)));
}
