//! Headers that are there twice. Which of the two counts is anybody's guess, so none does.

use crate::bed::Bed;

#[test]
fn a_proof_that_is_given_twice_is_none() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let raw = keys.generic();
    let good = raw.header("webhook-signature").to_owned();
    bed.refused("good, bad", &raw.clone().add("webhook-signature", "v1,AAAA"), 401, "missing_signature");
    let first_bad = raw.clone().set("webhook-signature", "v1,AAAA").add("webhook-signature", &good);
    bed.refused("bad, good", &first_bad, 401, "missing_signature");
    bed.refused("good, good", &raw.clone().add("Webhook-Signature", &good), 401, "missing_signature");
    bed.refused("two times", &raw.clone().add("webhook-timestamp", "1"), 401, "missing_timestamp");
    bed.refused("two ids", &raw.clone().add("webhook-id", "msg_2"), 401, "missing_id");
    let sendgrid = keys.sendgrid();
    for (name, cause) in [
        ("x-twilio-email-event-webhook-signature", "missing_signature"),
        ("x-twilio-email-event-webhook-timestamp", "missing_timestamp"),
    ] {
        bed.refused(name, &sendgrid.clone().add(name, sendgrid.header(name)), 401, cause);
    }
    for (raw, cause) in [(keys.postmark(), "missing_credentials"), (keys.vonage(), "missing_token")] {
        bed.refused("two authorizations", &raw.clone().add("authorization", raw.header("authorization")), 401, cause);
    }
    bed.refused("two of Drip's", &keys.drip().add("x-drip-signature", "00"), 401, "missing_signature");
    bed.good("one of each", &raw);
    bed.finish();
}

#[test]
fn a_body_has_one_type_one_coding_and_one_length() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    bed.refused("a page", &keys.generic().add("content-type", "text/html"), 415, "unsupported_content_type");
    let page_first = keys.generic().set("content-type", "text/html").add("content-type", "application/json");
    bed.refused("a page first", &page_first, 415, "unsupported_content_type");
    bed.good("the same twice", &keys.generic().add("content-type", "application/json"));
    let coded = keys.generic().add("content-encoding", "gzip").add("content-encoding", "gzip");
    bed.refused("two codings", &coded, 415, "unsupported_content_encoding");
    let coded = keys.generic().add("content-encoding", "identity").add("content-encoding", "gzip");
    bed.refused("none and one", &coded, 415, "unsupported_content_encoding");

    let raw = keys.generic();
    let length = raw.body.len();
    let with = |lengths: &[String]| {
        let raw = lengths.iter().fold(raw.clone(), |raw, length| raw.add("content-length", length));
        raw.bytes()
    };
    bed.malformed("another length", &with(&[length.to_string(), (length + 1).to_string()]), 400);
    bed.malformed("none and all", &with(&["0".to_owned(), length.to_string()]), 400);
    for text in [format!("{length}, {length}"), format!("+{length}"), "-1".to_owned(), format!("0x{length:x}")] {
        bed.malformed(&text.clone(), &with(&[text]), 400);
    }
    for text in [String::new(), "1e3".to_owned(), "99999999999999999999999".to_owned()] {
        bed.malformed(&text.clone(), &with(&[text]), 400);
    }
    bed.good("a length", &raw);
    bed.finish();
}
