//! Bodies that are forged, cut off, or signed by somebody else.

use crate::{
    bed::Bed,
    keys::{self, Keys, unix},
    wire::{Line, Raw},
};
use serde_json::json;
use testkit::sign::{self, SendGridKey};

/// The same request about another recipient.
fn forged(raw: &Raw) -> Raw {
    let body = String::from_utf8(raw.body.clone()).expect("text");
    let (from, to) = if body.contains("jane.") { ("jane.", "joe.") } else { ("5550001234", "5550004321") };
    assert!(body.contains(from), "{body}");
    Raw { body: body.replace(from, to).into_bytes(), ..raw.clone() }
}

/// The same request without its last bytes, and with a length that says so.
fn cut(raw: &Raw) -> Raw {
    let body = raw.body[..raw.body.len() - 2].to_vec();
    Raw { body, ..raw.clone() }
}

#[test]
fn a_body_that_was_changed_is_refused() {
    let mut bed = Bed::start();
    let (keys, origin) = (bed.keys.clone(), bed.origin());
    for (name, raw, cause) in [
        ("generic", keys.generic(), "wrong_signature"),
        ("sendgrid", keys.sendgrid(), "wrong_signature"),
        ("drip", keys.drip(), "wrong_signature"),
        ("twilio", keys.twilio(&origin), "wrong_signature"),
        ("vonage", keys.vonage(), "wrong_body_hash"),
    ] {
        bed.refused(name, &forged(&raw), 401, cause);
        bed.refused(name, &cut(&raw), 401, cause);
        bed.good(name, &raw);
    }
    bed.finish();
}

#[test]
fn a_body_signed_by_somebody_else_is_refused() {
    let mut bed = Bed::start();
    let other = "whsec_c29tZWJvZHktZWxzZS1zb21lYm9keS1lbHNlLTE=";
    let resigned = sign::standard_webhooks("/webhooks/generic", other, "msg_1", unix(), keys::body()).expect("a key");
    bed.refused("generic, another secret", &Raw::of(&resigned), 401, "wrong_signature");
    let resigned = sign::standard_webhooks("/webhooks/generic", "", "msg_1", unix(), keys::body()).expect("a key");
    bed.refused("generic, no secret", &Raw::of(&resigned), 401, "wrong_signature");
    let another = SendGridKey::generate().expect("a key pair");
    let resigned = another.sign("/webhooks/sendgrid", &[json!({ "event": "bounce" })], unix()).expect("a key");
    bed.refused("sendgrid, another key", &Raw::of(&resigned), 401, "wrong_signature");
    let event = json!({ "event": "failed" });
    for key in ["", "key-of-somebody-else"] {
        let resigned = sign::mailgun("/webhooks/mailgun", key, &event, unix(), &sign::mailgun_token(keys::number()));
        bed.refused("mailgun, another key", &Raw::of(&resigned), 401, "wrong_signature");
    }
    let resigned = sign::drip("/webhooks/drip/acme", "", &json!({ "event": "subscriber.bounced" }));
    bed.refused("drip, no secret", &Raw::of(&resigned), 401, "wrong_signature");
    let url = format!("{}/webhooks/twilio", bed.origin());
    let resigned = sign::twilio(&url, "", &[("MessageSid", "SM1")]);
    bed.refused("twilio, no secret", &Raw::of(&resigned).to("/webhooks/twilio"), 401, "wrong_signature");
    let signed_for = sign::twilio("http://elsewhere.example/webhooks/twilio", keys::TWILIO, &[("MessageSid", "SM1")]);
    bed.refused("twilio, of another URL", &Raw::of(&signed_for).to("/webhooks/twilio"), 401, "wrong_signature");
    let wrong = sign::postmark("/webhooks/postmark", "postmark", "guessed", &json!({}));
    bed.refused("postmark, another password", &Raw::of(&wrong), 401, "wrong_credentials");
    bed.refused("postmark, nothing", &Raw::of(&wrong).without("authorization"), 401, "missing_credentials");
    bed.finish();
}

#[test]
fn a_signature_makes_no_sense_of_nonsense() {
    let mut bed = Bed::start();
    let keys: &Keys = &bed.keys.clone();
    for (what, body) in [
        ("nothing", Vec::new()),
        ("no JSON", b"recipient=jane".to_vec()),
        ("half of it", b"[{\"id\":\"1\"".to_vec()),
        ("a hundred thousand brackets, none closed", vec![b'['; 100_000]),
        ("as many braces", b"{\"a\":".repeat(100_000)),
        ("brackets in brackets", [vec![b'['; 200_000], vec![b']'; 200_000]].concat()),
        ("no text", vec![0xff; 1_000]),
    ] {
        bed.refused(what, &keys.generic_at(unix(), body), 400, "malformed");
    }
    // An element that cannot be read is stored with the rest, and becomes a dead letter by itself.
    let deep = [&b"[{\"a\":"[..], &b"[".repeat(50_000), &b"]".repeat(50_000), b"},", &keys::body(), b"]"].concat();
    bed.good("a bad element beside a good one", &keys.generic_at(unix(), deep));
    bed.finish();
}

#[test]
fn a_body_that_breaks_off_is_not_taken() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    for kept in [0, 1, raw.body.len() - 1] {
        let mut line = Line::open(bed.gateway).expect("the gateway is there");
        let head = raw.head();
        line.send(&[head.as_bytes(), b"\r\n", &raw.body[..kept]].concat()).expect("it is read");
        line.finish().expect("it was open");
        let answers = line.answers().expect("an end in time");
        assert!(answers.iter().all(|answer| answer.status == 400), "{answers:?}");
    }
    // Answered where the other side still listened.
    bed.any_of(&["broken_body", "client_gone"]);
    bed.until("three", |bed| bed.counted_as(&["broken_body", "client_gone"]) == 3);
    bed.finish();
}
