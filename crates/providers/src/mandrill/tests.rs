use super::*;
use crate::Triage;
use crate::testing::{self, fates, headers, now, post, secrets, source};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use ring::hmac;

const URL: &str = "https://hooks.example.com/webhooks/mandrill?a=1";
const FORM: &str = "mandrill_events=%5B%7B%22event%22%3A%22open%22%2C%22ts%22%3A1%2C%22msg%22%3A%7B%22_id%22%3A%22m%22%2C%22email%22%3A%22jane%40example.com%22%7D%7D%5D";

#[test]
fn fixtures() {
    testing::run_fixtures(&Mandrill, include_str!("fixtures/events.json"));
}

fn sign(key: &str, url: &str, parameters: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("{url}{parameters}").as_bytes()))
}

fn signed(form: &str) -> String {
    let decoded = crate::form::decode(form.split_once('=').unwrap().1.as_bytes()).into_owned();
    format!("mandrill_events{}", String::from_utf8(decoded).unwrap())
}

fn header(value: &str) -> [(&str, &str); 1] {
    [(signature::HEADER, value)]
}

#[track_caller]
fn check(spec: SourceSpec, url: &str, given: &[(&str, &str)], form: &str, expected: &str) {
    let headers = headers(given);
    let verdict = Mandrill.authenticate(&post(url, &headers, form.as_bytes()), &source(&Mandrill, spec), now());
    assert_eq!((verdict.ok, verdict.reason), (expected == "ok", expected), "{url} {given:?}");
}

#[test]
fn signatures() {
    let right = sign("key", URL, &signed(FORM));
    let keys = || secrets(&["old", "key"]);
    check(keys(), URL, &header(&right), FORM, "ok");
    check(secrets(&["other"]), URL, &header(&right), FORM, "wrong_signature");
    check(keys(), "http://hooks.example.com/webhooks/mandrill?a=1", &header(&right), FORM, "wrong_signature");
    check(keys(), "https://hooks.example.com/webhooks/mandrill", &header(&right), FORM, "wrong_signature");
    check(keys(), URL, &header(&right), &FORM.replace("open", "spam"), "wrong_signature");
    check(keys(), URL, &header(&right), &format!("{FORM}&x=y"), "wrong_signature");
    check(keys(), URL, &header(&right), &format!("{FORM}&{FORM}"), "malformed_body");
    check(keys(), URL, &header(&right[..20]), FORM, "malformed_signature");
    check(keys(), URL, &header("bogative"), FORM, "malformed_signature");
    check(keys(), URL, &[], FORM, "missing_signature");
    check(keys(), "/webhooks/mandrill", &header(&right), FORM, "unknown_public_url");
}

#[test]
fn parameters_are_signed_in_order_of_their_names() {
    let form = format!("zoo=%31&{FORM}&apple=");
    let right = sign("key", URL, &format!("apple{}zoo1", signed(FORM)));
    check(secrets(&["key"]), URL, &header(&right), &form, "ok");
}

#[test]
fn urls_are_those_that_mandrill_knows() {
    let public = |url: &str| SourceSpec { public_url: Some(url.to_owned()), ..secrets(&["key"]) };
    let of = |url: &str| sign("key", url, &signed(FORM));
    let inner = "/webhooks/mandrill?a=1";
    check(public("https://hooks.example.com"), inner, &header(&of(URL)), FORM, "ok");
    check(public(URL), inner, &header(&of(URL)), FORM, "ok");
    check(public("https://other.example.com"), inner, &header(&of(URL)), FORM, "wrong_signature");
    let with_user = URL.replace("//hooks", "//quell:secret@hooks");
    let right = of(&with_user);
    check(public(&with_user), inner, &header(&right), FORM, "ok");
    // Credentials from the URL arrive as a header.
    let basic = ("authorization", "Basic cXVlbGw6c2VjcmV0");
    check(public(URL), inner, &[(signature::HEADER, &right), basic], FORM, "ok");
    check(secrets(&["key"]), URL, &[(signature::HEADER, &right), basic], FORM, "ok");
    check(secrets(&["key"]), URL, &header(&right), FORM, "wrong_signature");
}

#[test]
fn a_signed_url_has_to_be_known() {
    let with = |url: Option<&str>| SourceSpec { public_url: url.map(str::to_owned), ..secrets(&["key"]) };
    assert!(Mandrill.check_source(&with(Some(URL))).is_ok());
    assert!(Mandrill.check_source(&with(Some("hooks.example.com/webhooks/mandrill"))).is_err());
    assert!(Mandrill.check_source(&with(None)).is_err());
    assert!(Mandrill.check_source(&SourceSpec { bearer: vec!["t".to_owned()], ..SourceSpec::default() }).is_ok());
}

#[test]
fn the_tests_key_opens_the_door_to_nothing() {
    let empty = "mandrill_events=%5B%5D";
    let ping = sign("test-webhook", URL, &signed(empty));
    check(secrets(&["key"]), URL, &header(&ping), empty, "ok");
    let forged = sign("test-webhook", URL, &signed(FORM));
    check(secrets(&["key"]), URL, &header(&forged), FORM, "wrong_signature");
    check(secrets(&["key"]), URL, &header(&forged), empty, "wrong_signature");
    assert_eq!(testing::triage(&Mandrill, "application/x-www-form-urlencoded", empty), Triage::Ignore("no_events"));
    assert_eq!(Mandrill.set_up_methods(), ["HEAD"]);
    assert_eq!(Mandrill.accepted(), 200);
}

#[test]
fn a_batch_sent_again_has_the_same_ids() {
    let id =
        |form: &str| match fates(&Mandrill, "application/x-www-form-urlencoded", form.as_bytes()).unwrap().remove(0) {
            Fate::Event(event) => event.event_id,
            other => panic!("no event: {other:?}"),
        };
    assert_eq!(id(FORM), id(&FORM.replace("%3A", ":")), "another way to write it is no difference");
    assert_ne!(id(FORM), id(&FORM.replace("open", "click")));
    assert_ne!(id(FORM), id(&FORM.replace("%3A1%2C", "%3A2%2C")));
    assert_ne!(id(FORM), id(&FORM.replace("jane", "joe")));
    let click = |link: &str| {
        id(&FORM.replace("open", "click").replace("%22ts%22", &format!("%22url%22%3A%22{link}%22%2C%22ts%22")))
    };
    assert_ne!(click("a"), click("b"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each element is the encoded text of what it decodes to, whatever was escaped.
    #[test]
    fn elements_are_parts_of_the_form(texts in proptest::collection::vec("\\PC{0,8}", 0..5), escaped in any::<bool>()) {
        let values: Vec<serde_json::Value> = texts.iter().map(|text| serde_json::json!({ "event": text, "%41": "+" })).collect();
        let json = serde_json::to_string_pretty(&values).unwrap();
        let coded: String = json.bytes().map(|byte| match byte {
            b' ' if !escaped => "+".to_owned(),
            b'a'..=b'z' if !escaped => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        }).collect();
        let form = format!("mandrill_events={coded}");
        let elements = field::elements(form.as_bytes(), FIELD).unwrap();
        let read: Vec<serde_json::Value> = elements
            .iter()
            .map(|element| serde_json::from_slice(&crate::form::decode(element.bytes)).unwrap())
            .collect();
        prop_assert_eq!(read, values);
        for element in &elements {
            let alone = field::elements(element.bytes, FIELD).unwrap();
            prop_assert_eq!(alone.len(), 1);
            prop_assert_eq!(alone[0].bytes, element.bytes);
        }
    }
}
