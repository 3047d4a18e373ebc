use super::*;
use crate::testing::{self, NOW, event, headers, now, post, secrets, source};
use crate::verify::jwt::tests::{hash, token};

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const BODY: &str = r#"{"message_uuid":"m","status":"delivered"}"#;

#[test]
fn fixtures() {
    testing::run_fixtures(&Vonage, include_str!("fixtures/events.json"));
}

fn verdict(keys: &[&str], authorization: &str, body: &str) -> Authentication {
    let headers = headers(&[("authorization", authorization)]);
    Vonage.authenticate(&post("/", &headers, body.as_bytes()), &source(&Vonage, secrets(keys)), now())
}

fn claims(issued: i64, body: &str) -> String {
    format!(r#"{{"iat":{issued},"jti":"j","iss":"Vonage","payload_hash":"{}","api_key":"a1"}}"#, hash(body))
}

#[test]
fn signatures() {
    let check = |head: &str, claims: &str, body: &str| {
        verdict(&["old", "secret"], &format!("Bearer {}", token("secret", head, claims)), body).reason
    };
    let good = verdict(&["secret"], &format!("bearer {}", token("secret", HEAD, &claims(NOW, BODY))), BODY);
    assert_eq!((good.ok, good.scheme, good.token), (true, "jwt-hs256", None));
    assert_eq!(check(HEAD, &claims(NOW, BODY), BODY), "ok");
    assert_eq!(check(HEAD, &claims(NOW, BODY).to_uppercase(), BODY), "missing_timestamp");
    // Laid out with white space, the body is still what was hashed.
    assert_eq!(check(HEAD, &claims(NOW, BODY), &BODY.replace(':', ": ")), "ok");
    assert_eq!(check(HEAD, &claims(NOW, BODY), &BODY.replace("delivered", "rejected")), "wrong_body_hash");
    assert_eq!(
        check(HEAD, &claims(NOW, BODY).replace("payload_hash\":\"", "payload_hash\":\"0"), BODY),
        "wrong_body_hash"
    );
    assert_eq!(check(HEAD, &claims(NOW - 300, BODY), BODY), "ok");
    assert_eq!(check(HEAD, &claims(NOW - 301, BODY), BODY), "stale");
    assert_eq!(check(HEAD, &claims(NOW + 301, BODY), BODY), "stale");
    let ended = claims(NOW - 10, BODY).replace("\"jti\"", &format!("\"exp\":{},\"jti\"", NOW - 301));
    assert_eq!(check(HEAD, &ended, BODY), "stale");
    assert_eq!(check(HEAD, "[]", BODY), "malformed_token");
    assert_eq!(check(r#"{"alg":"none"}"#, &claims(NOW, BODY), BODY), "wrong_algorithm");
    assert_eq!(check(r#"{"alg":"HS512"}"#, &claims(NOW, BODY), BODY), "wrong_algorithm");
    assert_eq!(check("{}", &claims(NOW, BODY), BODY), "wrong_algorithm");
    let forged = format!("Bearer {}", token("other", HEAD, &claims(NOW, BODY)));
    assert_eq!(verdict(&["secret"], &forged, BODY).reason, "wrong_signature");
    assert_eq!(
        verdict(&[""], &format!("Bearer {}", token("", HEAD, &claims(NOW, BODY))), BODY).reason,
        "wrong_signature"
    );
}

#[test]
fn malformed_tokens() {
    let right = token("secret", HEAD, &claims(NOW, BODY));
    let (signed, _) = right.rsplit_once('.').unwrap();
    for (authorization, reason) in [
        ("Bearer".to_owned(), "missing_token"),
        (format!("Basic {right}"), "missing_token"),
        ("Bearer a.b".to_owned(), "malformed_token"),
        ("Bearer a.b.c.d".to_owned(), "malformed_token"),
        ("Bearer ..".to_owned(), "malformed_token"),
        (format!("Bearer {signed}."), "malformed_token"),
        (format!("Bearer {}", &right[..right.len() - 2]), "malformed_token"),
        (format!("Bearer {signed}.{}", "A".repeat(4_096)), "malformed_token"),
        (format!("Bearer x{right}"), "wrong_signature"),
    ] {
        assert_eq!(verdict(&["secret"], &authorization, BODY).reason, reason, "{authorization}");
    }
    let none = headers(&[]);
    let missing = Vonage.authenticate(&post("/", &none, b"{}"), &source(&Vonage, secrets(&["secret"])), now());
    assert_eq!(missing.reason, "missing_token");
}

#[test]
fn a_token_without_a_hash_is_bound_to_its_body() {
    let one = token("secret", HEAD, &format!(r#"{{"iat":{NOW},"jti":"1"}}"#));
    let two = token("secret", HEAD, &format!(r#"{{"iat":{NOW},"jti":"2"}}"#));
    let bound = |token: &str, body: &str| verdict(&["secret"], &format!("Bearer {token}"), body).token.unwrap();
    assert_eq!(bound(&one, BODY), bound(&one, "{}"));
    assert_eq!(bound(&one, BODY), bound(&format!("{one}="), BODY), "padding makes no other token");
    assert_ne!(bound(&one, BODY), bound(&two, BODY));
}

#[test]
fn sources_are_checked() {
    assert!(Vonage.check_source(&secrets(&["secret"])).is_ok());
    let both = SourceSpec { bearer: vec!["token".to_owned()], ..secrets(&["secret"]) };
    assert!(Vonage.check_source(&both).is_err());
    let headers = [("x-relay".to_owned(), "1".to_owned())].into();
    assert!(Vonage.check_source(&SourceSpec { headers, ..secrets(&["secret"]) }).is_ok());
    assert_eq!(Vonage.accepted(), 200);
}

#[test]
fn identity() {
    let body = r#"{"message_uuid":"m-1","to":"447700900000","timestamp":"2026-01-20T14:32:15Z","status":"rejected","channel":"sms","error":{"title":1180}}"#;
    let id = |body: &str| event(&Vonage, body).event_id;
    assert_eq!(id(body), id(&body.replace("\"channel\":\"sms\",", "\"channel\":\"sms\",\"usage\":{\"price\":\"1\"},")));
    for (from, to) in
        [("m-1", "m-2"), ("900000", "900009"), (":15Z", ":16Z"), ("rejected", "delivered"), ("1180", "1190")]
    {
        assert_ne!(id(body), id(&body.replace(from, to)), "{from}");
    }
}
