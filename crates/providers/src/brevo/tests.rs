use super::*;
use crate::testing::{self, event, headers, now, post, secrets, source};

#[test]
fn fixtures() {
    testing::run_fixtures(&Brevo, include_str!("fixtures/events.json"));
}

#[test]
fn proofs() {
    let spec = || SourceSpec { bearer: vec!["token".to_owned()], ..SourceSpec::default() };
    let check = |pairs: &[(&str, &str)]| {
        let headers = headers(pairs);
        Brevo.authenticate(&post("/", &headers, b"{}"), &source(&Brevo, spec()), now()).reason
    };
    assert_eq!(check(&[("authorization", "Bearer token")]), "ok");
    assert_eq!(check(&[("authorization", "Bearer tokem")]), "wrong_credentials");
    assert_eq!(check(&[("authorization", "Bearer toke")]), "wrong_credentials");
    assert_eq!(check(&[]), "missing_credentials");
    assert!(Brevo.check_source(&spec()).is_ok());
    assert!(Brevo.check_source(&secrets(&["key"])).is_err());
    assert_eq!(Brevo.overload(), Overload::TooManyRequests);
}

#[test]
fn identity() {
    let click = r#"{"event":"click","email":"jane@example.com","message-id":"<1@x>","ts_epoch":1768919535000,"link":"https://example.com/a","id":1}"#;
    let id = |body: &str| event(&Brevo, body).event_id;
    // A retry is the same body; the batched webhook wraps the same object in an array.
    assert_eq!(id(click), id(&format!("[{click}]")));
    assert_eq!(id(click), id(&click.replace("\"id\":1", "\"id\":2")), "the id is the webhook's");
    assert_eq!(id(click), id(&click.replace("<1@x>", "1@x")));
    for (from, to) in [("/a", "/b"), ("35000", "35001"), ("click", "opened"), ("<1@x>", "<2@x>"), ("jane", "joe")] {
        assert_ne!(id(click), id(&click.replace(from, to)), "{from}");
    }
}

#[test]
fn a_contact_has_only_so_many_addresses() {
    let body =
        |count| format!(r#"{{"event":"contact_deleted","email":[{}],"ts":1}}"#, vec!["\"a@b.c\""; count].join(","));
    let count = |body: String| testing::fates(&Brevo, "application/json", body.as_bytes()).unwrap().len();
    assert_eq!(count(body(ADDRESSES_MAX)), ADDRESSES_MAX);
    assert_eq!(count(body(ADDRESSES_MAX + 1)), 1);
}
