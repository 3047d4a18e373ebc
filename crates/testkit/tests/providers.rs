//! What is built and signed here is what production authenticates and understands.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

use domain::{Kind, Tenant, Timestamp};
use providers::{Context, Fate, Request, Source, SourceSpec, by_name};
use testkit::{
    SignedRequest, builders, payloads,
    payloads::{Told, What},
    sign,
};

const UNIX: i64 = 1_768_919_535;
const URL: &str = "https://hooks.example.com/webhooks/x?y=1";

/// The kinds of a signed request's events, after its proofs were judged.
#[track_caller]
fn read(provider: &'static str, spec: SourceSpec, signed: &SignedRequest) -> Vec<Kind> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &signed.headers {
        headers.insert(*name, value.parse().unwrap());
    }
    let request = Request { method: "POST", url: &signed.url, headers: &headers, body: &signed.body };
    let source = Source { provider, name: "default".to_owned(), tenant: Tenant::default(), spec };
    let provider = by_name(provider).unwrap();
    let now = Timestamp::from_seconds(UNIX + 2).unwrap();
    let verdict = provider.authenticate(&request, &source, now);
    assert!(verdict.ok, "{verdict:?}");
    let other =
        Source { spec: SourceSpec { secrets: vec!["AAAA".to_owned()], ..SourceSpec::default() }, ..source.clone() };
    assert!(!provider.authenticate(&request, &other, now).ok, "any secret will do");
    let context = Context { source: &source, received_at: now, receipt_id: Some("r-1") };
    let elements = provider.elements(&request).unwrap();
    let fates = elements.iter().flat_map(|element| provider.parse(&request, element, &context));
    fates
        .map(|fate| match fate {
            Fate::Event(event) => event.kind,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn told(what: What) -> Told<'static> {
    Told { what, address: "jane@example.com", unix: UNIX, number: 7 }
}

const CASES: [(What, Kind); 5] = [
    (What::Delivered, Kind::Delivered),
    (What::HardBounce, Kind::BouncedHard),
    (What::SoftBounce, Kind::BouncedSoft),
    (What::Complaint, Kind::Complaint),
    (What::Unsubscribe, Kind::Unsubscribed),
];

fn secret(secret: &str) -> SourceSpec {
    SourceSpec { secrets: vec![secret.to_owned()], ..SourceSpec::default() }
}

#[test]
fn sendgrid() {
    let key = sign::SendGridKey::generate().unwrap();
    let events: Vec<_> = CASES.iter().map(|(what, _)| payloads::sendgrid(&told(*what))).collect();
    let signed = key.sign(URL, &events, UNIX).unwrap();
    assert_eq!(read("sendgrid", secret(&key.public()), &signed), CASES.map(|(_, kind)| kind));
}

#[test]
fn postmark() {
    for (what, kind) in CASES {
        let signed = sign::postmark(URL, "quell", "s3cret", &payloads::postmark(&told(what)));
        let spec = SourceSpec { basic_auth: vec!["quell:s3cret".to_owned()], ..SourceSpec::default() };
        assert_eq!(read("postmark", spec, &signed), [kind]);
    }
}

#[test]
fn mailgun() {
    for (what, kind) in CASES {
        let signed = sign::mailgun(URL, "key-1", &payloads::mailgun(&told(what)), UNIX, &sign::mailgun_token(7));
        // A soft bounce that Mailgun gave up on is read by its reply.
        assert_eq!(read("mailgun", secret("key-1"), &signed), [kind]);
    }
}

#[test]
fn drip() {
    for (what, kind) in CASES {
        let kind = if what == What::Delivered { Kind::Accepted } else { kind };
        assert_eq!(read("drip", secret("s3cret"), &sign::drip(URL, "s3cret", &payloads::drip(&told(what)))), [kind]);
    }
}

#[test]
fn generic() {
    for (what, kind) in CASES {
        let body = payloads::generic(&told(what)).to_string().into_bytes();
        let signed = sign::standard_webhooks(URL, "whsec_c2VjcmV0", "msg-1", UNIX, body).unwrap();
        assert_eq!(read("generic", secret("whsec_c2VjcmV0"), &signed), [kind]);
    }
}

#[test]
fn twilio() {
    let parameters = payloads::twilio_failed("+15551234567", 7, "30005");
    let borrowed: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let signed = sign::twilio(URL, "token-1", &borrowed);
    let kinds = read("twilio", secret("token-1"), &signed);
    assert_eq!(kinds, [Kind::BouncedHard]);
}

#[test]
fn built_events_have_the_id_of_their_content() {
    let event = builders::event(Kind::BouncedHard, "Jane@Example.com", 5);
    assert_eq!(event.recipient.as_str(), "jane@example.com");
    assert_eq!(event, builders::event(Kind::BouncedHard, "Jane@Example.com", 5));
    assert_ne!(event.event_id, builders::event(Kind::BouncedHard, "jane@example.com", 6).event_id);
}
