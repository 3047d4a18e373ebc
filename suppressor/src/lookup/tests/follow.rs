//! The stream of deltas, and the export it starts from.

use super::bed::{Bed, DAY, event_of, hard, soft, unsubscribed};
use axum::body::Body;
use domain::{CanonicalEvent, Kind, Scope, Tenant};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

#[tokio::test]
async fn a_subscriber_that_comes_back_sees_each_delta_once() {
    let bed = Bed::new();
    for n in 0..20 {
        bed.tell(hard(&format!("a{n}@example.com"), n));
    }
    bed.tell(CanonicalEvent { tenant: Tenant::new("acme").unwrap(), ..hard("theirs@example.com", 0) });
    bed.settle().await;
    let mut seen = BTreeSet::new();
    let mut after = String::new();
    for _ in 0..20 {
        let lines = bed.get(&format!("/v1/deltas?max=3{after}")).await.lines();
        let (last, deltas) = lines.split_last().unwrap();
        assert!(last.get("delta_id").is_none() && deltas.len() <= 3);
        for delta in deltas {
            assert!(seen.insert(delta["delta_id"].as_str().unwrap().to_owned()));
            assert_eq!(delta["tenant"], "default");
        }
        // Half of the time from the cursor of the last delta, as a client does that was cut off.
        let resume = if seen.len() % 2 == 0 { last } else { deltas.last().unwrap_or(last) };
        after = format!("&after={}", resume["cursor"].as_str().unwrap());
    }
    assert_eq!(seen.len(), 20);
    let theirs = bed.call_as("acme", "GET", "/v1/deltas", None, &[], Body::empty()).await.lines();
    assert_eq!((theirs.len(), theirs[0]["recipient"].as_str()), (2, Some("theirs@example.com")));
}

#[tokio::test]
async fn waits_for_what_comes() {
    let bed = Arc::new(Bed::new());
    let begun = bed.get("/v1/deltas?after=now&max=0").await;
    assert_eq!(begun.headers["quell-cursor"], "p0:0,p1:0");
    let other = Arc::clone(&bed);
    let waiting = tokio::spawn(async move { other.get("/v1/deltas?max=1&wait_ms=20000").await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    bed.tell(hard("a@example.com", 0));
    bed.settle().await;
    let lines = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().lines();
    assert_eq!((lines.len(), lines[0]["change"].as_str()), (2, Some("suppressed")));
    assert_eq!(bed.get("/v1/deltas?wait_ms=30001").await.status, 400);
    // The wait over, it ends with a cursor.
    let lines = bed.get("/v1/deltas?after=now&wait_ms=20").await.lines();
    assert_eq!(lines.len(), 1);
}

#[tokio::test]
async fn a_cursor_that_is_no_longer_kept_is_gone() {
    let bed = Bed::new();
    bed.tell(hard("a@example.com", 0));
    bed.settle().await;
    let end = bed.get("/v1/deltas").await.lines().pop().unwrap();
    let after = end["cursor"].as_str().unwrap();
    bed.log.enforce_retention(super::bed::at(40 * DAY).as_millis()).unwrap();
    assert_eq!(bed.get(&format!("/v1/deltas?after={after}")).await.status, 200);
    let answer = bed.get("/v1/deltas?after=p0:0,p1:0").await;
    assert_eq!(answer.status, 410);
    assert!(answer.json()["detail"].as_str().unwrap().contains("/v1/export"));
    assert_eq!(bed.get("/v1/deltas?after=p0:99").await.status, 410);
    assert_eq!(bed.get("/v1/deltas?after=99").await.status, 400);
}

#[tokio::test]
async fn exports_what_is_in_force_for_one_tenant() {
    let bed = Bed::new();
    for n in 0..2_500 {
        bed.tell(hard(&format!("a{n}@example.com"), 0));
    }
    bed.tell(soft("soft@example.com", 0));
    bed.tell(hard("both@example.com", 0));
    bed.tell(unsubscribed("both@example.com", 0, Scope::Marketing));
    bed.tell(event_of("fine@example.com", Kind::Delivered, 0));
    for name in ["acme", "default-2", "zeta"] {
        bed.tell(CanonicalEvent { tenant: Tenant::new(name).unwrap(), ..hard("theirs@example.com", 0) });
    }
    bed.settle().await;
    assert_eq!(bed.get("/v1/export").await.lines().len(), 2_503);
    bed.advance(8 * DAY);
    let lines = bed.get("/v1/export").await.lines();
    assert_eq!(lines.len(), 2_502);
    let both: Vec<&str> = lines
        .iter()
        .filter(|line| line["recipient"] == "both@example.com")
        .map(|line| line["scope"].as_str().unwrap())
        .collect();
    assert_eq!(both, ["all", "marketing"]);
    assert!(lines.iter().all(|line| line["tenant"] == "default"));
    assert_eq!(bed.get("/v1/export?tenant=acme").await.lines().len(), 1);
    assert_eq!(bed.get("/v1/export?tenant=nobody").await.lines().len(), 0);
}
