//! Incidents, as operators and lookups see them.

use super::bed::{Bed, START, at, event_of, hard};
use crate::jobs::incidents::Sweeps;
use axum::body::Body;
use domain::{Group, Kind, Ruling, Timestamp, incident::incident_id};
use event_log::Record;
use schemas::{encode, topics, wire::IncidentVerdict};
use serde_json::{Value, json};

fn group() -> Group {
    Group::Mailbox("example.com".to_owned())
}

/// The guard finds an incident of the first hour.
fn found(bed: &Bed, revision: i32, is_over: bool) -> String {
    let id = incident_id(&group(), at(0)).to_string();
    let verdict = IncidentVerdict {
        incident: id.clone(),
        group: group().to_string(),
        from: at(0).as_micros(),
        to: at(3_600).as_micros(),
        revision,
        is_over,
        ruling: Ruling::Held.as_str().to_owned(),
        policy: 0,
        bounced: 40,
        engaged: 30,
        decided_at: at(600).as_micros(),
        decided_by: "guard".to_owned(),
        note: String::new(),
    };
    for partition in 0..2 {
        let value = Some(encode(&verdict).unwrap());
        let record = Record { key: None, value, headers: Vec::new(), timestamp_ms: at(600).as_millis() };
        bed.log.append_now(topics::EVENTS, Some(partition), record).unwrap();
    }
    id
}

async fn sweep(bed: &Bed) {
    let mut sweeps = Sweeps::default();
    let now = Timestamp::from_seconds(START + 4_000).unwrap();
    while !sweeps.step(&bed.store, &bed.log, now).await.unwrap().over {
        bed.settle().await;
    }
}

async fn checked(bed: &Bed, address: &str) -> Value {
    let body = json!({ "recipients": [address] }).to_string();
    bed.call("POST", "/v1/check", Some("application/json"), &body).await.json()["results"][0].clone()
}

async fn rule(bed: &Bed, who: &str, id: &str, body: Value) -> super::bed::Answer {
    bed.call_as(who, "POST", &format!("/v1/incidents/{id}"), None, &[], Body::from(body.to_string())).await
}

#[tokio::test]
async fn bounces_of_an_incident_are_told_as_provisional_with_it() {
    let bed = Bed::new();
    // Before it is found, in it, and of another mailbox.
    bed.tell(hard("early@example.com", 60));
    bed.settle().await;
    let id = found(&bed, 1, false);
    bed.tell(hard("late@example.com", 700));
    bed.tell(hard("other@example.org", 700));
    bed.settle().await;
    assert_eq!(checked(&bed, "early@example.com").await["until"], Value::Null);
    sweep(&bed).await;
    bed.settle().await;
    for address in ["early@example.com", "late@example.com"] {
        let told = checked(&bed, address).await;
        assert_eq!(
            (&told["suppressed"], &told["provisional"], &told["incident"]),
            (&json!(true), &json!(true), &json!(id))
        );
        assert!(told["until"].is_string(), "{told}");
        let why = bed.get(&format!("/v1/recipients/{address}")).await.json();
        assert_eq!(why["in_force"][0]["incident"], json!(id));
        assert_eq!(why["in_force"][0]["rule"], "bounce.provisional");
        assert!(why["why"][0].as_str().unwrap().contains(&format!("provisional, in incident {id}")), "{why}");
        let bounce = why["evidence"].as_array().unwrap().iter().find(|row| row["kind"] == "bounced_hard").unwrap();
        assert_eq!(bounce["effect"], "provisional");
        assert_eq!(why["deltas"][0]["provisional"], json!(["all"]));
        assert_eq!(why["deltas"][0]["now"]["incident"], json!(id));
    }
    let other = checked(&bed, "other@example.org").await;
    assert_eq!((&other["until"], other.get("incident")), (&Value::Null, None));
    // A delivery releases.
    bed.tell(event_of("late@example.com", Kind::Delivered, 900));
    bed.settle().await;
    assert_eq!(checked(&bed, "late@example.com").await["suppressed"], false);
    let why = bed.get("/v1/recipients/late@example.com").await.json();
    let bounce = why["evidence"].as_array().unwrap().iter().find(|row| row["kind"] == "bounced_hard").unwrap().clone();
    assert_eq!(bounce["effect"], "overridden", "{bounce}");
    // Another bounce after it confirms.
    found(&bed, 2, true);
    bed.tell(hard("early@example.com", 9_000));
    bed.settle().await;
    assert_eq!(checked(&bed, "early@example.com").await["until"], Value::Null);
}

#[tokio::test]
async fn operators_list_undo_and_confirm() {
    let bed = Bed::new();
    assert_eq!(bed.get("/v1/incidents").await.json(), json!({ "incidents": [] }));
    bed.tell(hard("early@example.com", 60));
    let id = found(&bed, 1, false);
    bed.tell(hard("late@example.com", 700));
    bed.settle().await;
    sweep(&bed).await;
    let listed = bed.get("/v1/incidents").await.json();
    let incident = &listed["incidents"][0];
    assert_eq!((&incident["id"], &incident["group"]), (&json!(id), &json!("mailbox:example.com")));
    assert_eq!(
        (&incident["is_over"], &incident["ruling"], &incident["engaged"]),
        (&json!(false), &json!("held"), &json!(30))
    );
    bed.advance(4_000);
    assert_eq!(bed.get("/v1/incidents").await.json()["incidents"][0]["is_over"], true, "its end has passed");

    let ask = |verdict: &str| json!({ "verdict": verdict, "by": "jane", "note": "their page says so" });
    assert_eq!(rule(&bed, "reader", &id, ask("undo")).await.status, 403);
    assert_eq!(rule(&bed, "acme", &id, ask("undo")).await.status, 403);
    assert_eq!(rule(&bed, "writer", &id, ask("forget")).await.status, 400);
    assert_eq!(rule(&bed, "writer", &id, json!({ "verdict": "undo", "by": " " })).await.status, 400);
    assert_eq!(rule(&bed, "writer", "5f", ask("undo")).await.status, 404);
    assert_eq!(rule(&bed, "writer", &"0".repeat(32), ask("undo")).await.status, 404);

    let answer = rule(&bed, "writer", &id, ask("undo")).await;
    assert_eq!((answer.status, &answer.json()["ruling"]), (202, &json!("undone")));
    bed.settle().await;
    sweep(&bed).await;
    bed.settle().await;
    for address in ["early@example.com", "late@example.com"] {
        assert_eq!(checked(&bed, address).await["suppressed"], false, "{address}");
    }
    let why = bed.get("/v1/recipients/late@example.com").await.json();
    let effects: Vec<&str> =
        why["evidence"].as_array().unwrap().iter().map(|row| row["effect"].as_str().unwrap()).collect();
    assert!(effects.contains(&"undone"), "{effects:?}");
    let reconsidered = why["evidence"].as_array().unwrap().iter().find(|row| row["kind"] == "reconsidered").unwrap();
    assert_eq!((&reconsidered["by"], &reconsidered["note"]), (&json!("jane (writer)"), &json!("their page says so")));
    assert_eq!(reconsidered["incidents"][0]["ruling"], "undone");

    assert_eq!(rule(&bed, "writer", &id, ask("confirm")).await.status, 202);
    bed.settle().await;
    sweep(&bed).await;
    bed.settle().await;
    for address in ["early@example.com", "late@example.com"] {
        let told = checked(&bed, address).await;
        assert_eq!((&told["suppressed"], &told["until"], told.get("incident")), (&json!(true), &Value::Null, None));
    }
    assert_eq!(bed.get("/v1/incidents").await.json()["incidents"][0]["ruled_by"], "jane (writer)");

    // A script that rules over and over fills no table.
    for number in 3..=100 {
        assert_eq!(rule(&bed, "writer", &id, ask("confirm")).await.status, 202, "{number}");
        bed.settle().await;
    }
    assert_eq!(rule(&bed, "writer", &id, ask("undo")).await.status, 409);
}
