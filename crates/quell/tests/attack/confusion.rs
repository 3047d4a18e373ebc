//! Algorithms, versions and headers that are not those of the provider.

use crate::{
    bed::Bed,
    keys::{self, unix},
    wire::Raw,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use testkit::sign;

#[test]
fn only_the_version_that_is_meant_proves_anything() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let raw = keys.generic();
    let signature = raw.header("webhook-signature").strip_prefix("v1,").expect("a version").to_owned();
    let wrong = STANDARD.encode([7; 32]);
    for given in [
        format!("v1a,{signature}"),
        format!("v0,{signature}"),
        format!("V1,{signature}"),
        format!("v1={signature}"),
        format!("v1, {signature}"),
        format!("v1,{signature},v1"),
        format!("v1,v1,{signature}"),
        format!("v1,{}", &signature[..40]),
        format!("v1,{wrong}{signature}"),
        "v1,".to_owned(),
        "v1".to_owned(),
        "none".to_owned(),
        signature.clone(),
        format!("v1,{wrong}"),
        // A list of guesses has an end.
        format!("{}v1,{signature}", format!("v1,{wrong} ").repeat(16)),
    ] {
        bed.refused(&given, &raw.clone().set("webhook-signature", &given), 401, "wrong_signature");
    }
    for given in ["", " "] {
        bed.refused("nothing", &raw.clone().set("webhook-signature", given), 401, "missing_signature");
    }
    // A sender that rotates its key, or its algorithm, sends several.
    for given in [format!("v1,{wrong} v1,{signature}"), format!("v1a,{wrong} v2,x v1,{signature}")] {
        bed.good(&given, &raw.clone().set("webhook-signature", &given));
    }
    bed.finish();
}

#[test]
fn a_token_does_not_choose_its_algorithm() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let body = keys::vonage_body();
    let claims = keys::vonage_claims(&body);
    let mut check = |what: &str, token: String, cause: &str| {
        bed.refused(what, &keys.vonage_as(body.clone(), &token), 401, cause);
    };
    for algorithm in ["none", "None", "hs256", "HS384", "HS512", "RS256", "ES256", ""] {
        let head = json!({ "alg": algorithm, "typ": "JWT" }).to_string();
        check(algorithm, keys::jwt(keys::VONAGE, &head, &claims), "wrong_algorithm");
        let unsigned = keys::jwt(keys::VONAGE, &head, &claims);
        let unsigned = unsigned.rsplit_once('.').expect("three parts").0.to_owned();
        check("no signature", format!("{unsigned}."), "malformed_token");
        check("two parts", unsigned, "malformed_token");
        check("nobody's secret", keys::jwt("", &head, &claims), "wrong_signature");
    }
    check("no algorithm", keys::jwt(keys::VONAGE, "{}", &claims), "wrong_algorithm");
    check("no object", keys::jwt(keys::VONAGE, "[]", &claims), "malformed_token");
    let own_key = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"http://127.0.0.1/","kid":"../../dev/null"}"#;
    check("its own key", keys::jwt("\0\0\0", own_key, &claims), "wrong_signature");
    let good = keys::jwt(keys::VONAGE, r#"{"alg":"HS256"}"#, &claims);
    check("four parts", format!("{good}.{good}"), "malformed_token");
    check("too long", format!("{good}{}", "A".repeat(5_000)), "malformed_token");
    for hash in ["00", "another body's"] {
        let claims = json!({ "iat": unix(), "payload_hash": hash });
        check(hash, keys::jwt(keys::VONAGE, r#"{"alg":"HS256"}"#, &claims), "wrong_body_hash");
    }
    let raw = keys.vonage_as(body.clone(), &good);
    for given in [format!("Basic {good}"), format!("Token {good}"), good.clone(), "Bearer".to_owned()] {
        bed.refused(&given, &raw.clone().set("authorization", &given), 401, "missing_token");
    }
    bed.good("the scheme's name in any case", &raw.set("authorization", &format!("bearer {good}")));
    bed.finish();
}

#[test]
fn one_providers_proof_is_nothing_to_another() {
    let mut bed = Bed::start();
    let (keys, origin) = (bed.keys.clone(), bed.origin());
    for raw in [keys.sendgrid(), keys.mailgun(), keys.drip(), keys.postmark(), keys.twilio(&origin), keys.vonage()] {
        bed.refused(&raw.target.clone(), &raw.clone().to("/webhooks/generic"), 401, "missing_signature");
    }
    for (raw, target, cause) in [
        (keys.generic(), "/webhooks/sendgrid", "missing_signature"),
        (keys.generic(), "/webhooks/drip/acme", "missing_signature"),
        (keys.generic(), "/webhooks/mailgun", "missing_signature"),
        (keys.generic(), "/webhooks/twilio", "missing_signature"),
        (keys.generic(), "/webhooks/vonage", "missing_token"),
        (keys.postmark(), "/webhooks/vonage", "missing_token"),
        (keys.vonage(), "/webhooks/postmark", "missing_credentials"),
        (keys.vonage(), "/webhooks/dsn", "wrong_credentials"),
    ] {
        bed.refused(target, &raw.to(target), 401, cause);
    }
    // The right header with the right key of somebody else.
    let drip = sign::drip("/webhooks/drip/acme", keys::GENERIC, &json!({ "event": "subscriber.bounced" }));
    bed.refused("drip", &Raw::of(&drip), 401, "wrong_signature");
    let all = [keys.sendgrid(), keys.drip(), keys.twilio(&origin)].into_iter().flat_map(|raw| raw.headers);
    let raw = Raw { headers: all.collect(), ..keys.generic() };
    bed.refused("every header but its own", &raw, 401, "missing_signature");
    bed.finish();
}

#[test]
fn a_signature_has_one_form() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let raw = keys.sendgrid();
    let name = "x-twilio-email-event-webhook-signature";
    // Zeros pass where nobody checks the range of r and s (CVE-2022-21449).
    let zeros = STANDARD.encode([0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]);
    for given in [zeros, STANDARD.encode([0; 64]), STANDARD.encode([0xff; 72]), String::from("AA==")] {
        bed.refused(&given, &raw.clone().set(name, &given), 401, "wrong_signature");
    }
    for given in ["%%%".to_owned(), "A".repeat(4_000)] {
        bed.refused(&given, &raw.clone().set(name, &given), 401, "malformed_signature");
    }
    let good = raw.header(name).to_owned();
    bed.refused("twice over", &raw.clone().set(name, &format!("{good},{good}")), 401, "malformed_signature");
    let postmark = keys.postmark();
    for (given, cause) in [
        ("Basic", "missing_credentials"),
        ("Digest username=\"postmark\"", "missing_credentials"),
        ("Basic %%%", "malformed_credentials"),
        ("Basic Og==", "wrong_credentials"),
        ("Basic cG9zdG1hcms6", "wrong_credentials"),
    ] {
        bed.refused(given, &postmark.clone().set("authorization", given), 401, cause);
    }
    bed.good("sendgrid", &raw);
    bed.good("postmark", &postmark);
    bed.finish();
}
