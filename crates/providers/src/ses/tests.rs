use super::*;
use crate::sns::testing::{TOPIC, confirmation, notification};
use crate::testing::{self, fates, headers, now, open, post, triage};
use crate::{Overload, Triage};
use domain::CanonicalEvent;
use serde_json::{Value as Json, json};

#[test]
fn fixtures() {
    testing::run_fixtures(&Ses, include_str!("fixtures/events.json"));
}

fn bounce(feedback: &str, addresses: &[&str]) -> Json {
    let recipients: Vec<Json> = addresses.iter().map(|address| json!({ "emailAddress": address })).collect();
    json!({
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": recipients,
            "timestamp": "2026-01-20T14:32:14.000Z", "feedbackId": feedback,
        },
        "mail": { "timestamp": "2026-01-20T14:32:00.000Z", "messageId": "m-1", "destination": addresses },
    })
}

fn opened(time: &str) -> Json {
    json!({
        "eventType": "Open", "open": { "timestamp": time, "userAgent": "Mozilla/5.0 (X11)" },
        "mail": { "timestamp": "2026-01-20T14:32:00.000Z", "messageId": "m-1", "destination": ["jane@example.com"] },
    })
}

fn events(body: &Json) -> Vec<CanonicalEvent> {
    let of = |fate| match fate {
        Fate::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    };
    fates(&Ses, "text/plain; charset=UTF-8", body.to_string().as_bytes()).unwrap().into_iter().map(of).collect()
}

fn ids(body: &Json) -> Vec<String> {
    events(body).into_iter().map(|event| event.event_id.to_string()).collect()
}

fn notified(id: &str, event: &Json) -> Json {
    let mut body = notification(&event.to_string());
    body["MessageId"] = id.into();
    body
}

#[test]
fn a_notification_sent_again_has_the_same_ids() {
    let first = notified("n-1", &bounce("f-1", &["jane@example.com", "joe@example.com"]));
    let both = ids(&first);
    let (jane, joe) = (&both[..1], &both[1..]);
    assert!(joe.len() == 1 && jane != joe);
    // SNS signs a retry as it signed the first try; what else differs is how it is called.
    let mut again = first.clone();
    again["Signature"] = "another".into();
    again["SigningCertURL"] = "https://sns.eu-west-1.amazonaws.com/new.pem".into();
    assert_eq!(ids(&again), both);
    // A bounce is known by its feedback id, whichever way it came.
    assert_eq!(ids(&notified("n-2", &bounce("f-1", &["jane@example.com"]))), jane);
    let mut feedback = bounce("f-1", &["jane@example.com"]);
    feedback["notificationType"] = feedback["eventType"].take();
    assert_eq!(ids(&feedback), jane, "as identity feedback, delivered bare");
    assert_ne!(ids(&notified("n-1", &bounce("f-2", &["jane@example.com"]))), jane);
}

#[test]
fn what_has_no_id_of_its_own_is_known_by_its_notification() {
    let id = |notification: &str, time: &str| ids(&notified(notification, &opened(time))).remove(0);
    let first = id("n-1", "2026-01-20T14:32:14.000Z");
    assert_eq!(first, id("n-1", "2026-01-20T14:32:14.000Z"));
    assert_ne!(first, id("n-2", "2026-01-20T14:32:14.000Z"));
    assert_ne!(first, id("n-1", "2026-01-20T14:32:14.001Z"));
    // Delivered bare, the id stands in the head.
    let (body, headers) = (opened("2026-01-20T14:32:14.000Z").to_string(), headers(&[("x-amz-sns-message-id", "n-1")]));
    let (request, source) = (post("/", &headers, body.as_bytes()), open(&Ses));
    let context = Context { source: &source, received_at: now(), receipt_id: Some("receipt") };
    let elements = Ses.elements(&request).unwrap();
    match &Ses.parse(&request, &elements[0], &context)[..] {
        [Fate::Event(event)] => assert_eq!(event.event_id.to_string(), first),
        other => panic!("{other:?}"),
    }
    assert!(Ses.kept_headers().contains(&"x-amz-sns-message-id"));
}

#[test]
fn facts_of_one_notification_have_ids_of_their_own() {
    let click = |link: &str| {
        let mut event = opened("2026-01-20T14:32:14.000Z");
        event["eventType"] = "Click".into();
        event["click"] = json!({ "timestamp": "2026-01-20T14:32:14.000Z", "link": link });
        ids(&notified("n-1", &event)).remove(0)
    };
    assert_ne!(click("https://example.org/a"), click("https://example.org/b"));
    let mut event = opened("2026-01-20T14:32:14.000Z");
    let topics = ["a", "b"].map(|name| json!({ "topicName": name, "subscriptionStatus": "OptOut" }));
    event["eventType"] = "Subscription".into();
    event["subscription"] =
        json!({ "newTopicPreferences": { "unsubscribeAll": false, "topicSubscriptionStatus": topics } });
    let found = ids(&notified("n-1", &event));
    assert!(found.len() == 2 && found[0] != found[1], "{found:?}");
}

#[test]
fn an_element_alone_is_the_whole_body() {
    // As a replayed dead letter is.
    let body = notified("n-1", &bounce("f-1", &["jane@example.com"])).to_string();
    let headers = headers(&[]);
    let element = Ses.elements(&post("/", &headers, body.as_bytes())).unwrap().remove(0);
    assert_eq!(element.bytes, body.as_bytes());
}

#[test]
fn recipients_are_bounded() {
    let addresses: Vec<String> = (0..101).map(|n| format!("jane{n}@example.com")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let body = bounce("f-1", &addresses).to_string();
    let found = fates(&Ses, "text/plain", body.as_bytes()).unwrap();
    assert_eq!(found.len(), 101);
    assert!(matches!(&found[99], Fate::Event(_)));
    assert!(matches!(&found[100], Fate::Dead(reason) if reason.starts_with("too_many_recipients")));
    let mut event = bounce("f-1", &["jane@example.com"]);
    event["mail"]["tags"] =
        (0..1_000).map(|n| (format!("tag{n}"), json!(["x".repeat(1_000)]))).collect::<serde_json::Map<_, _>>().into();
    fates(&Ses, "", event.to_string().as_bytes()).unwrap().iter().for_each(testing::assert_bounded);
}

#[test]
fn what_concerns_nobody_is_answered_200() {
    let ask = |body: &Json| triage(&Ses, "text/plain; charset=UTF-8", &body.to_string());
    assert_eq!(ask(&confirmation("SubscriptionConfirmation")), Triage::Ignore("subscription_confirmation"));
    assert_eq!(ask(&confirmation("UnsubscribeConfirmation")), Triage::Ignore("unsubscribe_confirmation"));
    assert_eq!(
        triage(&Ses, "text/plain", "Successfully validated SNS topic for Amazon SES event publishing."),
        Triage::Ignore("set_up")
    );
    // What cannot be read is kept, as SNS takes a refusal for handled.
    assert_eq!(ask(&notification("{\"eventType\":\"Bounce\"}")), Triage::Accept);
    assert!(matches!(triage(&Ses, "text/plain", "{"), Triage::Refuse(_)), "no envelope, so nothing of SES either");
    assert_eq!(ask(&notified("n-1", &bounce("f-1", &["jane@example.com"]))), Triage::Accept);
    assert_eq!(Ses.overload(), Overload::ServiceUnavailable, "SNS takes every 4xx for handled");
    assert_eq!(Ses.accepted(), 202);
    assert!(TOPIC.starts_with("arn:aws:sns:"));
}
