use super::*;
use crate::testing::{headers, now, post, secrets, source};
use crate::{Provider as _, drip::Drip, postmark::Postmark};
use std::collections::BTreeMap;

fn spec(basic: &[&str], bearer: &[&str], fixed: &[(&str, &str)]) -> SourceSpec {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let headers: BTreeMap<String, String> =
        fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    SourceSpec { basic_auth: owned(basic), bearer: owned(bearer), headers, ..SourceSpec::default() }
}

#[track_caller]
fn check(spec: SourceSpec, given: &[(&str, &str)], expected: (bool, &str, &str)) {
    let headers = headers(given);
    let verdict = Postmark.authenticate(&post("/", &headers, b"{}"), &source(&Postmark, spec), now());
    assert_eq!((verdict.ok, verdict.scheme, verdict.reason), expected);
}

/// `quell:secret` and `other:password` in base64.
const RIGHT: &str = "Basic cXVlbGw6c2VjcmV0";
const OTHER: &str = "basic  b3RoZXI6cGFzc3dvcmQ=";

#[test]
fn basic_bearer_and_headers() {
    let pairs = &["quell:secret", "other:password"];
    check(spec(pairs, &[], &[]), &[("authorization", RIGHT)], (true, "basic", "ok"));
    check(spec(pairs, &[], &[]), &[("authorization", OTHER)], (true, "basic", "ok"));
    check(spec(&pairs[1..], &[], &[]), &[("authorization", RIGHT)], (false, "basic", "wrong_credentials"));
    check(spec(pairs, &[], &[]), &[("authorization", "Basic ###")], (false, "basic", "malformed_credentials"));
    check(spec(pairs, &[], &[]), &[("authorization", "Bearer x")], (false, "basic", "missing_credentials"));
    check(spec(pairs, &[], &[]), &[], (false, "basic", "missing_credentials"));
    check(spec(&[], &["t1", "t2"], &[]), &[("authorization", "bearer t2")], (true, "bearer", "ok"));
    check(spec(&[], &["t1"], &[]), &[("authorization", "Bearer t11")], (false, "bearer", "wrong_credentials"));
    check(spec(&[], &[""], &[]), &[("authorization", "Bearer ")], (false, "bearer", "wrong_credentials"));
    let fixed = &[("X-One", "1"), ("x-two", "2")];
    check(spec(&[], &[], fixed), &[("x-one", "1"), ("x-two", "2")], (true, "headers", "ok"));
    check(spec(&[], &[], fixed), &[("x-one", "1"), ("x-two", "3")], (false, "headers", "wrong_header"));
    check(spec(&[], &[], fixed), &[("x-one", "1")], (false, "headers", "missing_header"));
    check(
        spec(&[], &[], fixed),
        &[("x-one", "1"), ("x-two", "2"), ("x-two", "2")],
        (false, "headers", "missing_header"),
    );
}

#[test]
fn every_configured_kind_must_pass() {
    let both = || spec(&["quell:secret"], &[], &[("x-one", "1")]);
    check(both(), &[("authorization", RIGHT), ("x-one", "1")], (true, "basic", "ok"));
    check(both(), &[("authorization", RIGHT)], (false, "headers", "missing_header"));
    check(both(), &[("x-one", "1")], (false, "basic", "missing_credentials"));
    let signed = SourceSpec { secrets: vec!["key".to_owned()], ..spec(&["quell:secret"], &[], &[]) };
    check(signed, &[("authorization", RIGHT)], (false, "none", "provider_does_not_sign"));
    let signed = SourceSpec { basic_auth: vec!["quell:secret".to_owned()], ..secrets(&["key"]) };
    let headers = headers(&[("authorization", RIGHT)]);
    let verdict = Drip.authenticate(&post("/", &headers, b"{}"), &source(&Drip, signed), now());
    assert_eq!((verdict.ok, verdict.scheme, verdict.reason), (false, "hmac-sha256", "missing_signature"));
}

#[test]
fn nothing_asked_is_refused_unless_said() {
    check(SourceSpec::default(), &[], (false, "none", "not_configured"));
    let open = || SourceSpec { unauthenticated: true, ..SourceSpec::default() };
    check(open(), &[], (true, "none", "ok"));
    // What is configured is asked for all the same.
    let spec = SourceSpec { basic_auth: vec!["quell:secret".to_owned()], ..open() };
    check(spec, &[], (false, "basic", "missing_credentials"));
    let signed = SourceSpec { unauthenticated: true, ..secrets(&["key"]) };
    let verdict = Drip.authenticate(&post("/", &headers(&[]), b"{}"), &source(&Drip, signed), now());
    assert_eq!(verdict.reason, "missing_signature");
    let empty = Drip.authenticate(
        &post("/", &headers(&[("x-drip-signature", &"00".repeat(32))]), b"{}"),
        &source(&Drip, secrets(&[""])),
        now(),
    );
    assert_eq!(empty.reason, "wrong_signature", "an empty secret never matches");
}

#[test]
fn sources_that_cannot_work_are_told_so() {
    assert!(check_source(&SourceSpec::default()).is_err());
    assert!(check_source(&secrets(&[" "])).is_err());
    assert!(check_source(&spec(&["no password"], &[], &[])).is_err());
    assert!(check_source(&spec(&[], &[""], &[])).is_err());
    assert!(check_source(&spec(&[], &[], &[("bad name", "x")])).is_err());
    assert!(check_source(&spec(&["a:b"], &["c"], &[("x-d", "e")])).is_ok());
    assert!(check_source(&SourceSpec { unauthenticated: true, ..SourceSpec::default() }).is_ok());
}

#[test]
fn a_window_reaches_both_ways() {
    let source = source(&Drip, SourceSpec { tolerance: Some(10), ..SourceSpec::default() });
    let at = |seconds| fresh(now().as_seconds() + seconds, &source, TOLERANCE_SECONDS, now());
    assert!(at(0) && at(10) && at(-10));
    assert!(!at(11) && !at(-11));
}
