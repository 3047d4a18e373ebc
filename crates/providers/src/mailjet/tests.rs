use super::*;
use crate::testing::{self, event, headers, now, post, secrets, source};

#[test]
fn fixtures() {
    testing::run_fixtures(&Mailjet, include_str!("fixtures/events.json"));
}

#[test]
fn proofs() {
    let spec = || SourceSpec { basic_auth: vec!["quell:secret".to_owned()], ..SourceSpec::default() };
    let check = |pairs: &[(&str, &str)]| {
        let headers = headers(pairs);
        Mailjet.authenticate(&post("/", &headers, b"[]"), &source(&Mailjet, spec()), now()).reason
    };
    assert_eq!(check(&[("authorization", "Basic cXVlbGw6c2VjcmV0")]), "ok");
    assert_eq!(check(&[("authorization", "Basic cXVlbGw6c2VjcmU=")]), "wrong_credentials");
    assert_eq!(check(&[("authorization", "Basic cXVlbGw6c2Vjcm")]), "malformed_credentials");
    assert_eq!(check(&[]), "missing_credentials");
    assert!(Mailjet.check_source(&spec()).is_ok());
    assert!(Mailjet.check_source(&secrets(&["key"])).is_err());
    assert_eq!(Mailjet.accepted(), 200);
}

#[test]
fn identity() {
    let click = r#"{"event":"click","time":1768919535,"MessageID":1152921511742440123,"email":"jane@example.com","url":"https://example.com/a"}"#;
    let id = |body: &str| event(&Mailjet, body).event_id;
    // A retry may come grouped with other events or alone.
    assert_eq!(id(click), id(&format!("[ {click} ]")));
    // These two are the same number in a float.
    assert_ne!(id(click), id(&click.replace("440123", "440124")));
    for (from, to) in [("/a", "/b"), ("535", "536"), ("click", "open"), ("jane", "joe")] {
        assert_ne!(id(click), id(&click.replace(from, to)), "{from}");
    }
}
