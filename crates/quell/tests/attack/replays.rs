//! Requests that were good once, sent again: as they were, with another time, with another body.

use crate::{
    bed::{Bed, in_seconds},
    keys::{self, unix},
    wire::Raw,
};
use serde_json::{Value, json};
use testkit::sign;

#[test]
fn a_replay_is_good_for_as_long_as_its_time_is_fresh() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    for age in [-250, 250] {
        // Within the window a replay changes nothing: it is the same event.
        for raw in [keys.generic_at(in_seconds(age), keys::body()), keys.sendgrid_at(in_seconds(age))] {
            bed.good("the first time", &raw);
            bed.good("again", &raw);
        }
    }
    for age in [-86_400, -330, 330, 86_400] {
        bed.refused("generic", &keys.generic_at(in_seconds(age), keys::body()), 401, "stale");
        bed.refused("sendgrid", &keys.sendgrid_at(in_seconds(age)), 401, "stale");
        let body = keys::vonage_body();
        let claims = changed(&keys::vonage_claims(&body), "iat", &json!(in_seconds(age)));
        let token = keys::jwt(keys::VONAGE, r#"{"alg":"HS256"}"#, &claims);
        bed.refused("vonage", &keys.vonage_as(body, &token), 401, "stale");
    }
    for age in [-50_000, 50_000] {
        let token = sign::mailgun_token(keys::number());
        bed.refused("mailgun", &keys.mailgun_at(in_seconds(age), &token), 401, "stale");
    }
    bed.finish();
}

#[test]
fn a_time_cannot_be_made_fresh() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let old = keys.generic_at(in_seconds(-3_600), keys::body());
    bed.refused("generic", &old.clone().set("webhook-timestamp", &unix().to_string()), 401, "wrong_signature");
    bed.refused("generic, another id", &keys.generic().set("webhook-id", "msg_other"), 401, "wrong_signature");
    let time = "x-twilio-email-event-webhook-timestamp";
    let late = keys.sendgrid_at(in_seconds(-3_600)).set(time, &unix().to_string());
    bed.refused("sendgrid", &late, 401, "wrong_signature");
    for text in ["never", "-1", "1.5", "0x6", "1e9", "99999999999999999999", "9 9", "+1768919600"] {
        bed.refused(text, &old.clone().set("webhook-timestamp", text), 401, "malformed_timestamp");
        bed.refused(text, &late.clone().set(time, text), 401, "malformed_timestamp");
    }
    bed.refused("none", &old.clone().set("webhook-timestamp", ""), 401, "missing_timestamp");
    bed.refused("none", &old.without("webhook-timestamp"), 401, "missing_timestamp");
    let ended = changed(&keys::vonage_claims(b""), "exp", &json!(in_seconds(-330)));
    let token = keys::jwt(keys::VONAGE, r#"{"alg":"HS256"}"#, &ended);
    bed.refused("vonage, ended", &keys.vonage_as(Vec::new(), &token), 401, "stale");
    bed.finish();
}

#[test]
fn a_token_that_leaves_the_body_out_belongs_to_its_first_body() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let token = sign::mailgun_token(keys::number());
    let first = keys.mailgun_at(unix(), &token);
    bed.good("the first time", &first);
    bed.good("Mailgun's own retry", &first);
    let mut other: Value = serde_json::from_slice(&first.body).expect("JSON");
    other["event-data"]["recipient"] = json!(keys::address(0));
    let stolen = Raw { body: other.to_string().into_bytes(), ..first.clone() };
    bed.refused("another body", &stolen, 401, "replayed_token");
    // Time and token are signed without anything between them: what is moved from one to the other is signed too.
    let time = other["signature"]["timestamp"].as_str().expect("a time").to_owned();
    for (moved_time, moved_token) in [
        (format!("{time}{}", &token[..1]), token[1..].to_owned()),
        (time[..9].to_owned(), format!("{}{token}", &time[9..])),
    ] {
        other["signature"]["timestamp"] = json!(moved_time);
        other["signature"]["token"] = json!(moved_token);
        let moved = Raw { body: other.to_string().into_bytes(), ..first.clone() };
        bed.refused("a boundary moved", &moved, 401, "stale");
    }
    bed.good("the first body still", &first);

    // A token of Vonage that does not name the body's hash.
    let claims = json!({ "iat": unix(), "jti": "j-1" });
    let token = keys::jwt(keys::VONAGE, r#"{"alg":"HS256"}"#, &claims);
    let first = keys.vonage_as(keys::vonage_body(), &token);
    bed.good("the first time", &first);
    bed.good("again", &first);
    bed.refused("another body", &keys.vonage_as(keys::vonage_body(), &token), 401, "replayed_token");
    // The same token spelled otherwise is the same token.
    bed.refused("with padding", &keys.vonage_as(keys::vonage_body(), &format!("{token}=")), 401, "replayed_token");
    bed.finish();
}

fn changed(claims: &Value, name: &str, value: &Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value.clone();
    claims
}
