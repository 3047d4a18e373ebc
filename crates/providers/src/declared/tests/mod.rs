use super::*;
use crate::testing::{fates, now, open, post};
use crate::{Context, Fate};
use crate::{NameTaken, Providers};
use domain::CanonicalEvent;
use std::sync::LazyLock;

mod bodies;
mod manual;
mod meanings;
mod proofs;
mod refused;

/// The worked example of the manual.
const LARKPOST: &str = include_str!("../../../../../deploy/adapters/larkpost.toml");

/// The least that a file holds, without a body section and beside what is given.
const LEAST: &str = r#"
[authentication]
scheme = "none"
[event]
word = "type"
recipient = "to"
[[map]]
word = "bounce"
kind = "bounced_hard"
"#;

fn read(text: &str) -> Result<AdapterFile, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

fn declare(text: &str) -> Result<&'static Adapter, String> {
    Adapter::declare(read(text)?).map_err(|error| error.to_string())
}

#[track_caller]
fn adapter(text: &str) -> &'static Adapter {
    declare(text).unwrap_or_else(|error| panic!("{error}"))
}

/// One of each sort of body, with a body that it reads: for the hostile tests.
pub(crate) fn every_sort() -> &'static [(&'static Adapter, &'static str, String)] {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    static EVERY: LazyLock<Vec<(&'static Adapter, &'static str, String)>> = LazyLock::new(|| {
        let larkpost = adapter(LARKPOST);
        let mut every: Vec<_> = read(LARKPOST)
            .unwrap()
            .fixtures
            .into_iter()
            .filter_map(|fixture| fixture.body)
            .map(|body| (larkpost, JSON, body))
            .collect();
        every.push((adapter(bodies::FORM), FORM, bodies::FORM_BODY.to_owned()));
        every.push((adapter(bodies::FORM_FIELD), FORM, bodies::FORM_FIELD_BODY.to_owned()));
        every.push((adapter(bodies::LINES), JSON, bodies::LINES_BODY.to_owned()));
        every.push((adapter(bodies::EACH), JSON, bodies::EACH_BODY.to_owned()));
        every.push((adapter(bodies::ROOT), JSON, bodies::ROOT_BODY.to_owned()));
        every
    });
    &EVERY
}

fn events(adapter: &Adapter, content_type: &str, body: &str) -> Vec<CanonicalEvent> {
    let fates = fates(adapter, content_type, body.as_bytes()).unwrap();
    fates
        .into_iter()
        .map(|fate| match fate {
            Fate::Event(event) => *event,
            other => panic!("no event: {other:?}"),
        })
        .collect()
}

/// Kind, recipient, and the reasons of what became no event.
fn told(adapter: &Adapter, content_type: &str, body: &str) -> Vec<String> {
    let of = |fate: Fate| match fate {
        Fate::Event(event) => format!("{} {}", event.kind, event.recipient.as_str()),
        Fate::Found => panic!("a receipt was given"),
        Fate::Ignored(reason) => format!("ignored {reason}"),
        Fate::Dead(reason) => format!("dead {}", reason.split(':').next().unwrap_or_default()),
    };
    match fates(adapter, content_type, body.as_bytes()) {
        Ok(fates) => fates.into_iter().map(of).collect(),
        Err(reason) => vec![format!("malformed {reason}")],
    }
}

/// Each element alone, as a replayed dead letter holds it, says what it said among the others.
#[track_caller]
fn check_alone(adapter: &Adapter, content_type: &str, body: &str) {
    let (source, headers) = (open(adapter), crate::testing::headers(&[("content-type", content_type)]));
    let context = Context { source: &source, received_at: now(), receipt_id: Some("receipt") };
    let request = post("/webhooks", &headers, body.as_bytes());
    let elements = adapter.elements(&request).unwrap();
    assert!(!elements.is_empty());
    for element in &elements {
        let among = adapter.parse(&request, element, &context);
        let alone = post("/webhooks", &headers, element.bytes);
        let [only] = adapter.elements(&alone).unwrap().try_into().unwrap();
        assert_eq!(adapter.parse(&alone, &only, &context), among);
    }
}

#[test]
fn a_declared_adapter_is_found_by_its_name_beside_those_built_in() {
    let larkpost = adapter(LARKPOST);
    let known = Providers::with(&[larkpost]).unwrap();
    assert_eq!(known.by_name("larkpost").map(|provider| provider.name()), Some("larkpost"));
    assert_eq!(known.by_name("drip").map(|provider| provider.name()), Some("drip"));
    assert!(known.by_name("acme").is_none());
    assert!(Providers::default().by_name("larkpost").is_none());
    assert_eq!(known.names().last(), Some("larkpost"));
    assert_eq!(Providers::with(&[larkpost, larkpost]).unwrap_err(), NameTaken("larkpost"));
}

#[test]
fn it_answers_as_its_file_says() {
    let check = |lines: &str, accepted: u16, overload: Overload, set_up: &[&str]| {
        let adapter = adapter(&format!("name = \"acme\"\n{lines}\n{LEAST}"));
        assert_eq!(adapter.accepted().as_u16(), accepted);
        assert_eq!(adapter.overload(), overload);
        assert_eq!(adapter.set_up_methods(), set_up);
    };
    check("", 202, Overload::ServiceUnavailable, &[]);
    check("accepted = 200\noverload = 429\nset_up = [\"HEAD\"]", 200, Overload::TooManyRequests, &["HEAD"]);
    check("set_up = [\"GET\"]", 202, Overload::ServiceUnavailable, &["GET"]);
    check("set_up = [\"HEAD\", \"GET\"]", 202, Overload::ServiceUnavailable, &["GET", "HEAD"]);
}

#[test]
fn headers_that_are_read_are_kept() {
    let kept = adapter(LARKPOST).kept_headers();
    assert_eq!(kept, ["x-larkpost-signature", "x-larkpost-timestamp"]);
    let text = LEAST.replace("word = \"type\"", "word = \"header:X-Event\"\nid = [\"id\", \"header:x-delivery\"]");
    let adapter = adapter(&format!("name = \"acme\"\nkept_headers = [\"X-Region\"]\n{text}"));
    assert_eq!(adapter.kept_headers(), ["x-delivery", "x-event", "x-region"]);
}
