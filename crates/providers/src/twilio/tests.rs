use super::*;
use crate::testing::{self, fates, headers, now, post, secrets, source};
use crate::{Fate, SourceSpec};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Kind;
use ring::{digest, hmac};

const FORM: &str = "application/x-www-form-urlencoded";
const URL: &str = "https://hooks.example.com/webhooks/twilio/status?a=1";

#[test]
fn fixtures() {
    testing::run_fixtures(&Twilio, include_str!("fixtures/events.json"));
}

fn sign(text: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"token"), text.as_bytes()))
}

/// The verdict on a request seen at `url` whose signature is over `signed`.
fn verdict(public_url: Option<&str>, url: &str, content_type: &str, signed: &str, body: &str) -> &'static str {
    let (headers, spec) = (
        headers(&[("content-type", content_type), ("x-twilio-signature", &sign(signed))]),
        SourceSpec { public_url: public_url.map(str::to_owned), ..secrets(&["primary", "token"]) },
    );
    Twilio.authenticate(&post(url, &headers, body.as_bytes()), &source(&Twilio, spec), now()).reason
}

#[test]
fn forms_are_signed_by_sorted_distinct_parameters() {
    let signed = format!("{URL}A1A2B++ x");
    assert_eq!(verdict(None, URL, FORM, &signed, "B=%2b%2B+x&A=2&A=1&A=2"), "ok");
    assert_eq!(verdict(None, URL, FORM, &format!("{URL}Empty"), "Empty="), "ok");
    assert_eq!(verdict(None, URL, FORM, &signed, "B=%2b%2B+x&A=2&A=1&A=3"), "wrong_signature");
    assert_eq!(verdict(None, &format!("{URL}&b=2"), FORM, &signed, "B=%2b%2B+x&A=2&A=1"), "wrong_signature");
    // Names are sorted, not joined pairs: `Reason` comes before `ReasonEnded` whatever the values are.
    assert_eq!(verdict(None, URL, FORM, &format!("{URL}ReasonzReasonEndeda"), "ReasonEnded=a&Reason=z"), "ok");
}

#[test]
fn urls_are_taken_from_the_configuration() {
    let whole = Some("https://hooks.example.com/webhooks/twilio/status");
    let origin = Some("https://hooks.example.com/");
    let signed = format!("{URL}A1");
    for (public_url, url, reason) in [
        (whole, "/inner?a=1", "ok"),
        (whole, "http://10.0.0.1:8080/inner?a=1", "ok"),
        (Some("https://hooks.example.com/webhooks/twilio/status?old=query#rc=3"), "/inner?a=1", "ok"),
        (origin, "/webhooks/twilio/status?a=1", "ok"),
        (Some("https://hooks.example.com"), "/webhooks/twilio/status?a=1", "ok"),
        (whole, "/inner", "wrong_signature"),
        (None, "/webhooks/twilio/status?a=1", "unknown_public_url"),
        (Some("hooks.example.com"), "/webhooks/twilio/status?a=1", "unknown_public_url"),
    ] {
        assert_eq!(verdict(public_url, url, FORM, &signed, "A=1"), reason, "{public_url:?} {url}");
    }
}

#[test]
fn ports_and_apostrophes_vary() {
    for (seen, signed) in [
        ("https://u:p@example.com/x", "https://u:p@example.com:443/x"),
        ("http://example.com/x", "http://example.com:80/x"),
        ("https://example.com:8443/x", "https://example.com/x"),
        ("https://[::1]:8443/x", "https://[::1]/x"),
        ("https://[::1]/x", "https://[::1]:443/x"),
        ("https://example.com/x?b=it's", "https://example.com/x?b=it%27s"),
        ("https://example.com/x?b=it%27s", "https://example.com:443/x?b=it's"),
    ] {
        assert_eq!(verdict(None, seen, FORM, &format!("{signed}A1"), "A=1"), "ok", "{seen} {signed}");
    }
    assert_eq!(verdict(None, "https://example.com/x", FORM, "https://example.com:8443/xA1", "A=1"), "wrong_signature");
}

#[test]
fn json_is_signed_by_its_hash() {
    let body = r#"{"MessageStatus":"delivered"}"#;
    let hash = hex::encode(digest::digest(&digest::SHA256, body.as_bytes()));
    let url = format!("{URL}&bodySHA256={hash}");
    let json = "application/json; charset=utf-8";
    assert_eq!(verdict(None, &url, json, &url, body), "ok");
    assert_eq!(verdict(None, &url, json, &url, "{}"), "wrong_body_hash");
    assert_eq!(verdict(None, URL, json, URL, body), "missing_body_hash");
    let twice = format!("{url}&bodySHA256={hash}");
    assert_eq!(verdict(None, &twice, json, &twice, body), "missing_body_hash");
    let broken = format!("{URL}&bodySHA256=xyz");
    assert_eq!(verdict(None, &broken, json, &broken, body), "malformed_body_hash");
    assert_eq!(verdict(None, &url, json, URL, body), "wrong_signature");
}

#[test]
fn malformed_headers_are_a_plain_no() {
    let source = source(&Twilio, secrets(&["token"]));
    for (pairs, reason) in [
        (vec![], "missing_signature"),
        (vec![("x-twilio-signature", "FAIL")], "malformed_signature"),
        (vec![("x-twilio-signature", "?")], "malformed_signature"),
        (vec![("x-twilio-signature", "AA=="), ("x-twilio-signature", "AA==")], "missing_signature"),
    ] {
        let headers = headers(&pairs);
        assert_eq!(Twilio.authenticate(&post(URL, &headers, b"A=1"), &source, now()).reason, reason);
    }
}

#[test]
fn identity_never_holds_the_receipt() {
    let ids = |form: &str| match fates(&Twilio, FORM, form.as_bytes()).unwrap().remove(0) {
        Fate::Event(event) => event.event_id,
        other => panic!("{other:?}"),
    };
    let base = "MessageSid=SM1&MessageStatus=undelivered&To=%2B15551234567&ErrorCode=30003";
    assert_eq!(ids(base), ids("ErrorCode=30003&To=%2B1-555-123-4567&MessageStatus=undelivered&MessageSid=SM1"));
    for (from, to) in [("SM1", "SM2"), ("30003", "30005"), ("4567", "4568"), ("undelivered", "failed")] {
        assert_ne!(ids(base), ids(&base.replace(from, to)), "{from}");
    }
    let short = "MessageStatus=failed&To=%2B15551234567&ErrorCode=30003";
    assert_eq!(ids(short), ids(short));
    assert_ne!(ids(short), ids(&format!("{short}&From=%2B15559876543")));
}

#[test]
fn words() {
    use Keyword::{Help, Start, Stop};
    let stops = [
        "STOP",
        "StopAll",
        "stop all",
        "unsubscribe",
        "CANCEL",
        "end",
        "Quit",
        "REVOKE",
        "optout",
        "opt out",
        "Opt-Out",
    ];
    let french = ["ARRET", "arr\u{ea}t", "Arr\u{ea}te", "arrett", "Arr\u{ea}ter"];
    for word in stops.iter().chain(&french) {
        assert_eq!(keyword::of_body(word, true).map(|(keyword, _)| keyword), Some(Stop), "{word}");
    }
    for word in [" stop ", "STOP.", "Stop!!", "stop .\n"] {
        assert_eq!(keyword::of_body(word, false), Some((Stop, "STOP")), "{word}");
    }
    for (word, keyword) in
        [("START", Start), ("unstop", Start), ("Yes", Start), ("help", Help), ("INFO", Help), ("Aide", Help)]
    {
        assert_eq!(keyword::of_body(word, false).map(|(keyword, _)| keyword), Some(keyword), "{word}");
    }
    for body in ["", ".", "please stop", "stop it", "yes please", "the end", "STOP2", "SUBSCRIBE", &"stop".repeat(100)]
    {
        assert_eq!(keyword::of_body(body, false), None, "{body}");
    }
    for number in ["+18005550100", "+1 (888) 555-0100", "+18335550100"] {
        assert!(keyword::is_toll_free(number), "{number}");
    }
    for number in ["+15551234567", "+448005550100", "8005550100", "72345", "whatsapp:+18005550100", "+1800"] {
        assert!(!keyword::is_toll_free(number), "{number}");
    }
}

/// STOP told to one sender, then START: the same scope both times, and none of another sender's.
#[test]
fn an_opt_out_is_the_senders_it_was_told() {
    let told = |body: &str, to: &str| {
        let form = format!("MessageSid=SM1&SmsStatus=received&From=%2B15551234567&To={to}&Body={body}");
        match fates(&Twilio, FORM, form.as_bytes()).unwrap().remove(0) {
            Fate::Event(event) => (event.kind, event.scope.unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let (stop, start) = (told("STOP", "%2B15559876543"), told("START", "%2B15559876543"));
    assert_eq!((stop.0, start.0), (Kind::Unsubscribed, Kind::Resubscribed));
    assert_eq!(stop.1, start.1);
    for other in ["%2B15559876544", "72345", "whatsapp%3A%2B15559876543", "%2B15551234567&MessagingServiceSid=MG1"] {
        assert_ne!(told("STOP", other).1, stop.1, "{other}");
    }
}

#[test]
fn a_repeated_opt_out_is_one_event() {
    let id = |form: &str| match fates(&Twilio, FORM, form.as_bytes()).unwrap().remove(0) {
        Fate::Event(event) => event.event_id,
        other => panic!("{other:?}"),
    };
    let first = "MessageSid=SM1&SmsStatus=received&From=%2B15551234567&To=%2B15559876543&Body=STOP&OptOutType=STOP";
    assert_eq!(
        id(first),
        id("OptOutType=STOP&Body=STOP&To=%2B15559876543&From=%2B15551234567&SmsStatus=received&MessageSid=SM1")
    );
    assert_ne!(id(first), id(&first.replace("SM1", "SM2")));
    assert_ne!(id(first), id(&first.replace("STOP", "START")));
}

#[test]
fn sources_are_checked() {
    let with =
        |public_url: Option<&str>| SourceSpec { public_url: public_url.map(str::to_owned), ..secrets(&["token"]) };
    for url in [Some("https://hooks.example.com"), Some("https://hooks.example.com/webhooks/twilio?x=1")] {
        assert!(Twilio.check_source(&with(url)).is_ok(), "{url:?}");
    }
    for url in [None, Some(""), Some("hooks.example.com")] {
        let error = Twilio.check_source(&with(url)).unwrap_err().to_string();
        assert!(error.contains("public_url"), "{error}");
    }
    let basic = SourceSpec { basic_auth: vec!["user:password".to_owned()], ..SourceSpec::default() };
    assert!(Twilio.check_source(&basic).is_ok());
}
