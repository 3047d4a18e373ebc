//! Why, why not, and did it bounce.

use super::bed::{Bed, DAY, at, event, event_of, failed, hard, soft, unsubscribed};
use domain::{Attribution, CanonicalEvent, Kind, Scope};
use serde_json::{Value, json};

async fn why(bed: &Bed, query: &str) -> Value {
    let answer = bed.get(&format!("/v1/recipients/Jane@Example.com?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The effects of the evidence, newest first, and the first sentence.
#[track_caller]
fn check(told: &Value, effects: &[&str], sentence: &str) {
    let found: Vec<&str> =
        told["evidence"].as_array().unwrap().iter().map(|row| row["effect"].as_str().unwrap()).collect();
    assert_eq!(found, effects);
    let first = told["why"][0].as_str().unwrap();
    assert!(first.contains(sentence), "{first}");
}

async fn told(events: Vec<CanonicalEvent>, now: i64) -> Value {
    let bed = Bed::new();
    for event in events {
        bed.tell(event);
    }
    bed.settle().await;
    bed.advance(now);
    why(&bed, "").await
}

const JANE: &str = "jane@example.com";

#[tokio::test]
async fn says_why_and_why_not() {
    let bounced = told(vec![hard(JANE, 0), hard(JANE, 5)], 10).await;
    check(&bounced, &["supports", "suppresses"], "suppressed in scope all for hard_bounce since");
    assert_eq!(bounced["in_force"][0]["rule"], "bounce.hard");
    assert_eq!(bounced["evidence"][1]["failure"]["rule"], "enhanced.5.1.1");
    assert_eq!(bounced["evidence"][1]["receipt_id"], "r0.0.0.abc");
    assert_eq!(bounced["deltas"][0]["change"], "suppressed");
    assert_eq!((&bounced["suppressed"], &bounced["basis"]), (&json!(true), &json!("evidence")));

    let healed = told(vec![soft(JANE, 0), event(Kind::Delivered, 5)], 10).await;
    check(&healed, &["undoes", "overridden"], "no longer counts: delivered at");
    assert_eq!(healed["suppressed"], false);
    assert_eq!(healed["deltas"].as_array().unwrap().len(), 2);

    // A delivery does not undo what is for good.
    check(&told(vec![hard(JANE, 0), event(Kind::Delivered, 5)], 10).await, &["recorded", "suppresses"], "hard_bounce");
    let foreign = told(vec![failed(JANE, Kind::BouncedHard, 0, Attribution::Sender)], 10).await;
    check(&foreign, &["not_the_recipients_fault"], "was a failure of the sender, not of the recipient");
    check(&told(vec![soft(JANE, 0)], 8 * DAY).await, &["ended"], "suppressed until");
    let back = vec![unsubscribed(JANE, 0, Scope::Marketing), event(Kind::Resubscribed, 3)];
    check(&told(back, 10).await, &["undoes", "overridden"], "no longer counts: resubscribed");
    let read_again = CanonicalEvent { rules: 2, ..failed(JANE, Kind::BouncedHard, 0, Attribution::Provider) };
    check(
        &told(vec![hard(JANE, 0), read_again], 10).await,
        &["not_the_recipients_fault", "corrected"],
        "was a failure of the provider",
    );
    check(&told(vec![], 10).await, &[], "no evidence is known");
    check(&told(vec![event(Kind::Delivered, 0)], 10).await, &["recorded"], "no failure, complaint or opt-out");
}

#[tokio::test]
async fn as_of_a_past_moment() {
    let bed = Bed::new();
    bed.tell(soft(JANE, 0));
    bed.tell(event(Kind::Delivered, 2 * DAY));
    bed.tell(CanonicalEvent { received_at: at(6 * DAY), ..hard(JANE, 3 * DAY) });
    bed.settle().await;
    bed.advance(10 * DAY);
    let reason = async |query: String| why(&bed, &query).await["in_force"][0]["reason"].clone();
    assert_eq!(reason(String::new()).await, "hard_bounce");
    assert_eq!(reason(format!("at={}", at(DAY))).await, "soft_bounce");
    assert_eq!(reason(format!("at={}", at(2 * DAY + 1))).await, Value::Null);
    assert_eq!(reason(format!("at={}", at(4 * DAY))).await, "hard_bounce");
    // What had happened by then, but was not known yet.
    assert_eq!(reason(format!("at={0}&known_at={0}", at(4 * DAY))).await, Value::Null);
    assert_eq!(reason(format!("known_at={}", at(6 * DAY))).await, "hard_bounce");
    assert_eq!(bed.get("/v1/recipients/jane@example.com?at=yesterday").await.status, 400);
    assert_eq!(bed.get("/v1/recipients/jane").await.status, 400);
}

#[tokio::test]
async fn where_evidence_was_trimmed_the_audit_answers() {
    let bed = Bed::new();
    // Each settled on its own, so that what is overridden and committed is trimmed.
    bed.tell(event(Kind::Delivered, 0));
    bed.settle().await;
    for n in 0..4 {
        bed.tell(soft(JANE, (10 * n + 1) * DAY));
        bed.settle().await;
        bed.tell(event(Kind::Delivered, (10 * n + 3) * DAY));
        bed.settle().await;
    }
    bed.advance(100 * DAY);
    let now = why(&bed, "").await;
    assert_eq!((&now["basis"], &now["suppressed"]), (&json!("evidence"), &json!(false)));
    assert!(now["evidence"].as_array().unwrap().len() < 9, "nothing was trimmed");
    let past = why(&bed, &format!("at={}", at(2 * DAY))).await;
    assert_eq!((&past["basis"], &past["in_force"][0]["reason"]), (&json!("audit"), &json!("soft_bounce")));
    let healed = why(&bed, &format!("at={}", at(4 * DAY))).await;
    assert_eq!((&healed["basis"], &healed["suppressed"]), (&json!("audit"), &json!(false)));
}

#[tokio::test]
async fn did_it_bounce() {
    let bed = Bed::new();
    bed.tell(event(Kind::Accepted, 0));
    bed.tell(hard(JANE, 3));
    bed.tell(event(Kind::Delivered, 5));
    bed.tell(event_of("joe@example.com", Kind::Delivered, 4));
    bed.settle().await;
    let told = bed.get("/v1/messages/m%2F1%20%3Cx%3E").await.json();
    let states: Vec<(&str, &str, usize)> = told["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recipient| {
            let timeline = recipient["timeline"].as_array().unwrap().len();
            (recipient["recipient"].as_str().unwrap(), recipient["state"].as_str().unwrap(), timeline)
        })
        .collect();
    assert_eq!(states, [(JANE, "BOUNCED_HARD", 3), ("joe@example.com", "DELIVERED", 1)]);
    assert_eq!(bed.get("/v1/messages/m%2F1%20%3Cx%3E?provider=drip").await.status, 404);
    assert_eq!(bed.get("/v1/messages/unheard-of").await.status, 404);
}
