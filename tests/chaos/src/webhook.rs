//! Facts as their providers tell of them: cut into webhooks, some sent twice, none in order, each signed in its own way.

use crate::{
    dice::Dice,
    fact::{Fact, Teller, What},
};
use anyhow::Context as _;
use domain::Timestamp;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use testkit::{
    SignedRequest,
    payloads::{self, Told},
    sign::{self, SendGridKey},
};

const DRIP_SECRET: &str = "chaos-drip-secret";
const MAILGUN_KEY: &str = "chaos-mailgun-key";
const GENERIC_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const POSTMARK_USER: &str = "postmark";
const POSTMARK_PASSWORD: &str = "chaos-postmark-password";
const TWILIO_TOKEN: &str = "chaos-twilio-token";
/// What Twilio signs, whichever gateway it reaches.
const TWILIO_URL: &str = "https://hooks.example.com/webhooks/twilio/status";

/// Events in one of SendGrid's webhooks, and in one of the generic format, at most.
const BATCH_MAX: [u64; 2] = [40, 15];

/// One webhook. Sent again it is the same.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) number: u64,
    pub(crate) teller: Teller,
    pub(crate) facts: Vec<Fact>,
    /// Mailgun's signature is part of the body, which stays the same when it tries again.
    first: Mutex<Option<SignedRequest>>,
}

/// Cuts facts into webhooks in the order in which they are sent: shuffled, a tenth of them a second time.
pub(crate) fn webhooks(seed: u64, facts: &[Fact]) -> Vec<Arc<Webhook>> {
    let mut dice = Dice::new(seed, 2);
    let mut facts = facts.to_vec();
    dice.shuffle(&mut facts);
    let mut all: Vec<Arc<Webhook>> = Vec::new();
    let mut batches: [(Teller, Vec<Fact>, u64); 2] =
        [(Teller::SendGrid, Vec::new(), 1), (Teller::Generic, Vec::new(), 1)];
    let push = |all: &mut Vec<Arc<Webhook>>, teller, facts| {
        all.push(Arc::new(Webhook { number: all.len() as u64, teller, facts, first: Mutex::default() }));
    };
    for fact in facts {
        match batches.iter_mut().position(|(teller, ..)| *teller == fact.teller) {
            None => push(&mut all, fact.teller, vec![fact]),
            Some(at) => {
                let (teller, batch, full) = &mut batches[at];
                batch.push(fact);
                if batch.len() as u64 >= *full {
                    push(&mut all, *teller, std::mem::take(batch));
                    *full = 1 + dice.roll(BATCH_MAX[at]);
                }
            }
        }
    }
    for (teller, batch, _) in batches {
        if !batch.is_empty() {
            push(&mut all, teller, batch);
        }
    }
    let twice: Vec<Arc<Webhook>> = all.iter().filter(|_| dice.roll(10) == 0).cloned().collect();
    all.extend(twice);
    dice.shuffle(&mut all);
    all
}

/// Signs webhooks. The secrets live as long as the run.
#[derive(Debug)]
pub(crate) struct Signer {
    sendgrid: SendGridKey,
}

impl Signer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { sendgrid: SendGridKey::generate().context("no key pair for SendGrid's webhooks")? })
    }

    /// The configuration's sources that take what is signed here, and the environment that holds their secrets.
    pub(crate) fn sources(&self) -> (String, Vec<(String, String)>) {
        let sources = [
            ("sendgrid", "secrets", self.sendgrid.public()),
            ("postmark", "basic_auth", format!("{POSTMARK_USER}:{POSTMARK_PASSWORD}")),
            ("mailgun", "secrets", MAILGUN_KEY.to_owned()),
            ("drip", "secrets", DRIP_SECRET.to_owned()),
            ("generic", "secrets", GENERIC_SECRET.to_owned()),
            ("twilio", "secrets", TWILIO_TOKEN.to_owned()),
        ];
        let (mut text, mut variables) = (String::new(), Vec::new());
        for (provider, key, secret) in sources {
            let variable = format!("CHAOS_{}_SOURCE", provider.to_uppercase());
            text.push_str(&format!("\n[[source]]\nprovider = \"{provider}\"\n{key} = [\"env:{variable}\"]\n"));
            if provider == "twilio" {
                text.push_str(&format!("public_url = \"{TWILIO_URL}\"\n"));
            }
            variables.push((variable, secret));
        }
        (text, variables)
    }

    /// A webhook for this gateway (scheme, host and port), signed anew as far as its provider does so.
    pub(crate) fn sign(&self, webhook: &Webhook, gateway: &str, unix: i64) -> anyhow::Result<SignedRequest> {
        let url = |path: &str| format!("{gateway}/webhooks/{path}");
        let fact = webhook.facts.first().context("a webhook tells of something")?;
        Ok(match webhook.teller {
            Teller::SendGrid => {
                let events: Vec<Value> = webhook.facts.iter().map(|fact| payloads::sendgrid(&told(fact))).collect();
                self.sendgrid.sign(&url("sendgrid"), &events, unix)?
            }
            Teller::Generic => {
                let events: Vec<Value> = webhook.facts.iter().map(generic).collect();
                let id = format!("msg_{}", webhook.number);
                let body = Value::Array(events).to_string().into_bytes();
                sign::standard_webhooks(&url("email/events"), GENERIC_SECRET, &id, unix, body)?
            }
            Teller::Postmark => {
                let event = payloads::postmark(&told(fact));
                sign::postmark(&url("postmark"), POSTMARK_USER, POSTMARK_PASSWORD, &event)
            }
            Teller::Mailgun => {
                let mut first = webhook.first.lock().unwrap_or_else(PoisonError::into_inner);
                let made = first.get_or_insert_with(|| {
                    let (event, token) = (payloads::mailgun(&told(fact)), sign::mailgun_token(webhook.number));
                    sign::mailgun("", MAILGUN_KEY, &event, unix, &token)
                });
                SignedRequest { url: url("mailgun"), ..made.clone() }
            }
            Teller::Drip => sign::drip(&url("drip/bounce"), DRIP_SECRET, &drip(fact)),
            Teller::Twilio => {
                let code = if fact.what == What::CarrierRefuses { "30006" } else { "30005" };
                let mut parameters = payloads::twilio_failed(&fact.recipient, fact.number, code);
                parameters.push(("RawDlrDoneDate".to_owned(), done_date(fact.unix)));
                let borrowed: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                SignedRequest { url: url("twilio/status"), ..sign::twilio(TWILIO_URL, TWILIO_TOKEN, &borrowed) }
            }
        })
    }
}

fn told(fact: &Fact) -> Told<'_> {
    let what = match fact.what {
        What::Soft => payloads::What::SoftBounce,
        What::Hard => payloads::What::HardBounce,
        What::Complaint => payloads::What::Complaint,
        What::Unsubscribed => payloads::What::Unsubscribe,
        // The others are put right by whoever calls.
        _ => payloads::What::Delivered,
    };
    Told { what, address: &fact.recipient, unix: fact.unix, number: fact.number }
}

fn generic(fact: &Fact) -> Value {
    let mut event = payloads::generic(&told(fact));
    match fact.what {
        What::Resubscribed => event["kind"] = json!("resubscribed"),
        What::Opened => event["kind"] = json!("opened"),
        _ => {}
    }
    event
}

/// Drip's word for a delivery says only that it was sent on.
fn drip(fact: &Fact) -> Value {
    let mut event = payloads::drip(&told(fact));
    if fact.what == What::Resubscribed {
        event["event"] = json!("subscriber.reactivated");
    }
    event
}

/// The carrier's time, `YYMMDDhhmm`.
fn done_date(unix: i64) -> String {
    let text = Timestamp::from_seconds(unix).unwrap_or_default().to_string();
    text.chars().filter(char::is_ascii_digit).skip(2).take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::facts;

    #[test]
    fn every_fact_is_told_and_a_tenth_twice() {
        let facts = facts(9, 4_000, 1_800_000_000, 60);
        let all = webhooks(9, &facts);
        let mut numbers: Vec<u64> = all.iter().map(|webhook| webhook.number).collect();
        numbers.sort_unstable();
        let n_sent = numbers.len();
        numbers.dedup();
        let twice = n_sent - numbers.len();
        assert!(twice * 20 > numbers.len() && twice * 7 < numbers.len(), "{twice} of {}", numbers.len());
        let mut seen = std::collections::BTreeMap::new();
        for webhook in &all {
            seen.insert(webhook.number, webhook.facts.iter().map(|fact| fact.number).collect::<Vec<_>>());
        }
        let mut told: Vec<u64> = seen.into_values().flatten().collect();
        told.sort_unstable();
        assert_eq!(told, (0..facts.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn mailgun_tries_again_with_the_same_body() {
        let signer = Signer::new().unwrap();
        let fact = facts(1, 500, 1_800_000_000, 60).into_iter().find(|fact| fact.teller == Teller::Mailgun).unwrap();
        let webhook = Webhook { number: 1, teller: Teller::Mailgun, facts: vec![fact], first: Mutex::default() };
        let first = signer.sign(&webhook, "http://a", 1_800_000_000).unwrap();
        let again = signer.sign(&webhook, "http://b", 1_800_000_090).unwrap();
        assert_eq!(first.body, again.body);
        assert_eq!(again.url, "http://b/webhooks/mailgun");
        assert_eq!(done_date(1_768_919_535), "2601201432");
    }
}
