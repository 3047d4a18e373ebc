//! What the instance is sent: all that a dashboard shows.

use crate::instance::{Instance, POSTMARK_USER};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::{
    Fault, payloads,
    payloads::{Told, What},
    sign,
    sign::SendGridKey,
};

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Numbers of events, so that each has ids of its own.
#[derive(Default)]
pub(crate) struct Traffic {
    number: u64,
}

impl Traffic {
    /// A little of everything: whatever is counted exists from then on.
    pub(crate) async fn little(&mut self, instance: &Instance) {
        instance.sendgrid.next_faults([Fault::RateLimited(1)]);
        self.mail(instance, [10, 2, 2, 2, 2]).await;
        self.trouble(instance, 1).await;
    }

    /// Far more than a hundred suppressions, half of the mail bouncing.
    pub(crate) async fn much(&mut self, instance: &Instance) {
        for _ in 0..3 {
            instance.postmark.next_faults([Fault::Status(503)]);
            self.mail(instance, [120, 60, 4, 6, 4]).await;
            self.trouble(instance, 6).await;
            tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        }
    }

    /// So many delivered, hard bounces, soft bounces, complaints, unsubscriptions; by SendGrid for one tenant, and a tenth of
    /// them by Postmark for another.
    async fn mail(&mut self, instance: &Instance, counts: [usize; 5]) {
        let whats = [What::Delivered, What::HardBounce, What::SoftBounce, What::Complaint, What::Unsubscribe];
        let mut batch = Vec::new();
        for (what, count) in whats.into_iter().zip(counts) {
            for index in 0..count {
                self.number += 1;
                let domain = ["gmail.com", "gmx.de", "example.com"][index % 3];
                let address = format!("{what:?}.{}@{domain}", self.number).to_lowercase();
                // Some are told late.
                let unix = now() - if index % 5 == 0 { 7_200 } else { 30 };
                let told = Told { what, address: &address, unix, number: self.number };
                batch.push(payloads::sendgrid(&told));
                if index % 10 == 0 {
                    let [user, password] = POSTMARK_USER;
                    let event = payloads::postmark(&told);
                    let status =
                        instance.send(&sign::postmark(&instance.url("postmark"), user, password, &event)).await;
                    assert!((200..300).contains(&status), "{status}");
                }
            }
        }
        for events in batch.chunks(20) {
            let status = self.sendgrid(instance, &instance.sendgrid_key, events).await;
            assert_eq!(status, 202);
        }
        // A provider that repeats itself.
        assert_eq!(self.sendgrid(instance, &instance.sendgrid_key, &batch[..1]).await, 202);
    }

    async fn sendgrid(&self, instance: &Instance, key: &SendGridKey, events: &[Value]) -> u16 {
        instance.send(&key.sign(&instance.url("sendgrid"), events, now()).unwrap()).await
    }

    /// Wrong proofs, events without recipients or of no known kind, events from the future, paths that nobody serves, questions.
    async fn trouble(&mut self, instance: &Instance, times: usize) {
        let stranger = SendGridKey::generate().unwrap();
        for _ in 0..times {
            assert_eq!(self.sendgrid(instance, &stranger, &[json!({})]).await, 401);
            self.number += 1;
            let future =
                Told { what: What::HardBounce, address: "early@gmail.com", unix: now() + 600, number: self.number };
            let nobody = json!({ "event": "bounce", "email": "", "timestamp": now(), "sg_event_id": format!("n{}", self.number) });
            let unheard_of =
                json!({ "event": "weather", "timestamp": now(), "sg_event_id": format!("w{}", self.number) });
            let events = [payloads::sendgrid(&future), nobody, unheard_of];
            let status = self.sendgrid(instance, &instance.sendgrid_key, &events).await;
            assert_eq!(status, 202);
            let nowhere = stranger.sign(&instance.url("nobody"), &[], now()).unwrap();
            assert_eq!(instance.send(&nowhere).await, 404);
            assert_eq!(instance.lookup("/v1/recipients/early@gmail.com?tenant=acme").await, 200);
        }
    }
}
