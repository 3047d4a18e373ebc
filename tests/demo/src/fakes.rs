//! The fake providers: their accounts, what goes wrong with them, and what they have to hold in the end.

use crate::{
    readback::Row,
    story::{CATEGORY, Person, Source, What},
};
use anyhow::Context as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use testkit::{
    Fake, Fault,
    fake::{FakeProvider, Origin},
};

const DOMAIN: &str = "mg.example.com";
/// SendGrid's unsubscribe group for the campaigns.
const GROUP: u64 = 4_711;
const SENDGRID_KEY: &str = "SG.demo-sendgrid-api-key";
const MAILGUN_KEY: &str = "demo-mailgun-api-key";
const POSTMARK_TOKEN: &str = "demo-postmark-server-token";
/// Calls a second that the fake SendGrid takes.
const SENDGRID_RATE: u32 = 5;
/// 429s that are certain to come: of the fake SendGrid, and of the fake Postmark.
const PLANNED_429: [u64; 2] = [2, 2];

/// List → address → its entry.
pub(crate) type Held = BTreeMap<String, BTreeMap<String, Entry>>;

/// An address on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who put it there.
    pub(crate) origin: Origin,
    /// Its tags, where the provider has them.
    pub(crate) tags: BTreeSet<String>,
}

/// The three providers that can be told.
#[derive(Debug)]
pub(crate) struct Fakes {
    pub(crate) sendgrid: Fake,
    pub(crate) mailgun: Fake,
    pub(crate) postmark: Fake,
}

/// What one provider went through.
#[derive(Debug)]
pub(crate) struct Account {
    /// The provider's word; the account is called the same.
    pub(crate) name: &'static str,
    /// What its lists hold.
    pub(crate) held: Held,
    /// Calls it got.
    pub(crate) calls: u64,
    /// Calls it answered 429.
    pub(crate) limited: u64,
    /// Calls it answered 5xx.
    pub(crate) failed: u64,
    /// Calls it refused for what they said: never right.
    pub(crate) refused: u64,
    /// 429s that were planned: at least so many have to be seen.
    pub(crate) limited_planned: u64,
    /// Most calls in flight at once for one recipient.
    pub(crate) in_flight_max: u32,
    /// Addresses in the largest call.
    pub(crate) largest_call: usize,
}

impl Fakes {
    /// Starts them, each with a trouble of its own: SendGrid limits the rate, Mailgun is down, Postmark limits and fails.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let sendgrid = FakeProvider::SendGrid { api_key: SENDGRID_KEY.to_owned(), groups: vec![GROUP] };
        let mailgun = FakeProvider::Mailgun { api_key: MAILGUN_KEY.to_owned(), domains: vec![DOMAIN.to_owned()] };
        let postmark = FakeProvider::Postmark { token: POSTMARK_TOKEN.to_owned(), streams: vec![CATEGORY.to_owned()] };
        let why = "a fake provider cannot listen on loopback";
        let fakes = Self {
            sendgrid: Fake::start(sendgrid).await.context(why)?,
            mailgun: Fake::start(mailgun).await.context(why)?,
            postmark: Fake::start(postmark).await.context(why)?,
        };
        fakes.sendgrid.set_rate_limit(Some(SENDGRID_RATE));
        fakes.sendgrid.next_faults([Fault::RateLimited(1), Fault::None, Fault::RateLimited(1)]);
        fakes.mailgun.set_fault(Fault::Status(503));
        let troubles =
            [Fault::None, Fault::RateLimited(1), Fault::None, Fault::FailedAfterEffect, Fault::RateLimited(1)];
        fakes.postmark.next_faults(troubles);
        Ok(fakes)
    }

    /// Mailgun works again.
    pub(crate) fn mend_mailgun(&self) {
        self.mailgun.set_fault(Fault::None);
    }

    /// How many addresses Mailgun was told by API.
    pub(crate) fn mailgun_told(&self) -> usize {
        let held = held(&self.mailgun, &lists("mailgun"));
        held.values().flat_map(BTreeMap::values).filter(|entry| entry.origin == Origin::Api).count()
    }

    /// Part of the configuration: an account at each.
    pub(crate) fn config(&self) -> String {
        let mut text = String::new();
        for (name, fake, rest) in [
            ("sendgrid", &self.sendgrid, format!("groups = {{ {CATEGORY} = {GROUP} }}\n")),
            ("mailgun", &self.mailgun, format!("domain = \"{DOMAIN}\"\n")),
            ("postmark", &self.postmark, format!("stream = \"{CATEGORY}\"\n")),
        ] {
            let _ = write!(
                text,
                "\n[[account]]\nname = \"{name}\"\nprovider = \"{name}\"\nbase_url = \"{}\"\ncredential = \
                 \"env:{}\"\nallow_private = true\n{rest}",
                fake.url(),
                variable(name),
            );
        }
        text
    }

    /// The credentials, by environment variable.
    pub(crate) fn credentials() -> [(String, &'static str); 3] {
        [("sendgrid", SENDGRID_KEY), ("mailgun", MAILGUN_KEY), ("postmark", POSTMARK_TOKEN)]
            .map(|(name, secret)| (variable(name), secret))
    }

    /// What a provider does by itself before it tells us of such an event: it stops sending to the address.
    pub(crate) fn suppress_by_themselves(&self, people: &[Person]) {
        for person in people {
            let (fake, place) = match person.source {
                Source::SendGrid => (&self.sendgrid, ""),
                Source::Mailgun => (&self.mailgun, DOMAIN),
                Source::Postmark => (&self.postmark, CATEGORY),
                Source::Drip | Source::Generic => continue,
            };
            match person.what {
                What::HardBounce => fake.bounced_by_itself(place, &person.told_as),
                What::Complaint => fake.complained_by_itself(place, &person.told_as),
                What::Unsubscribe => fake.unsubscribed_by_itself(place, &person.told_as),
                What::SoftBounce | What::Delivered => {}
            }
        }
    }

    /// What each holds and went through.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        let [sendgrid_429, postmark_429] = PLANNED_429;
        [
            ("sendgrid", &self.sendgrid, sendgrid_429),
            ("mailgun", &self.mailgun, 0),
            ("postmark", &self.postmark, postmark_429),
        ]
        .map(|(name, fake, limited_planned)| {
            let statuses = fake.statuses();
            let count = |range: std::ops::Range<u16>| statuses.range(range).map(|(_, count)| count).sum::<u64>();
            let limited = statuses.get(&429).copied().unwrap_or(0);
            Account {
                name,
                held: held(fake, &lists(name)),
                calls: fake.calls(),
                limited,
                failed: count(500..600),
                refused: count(400..500) - limited,
                limited_planned,
                in_flight_max: fake.in_flight_max(),
                largest_call: fake.largest_call(),
            }
        })
        .into()
    }
}

fn variable(name: &str) -> String {
    format!("DEMO_{}_API_KEY", name.to_uppercase())
}

/// Every list of a provider.
fn lists(provider: &str) -> Vec<String> {
    match provider {
        "sendgrid" => {
            let lists = ["global", "bounces", "blocks", "spam_reports", "invalid_emails"].map(str::to_owned);
            lists.into_iter().chain([format!("group/{GROUP}")]).collect()
        }
        "mailgun" => ["bounces", "complaints", "unsubscribes"].map(|list| format!("{DOMAIN}/{list}")).into(),
        _ => vec![CATEGORY.to_owned()],
    }
}

fn held(fake: &Fake, lists: &[String]) -> Held {
    let entries = |list: &String| {
        let read = |address: String| {
            let entry = fake.entry(list, &address)?;
            Some((address, Entry { origin: entry.origin, tags: entry.tags }))
        };
        fake.addresses(list).into_iter().filter_map(read).collect::<BTreeMap<_, _>>()
    };
    let held = lists.iter().map(|list| (list.clone(), entries(list)));
    held.filter(|(_, entries)| !entries.is_empty()).collect()
}

/// What a provider has to hold, given everything in force: what it told us itself stands where it put it, the rest where
/// its API takes it. Written down here on its own, so that it can disagree with the code it checks.
pub(crate) fn expected(provider: &str, rows: &[Row]) -> Held {
    let mut held = Held::new();
    for row in rows.iter().filter(|row| row.channel == "email") {
        // A soft bounce stops no provider by itself.
        let by_itself = row.provider == provider && row.reason != "soft_bounce";
        let category = row.scope.strip_prefix("category:");
        let mut tags = BTreeSet::new();
        let list = match (provider, row.scope.as_str()) {
            ("sendgrid", "all") if by_itself => "bounces".to_owned(),
            ("sendgrid", "non_critical") if by_itself => "spam_reports".to_owned(),
            ("sendgrid", _) => category.map_or_else(|| "global".to_owned(), |_| format!("group/{GROUP}")),
            ("mailgun", "all") => format!("{DOMAIN}/bounces"),
            ("mailgun", "non_critical") => format!("{DOMAIN}/complaints"),
            ("mailgun", _) => {
                tags.insert(category.unwrap_or("*").to_owned());
                format!("{DOMAIN}/unsubscribes")
            }
            _ => CATEGORY.to_owned(),
        };
        let origin = if by_itself { Origin::Provider } else { Origin::Api };
        held.entry(list).or_default().insert(row.recipient.clone(), Entry { origin, tags });
    }
    held
}

/// How two differ, in numbers: addresses missing, too many, and with another entry than
/// expected.
pub(crate) fn difference(found: &Held, expected: &Held) -> (usize, usize, usize) {
    let none = BTreeMap::new();
    let lists: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    lists.iter().fold((0, 0, 0), |(missing, extra, other), list| {
        let (is, ought) = (found.get(*list).unwrap_or(&none), expected.get(*list).unwrap_or(&none));
        (
            missing + ought.keys().filter(|address| !is.contains_key(*address)).count(),
            extra + is.keys().filter(|address| !ought.contains_key(*address)).count(),
            other + ought.iter().filter(|(address, entry)| is.get(*address).is_some_and(|one| one != *entry)).count(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(origin: Origin, tag: &str) -> Entry {
        Entry { origin, tags: [tag.to_owned()].into_iter().filter(|tag| !tag.is_empty()).collect() }
    }

    #[test]
    fn who_told_us_keeps_its_own_entry_and_the_others_are_told() {
        use Origin::{Api, Provider};
        let check = |row: [&str; 4], places: [(&str, &str, Origin, &str); 3]| {
            let [provider, scope, reason, recipient] = row.map(str::to_owned);
            let row = Row { channel: "email".to_owned(), recipient: recipient.clone(), scope, reason, provider };
            for (name, list, origin, tag) in places {
                let entries = BTreeMap::from([(recipient.clone(), entry(origin, tag))]);
                assert_eq!(
                    expected(name, std::slice::from_ref(&row)),
                    Held::from([(list.to_owned(), entries)]),
                    "{name}"
                );
            }
        };
        check(
            ["sendgrid", "all", "hard_bounce", "a@x.example"],
            [
                ("sendgrid", "bounces", Provider, ""),
                ("mailgun", "mg.example.com/bounces", Api, ""),
                ("postmark", "broadcast", Api, ""),
            ],
        );
        check(
            ["sendgrid", "all", "soft_bounce", "b@x.example"],
            [
                ("sendgrid", "global", Api, ""),
                ("mailgun", "mg.example.com/bounces", Api, ""),
                ("postmark", "broadcast", Api, ""),
            ],
        );
        check(
            ["mailgun", "marketing", "unsubscribe", "c@x.example"],
            [
                ("sendgrid", "global", Api, ""),
                ("mailgun", "mg.example.com/unsubscribes", Provider, "*"),
                ("postmark", "broadcast", Api, ""),
            ],
        );
        check(
            ["postmark", "category:broadcast", "unsubscribe", "d@x.example"],
            [
                ("sendgrid", "group/4711", Api, ""),
                ("mailgun", "mg.example.com/unsubscribes", Api, "broadcast"),
                ("postmark", "broadcast", Provider, ""),
            ],
        );
    }

    #[test]
    fn differences_are_counted() {
        let of = |entries: &[(&str, Origin)]| {
            let entries = entries.iter().map(|(address, origin)| ((*address).to_owned(), entry(*origin, "")));
            Held::from([("l".to_owned(), entries.collect())])
        };
        let expected = of(&[("a", Origin::Api), ("b", Origin::Api), ("c", Origin::Provider)]);
        let found = of(&[("a", Origin::Api), ("c", Origin::Api), ("d", Origin::Api), ("e", Origin::Api)]);
        assert_eq!(difference(&found, &expected), (1, 2, 1));
        assert_eq!(difference(&expected, &expected), (0, 0, 0));
    }
}
