//! Mailbox-domain groups: which label an address's domain has. Pure.
//!
//! A group is a registrable domain by the public suffix list (`mail.example.co.uk` is `example.co.uk`). A few are
//! configured; at most `max` more earn a label by their weight among all events; everything else is `other`. Names without
//! number, each seen once, therefore make no label. A label that was earned is kept until the process ends: a series that
//! came and went would be worse than one too many.

mod sketch;

use sketch::Sketch;
use std::collections::HashSet;

/// The group of everything without a label of its own.
pub(crate) const OTHER: &str = "other";

/// A domain needs so many events at least,
const EVENTS_MIN: u64 = 200;
/// and with `max` labels to earn, one of `max` × this of all.
const SHARE: u64 = 10;
/// Names that are watched for each label to earn.
const WATCHED: usize = 32;
/// After so many events the weight of those so far is halved.
const AGE_EVERY: u64 = 100_000;

/// The groups of a process.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    /// Names with a label.
    labels: HashSet<Box<str>>,
    n_earned: usize,
    max: usize,
    sketch: Sketch,
    /// Events so far, aged like the sketch.
    n_events: u64,
    until_aged: u64,
}

impl Mailboxes {
    /// With fixed names, and labels for `max` more.
    pub(crate) fn new<'a>(fixed: impl IntoIterator<Item = &'a str>, max: usize) -> Self {
        Self {
            labels: fixed.into_iter().map(Box::from).collect(),
            n_earned: 0,
            max,
            sketch: Sketch::new(max.saturating_mul(WATCHED)),
            n_events: 0,
            until_aged: AGE_EVERY,
        }
    }

    /// The group of an event's domain (in lower case, as A-labels), which is counted.
    pub(crate) fn group(&mut self, domain: &str) -> &str {
        self.note_event();
        let registrable = match self.labels.contains(domain) {
            true => domain,
            false => match registrable(domain) {
                Some(registrable) => registrable,
                None => return OTHER,
            },
        };
        if !self.labels.contains(registrable) && !self.has_earned(registrable) {
            return OTHER;
        }
        self.labels.get(registrable).map_or(OTHER, |label| label)
    }

    fn note_event(&mut self) {
        self.n_events += 1;
        self.until_aged -= 1;
        if self.until_aged == 0 {
            self.until_aged = AGE_EVERY;
            self.n_events /= 2;
            self.sketch.age();
        }
    }

    /// Weighs a name without a label; gives it one once it is heavy, while there are any left.
    fn has_earned(&mut self, name: &str) -> bool {
        if self.n_earned >= self.max {
            return false;
        }
        let share = self.n_events / (self.max as u64).saturating_mul(SHARE).max(1);
        let has_earned = self.sketch.add(name) >= share.max(EVENTS_MIN);
        if has_earned {
            self.labels.insert(name.into());
            self.n_earned += 1;
        }
        has_earned
    }
}

/// The registrable domain of a name: one label below its public suffix; none for a suffix itself, and for what is no name.
pub(crate) fn registrable(domain: &str) -> Option<&str> {
    // An address literal is no name (RFC 5321 4.1.3).
    let top = domain.rsplit('.').next()?;
    psl::domain_str(domain).filter(|_| top.starts_with(|c: char| c.is_ascii_alphabetic()) && !top.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A stream of numbers that is the same in each run (Knuth's MMIX generator).
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(seed | 1), |n| {
            Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        })
        .map(|n| n >> 20)
        .skip(1)
    }

    fn groups(mailboxes: &mut Mailboxes, domains: impl Iterator<Item = String>) -> BTreeSet<String> {
        domains.map(|domain| mailboxes.group(&domain).to_owned()).collect()
    }

    #[test]
    fn a_flood_of_random_domains_earns_nothing() {
        let mut mailboxes = Mailboxes::new(["example.com"], 30);
        let flood = numbers(7).take(1_000_000).map(|n| match n % 4 {
            0 => format!("{n:x}.com"),
            1 => format!("mail.{n:x}.co.uk"),
            2 => format!("a.b.c.{n:x}.de"),
            _ => format!("{n:x}"),
        });
        assert_eq!(groups(&mut mailboxes, flood), [OTHER.to_owned()].into());
        assert_eq!(mailboxes.group("mx.example.com"), "example.com");
        assert_eq!(mailboxes.n_earned, 0);
    }

    #[test]
    fn weight_earns_a_label_even_in_a_flood() {
        let mut mailboxes = Mailboxes::new([], 30);
        let mixed = numbers(11).take(200_000).map(|n| match n % 100 {
            0..5 => "smtp.heavy.example".to_owned(),
            5..7 => "also-heavy.co.uk".to_owned(),
            _ => format!("{n:x}.com"),
        });
        let expected = ["also-heavy.co.uk", "heavy.example", OTHER].map(str::to_owned);
        assert_eq!(groups(&mut mailboxes, mixed), expected.into());
    }

    #[test]
    fn few_events_earn_nothing_and_no_more_than_the_bound_ever_do() {
        let mut mailboxes = Mailboxes::new(["fixed.com"], 2);
        let few = (0..EVENTS_MIN - 1).map(|_| "one.com".to_owned());
        assert_eq!(groups(&mut mailboxes, few), [OTHER.to_owned()].into());
        let many = (0..5_000).map(|n| format!("{}.com", ["one", "two", "three", "four", "fixed"][n % 5]));
        assert_eq!(groups(&mut mailboxes, many).len(), 1 + 2 + 1);
        let mut none = Mailboxes::new([], 0);
        assert_eq!(groups(&mut none, (0..5_000).map(|_| "one.com".to_owned())), [OTHER.to_owned()].into());
    }

    #[test]
    fn a_group_is_a_registrable_domain() {
        let cases = [
            ("example.com", Some("example.com")),
            ("a.mail.example.co.uk", Some("example.co.uk")),
            ("co.uk", None),
            ("com", None),
            ("xn--mnchen-3ya.de", Some("xn--mnchen-3ya.de")),
            ("mx.example.xn--p1ai", Some("example.xn--p1ai")),
            ("[192.0.2.1]", None),
            ("[ipv6:2001:db8::1]", None),
            ("192.0.2.1", None),
            ("", None),
        ];
        for (domain, expected) in cases {
            assert_eq!(registrable(domain), expected, "{domain}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn labels_are_bounded_whatever_comes(
            max in 0..4_usize,
            fixed in prop::collection::btree_set("[a-c]{1,2}\\.(com|co\\.uk)", 0..3),
            heads in prop::collection::vec("[a-d]{1,3}\\.(com|co\\.uk|de)", 1..8),
            seed in any::<u64>(),
        ) {
            let mut mailboxes = Mailboxes::new(fixed.iter().map(String::as_str), max);
            let stream = numbers(seed).take(4_000).map(|n| match heads.get((n % 16) as usize) {
                Some(head) => format!("x{}.{head}", n % 3),
                None => format!("{n:x}.org"),
            });
            let labels = groups(&mut mailboxes, stream);
            prop_assert!(labels.iter().filter(|label| !fixed.contains(*label) && *label != OTHER).count() <= max);
            prop_assert!(labels.iter().all(|label| !label.ends_with(".org")));
        }
    }
}
