//! What happens to recipients, made from a seed: the truth that webhooks tell of.

use crate::dice::Dice;

/// The message stream of the Postmark account; its opt-outs concern the category of this name.
pub(crate) const STREAM: &str = "broadcast";

/// Who tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Teller {
    SendGrid,
    Mailgun,
    Postmark,
    Drip,
    Generic,
    Twilio,
}

impl Teller {
    /// The provider's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::SendGrid => "sendgrid",
            Self::Mailgun => "mailgun",
            Self::Postmark => "postmark",
            Self::Drip => "drip",
            Self::Generic => "generic",
            Self::Twilio => "twilio",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Taken by the recipient's host.
    Delivered,
    /// Mailbox full.
    Soft,
    /// No such mailbox.
    Hard,
    Complaint,
    /// Left all marketing; with Postmark, its stream.
    Unsubscribed,
    Resubscribed,
    /// Taken by the provider: changes nothing.
    Accepted,
    /// Opened by its recipient: changes nothing here.
    Opened,
    /// No such phone number.
    NoSuchNumber,
    /// The carrier takes no messages for the number.
    CarrierRefuses,
}

/// One fact. Its second is its own among its recipient's.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) number: u64,
    pub(crate) recipient: String,
    pub(crate) what: What,
    pub(crate) teller: Teller,
    /// Seconds since the epoch.
    pub(crate) unix: i64,
}

const DAY: i64 = 86_400;
/// How long the first soft suppression lasts, by the default policy.
const FIRST_WINDOW: i64 = 7 * DAY;

/// From the making of facts to the first end that passes while this runs, in seconds.
const FIRST_END: i64 = 20;

/// When the last of the ends has passed that facts of this moment have within their run.
pub(crate) fn last_end(now: i64, span: i64) -> i64 {
    now + FIRST_END + span
}

/// At least `events` facts, all of the past. Most are of the last two days, some of windows that ended long ago, and some
/// soft suppressions end within `span` seconds from now.
pub(crate) fn facts(seed: u64, events: u64, now: i64, span: i64) -> Vec<Fact> {
    let mut dice = Dice::new(seed, 1);
    let mut facts = Vec::new();
    let mut recipient = 0;
    while (facts.len() as u64) < events {
        if dice.roll(12) == 0 {
            phone(&mut dice, recipient, now, &mut facts);
        } else {
            person(&mut dice, recipient, now, span, &mut facts);
        }
        recipient += 1;
    }
    facts
}

fn phone(dice: &mut Dice, recipient: u64, now: i64, facts: &mut Vec<Fact>) {
    let what = if dice.roll(2) == 0 { What::NoSuchNumber } else { What::CarrierRefuses };
    // Twilio's own time is that of the carrier, by the minute.
    let unix = (now - DAY + seconds(dice, DAY)).div_euclid(60) * 60 - 120;
    let number = facts.len() as u64;
    facts.push(Fact { number, recipient: format!("+1555{recipient:07}"), what, teller: Teller::Twilio, unix });
}

fn person(dice: &mut Dice, recipient: u64, now: i64, span: i64, facts: &mut Vec<Fact>) {
    let address = format!("r{recipient}@example.com");
    // A provider's own entry for an opt-out is not taken back by another's resubscription: such people stay with one way.
    let comes_back = dice.roll(3) == 0;
    let mut put = |dice: &mut Dice, what: What, unix: i64| {
        let teller = teller(dice, what, comes_back);
        facts.push(Fact { number: facts.len() as u64, recipient: address.clone(), what, teller, unix });
    };
    match dice.roll(20) {
        // A window that ended, perhaps with a delivery after it.
        0 => {
            let unix = now - 25 * DAY + seconds(dice, DAY);
            put(dice, What::Soft, unix);
            if dice.roll(2) == 0 {
                let unix = now - 20 * DAY + seconds(dice, DAY);
                put(dice, What::Delivered, unix);
            }
        }
        // A window that ends while this runs.
        1 => {
            let unix = now - FIRST_WINDOW + FIRST_END + seconds(dice, span);
            put(dice, What::Soft, unix);
        }
        _ => {}
    }
    let mut unix = now - 2 * DAY;
    for _ in 0..1 + dice.roll(6) {
        unix += 1 + seconds(dice, 20_000);
        let what = match dice.roll(24) {
            0..5 => What::Delivered,
            5..11 => What::Soft,
            11..14 => What::Unsubscribed,
            14..17 if comes_back => What::Resubscribed,
            14..17 => What::Accepted,
            17..20 => What::Hard,
            20 => What::Opened,
            21 => What::Accepted,
            _ => What::Complaint,
        };
        put(dice, what, unix);
    }
}

fn seconds(dice: &mut Dice, below: i64) -> i64 {
    i64::try_from(dice.roll(u64::try_from(below).unwrap_or(1))).unwrap_or(0)
}

/// Somebody who tells of such a thing.
fn teller(dice: &mut Dice, what: What, comes_back: bool) -> Teller {
    use Teller::{Drip, Generic, Mailgun, Postmark, SendGrid};
    let able: &[Teller] = match what {
        What::Soft | What::Hard | What::Complaint => &[SendGrid, Mailgun, Postmark, Drip, Generic],
        What::Delivered => &[SendGrid, Mailgun, Postmark, Generic],
        What::Unsubscribed if !comes_back => &[SendGrid, Mailgun, Postmark, Drip, Generic],
        What::Unsubscribed | What::Resubscribed => &[Drip, Generic],
        What::Accepted => &[Drip],
        What::Opened => &[Generic],
        What::NoSuchNumber | What::CarrierRefuses => &[Teller::Twilio],
    };
    dice.pick(able).unwrap_or(Generic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_facts_with_a_second_of_their_own() {
        let made = facts(5, 5_000, 1_800_000_000, 60);
        assert!((5_000..5_010).contains(&made.len()), "{}", made.len());
        let text = |facts: &[Fact]| format!("{facts:?}");
        assert_eq!(text(&made), text(&facts(5, 5_000, 1_800_000_000, 60)));
        assert_ne!(text(&made), text(&facts(6, 5_000, 1_800_000_000, 60)));
        let moments: BTreeSet<_> = made.iter().map(|fact| (&fact.recipient, fact.unix)).collect();
        assert_eq!(moments.len(), made.len());
        assert!(made.iter().all(|fact| fact.unix <= 1_800_000_000));
        let tellers: BTreeSet<_> = made.iter().map(|fact| fact.teller).collect();
        assert_eq!(tellers.len(), 6);
    }
}
