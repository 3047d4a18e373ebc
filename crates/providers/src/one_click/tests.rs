use super::*;
use crate::testing::{NOW, headers, now, source};
use crate::{Fate, Triage};
use domain::{Scope, Tenant};
use proptest::prelude::*;

const KEY: &str = "2026a:a-secret-of-more-than-thirty-two-bytes";
const OLD: &str = "2025b:another-secret-of-more-than-thirty-two";
const FORM: &str = "application/x-www-form-urlencoded";

fn claims() -> Claims {
    Claims {
        tenant: Tenant::new("acme").unwrap(),
        recipient: "Jane@example.com".to_owned(),
        scope: Scope::category("news letter"),
        issued_at: NOW - 60,
        message_id: Some("m-1@acme.example".to_owned()),
        campaign: None,
    }
}

fn seal(key: &str, claims: &Claims) -> String {
    Key::read(key).unwrap().seal(claims, [7; 16]).unwrap()
}

fn spec(keys: &[&str]) -> SourceSpec {
    crate::testing::secrets(keys)
}

fn fates(
    url: &str,
    content_type: &str,
    body: &str,
    spec: SourceSpec,
) -> (Authentication, Result<Vec<Fate>, String>, Triage) {
    let (source, headers) = (source(&OneClick, spec), headers(&[("content-type", content_type)]));
    let request = Request { method: "POST", url, headers: &headers, body: body.as_bytes() };
    let context = Context { source: &source, received_at: now(), receipt_id: Some("receipt") };
    let elements = OneClick.elements(&request).map_err(|malformed| malformed.reason);
    let fates = elements.map(|elements| {
        elements.iter().flat_map(|element| OneClick.parse(&request, element, &context)).collect::<Vec<_>>()
    });
    (OneClick.authenticate(&request, &source, now()), fates, OneClick.triage(&request, &context))
}

#[test]
fn what_was_sealed_opens_under_any_active_key() {
    for key in [KEY, OLD] {
        let token = seal(key, &claims());
        assert_eq!(open(&token, &spec(&[KEY, OLD]), now()), Ok(claims()));
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{token}");
        assert!(!token.contains("Jane") && !token.contains("example"));
    }
    assert_eq!(open(&seal(OLD, &claims()), &spec(&[KEY]), now()), Err(TokenError::UnknownKey));
}

#[test]
fn defaults_may_be_left_out() {
    let key = Key::read(KEY).unwrap();
    let short = Claims::from_json(br#"{"recipient":"jane@example.com","issued_at":1768919600,"more":[1]}"#).unwrap();
    assert_eq!((short.tenant.as_str(), &short.scope), ("default", &Scope::Marketing));
    assert_eq!(token::open(&key.seal(&short, [0; 16]).unwrap(), &[KEY.to_owned()]), Ok(short));
    for wrong in [
        "",
        "{}",
        r#"{"recipient":"jane@example.com"}"#,
        r#"{"recipient":"nobody","issued_at":1}"#,
        r#"{"recipient":"jane@example.com","issued_at":1,"scope":"everything"}"#,
        r#"{"recipient":"jane@example.com","issued_at":1,"tenant":"No Such"}"#,
    ] {
        assert_eq!(Claims::from_json(wrong.as_bytes()), None, "{wrong}");
    }
    let long = Claims { recipient: format!("{}@example.com", "j".repeat(300)), ..claims() };
    let long = Claims { campaign: Some("c".repeat(256)), message_id: Some("m".repeat(256)), ..long };
    assert_eq!(key.seal(&long, [0; 16]), None);
}

#[test]
fn a_changed_token_opens_nothing() {
    let (token, keys) = (seal(KEY, &claims()), spec(&[KEY, OLD]));
    let why = |token: &str| open(token, &keys, now()).unwrap_err();
    for at in 0..token.len() {
        for change in ["A", "B", "_"] {
            let mut changed = token.clone();
            changed.replace_range(at..=at, change);
            assert!(changed == token || open(&changed, &keys, now()).is_err(), "{at}");
        }
        why(&token[..at]);
    }
    assert_eq!(why(&token.replace("2026a", "2025b")), TokenError::Forged);
    assert_eq!(why(&token.replacen("1.", "2.", 1)), TokenError::Malformed);
    assert_eq!(why(&token.replace("2026a", "9999z")), TokenError::UnknownKey);
    assert_eq!(why(&format!("{token}=")), TokenError::Malformed);
    assert_eq!(why(&"1.2026a.AAAA".repeat(500)), TokenError::Malformed);
    let senseless = Claims { recipient: "nobody".to_owned(), ..claims() };
    assert_eq!(why(&seal(KEY, &senseless)), TokenError::Unreadable);
}

#[test]
fn links_may_end() {
    let keys = |seconds| SourceSpec { tolerance: seconds, ..spec(&[KEY]) };
    let token = seal(KEY, &claims());
    assert!(open(&token, &keys(None), Timestamp::from_seconds(NOW * 2).unwrap()).is_ok());
    assert!(open(&token, &keys(Some(60)), now()).is_ok());
    assert_eq!(open(&token, &keys(Some(59)), now()), Err(TokenError::Expired));
    // A sender's clock that runs ahead is no reason to keep somebody subscribed.
    let ahead = seal(KEY, &Claims { issued_at: NOW + 3_600, ..claims() });
    assert!(open(&ahead, &keys(Some(59)), now()).is_ok());
}

#[test]
fn a_click_is_the_event_that_its_token_says() {
    let url = format!("/unsubscribe/{}", seal(KEY, &claims()));
    let (proof, found, triage) = fates(&url, FORM, ONE_CLICK, spec(&[KEY]));
    assert_eq!((proof.ok, proof.scheme, triage), (true, "aes-256-gcm", Triage::Accept));
    let [Fate::Event(event)] = &found.unwrap()[..] else { panic!("no event") };
    assert_eq!(
        (event.kind, event.tenant.as_str(), event.recipient.as_str()),
        (Kind::Unsubscribed, "acme", "jane@example.com")
    );
    assert_eq!(
        (event.scope.clone(), event.message_id.as_deref()),
        (Some(Scope::category("news letter")), Some("m-1@acme.example"))
    );
    assert_eq!((event.occurred_at, event.provider.as_str(), event.source.as_str()), (now(), NAME, "default"));

    // As it is stored, and from any URL that ends in the same token, it is the same event.
    let stored = String::from_utf8(claims().to_json()).unwrap();
    let (proof, found, _) = fates(STORED_PATH, "application/json", &stored, SourceSpec::default());
    assert_eq!((proof.ok, proof.reason), (false, "missing_token"));
    assert_eq!(found.unwrap(), [Fate::Event(event.clone())]);
    let (_, found, _) = fates(&format!("https://mail.example{url}?utm_source=x"), FORM, ONE_CLICK, spec(&[KEY]));
    assert_eq!(found.unwrap(), [Fate::Event(event.clone())]);

    // Another link is another event.
    let later = Claims { issued_at: NOW, ..claims() };
    let (_, found, _) = fates(&format!("/unsubscribe/{}", seal(KEY, &later)), FORM, ONE_CLICK, spec(&[KEY]));
    let [Fate::Event(other)] = &found.unwrap()[..] else { panic!("no event") };
    assert_ne!(other.event_id, event.event_id);
}

#[test]
fn only_the_one_click_body_counts() {
    let url = format!("/unsubscribe/{}", seal(KEY, &claims()));
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    for (content_type, body) in [
        (FORM, ONE_CLICK),
        (FORM, "a=b&list-unsubscribe=one-click"),
        ("", ONE_CLICK),
        ("multipart/form-data; boundary=b", multipart),
    ] {
        assert!(matches!(fates(&url, content_type, body, spec(&[KEY])).2, Triage::Accept), "{body}");
    }
    // Claims in the body of a request with a token count for nothing.
    let claims = String::from_utf8(claims().to_json()).unwrap();
    for (content_type, body) in
        [(FORM, ""), (FORM, "List-Unsubscribe="), ("application/json", claims.as_str()), ("text/plain", "x")]
    {
        let (_, found, triage) = fates(&url, content_type, body, spec(&[KEY]));
        assert!(found.is_err() && matches!(triage, Triage::Refuse(_)), "{body}");
    }
    let (proof, ..) = fates("/unsubscribe/1.2026a.AAAA", FORM, ONE_CLICK, spec(&[KEY]));
    assert_eq!((proof.ok, proof.reason), (false, "malformed_token"));
}

#[test]
fn tokens_are_found_in_paths() {
    let check = |url: &str, expected: Option<&str>| assert_eq!(token_of(url), expected, "{url}");
    check("/unsubscribe/t", Some("t"));
    check("/unsubscribe/t?x=/unsubscribe/u", Some("t"));
    check("https://mail.example/unsubscribe/t", Some("t"));
    for none in [
        "",
        "/unsubscribe",
        "/unsubscribe/",
        "/unsubscribe/a/b",
        "/x/unsubscribe/t",
        "/?u=/unsubscribe/t",
        "/webhooks/one-click",
    ] {
        check(none, None);
    }
}

#[test]
fn keys_are_checked() {
    let check = |keys: &[&str]| OneClick.check_source(&spec(keys)).is_ok();
    assert!(check(&[KEY]) && check(&[KEY, OLD]));
    for wrong in
        [&[][..], &[KEY, KEY], &["2026a:short"], &["no key at all"], &["Upper:a-secret-of-more-than-thirty-two-bytes"]]
    {
        assert!(!check(wrong), "{wrong:?}");
    }
    assert!(!format!("{:?}", Key::read(KEY).unwrap()).contains("secret-of"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_panics_or_passes(url in "(https://a)?/unsubscribe/(1\\.)?(2026a)?\\.?[A-Za-z0-9_=%.-]{0,80}", body in "(\\PC|List-Unsubscribe=|One-Click|&){0,20}") {
        let (proof, found, _) = fates(&url, FORM, &body, spec(&[KEY]));
        prop_assert!(!proof.ok);
        for fate in found.unwrap_or_default() {
            crate::testing::assert_bounded(&fate);
            prop_assert!(!matches!(fate, Fate::Event(_)));
        }
    }

    #[test]
    fn any_claims_are_sealed_and_opened(local in "[a-z]{1,20}", category in "\\PC{1,40}", issued_at in any::<i64>(), salt in any::<[u8; 16]>()) {
        let claims = Claims { recipient: format!("{local}@example.com"), scope: Scope::category(&category), issued_at, ..claims() };
        if let Some(token) = Key::read(KEY).unwrap().seal(&claims, salt) {
            prop_assert_eq!(token::open(&token, &[KEY.to_owned()]), Ok(claims));
        }
    }
}
