//! Each form of proof: good, forged, stale, truncated.

use super::{LARKPOST, LEAST, adapter};
use crate::Provider as _;
use crate::testing::{NOW, headers, now, post, secrets, source};
use crate::{Authentication, SourceSpec};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;

const BODY: &str = r#"{"type":"bounce"}"#;

fn tag(algorithm: hmac::Algorithm, key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes()).as_ref().to_vec()
}

fn with(authentication: &str) -> String {
    format!("name = \"acme\"\n{}", LEAST.replace("scheme = \"none\"", authentication))
}

fn judge(text: &str, spec: SourceSpec, given: &[(&str, &str)], body: &str) -> Authentication {
    let adapter = adapter(text);
    adapter.authenticate(&post("https://h/w?a=1", &headers(given), body.as_bytes()), &source(adapter, spec), now())
}

#[test]
fn an_hmac_of_the_body() {
    let algorithms =
        [("sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY), ("sha256", hmac::HMAC_SHA256), ("sha512", hmac::HMAC_SHA512)];
    for (name, algorithm) in algorithms {
        let right = tag(algorithm, b"secret", BODY);
        for (encoding, signature) in [
            ("hex", hex::encode(&right)),
            ("base64", STANDARD.encode(&right)),
            ("base64url", URL_SAFE_NO_PAD.encode(&right)),
        ] {
            let text = with(&format!(
                "scheme = \"hmac\"\nheader = \"X-Sig\"\nprefix = \"v=\"\nalgorithm = \"{name}\"\nencoding = \"{encoding}\""
            ));
            let check = |secret: &str, signature: Option<&str>, body: &str, expected: &str| {
                let given: Vec<(&str, &str)> = signature.map(|signature| ("x-sig", signature)).into_iter().collect();
                let verdict = judge(&text, secrets(&["old", secret]), &given, body);
                assert_eq!(
                    (verdict.reason, verdict.ok),
                    (expected, expected == "ok"),
                    "{name} {encoding} {signature:?}"
                );
                assert_eq!((verdict.scheme, verdict.token), (["hmac-", name].concat().as_str(), None));
            };
            let signature = format!("v={signature}");
            check("secret", Some(&signature), BODY, "ok");
            check("other", Some(&signature), BODY, "wrong_signature");
            check("secret", Some(&signature), "{}", "wrong_signature");
            check("secret", None, BODY, "missing_signature");
            check("secret", Some(&signature[2..]), BODY, "malformed_signature");
            check("secret", Some(&signature[..20]), BODY, "malformed_signature");
            check("secret", Some(&format!("{signature}00")), BODY, "malformed_signature");
            check("secret", Some("v="), BODY, "malformed_signature");
            check("secret", Some(&"v=0".repeat(1_000)), BODY, "malformed_signature");
        }
    }
}

#[test]
fn a_signed_time() {
    let text = with(
        "scheme = \"hmac\"\nheader = \"x-sig\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\ncontent = \"v0:{time}:{header:x-id}:{method}:{body}\"\n\
         time_header = \"x-time\"\ntolerance = 60",
    );
    let sign =
        |time: &str, id: &str| hex::encode(tag(hmac::HMAC_SHA256, b"secret", &format!("v0:{time}:{id}:POST:{BODY}")));
    let check = |spec: SourceSpec, time: &str, signed: &str, id: Option<&str>, expected: &str| {
        let signature = sign(signed, id.unwrap_or_default());
        let mut given = vec![("x-time", time), ("x-sig", signature.as_str())];
        given.extend(id.map(|id| ("x-id", id)));
        given.retain(|(_, value)| !value.is_empty());
        assert_eq!(judge(&text, spec, &given, BODY).reason, expected, "{time}");
    };
    let at = |offset: i64| (NOW + offset).to_string();
    let usual = || secrets(&["secret"]);
    check(usual(), &at(0), &at(0), Some("d"), "ok");
    check(usual(), &at(-60), &at(-60), Some("d"), "ok");
    check(usual(), &at(60), &at(60), Some("d"), "ok");
    check(usual(), &at(-61), &at(-61), Some("d"), "stale");
    check(usual(), &at(61), &at(61), Some("d"), "stale");
    check(SourceSpec { tolerance: Some(100), ..usual() }, &at(-61), &at(-61), Some("d"), "ok");
    check(usual(), &at(1), &at(0), Some("d"), "wrong_signature");
    check(usual(), &at(0), &at(0), None, "missing_header");
    check(usual(), "", &at(0), Some("d"), "missing_timestamp");
    check(usual(), "soon", "soon", Some("d"), "malformed_timestamp");
}

#[test]
fn several_signatures_and_the_time_in_one_header() {
    let text = with(
        "scheme = \"hmac\"\nheader = \"x-sig\"\npart = \"v1\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\ncontent = \"{time}.{body}\"\n\
         time_part = \"t\"\ntime_format = \"milliseconds\"\nsecret = \"base64\"",
    );
    let time = (NOW * 1_000).to_string();
    let right = hex::encode(tag(hmac::HMAC_SHA256, b"key", &format!("{time}.{BODY}")));
    let zeros = "0".repeat(64);
    let check = |secret: &str, header: &str, expected: &str| {
        assert_eq!(judge(&text, secrets(&[secret]), &[("x-sig", header)], BODY).reason, expected, "{header}");
    };
    check("a2V5", &format!("t={time},v1={right}"), "ok");
    check("a2V5", &format!("t={time}, v1={zeros}, v1={right}, v0=x"), "ok");
    check("a2V5", &format!("t={time},v0={right}"), "malformed_signature");
    check("a2V5", &format!("t={time},v1={zeros}"), "wrong_signature");
    check("bm8=", &format!("t={time},v1={right}"), "wrong_signature");
    check("a2V5", &format!("v1={right}"), "missing_timestamp");
    check("a2V5", &format!("t={NOW},v1={right}"), "stale");
    // Of a long list only the first are looked at.
    check("a2V5", &format!("t={time},{}v1={right}", "v0=x,".repeat(15)), "malformed_signature");
}

#[test]
fn a_signature_that_leaves_the_body_out_gives_a_token() {
    let text = with(
        "scheme = \"hmac\"\nheader = \"x-sig\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\ncontent = \"{time}{url}\"\ntime_header = \"x-time\"",
    );
    let url = "https://hooks.example.com/w?a=1";
    let right = hex::encode(tag(hmac::HMAC_SHA256, b"secret", &format!("{NOW}{url}")));
    let spec = || SourceSpec { public_url: Some("https://hooks.example.com/w".to_owned()), ..secrets(&["secret"]) };
    let time = NOW.to_string();
    let verdict = |signature: &str| judge(&text, spec(), &[("x-sig", signature), ("x-time", &time)], BODY);
    let (lower, upper) = (verdict(&right), verdict(&right.to_uppercase()));
    assert_eq!((lower.reason, lower.token.as_deref()), ("ok", Some(right.as_str())));
    assert_eq!(upper.token, lower.token, "written otherwise it is the same token");
    let check = |spec: SourceSpec| adapter(&text).check_source(&spec);
    assert!(check(spec()).is_ok());
    assert!(check(secrets(&["secret"])).unwrap_err().0.contains("public_url"));
    assert!(check(SourceSpec { basic_auth: vec!["a:b".to_owned()], ..SourceSpec::default() }).is_ok());
}

#[test]
fn a_key_in_a_header() {
    let text = with("scheme = \"key\"\nheader = \"X-Key\"\nprefix = \"Token \"");
    let check = |given: &[(&str, &str)], expected: &str| {
        let verdict = judge(&text, secrets(&["old", "right"]), given, BODY);
        assert_eq!((verdict.reason, verdict.scheme, verdict.token), (expected, "key", None), "{given:?}");
    };
    check(&[("x-key", "Token right")], "ok");
    check(&[("x-key", "Token old")], "ok");
    check(&[("x-key", "Token rightt")], "wrong_key");
    check(&[("x-key", "Token ")], "wrong_key");
    check(&[("x-key", "right")], "malformed_key");
    check(&[("x-key", "Token right"), ("x-key", "Token right")], "missing_key");
    check(&[], "missing_key");
    assert!(adapter(&text).kept_headers().is_empty(), "a key is never stored");
}

#[test]
fn basic_and_bearer_work_alone_and_on_top() {
    let basic = || vec!["user:pass".to_owned()];
    let none = with("scheme = \"none\"");
    let check = |text: &str, spec: SourceSpec, given: &[(&str, &str)], expected: (&str, &str)| {
        let verdict = judge(text, spec, given, BODY);
        assert_eq!((verdict.scheme, verdict.reason), expected, "{given:?}");
    };
    let header = ("authorization", "Basic dXNlcjpwYXNz");
    let basic_only = || SourceSpec { basic_auth: basic(), ..SourceSpec::default() };
    check(&none, basic_only(), &[header], ("basic", "ok"));
    check(&none, basic_only(), &[], ("basic", "missing_credentials"));
    let bearer = SourceSpec { bearer: vec!["b".to_owned()], ..SourceSpec::default() };
    check(&none, bearer, &[("authorization", "Bearer b")], ("bearer", "ok"));
    check(&none, secrets(&["x"]), &[], ("none", "provider_does_not_sign"));
    check(&none, SourceSpec::default(), &[], ("none", "not_configured"));
    let both = SourceSpec { basic_auth: basic(), ..secrets(&["x"]) };
    check(LARKPOST, both.clone(), &[], ("basic", "missing_credentials"));
    check(LARKPOST, both, &[header], ("hmac-sha256", "missing_signature"));
}

#[test]
fn sources_that_cannot_work_are_told_so() {
    let check = |authentication: &str, spec: SourceSpec, says: &str| {
        let error = adapter(&with(authentication)).check_source(&spec).unwrap_err().0;
        assert!(error.contains(says), "{error}");
    };
    check("scheme = \"none\"", secrets(&["x"]), "acme signs nothing");
    check("scheme = \"none\"", SourceSpec::default(), "nothing proves its requests");
    check("scheme = \"key\"\nheader = \"x\"", SourceSpec::default(), "nothing proves its requests");
    let hmac = "scheme = \"hmac\"\nheader = \"x\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\nsecret =";
    check(&format!("{hmac} \"hex\""), secrets(&["xyz"]), "no hex");
    check(&format!("{hmac} \"base64\""), secrets(&["???"]), "no base64");
    assert!(adapter(&with(&format!("{hmac} \"hex\""))).check_source(&secrets(&["00ff"])).is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_stands_in_the_headers_is_a_plain_no(sig in "(t=|v1=|sha256=|,|=|[0-9a-f]{64}|1768919600|\\PC){0,8}", time in "[0-9.T:-]{0,24}") {
        let both = with(
            "scheme = \"hmac\"\nheader = \"x-sig\"\npart = \"v1\"\nprefix = \"sha256=\"\nalgorithm = \"sha256\"\nencoding = \"base64\"\n\
             content = \"{time}{body}\"\ntime_part = \"t\"",
        );
        let apart = with(
            "scheme = \"hmac\"\nheader = \"x-sig\"\nalgorithm = \"sha256\"\nencoding = \"hex\"\ncontent = \"{time}{body}\"\n\
             time_header = \"x-time\"\ntime_format = \"rfc3339\"",
        );
        static ADAPTERS: std::sync::OnceLock<[&'static super::Adapter; 2]> = std::sync::OnceLock::new();
        let adapters = ADAPTERS.get_or_init(|| [adapter(&both), adapter(&apart)]);
        let mut headers = headers(&[]);
        for (name, value) in [("x-sig", &sig), ("x-time", &time)] {
            if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(name, value);
            }
        }
        for adapter in adapters {
            let verdict = adapter.authenticate(&post("/", &headers, BODY.as_bytes()), &source(*adapter, secrets(&["secret"])), now());
            proptest::prop_assert!(!verdict.ok);
        }
    }
}
