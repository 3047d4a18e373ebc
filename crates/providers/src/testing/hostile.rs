//! Hostile input for every provider: arbitrary bytes, mutated fixtures, deep nesting, wrong types.

use super::{body_of, event, fates, feed, read_fixtures};
use crate::{Fate, PROVIDERS, Provider, by_name};
use proptest::prelude::*;

const FIXTURES: &[(&str, &str)] = &[
    ("sendgrid", include_str!("../sendgrid/fixtures/events.json")),
    ("postmark", include_str!("../postmark/fixtures/events.json")),
    ("mailgun", include_str!("../mailgun/fixtures/events.json")),
    ("drip", include_str!("../drip/fixtures/events.json")),
    ("twilio", include_str!("../twilio/fixtures/events.json")),
    ("generic", include_str!("../generic/fixtures/events.json")),
    ("resend", include_str!("../resend/fixtures/events.json")),
    ("mailersend", include_str!("../mailersend/fixtures/events.json")),
    ("mailtrap", include_str!("../mailtrap/fixtures/events.json")),
    ("sparkpost", include_str!("../sparkpost/fixtures/events.json")),
    ("mandrill", include_str!("../mandrill/fixtures/events.json")),
    ("brevo", include_str!("../brevo/fixtures/events.json")),
    ("mailjet", include_str!("../mailjet/fixtures/events.json")),
    ("postal", include_str!("../postal/fixtures/events.json")),
    ("unisender-go", include_str!("../unisender_go/fixtures/events.json")),
    ("mailomat", include_str!("../mailomat/fixtures/events.json")),
    ("vonage", include_str!("../vonage/fixtures/events.json")),
    ("scaleway", include_str!("../scaleway/fixtures/events.json")),
    ("sweego", include_str!("../sweego/fixtures/events.json")),
];
const CONTENT_TYPES: &[&str] =
    &["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain", ""];

fn all_fixtures() -> Vec<(&'static dyn Provider, &'static str, String)> {
    let of = |(name, text): &(&str, &str)| {
        let provider = by_name(name).unwrap();
        read_fixtures(text).iter().map(body_of).map(|(kind, body)| (provider, kind, body)).collect::<Vec<_>>()
    };
    FIXTURES.iter().flat_map(of).filter(|(_, _, body)| !body.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(body in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..CONTENT_TYPES.len(), url in "\\PC{0,60}") {
        for provider in PROVIDERS {
            feed(*provider, CONTENT_TYPES[kind], &url, &body);
        }
    }

    #[test]
    fn arbitrary_parts(body in "(--b(\r\n|--)|Content-Disposition: form-data; name=\"[a-z]\"|\r\n\r\n|=|&|%[0-9a-f]|recipient|a@b.c){0,12}") {
        for provider in PROVIDERS {
            for kind in CONTENT_TYPES {
                feed(*provider, kind, "https://[::1]:x'/?bodySHA256=", body.as_bytes());
            }
        }
    }

    #[test]
    fn mutated_fixtures(which in any::<prop::sample::Index>(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), end in any::<prop::sample::Index>()) {
        let fixtures = all_fixtures();
        let (provider, kind, body) = which.get(&fixtures);
        let mut bytes = body.clone().into_bytes();
        for (at, byte) in &cuts {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        feed(*provider, kind, "https://example.com/", &bytes);
        bytes.truncate(end.index(bytes.len()));
        feed(*provider, kind, "https://example.com/", &bytes);
    }
}

/// Replaces each value of an object by each kind of wrong value, one at a time.
#[test]
fn wrong_types_never_panic() {
    let wrong =
        ["null", "true", "-1", "1e400", "123456789012345678901234567890", "\"\"", "\"\\ud800\"", "[[]]", "{\"a\":{}}"];
    for (provider, kind, body) in all_fixtures() {
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(&body) else { continue };
        for name in object.keys() {
            for value in wrong {
                let mut text = String::from("{");
                for (other, kept) in object.iter().filter(|(other, _)| *other != name) {
                    text.push_str(&format!("{other:?}:{kept},"));
                }
                text.push_str(&format!("{name:?}:{value}}}"));
                feed(provider, kind, "https://example.com/", text.as_bytes());
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_or_passed_over() {
    for provider in PROVIDERS {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let body = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            feed(*provider, "application/json", "https://example.com/", body.as_bytes());
        }
    }
}

#[test]
fn one_bad_element_does_not_lose_the_others() {
    let body = br#"[{"event":"open","email":"a@example.com","timestamp":1},7,{"event":"bounce","email":"no address"},
        {"email":"b@example.com"},{"event":"click","email":"c@example.com","timestamp":2}]"#;
    let fates = fates(by_name("sendgrid").unwrap(), "application/json", body).unwrap();
    let kept: Vec<bool> = fates.iter().map(|fate| matches!(fate, Fate::Event(_))).collect();
    assert_eq!(kept, [true, false, false, false, true]);
    assert!(fates.iter().filter(|fate| matches!(fate, Fate::Dead(_))).count() == 3);
}

#[test]
fn huge_fields_are_cut() {
    let long = "x".repeat(100_000);
    let body = format!(
        r#"[{{"event":"bounce","email":"a@example.com","timestamp":1,"reason":"{long}","sg_message_id":"{long}",
        "category":[{}"{long}"],"mine":"{long}"}}]"#,
        format!("\"{long}\",").repeat(40)
    );
    super::assert_bounded(&Fate::Event(Box::new(event(by_name("sendgrid").unwrap(), &body))));
}
