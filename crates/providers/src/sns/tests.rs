use super::Envelope;
use super::testing::{BY_SHA1, EXPIRED_PEM, OTHER_PEM, PEM, TOPIC, URL, confirmation, notification, signed};
use crate::testing::{headers, now, post, source};
use crate::{Authentication, Certificate, Provider as _, SourceSpec, Wanted, ses::Ses};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn listing(topics: &[&str]) -> SourceSpec {
    SourceSpec { topics: list(topics), ..SourceSpec::default() }
}

fn pinning(certificates: &[(&str, &str)]) -> SourceSpec {
    let certificates = certificates.iter().map(|(url, pem)| ((*url).to_owned(), (*pem).to_owned())).collect();
    SourceSpec { certificates, ..listing(&[TOPIC]) }
}

fn judge(spec: SourceSpec, given: &[(&str, &str)], body: &str) -> Authentication {
    let headers = headers(given);
    Ses.authenticate(&post("/webhooks/ses", &headers, body.as_bytes()), &source(&Ses, spec), now())
}

/// Judged under the pinned certificate.
#[track_caller]
fn check(body: &str, expected: &str) {
    let verdict = judge(pinning(&[(URL, PEM)]), &[("content-type", "text/plain; charset=UTF-8")], body);
    assert_eq!((verdict.ok, verdict.reason), (expected == "ok", expected), "{body}");
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn with(mut value: Value, name: &str, other: impl Into<Value>) -> Value {
    value[name] = other.into();
    value
}

#[test]
fn signatures_of_both_versions() {
    let first = with(with(notification("plain"), "SignatureVersion", "1"), "Signature", BY_SHA1);
    let verdict = judge(pinning(&[(URL, PEM)]), &[], &first.to_string());
    assert_eq!((verdict.ok, verdict.scheme), (true, "sns-rsa-sha1"));
    let second = signed(notification("plain"));
    let verdict = judge(pinning(&[(URL, PEM)]), &[], &second);
    assert_eq!((verdict.ok, verdict.scheme), (true, "sns-rsa-sha256"));
    // Neither passes for the other.
    check(&with(first.clone(), "SignatureVersion", "2").to_string(), "wrong_signature");
    check(&second.replace(r#""SignatureVersion":"2""#, r#""SignatureVersion":"1""#), "wrong_signature");
    check(&with(first.clone(), "SignatureVersion", "3").to_string(), "unknown_signature_version");
    check(&with(first.clone(), "SignatureVersion", 1).to_string(), "malformed_envelope");
    check(&without(first, "SignatureVersion").to_string(), "missing_signature");
}

#[test]
fn everything_that_is_signed_counts() {
    let body: Value = serde_json::from_str(&signed(notification("{\"a\":\"b\\n\"}\n"))).unwrap();
    check(&body.to_string(), "ok");
    check(&serde_json::to_string_pretty(&body).unwrap(), "ok");
    for name in ["Message", "MessageId", "Subject", "Timestamp"] {
        let other = if name == "Timestamp" { "2026-01-20T14:32:16.000Z" } else { "other" };
        check(&with(body.clone(), name, other).to_string(), "wrong_signature");
    }
    check(&without(body.clone(), "Subject").to_string(), "wrong_signature");
    check(&with(body.clone(), "Subject", Value::Null).to_string(), "wrong_signature");
    check(&without(body.clone(), "Message").to_string(), "incomplete_envelope");
    check(&with(body.clone(), "Message", json!({})).to_string(), "malformed_envelope");
    // What is not signed does not.
    check(&with(body.clone(), "UnsubscribeURL", "https://evil.example/").to_string(), "ok");
    let confirmation: Value = serde_json::from_str(&signed(confirmation("SubscriptionConfirmation"))).unwrap();
    check(&confirmation.to_string(), "ok");
    for name in ["Message", "MessageId", "SubscribeURL", "Token"] {
        check(&with(confirmation.clone(), name, "other").to_string(), "wrong_signature");
    }
    check(&without(confirmation.clone(), "Token").to_string(), "incomplete_envelope");
    check(&with(confirmation.clone(), "Type", "UnsubscribeConfirmation").to_string(), "wrong_signature");
    check(&with(confirmation.clone(), "Type", "Notification").to_string(), "wrong_signature");
    check(&with(confirmation, "Type", "Other").to_string(), "unknown_type");
}

#[test]
fn values_are_signed_as_they_read() {
    let text = "Zoë said: \"\\u00e9\" é 漢字 \u{1f600}\t\r\n";
    let body = signed(without(notification(text), "Subject"));
    check(&body, "ok");
    // The same text, written in another way.
    let escaped: String = body
        .chars()
        .map(|c| {
            if c.is_ascii() {
                c.to_string()
            } else {
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
        })
        .collect();
    assert_ne!(escaped, body);
    check(&escaped, "ok");
    check(&signed(with(notification("plain"), "Subject", "")), "ok");
    check(&signed(with(notification("plain"), "Subject", Value::Null)), "ok");
}

#[test]
fn a_broken_line_is_no_next_field() {
    // "MessageId\nn-1\nSubject\n…" cut elsewhere is the same text.
    let body: Value = serde_json::from_str(&signed(notification("plain"))).unwrap();
    let moved =
        with(with(body, "MessageId", "n-1\nSubject\nAmazon SES Email Event Notification"), "Subject", Value::Null);
    check(&moved.to_string(), "malformed_envelope");
}

#[test]
fn a_name_given_twice_counts_once() {
    let body = signed(notification("plain"));
    let second = body.replacen('{', r#"{"Message":"forged","TopicArn":"arn:aws:sns:eu-west-1:1:other","#, 1);
    check(&second, "ok");
    let first = body.trim_end_matches('}').to_owned() + r#","Message":"forged"}"#;
    check(&first, "wrong_signature");
    let envelope = Envelope::read(second.as_bytes()).unwrap().unwrap();
    assert_eq!(envelope.required("Message").unwrap(), "plain", "what is parsed is what was signed");
}

#[test]
fn signatures_that_are_none() {
    let body: Value = serde_json::from_str(&signed(notification("plain"))).unwrap();
    let signature = body["Signature"].as_str().unwrap().to_owned();
    let check =
        |signature: Value, expected: &str| check(&with(body.clone(), "Signature", signature).to_string(), expected);
    check(Value::Null, "missing_signature");
    check("".into(), "malformed_signature");
    check("NOT A SIGNATURE".into(), "malformed_signature");
    check(signature[..signature.len() - 4].into(), "wrong_signature");
    check("AAAA".into(), "wrong_signature");
    check(signature.repeat(9).into(), "malformed_signature");
    check(json!([signature]), "malformed_envelope");
}

#[test]
fn topics_are_listed() {
    let spec = |topics: &[&str]| SourceSpec { topics: list(topics), ..pinning(&[(URL, PEM)]) };
    let verdict = |topics: &[&str]| judge(spec(topics), &[], &signed(notification("plain"))).reason;
    assert_eq!(verdict(&["arn:aws:sns:eu-west-1:123456789012:other", TOPIC]), "ok");
    for other in [&TOPIC[..TOPIC.len() - 1], "arn:aws:sns:eu-west-1:999999999999:mail", "", "*"] {
        assert_eq!(verdict(&[other]), "topic_not_allowed", "{other}");
    }
    // A recorded request is judged by its certificate alone; a source that is served has to list its topics.
    assert_eq!(verdict(&[]), "ok");
    check(&signed(without(notification("plain"), "TopicArn")), "incomplete_envelope");
}

#[test]
fn certificates_are_pinned() {
    let body = signed(notification("plain"));
    let verdict = |spec| judge(spec, &[], &body);
    assert!(verdict(pinning(&[("https://sns.eu-west-1.amazonaws.com/old.pem", OTHER_PEM), (URL, PEM)])).ok);
    assert_eq!(verdict(pinning(&[(URL, OTHER_PEM)])).reason, "wrong_signature");
    assert_eq!(verdict(pinning(&[(URL, EXPIRED_PEM)])).reason, "certificate_expired");
    let unknown = verdict(pinning(&[("https://sns.eu-west-1.amazonaws.com/old.pem", PEM)]));
    assert_eq!((unknown.ok, unknown.wanted, unknown.reason), (false, Some(Wanted::Pinned), "certificate_not_pinned"));
    // Under `secrets` a certificate counts whatever it is called.
    let secrets = |pems: &[&str]| SourceSpec { secrets: list(pems), ..listing(&[TOPIC]) };
    assert!(verdict(secrets(&[OTHER_PEM, PEM])).ok);
    assert_eq!(verdict(secrets(&[OTHER_PEM])).reason, "wrong_signature");
    assert_eq!(verdict(secrets(&["secret"])).reason, "certificate_not_pinned");
    // A pin opens no other host.
    let elsewhere = "https://evil.example/a.pem";
    let body = signed(with(notification("plain"), "SigningCertURL", elsewhere));
    assert_eq!(judge(pinning(&[(elsewhere, PEM)]), &[], &body).reason, "certificate_url_not_allowed");
    assert_eq!(judge(secrets(&[PEM]), &[], &body).reason, "certificate_url_not_allowed");
    check(&signed(without(notification("plain"), "SigningCertURL")), "missing_certificate_url");
}

#[test]
fn a_certificate_that_is_not_at_hand_is_asked_for() {
    let body = signed(notification("plain"));
    let (headers, source) = (headers(&[]), source(&Ses, listing(&[TOPIC])));
    let request = post("/webhooks/ses", &headers, body.as_bytes());
    let verdict = Ses.authenticate(&request, &source, now());
    assert_eq!((verdict.ok, verdict.reason), (false, "certificate_not_at_hand"));
    assert_eq!(verdict.wanted, Some(Wanted::Fetched(URL.to_owned())));
    let by = |pem| Ses.authenticate_by(&request, &source, now(), &Certificate::read_pem(pem).unwrap());
    assert_eq!((by(PEM).ok, by(PEM).wanted), (true, None));
    assert_eq!((by(OTHER_PEM).reason, by(OTHER_PEM).wanted), ("wrong_signature", None));
    assert_eq!(by(EXPIRED_PEM).reason, "certificate_expired");
    // Never for what is wrong anyway.
    for (name, value) in [
        ("TopicArn", "arn:aws:sns:eu-west-1:1:other"),
        ("Timestamp", "2026-01-20T10:00:00.000Z"),
        ("SignatureVersion", "3"),
        ("Signature", "?"),
        ("SigningCertURL", "https://evil.example/a.pem"),
        ("Type", "Other"),
        ("MessageId", "a\nb"),
    ] {
        let body = signed(with(notification("plain"), name, value));
        let body = if name == "Signature" { body.replace(r#""Signature":""#, r#""Signature":"?"#) } else { body };
        let verdict = Ses.authenticate(&post("/", &headers, body.as_bytes()), &source, now());
        assert_eq!((verdict.ok, &verdict.wanted), (false, &None), "{name}");
    }
}

#[test]
fn a_notification_is_fresh_for_as_long_as_it_is_retried() {
    let verdict = |tolerance, time: &str| {
        let spec = SourceSpec { tolerance, ..pinning(&[(URL, PEM)]) };
        judge(spec, &[], &signed(with(notification("plain"), "Timestamp", time))).reason
    };
    // Now is 14:33:20.
    for (time, expected) in [
        ("2026-01-20T14:33:20.000Z", "ok"),
        ("2026-01-20T13:33:20.000Z", "ok"),
        ("2026-01-20T13:28:20.000Z", "ok"),
        ("2026-01-20T13:28:19.999Z", "stale"),
        ("2026-01-20T15:38:20.999Z", "ok"),
        ("2026-01-20T15:38:21.000Z", "stale"),
        ("2025-01-20T14:33:20.000Z", "stale"),
        ("", "malformed_timestamp"),
        ("1768919600", "malformed_timestamp"),
    ] {
        assert_eq!(verdict(None, time), expected, "{time}");
    }
    assert_eq!(verdict(Some(60), "2026-01-20T14:32:20.000Z"), "ok");
    assert_eq!(verdict(Some(60), "2026-01-20T14:32:19.000Z"), "stale");
    check(&signed(without(notification("plain"), "Timestamp")), "missing_timestamp");
}

#[test]
fn header_fields_decide_nothing() {
    let verdict = |given: &[(&str, &str)], body: &str| judge(pinning(&[(URL, PEM)]), given, body).reason;
    let body = signed(notification("plain"));
    let right =
        [("x-amz-sns-message-type", "Notification"), ("x-amz-sns-message-id", "n-1"), ("x-amz-sns-topic-arn", TOPIC)];
    assert_eq!(verdict(&right, &body), "ok");
    for (name, _) in right {
        assert_eq!(verdict(&[(name, "SubscriptionConfirmation")], &body), "headers_disagree", "{name}");
        assert_eq!(verdict(&[right[0], right[1], right[2], (name, "twice")], &body), "headers_disagree", "{name}");
    }
    let forged = with(notification("plain"), "Type", "Other").to_string();
    assert_eq!(verdict(&right, &forged), "unknown_type");
}

#[test]
fn bare_texts_need_another_proof() {
    let bare = r#"{"eventType":"Send","mail":{"destination":["jane@example.com"]}}"#;
    let raw = ("x-amz-sns-rawdelivery", "true");
    for spec in [listing(&[TOPIC]), pinning(&[(URL, PEM)])] {
        for body in [bare, "", "text", "[]", "{}", r#"{"Type":7}"#] {
            assert_eq!(judge(spec.clone(), &[raw], body).reason, "raw_delivery", "{body}");
        }
    }
    let open = SourceSpec { unauthenticated: true, ..listing(&[TOPIC]) };
    assert_eq!(judge(open, &[raw], bare).reason, "raw_delivery", "what is asked for is asked for all the same");
    let with_password = |spec: SourceSpec| SourceSpec { basic_auth: list(&["quell:secret"]), ..spec };
    let password = ("authorization", "Basic cXVlbGw6c2VjcmV0");
    for spec in [with_password(SourceSpec::default()), with_password(listing(&[TOPIC]))] {
        assert_eq!(judge(spec.clone(), &[raw], bare).reason, "missing_credentials");
        let verdict = judge(spec, &[raw, password], bare);
        assert_eq!((verdict.ok, verdict.scheme), (true, "basic"));
    }
    let topic =
        |arn| judge(with_password(listing(&[TOPIC])), &[raw, password, ("x-amz-sns-topic-arn", arn)], bare).reason;
    assert_eq!((topic(TOPIC), topic("arn:aws:sns:eu-west-1:1:other")), ("ok", "topic_not_allowed"));
    assert_eq!(judge(with_password(pinning(&[(URL, PEM)])), &[raw, password], bare).reason, "raw_delivery");
}

#[test]
fn other_proofs_stand_alone_or_on_top() {
    let (right, wrong) = (("authorization", "Basic cXVlbGw6c2VjcmV0"), ("authorization", "Basic cXVlbGw6c2VjcmV1"));
    let alone = || SourceSpec { basic_auth: list(&["quell:secret"]), ..SourceSpec::default() };
    let on_top = || SourceSpec { basic_auth: list(&["quell:secret"]), ..pinning(&[(URL, PEM)]) };
    let (signed, unsigned) = (signed(notification("plain")), notification("plain").to_string());
    assert_eq!(judge(alone(), &[right], &unsigned).scheme, "basic");
    assert_eq!(judge(alone(), &[wrong], &signed).reason, "wrong_credentials");
    assert_eq!(judge(on_top(), &[right], &signed).scheme, "sns-rsa-sha256");
    assert_eq!(judge(on_top(), &[right], &unsigned).reason, "missing_signature");
    assert_eq!(judge(on_top(), &[], &signed).reason, "missing_credentials", "SNS sends them once it is asked");
    assert_eq!(judge(SourceSpec::default(), &[], &signed).reason, "not_configured");
    let open = SourceSpec { unauthenticated: true, ..SourceSpec::default() };
    assert_eq!(judge(open, &[], &unsigned).scheme, "none");
}

#[test]
fn a_subscription_is_confirmed_only_where_all_is_right() {
    let confirm = |spec: SourceSpec, body: &str| {
        let (headers, source) = (headers(&[("authorization", "Basic cXVlbGw6c2VjcmV0")]), source(&Ses, spec));
        let request = post("/", &headers, body.as_bytes());
        let proof = Ses.authenticate(&request, &source, now());
        Ses.confirmation(&request, &source, &proof)
    };
    let body = signed(confirmation("SubscriptionConfirmation"));
    let url = confirmation("")["SubscribeURL"].as_str().map(str::to_owned);
    assert_eq!(confirm(pinning(&[(URL, PEM)]), &body), url);
    assert_eq!(confirm(pinning(&[(URL, OTHER_PEM)]), &body), None, "a wrong signature");
    assert_eq!(confirm(listing(&[TOPIC]), &body), None, "not judged yet");
    let no_topics = SourceSpec { topics: Vec::new(), ..pinning(&[(URL, PEM)]) };
    assert_eq!(confirm(no_topics, &body), None, "any topic could ask");
    let password = SourceSpec { basic_auth: list(&["quell:secret"]), ..SourceSpec::default() };
    assert_eq!(confirm(password, &body), None, "no signature was judged");
    let open = SourceSpec { unauthenticated: true, ..SourceSpec::default() };
    assert_eq!(confirm(open, &body), None);
    for other in [signed(confirmation("UnsubscribeConfirmation")), signed(notification("plain"))] {
        assert_eq!(confirm(pinning(&[(URL, PEM)]), &other), None);
    }
    let elsewhere = signed(with(confirmation("SubscriptionConfirmation"), "SubscribeURL", "https://evil.example/x"));
    assert_eq!(confirm(pinning(&[(URL, PEM)]), &elsewhere), None);
}

#[test]
fn sources_that_cannot_work_are_told_so() {
    let check = |spec: SourceSpec, expected: &str| match Ses.check_source(&spec) {
        Ok(()) => assert_eq!(expected, "ok"),
        Err(error) => assert!(error.0.contains(expected) && !expected.is_empty(), "{error}"),
    };
    let password = |spec| SourceSpec { basic_auth: list(&["quell:secret"]), ..spec };
    check(listing(&[TOPIC]), "ok");
    check(listing(&["arn:aws-cn:sns:cn-north-1:1:a.fifo", "arn:aws-us-gov:sns:us-gov-west-1:1:b"]), "ok");
    check(pinning(&[(URL, PEM)]), "ok");
    check(password(listing(&[])), "ok");
    check(password(pinning(&[(URL, PEM)])), "ok");
    check(SourceSpec { unauthenticated: true, ..SourceSpec::default() }, "ok");
    check(SourceSpec { secrets: list(&[PEM]), ..listing(&[TOPIC]) }, "ok");
    check(SourceSpec::default(), "list the topics");
    check(
        SourceSpec { certificates: BTreeMap::from([(URL.to_owned(), PEM.to_owned())]), ..SourceSpec::default() },
        "list yours in `topics`",
    );
    check(SourceSpec { secrets: list(&[PEM]), ..SourceSpec::default() }, "list yours in `topics`");
    check(SourceSpec { secrets: list(&["secret"]), ..listing(&[TOPIC]) }, "not with a secret");
    for topic in
        ["", "mail", "arn:aws:sqs:eu-west-1:1:mail", "arn:aws:sns:eu-west-1:1:mail:9f2c", "arn:aws:sns::1:mail", "*"]
    {
        check(listing(&[topic]), "no topic's ARN");
    }
    check(pinning(&[("https://evil.example/a.pem", PEM)]), "no certificate is taken");
    check(pinning(&[(URL, "secret")]), "as PEM");
    check(pinning(&[(URL, include_str!("fixtures/elliptic.pem"))]), "RSA key");
    check(SourceSpec { basic_auth: list(&["secret"]), ..listing(&[TOPIC]) }, "user:password");
    // Only where webhooks come by SNS.
    let drip = crate::by_name("drip").unwrap();
    assert!(drip.check_source(&SourceSpec { secrets: list(&["key"]), ..listing(&[TOPIC]) }).is_err());
    assert!(drip.check_source(&SourceSpec { secrets: list(&["key"]), ..SourceSpec::default() }).is_ok());
}
