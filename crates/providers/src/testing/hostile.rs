//! Hostile input for every provider: arbitrary bytes, mutated fixtures, deep nesting, wrong types.

use super::mutation::change;
use super::{event, fates, feed};
use crate::declared::tests::every_sort;
use crate::samples::{self, Sample, everyone};
use crate::{Fate, Provider, by_name};
use proptest::prelude::*;
use std::sync::LazyLock;

const CONTENT_TYPES: &[&str] = &[
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "message/rfc822",
    "text/plain",
    "",
];

/// Every sample beside its provider.
fn all_samples() -> &'static [(&'static dyn Provider, Sample)] {
    static ALL: LazyLock<Vec<(&'static dyn Provider, Sample)>> = LazyLock::new(|| {
        let broken = every_sort().iter().map(|(adapter, content_type, body)| {
            let sample = Sample { url: "/webhooks".to_owned(), content_type, body: body.clone() };
            (*adapter as &dyn Provider, sample)
        });
        let whole = everyone().flat_map(|provider| samples::of(provider).into_iter().map(move |one| (provider, one)));
        whole.chain(broken).collect()
    });
    &ALL
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(body in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..CONTENT_TYPES.len(), url in "\\PC{0,60}") {
        for provider in everyone() {
            feed(provider, CONTENT_TYPES[kind], &url, &body);
        }
    }

    #[test]
    fn arbitrary_parts(body in "(--b(\r\n|--)|Content-Disposition: form-data; name=\"[a-z]\"|\r\n\r\n|=|&|%[0-9a-f]|recipient|a@b.c){0,12}") {
        for provider in everyone() {
            for kind in CONTENT_TYPES {
                feed(provider, kind, "https://[::1]:x'/?bodySHA256=", body.as_bytes());
            }
        }
    }

    #[test]
    fn mutated_samples(which in any::<prop::sample::Index>(), changes in proptest::collection::vec(change(), 1..6)) {
        let (provider, sample) = which.get(all_samples());
        let body = changes.iter().fold(sample.body.clone().into_bytes(), |body, change| change.make(body));
        feed(*provider, sample.content_type, &sample.url, &body);
    }

    /// A provider's body at another's door.
    #[test]
    fn swapped_samples(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), kind in 0..CONTENT_TYPES.len()) {
        let ((_, sample), (provider, _)) = (which.get(all_samples()), at.get(all_samples()));
        feed(*provider, CONTENT_TYPES[kind], &sample.url, sample.body.as_bytes());
    }
}

/// Replaces each value of an object by each kind of wrong value, one at a time.
#[test]
fn wrong_types_never_panic() {
    let wrong =
        ["null", "true", "-1", "1e400", "123456789012345678901234567890", "\"\"", "\"\\ud800\"", "[[]]", "{\"a\":{}}"];
    for (provider, sample) in all_samples() {
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(&sample.body) else { continue };
        for name in object.keys() {
            for value in wrong {
                let mut text = String::from("{");
                for (other, kept) in object.iter().filter(|(other, _)| *other != name) {
                    text.push_str(&format!("{other:?}:{kept},"));
                }
                text.push_str(&format!("{name:?}:{value}}}"));
                feed(*provider, sample.content_type, "https://example.com/", text.as_bytes());
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_or_passed_over() {
    for provider in everyone() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let body = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            feed(provider, "application/json", "https://example.com/", body.as_bytes());
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
