//! Made-up events, each a function of its number alone: the mixture that the pipeline is measured with.

use domain::Timestamp;

/// 2026-01-20T00:00:00Z.
const BASE_SECONDS: i64 = 1_768_867_200;
const RECIPIENTS: u64 = 1_000_000;
/// One event in so many is an earlier one told again.
const DUPLICATE_EVERY: u64 = 20;
const EVENTS_PER_SECOND: u64 = 200;

/// When everything was received: after the newest event.
pub(crate) fn received_at() -> Timestamp {
    Timestamp::from_seconds(BASE_SECONDS + 86_400).unwrap_or_default()
}

/// Scatters numbers (splitmix64, Vigna 2015).
pub(crate) const fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An address of the recipient with this number.
pub(crate) fn address(recipient: u64) -> String {
    let scattered = scatter(recipient);
    format!("{:x}.{recipient}@mail{}.example.com", scattered >> 40, scattered % 5_000)
}

/// An event, by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    number: u64,
    dice: u64,
}

impl Event {
    /// The event with this number: about one in twenty is an earlier one again.
    pub(crate) fn numbered(number: u64) -> Self {
        let dice = scatter(number);
        if dice.is_multiple_of(DUPLICATE_EVERY) && number > 0 {
            let back = 1 + (dice >> 32) % number.min(10_000);
            return Self::numbered(number - back);
        }
        Self { number, dice: scatter(dice) }
    }

    fn address(self) -> String {
        address((self.dice >> 8) % RECIPIENTS)
    }

    fn seconds(self) -> i64 {
        BASE_SECONDS + i64::try_from(self.number / EVENTS_PER_SECOND % 80_000).unwrap_or(0)
    }

    /// In SendGrid's form: 60 % deliveries, 30 % opens, 10 % failures.
    pub(crate) fn sendgrid(self) -> String {
        let fields = match self.dice % 100 {
            0..60 => r#""event":"delivered","response":"250 2.0.0 OK  1768867200 x12si2022512pgq.123 - gsmtp","tls":1"#,
            60..87 => {
                r#""event":"open","useragent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)","ip":"203.0.113.7","sg_machine_open":false"#
            }
            87..90 => r#""event":"open","useragent":"Mozilla/5.0","ip":"203.0.113.8","sg_machine_open":true"#,
            90..95 => {
                r#""event":"bounce","type":"bounce","status":"5.1.1","reason":"550 5.1.1 The email account that you tried to reach does not exist","bounce_classification":"Invalid Address","tls":1"#
            }
            95..99 => {
                r#""event":"bounce","type":"bounce","status":"4.2.2","reason":"452 4.2.2 The recipient's inbox is out of storage space","bounce_classification":"Mailbox Unavailable","tls":1"#
            }
            _ => r#""event":"spamreport""#,
        };
        let (number, seconds, address) = (self.number, self.seconds(), self.address());
        format!(
            r#"{{"email":"{address}","timestamp":{seconds},"smtp-id":"<{number}@mta.example.com>","category":["newsletter","winter"],"sg_event_id":"ev{number:020}","sg_message_id":"m{number:020}.filterdrecv-5f4c",{fields}}}"#
        )
    }

    /// In Quell's own form.
    pub(crate) fn generic(self) -> String {
        let fields = match self.dice % 100 {
            0..60 => r#""kind":"delivered""#,
            60..90 => r#""kind":"opened""#,
            90..95 => {
                r#""kind":"bounced_hard","failure":{"permanent":true,"smtp_code":550,"enhanced_status":"5.1.1","diagnostic":"550 5.1.1 no such user"}"#
            }
            95..99 => {
                r#""kind":"bounced_soft","failure":{"permanent":false,"smtp_code":452,"enhanced_status":"4.2.2","diagnostic":"452 4.2.2 mailbox full"}"#
            }
            _ => r#""kind":"complaint""#,
        };
        let at = Timestamp::from_seconds(self.seconds()).unwrap_or_default();
        let (number, address) = (self.number, self.address());
        format!(
            r#"{{"id":"g{number}","recipient":"{address}","occurred_at":"{at}","message_id":"m{number}","campaign":"winter","categories":["newsletter"],{fields}}}"#
        )
    }

    /// What a provider with one event a webhook would be told of; for bodies made elsewhere.
    pub(crate) fn told(self, address: &str) -> testkit::payloads::Told<'_> {
        let what = if self.dice.is_multiple_of(10) {
            testkit::payloads::What::HardBounce
        } else {
            testkit::payloads::What::Delivered
        };
        testkit::payloads::Told { what, address, unix: self.seconds(), number: self.number }
    }

    /// The address, for [`Self::told`].
    pub(crate) fn recipient(self) -> String {
        self.address()
    }
}

/// A JSON array of events, numbered from `first` on.
pub(crate) fn array(first: u64, count: u64, one: fn(Event) -> String) -> Vec<u8> {
    let events: Vec<String> = (first..first + count).map(|number| one(Event::numbered(number))).collect();
    format!("[{}]", events.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_mixture_is_as_promised() {
        let mut kinds: HashMap<String, u32> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        let mut duplicates = 0;
        for number in 0..20_000 {
            let event = Event::numbered(number);
            duplicates += u32::from(!seen.insert(event.number));
            let json: serde_json::Value = serde_json::from_str(&event.sendgrid()).unwrap();
            *kinds.entry(json["event"].as_str().unwrap().to_owned()).or_default() += 1;
            assert!(serde_json::from_str::<serde_json::Value>(&event.generic()).is_ok());
        }
        assert!((800..1_200).contains(&duplicates), "{duplicates}");
        let failures = kinds["bounce"] + kinds["spamreport"];
        assert!((1_700..2_300).contains(&failures), "{kinds:?}");
    }
}
