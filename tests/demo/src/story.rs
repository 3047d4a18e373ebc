//! The story: who fails how, in which order the webhooks come, and who is on the next campaign. Pure, the same every time.

use std::collections::{BTreeMap, BTreeSet};
pub(crate) use testkit::payloads::What;

/// Everyone whose address fails, by what happens to them.
const PEOPLE: [(What, usize); 4] =
    [(What::HardBounce, 2_847), (What::SoftBounce, 276), (What::Complaint, 89), (What::Unsubscribe, 35)];
/// The campaigns' category, and Postmark's message stream for them: who unsubscribes at Postmark leaves this stream alone,
/// everywhere else all marketing.
pub(crate) const CATEGORY: &str = "broadcast";
/// Webhooks that arrive a second time.
const DUPLICATES: usize = 224;
/// Error codes of Twilio that its messages fail with, and the reason each is to lead to.
const SMS_CODES: [(&str, &str); 5] = [
    ("30003", "invalid_number"),
    ("30004", "invalid_number"),
    ("30005", "invalid_number"),
    ("30006", "carrier_rejection"),
    ("30008", "sms_failure"),
];
const SMS_A_CODE: usize = 8;
/// Recipients of the next campaign.
const CAMPAIGN: usize = 50_000;
/// Addresses on it that are dead, and of which nobody has told.
const UNKNOWN_DEAD: usize = 124;

const SEED: u64 = 0x5e_ed0f_be11;
const HOUR: i64 = 3_600;
const FIRST_NAMES: [&str; 12] =
    ["ada", "ben", "chloe", "dara", "emil", "farah", "goran", "hana", "ivo", "june", "karim", "lena"];
const DOMAINS: [&str; 6] =
    ["mail.example.com", "post.example.net", "example.org", "inbox.example.com", "example.net", "box.example.org"];

/// An email source of the story. Each has one endpoint, named `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    SendGrid,
    Postmark,
    Mailgun,
    Drip,
    Generic,
}

impl Source {
    pub(crate) const ALL: [Self; 5] = [Self::SendGrid, Self::Postmark, Self::Mailgun, Self::Drip, Self::Generic];
}

/// Recipient → what is in force, as scope and reason.
pub(crate) type Standings = BTreeMap<String, Vec<(String, String)>>;

/// How far what happened to somebody is to reach.
fn scope(person: &Person) -> String {
    match (person.what, person.source) {
        (What::Complaint, _) => "non_critical".to_owned(),
        (What::Unsubscribe, Source::Postmark) => format!("category:{CATEGORY}"),
        (What::Unsubscribe, _) => "marketing".to_owned(),
        (What::HardBounce | What::SoftBounce | What::Delivered, _) => "all".to_owned(),
    }
}

/// The reason that an event is to lead to.
pub(crate) const fn reason(what: What) -> &'static str {
    match what {
        What::HardBounce => "hard_bounce",
        What::SoftBounce => "soft_bounce",
        What::Complaint => "spam_complaint",
        What::Unsubscribe => "unsubscribe",
        What::Delivered => "none",
    }
}

/// Somebody whose address fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// Makes the provider's ids.
    pub(crate) number: u64,
    /// In lower case, as a suppression is kept.
    pub(crate) address: String,
    /// As the provider spells it.
    pub(crate) told_as: String,
    /// What happened.
    pub(crate) what: What,
    /// Who tells of it.
    pub(crate) source: Source,
    /// How long before its webhook arrives it happened, in seconds.
    pub(crate) ago: i64,
}

/// A text message that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sms {
    pub(crate) number: u64,
    /// E.164.
    pub(crate) phone: String,
    /// Twilio's error code.
    pub(crate) code: &'static str,
    /// The reason it is to lead to.
    pub(crate) reason: &'static str,
}

/// Everything that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    /// Whose address fails, one event each.
    pub(crate) people: Vec<Person>,
    /// Indices of `people` in the order in which their webhooks arrive; one that stands there twice is a duplicate.
    pub(crate) arrivals: Vec<usize>,
    /// Text messages that failed, one webhook each.
    pub(crate) sms: Vec<Sms>,
    /// Addresses of the next campaign, as its file spells them.
    pub(crate) campaign: Vec<String>,
    /// Those of them that are dead though nobody has told, in lower case.
    pub(crate) unknown_dead: BTreeSet<String>,
}

impl Story {
    /// Tells it.
    pub(crate) fn tell() -> Self {
        let mut random = Random(SEED);
        let mut whats: Vec<What> = PEOPLE.iter().flat_map(|(what, count)| std::iter::repeat_n(*what, *count)).collect();
        random.shuffle(&mut whats);
        let people: Vec<Person> =
            whats.iter().enumerate().map(|(index, what)| person(index, *what, &mut random)).collect();
        let mut arrivals: Vec<usize> = (0..people.len()).collect();
        arrivals.extend((0..DUPLICATES).map(|_| random.below(people.len())));
        random.shuffle(&mut arrivals);
        let sms = SMS_CODES.iter().enumerate().flat_map(|(place, (code, reason))| {
            (0..SMS_A_CODE).map(move |at| Sms {
                number: as_number(place * SMS_A_CODE + at),
                phone: format!("+1555123{:04}", 4_000 + place * SMS_A_CODE + at),
                code,
                reason,
            })
        });
        let sms = sms.collect();
        let unknown_dead: BTreeSet<String> = (0..UNKNOWN_DEAD).map(|index| address("gone", index)).collect();
        let campaign = campaign(&people, &unknown_dead, &mut random);
        Self { people, arrivals, sms, campaign, unknown_dead }
    }

    /// Every failing address, with the scope and the reason that are to be in force.
    pub(crate) fn email_standings(&self) -> Standings {
        let standing = |person: &Person| (scope(person), reason(person.what).to_owned());
        self.people.iter().map(|person| (person.address.clone(), vec![standing(person)])).collect()
    }

    /// Every failing phone, with the scope and the reason that are to be in force.
    pub(crate) fn sms_standings(&self) -> Standings {
        let standing = |sms: &Sms| ("all".to_owned(), sms.reason.to_owned());
        self.sms.iter().map(|sms| (sms.phone.clone(), vec![standing(sms)])).collect()
    }

    /// Webhooks that tell what another told before.
    pub(crate) fn duplicates(&self) -> usize {
        self.arrivals.len() - self.people.len()
    }

    /// Whether this address (in lower case) is dead though nobody has told.
    pub(crate) fn is_unknown_dead(&self, address: &str) -> bool {
        self.unknown_dead.contains(address)
    }
}

fn person(index: usize, what: What, random: &mut Random) -> Person {
    let address = address(FIRST_NAMES[random.below(FIRST_NAMES.len())], index);
    // Most tell of the last two hours, one in ten comes days late.
    let is_late = random.below(10) == 0;
    let ago = if is_late { 24 * HOUR + random.seconds(48 * HOUR) } else { 1 + random.seconds(2 * HOUR) };
    Person {
        number: as_number(index),
        told_as: if random.below(5) == 0 { spelled_otherwise(&address) } else { address.clone() },
        address,
        what,
        source: Source::ALL[random.below(Source::ALL.len())],
        ago,
    }
}

/// All who failed, the dead of whom nobody knows, and enough others.
fn campaign(people: &[Person], unknown_dead: &BTreeSet<String>, random: &mut Random) -> Vec<String> {
    let others = CAMPAIGN.saturating_sub(people.len() + unknown_dead.len());
    let mut all: Vec<String> = people.iter().map(|person| person.address.clone()).collect();
    all.extend(unknown_dead.iter().cloned());
    all.extend((0..others).map(|index| address("reader", index)));
    random.shuffle(&mut all);
    all.iter().map(|one| if random.below(7) == 0 { spelled_otherwise(one) } else { one.clone() }).collect()
}

fn address(name: &str, index: usize) -> String {
    format!("{name}.{index:05}@{}", DOMAINS[index % DOMAINS.len()])
}

/// The same mailbox, in other letters.
fn spelled_otherwise(address: &str) -> String {
    match address.split_once('@') {
        Some((local, domain)) => {
            let mut letters = local.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase()).unwrap_or_default();
            format!("{first}{}@{}", letters.as_str(), domain.to_ascii_uppercase())
        }
        None => address.to_owned(),
    }
}

fn as_number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

/// Splitmix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % as_number(end.max(1))).unwrap_or(0)
    }

    fn seconds(&mut self, end: i64) -> i64 {
        i64::try_from(self.next() % end.unsigned_abs().max(1)).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(address: &str) -> String {
        domain::Recipient::guess(address).unwrap().as_str().to_owned()
    }

    #[test]
    fn is_the_story_of_the_report() {
        let story = Story::tell();
        assert_eq!(story.arrivals.len(), 3_471);
        assert_eq!(story.people.len(), 3_247);
        assert_eq!(story.duplicates(), 224);
        assert_eq!(story.sms.len(), 40);
        assert_eq!(story.campaign.len(), 50_000);
        assert_eq!(story.unknown_dead.len(), 124);
        for (what, expected) in
            [(What::HardBounce, 2_847), (What::SoftBounce, 276), (What::Complaint, 89), (What::Unsubscribe, 35)]
        {
            assert_eq!(story.people.iter().filter(|person| person.what == what).count(), expected, "{what:?}");
        }
    }

    #[test]
    fn nobody_is_there_twice() {
        let story = Story::tell();
        let told: BTreeSet<String> = story.people.iter().map(|person| normalised(&person.told_as)).collect();
        assert_eq!(told.len(), story.people.len());
        let kept: BTreeSet<String> = story.people.iter().map(|person| person.address.clone()).collect();
        assert_eq!(told, kept, "addresses are kept as they are normalised");
        let campaign: BTreeSet<String> = story.campaign.iter().map(|address| normalised(address)).collect();
        assert_eq!(campaign.len(), story.campaign.len());
        assert!(told.is_subset(&campaign) && story.unknown_dead.is_subset(&campaign));
        assert!(told.is_disjoint(&story.unknown_dead));
        let phones: BTreeSet<String> = story.sms.iter().map(|sms| normalised(&sms.phone)).collect();
        assert_eq!(phones, story.sms_standings().into_keys().collect());
    }

    #[test]
    fn is_told_the_same_every_time() {
        assert_eq!(Story::tell(), Story::tell());
    }

    #[test]
    fn comes_from_everywhere_late_and_out_of_order() {
        let story = Story::tell();
        for source in Source::ALL {
            assert!(story.people.iter().filter(|person| person.source == source).count() > 500, "{source:?}");
        }
        let arrived: BTreeSet<usize> = story.arrivals.iter().copied().collect();
        assert_eq!(arrived.len(), story.people.len(), "everyone is told of");
        let late = story.people.iter().filter(|person| person.ago > 24 * HOUR).count();
        assert!((100..1_000).contains(&late), "{late}");
        // A soft bounce that is a week old would be over before it is told.
        assert!(story.people.iter().all(|person| (1..5 * 24 * HOUR).contains(&person.ago)));
        let out_of_order =
            story.arrivals.windows(2).filter(|pair| story.people[pair[0]].ago < story.people[pair[1]].ago).count();
        assert!(out_of_order > 1_000, "{out_of_order}");
        let otherwise = story.people.iter().filter(|person| person.told_as != person.address).count();
        assert!(otherwise > 100, "{otherwise}");
    }
}
