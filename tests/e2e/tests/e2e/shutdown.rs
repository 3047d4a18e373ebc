//! SIGTERM: what was begun is finished, and the next start goes on.

use crate::{
    instance::Instance,
    traffic::{Fact, Webhook, What},
};
use serde_json::Value;

#[tokio::test]
async fn sigterm_finishes_what_was_begun() {
    let mut instance = Instance::new();
    instance.start().await;
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs());
    let now = now.unwrap();
    let fact = Fact { recipient: "jane@example.com".into(), what: What::Hard, unix: now - 60 };
    let webhook = Webhook::Drip { fact };
    let answer = instance.send(&webhook.request(&instance, now)).await.expect("an answer");
    assert_eq!(answer.status, 202);
    let status = instance.terminate();
    assert!(status.success(), "{status}; its log:\n{}", instance.log());
    instance.start().await;
    for _ in 0..200 {
        let shown: Value =
            serde_json::from_str(&instance.lookup("/v1/recipients/jane@example.com").await).expect("JSON");
        if shown["suppressed"] == true {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the webhook had no effect");
}
