//! What senders send: a plan of events made from a seed, cut into webhooks, some of them twice, none in order.

use crate::instance::{DRIP_SECRET, GENERIC_SECRET, Instance, MAILGUN_KEY};
use serde_json::{Value, json};
use testkit::{SignedRequest, sign};

/// A small deterministic generator (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Hard,
    Soft,
    Delivered,
    Complaint,
    Unsubscribed,
    Resubscribed,
}

/// One fact. Its second of event time is its own among its recipient's.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) recipient: String,
    pub(crate) what: What,
    pub(crate) unix: i64,
}

#[derive(Debug, Clone)]
pub(crate) enum Webhook {
    Generic { id: String, facts: Vec<Fact> },
    Mailgun { number: u64, fact: Fact },
    Drip { fact: Fact },
}

/// Facts of `recipients`, all of the last two days, so that no soft suppression ends meanwhile.
pub(crate) fn facts(dice: &mut Dice, recipients: u64, now: i64) -> Vec<Fact> {
    let mut facts = Vec::new();
    for number in 0..recipients {
        let mut unix = now - 2 * 86_400;
        for _ in 0..1 + dice.roll(6) {
            unix += 1 + i64::try_from(dice.roll(20_000)).unwrap();
            let what = match dice.roll(20) {
                0..5 => What::Delivered,
                5..11 => What::Soft,
                11..14 => What::Unsubscribed,
                14..17 => What::Resubscribed,
                17..19 => What::Hard,
                _ => What::Complaint,
            };
            facts.push(Fact { recipient: format!("r{number}@example.com"), what, unix });
        }
    }
    facts
}

/// Cuts facts into webhooks of three providers, sends a tenth twice, and shuffles.
pub(crate) fn webhooks(dice: &mut Dice, facts: &[Fact]) -> Vec<Webhook> {
    let mut all = Vec::new();
    let mut batch = Vec::new();
    for (number, fact) in facts.iter().enumerate() {
        let number = number as u64;
        let drip = matches!(fact.what, What::Hard | What::Soft | What::Complaint);
        match dice.roll(4) {
            0 if fact.what != What::Resubscribed => all.push(Webhook::Mailgun { number, fact: fact.clone() }),
            1 if drip => all.push(Webhook::Drip { fact: fact.clone() }),
            _ => batch.push(fact.clone()),
        }
        if batch.len() as u64 > dice.roll(6) {
            all.push(Webhook::Generic { id: format!("w{number}"), facts: std::mem::take(&mut batch) });
        }
    }
    if !batch.is_empty() {
        all.push(Webhook::Generic { id: "last".into(), facts: batch });
    }
    let twice: Vec<Webhook> = all.iter().filter(|_| dice.roll(10) == 0).cloned().collect();
    all.extend(twice);
    for index in (1..all.len()).rev() {
        all.swap(index, usize::try_from(dice.roll(index as u64 + 1)).unwrap());
    }
    all
}

fn time(unix: i64) -> String {
    // Seconds since the epoch to RFC 3339, by the civil calendar (days from civil, in reverse).
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

fn generic(fact: &Fact) -> Value {
    let kind = match fact.what {
        What::Hard => "bounced_hard",
        What::Soft => "bounced_soft",
        What::Delivered => "delivered",
        What::Complaint => "complaint",
        What::Unsubscribed => "unsubscribed",
        What::Resubscribed => "resubscribed",
    };
    let mut event = json!({ "kind": kind, "recipient": fact.recipient, "occurred_at": time(fact.unix) });
    match fact.what {
        What::Hard => event["failure"] = json!({ "enhanced_status": "5.1.1", "permanent": true }),
        What::Soft => event["failure"] = json!({ "enhanced_status": "4.2.2", "permanent": false }),
        _ => {}
    }
    event
}

fn mailgun(fact: &Fact, number: u64) -> Value {
    let mut event = json!({
        "id": format!("id{number}"), "timestamp": fact.unix, "recipient": fact.recipient,
        "message": { "headers": { "message-id": format!("m{number}@example.com") } },
    });
    let (name, status) = match fact.what {
        What::Hard => ("failed", Some(("permanent", "bounce", 550, "5.1.1 no such user"))),
        What::Soft => ("failed", Some(("permanent", "old", 452, "4.2.2 mailbox full"))),
        What::Delivered => ("delivered", None),
        What::Complaint => ("complained", None),
        What::Unsubscribed | What::Resubscribed => ("unsubscribed", None),
    };
    event["event"] = json!(name);
    if let Some((severity, reason, code, message)) = status {
        event["severity"] = json!(severity);
        event["reason"] = json!(reason);
        event["delivery-status"] = json!({ "code": code, "message": message });
    }
    event
}

fn drip(fact: &Fact) -> Value {
    let at = time(fact.unix);
    match fact.what {
        What::Complaint => {
            json!({ "event": "subscriber.complained", "data": { "email": fact.recipient, "occurred_at": at } })
        }
        _ => {
            let (kind, reason) =
                if fact.what == What::Hard { ("hard", "User unknown") } else { ("soft", "Mailbox full") };
            json!({ "event": "subscriber.bounced", "data": {
                "email": fact.recipient, "bounce_type": kind, "bounce_reason": reason, "occurred_at": at } })
        }
    }
}

impl Webhook {
    /// Signed anew, as a provider does for each attempt.
    pub(crate) fn request(&self, instance: &Instance, now: i64) -> SignedRequest {
        match self {
            Self::Generic { id, facts } => {
                let body = Value::Array(facts.iter().map(generic).collect()).to_string().into_bytes();
                let url = instance.url("/webhooks/email/events");
                sign::standard_webhooks(&url, GENERIC_SECRET, id, now, body).expect("a secret")
            }
            // A retry of Mailgun's repeats the token: it is bound to this body.
            Self::Mailgun { number, fact } => {
                let url = instance.url("/webhooks/mailgun");
                sign::mailgun(&url, MAILGUN_KEY, &mailgun(fact, *number), now, &sign::mailgun_token(*number))
            }
            Self::Drip { fact } => sign::drip(&instance.url("/webhooks/drip/bounce"), DRIP_SECRET, &drip(fact)),
        }
    }

    pub(crate) fn n_facts(&self) -> usize {
        match self {
            Self::Generic { facts, .. } => facts.len(),
            Self::Mailgun { .. } | Self::Drip { .. } => 1,
        }
    }
}

#[test]
fn writes_times() {
    assert_eq!(time(0), "1970-01-01T00:00:00Z");
    assert_eq!(time(1_768_919_535), "2026-01-20T14:32:15Z");
    assert_eq!(time(1_709_208_000), "2024-02-29T12:00:00Z");
}
