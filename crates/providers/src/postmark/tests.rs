use super::*;
use crate::testing::{self, event, secrets};

#[test]
fn fixtures() {
    testing::run_fixtures(&Postmark, include_str!("fixtures/events.json"));
}

#[test]
fn secrets_cannot_work() {
    assert!(Postmark.check_source(&secrets(&["key"])).is_err());
    let spec = SourceSpec { basic_auth: vec!["user:password".to_owned()], ..SourceSpec::default() };
    assert!(Postmark.check_source(&spec).is_ok());
}

#[test]
fn repeated_opens_and_clicks_are_events_of_their_own() {
    let click = r#"{"RecordType":"Click","MessageID":"m","Recipient":"jane@example.com","ReceivedAt":"2026-01-20T14:32:15.1Z","OriginalLink":"https://example.com/a"}"#;
    let id = |body: &str| event(&Postmark, body).event_id;
    assert_eq!(id(click), id(click));
    assert_ne!(id(click), id(&click.replace("15.1Z", "15.2Z")));
    assert_ne!(id(click), id(&click.replace("/a", "/b")));
    assert_ne!(id(click), id(&click.replace("Click", "Open")));
}
