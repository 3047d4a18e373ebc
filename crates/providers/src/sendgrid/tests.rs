use super::*;
use crate::testing::{self, NOW, headers, now, post, secrets, source, triage};
use crate::{Overload, Triage};
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

#[test]
fn fixtures() {
    testing::run_fixtures(&SendGrid, include_str!("fixtures/events.json"));
}

struct Signer {
    pair: EcdsaKeyPair,
    public: String,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let mut der = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        der.extend_from_slice(pair.public_key().as_ref());
        Self { pair, public: STANDARD.encode(der) }
    }

    fn sign(&self, time: &str, body: &[u8]) -> String {
        let signed = [time.as_bytes(), body].concat();
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), &signed).unwrap())
    }
}

#[test]
fn signatures() {
    let (signer, other) = (Signer::new(), Signer::new());
    let body = b"[{\"event\":\"open\"},\r\n{\"event\":\"open\"}]\r\n";
    let time = NOW.to_string();
    let right = signer.sign(&time, body);
    let check = |keys: &[&str], time: Option<&str>, signature: Option<&str>, body: &[u8]| {
        let mut pairs = Vec::new();
        pairs.extend(time.map(|time| (TIMESTAMP, time)));
        pairs.extend(signature.map(|signature| (SIGNATURE, signature)));
        let headers = headers(&pairs);
        let verdict = SendGrid.authenticate(&post("/", &headers, body), &source(&SendGrid, secrets(keys)), now());
        assert_eq!(verdict.ok, verdict.reason == "ok");
        verdict.reason
    };
    let armoured = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
        &signer.public[..64],
        &signer.public[64..]
    );
    assert_eq!(check(&[&signer.public], Some(&time), Some(&right), body), "ok");
    assert_eq!(check(&[&armoured], Some(&time), Some(&right), body), "ok");
    assert_eq!(check(&[&other.public, "not a key", &signer.public], Some(&time), Some(&right), body), "ok");
    assert_eq!(check(&[&other.public], Some(&time), Some(&right), body), "wrong_signature");
    assert_eq!(check(&["not a key"], Some(&time), Some(&right), body), "wrong_signature");
    assert_eq!(check(&[&signer.public], Some(&time), Some(&right), &body[..body.len() - 2]), "wrong_signature");
    assert_eq!(check(&[&signer.public], Some(&(NOW + 1).to_string()), Some(&right), body), "wrong_signature");
    assert_eq!(check(&[&signer.public], Some(&time), Some("MEUC"), body), "wrong_signature");
    assert_eq!(check(&[&signer.public], Some(&time), Some("?"), body), "malformed_signature");
    assert_eq!(check(&[&signer.public], Some(&time), Some(&"A".repeat(4_000)), body), "malformed_signature");
    assert_eq!(check(&[&signer.public], Some("soon"), Some(&right), body), "malformed_timestamp");
    assert_eq!(check(&[&signer.public], None, Some(&right), body), "missing_timestamp");
    assert_eq!(check(&[&signer.public], Some(&time), None, body), "missing_signature");
    for (age, reason) in [(299, "ok"), (-299, "ok"), (301, "stale"), (-301, "stale")] {
        let time = (NOW - age).to_string();
        assert_eq!(check(&[&signer.public], Some(&time), Some(&signer.sign(&time, body)), body), reason, "{age}");
    }
}

#[test]
fn sources_are_checked() {
    assert!(SendGrid.check_source(&secrets(&[&Signer::new().public])).is_ok());
    assert!(SendGrid.check_source(&secrets(&["a shared secret"])).is_err());
    assert!(SendGrid.check_source(&SourceSpec::default()).is_err());
    assert_eq!(SendGrid.overload(), Overload::ServiceUnavailable);
}

#[test]
fn identity() {
    let base = r#"{"email":"jane@example.com","event":"open","timestamp":1,"sg_message_id":"m"}"#;
    let id = |body: &str| testing::event(&SendGrid, body).event_id;
    let differing = [
        base.to_owned(),
        base.replace("jane", "joe"),
        base.replace("open", "click"),
        base.replace(":1", ":2"),
        base.replace("\"m\"", "\"n\""),
        base.replace('}', ",\"sg_event_id\":\"a\"}"),
        base.replace('}', ",\"sg_event_id\":\"b\"}"),
        base.replace('}', ",\"url\":\"https://example.com\"}"),
    ];
    let mut ids: Vec<_> = differing.iter().map(|body| id(body)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), differing.len());
    assert_eq!(id(base), id(&base.replace("jane@example.com", "Jane@EXAMPLE.com")));
}

#[test]
fn triage_stops_at_the_first_event() {
    let json = "application/json";
    assert_eq!(triage(&SendGrid, json, r#"[{"x":1},{"event":"open","email":"a@example.com"}]"#), Triage::Accept);
    assert_eq!(triage(&SendGrid, json, "[]"), Triage::Ignore("no_events"));
    assert_eq!(triage(&SendGrid, json, r#"[{"event":"account_status_change"}]"#), Triage::Ignore("no_recipient"));
    assert!(
        matches!(triage(&SendGrid, json, r#"[{"event":"open"}]"#), Triage::Refuse(reason) if reason.starts_with("missing_recipient"))
    );
    assert!(matches!(triage(&SendGrid, json, "<xml/>"), Triage::Refuse(_)));
}

#[test]
fn own_fields_are_sorted() {
    assert!(event::OWN_FIELDS.is_sorted());
}
