//! The corpus of replies (`corpus/replies.tsv`): how often the classifier is right, and that no refusal of a message or a
//! sender ever suppresses.
//!
//! A fifth of it, chosen by a hash of the reply, is held out: rules are made from the other four fifths, and the two are
//! counted apart.

use super::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Share of the replies, in 1/10,000, that must come out with the right attribution, class and effect. Measured; raise them
/// with the rules, never lower them.
const FLOOR_SEEN: usize = 9_945;
const FLOOR_HELD_OUT: usize = 9_636;
/// The same for the effect alone: whether the reply suppresses for good, for now or never.
const FLOOR_EFFECT: usize = 9_957;

struct Labelled {
    from: &'static str,
    attribution: Attribution,
    class: FailureClass,
    effect: &'static str,
    reply: &'static str,
}

impl Labelled {
    /// FNV-1a over the reply; its upper half, as the lower bits of FNV are weak.
    fn held_out(&self) -> bool {
        let hash = self
            .reply
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        (hash >> 32).is_multiple_of(5)
    }
}

fn corpus() -> Vec<Labelled> {
    let lines = include_str!("../../corpus/replies.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [from, attribution, class, effect, reply, why] = columns[..] else { panic!("six columns: {line}") };
            assert!(!why.is_empty() && matches!(effect, "for_good" | "for_now" | "never"), "{line}");
            let (attribution, class) = (attribution.parse().unwrap(), class.parse().unwrap());
            assert_eq!(attribution == Attribution::Recipient, effect != "never", "only the recipient's own: {line}");
            Labelled { from, attribution, class, effect, reply }
        })
        .collect()
}

/// What a verdict leads to, by the built-in policy.
fn effect(verdict: &Verdict) -> &'static str {
    match (verdict.attribution, verdict.bounce()) {
        (Attribution::Recipient, Kind::BouncedHard) => "for_good",
        (Attribution::Recipient, _) => "for_now",
        _ => "never",
    }
}

fn verdict(reply: &str, permanent: Option<bool>) -> Verdict {
    classify(&Evidence { permanent, diagnostic: Some(reply), ..Evidence::default() })
}

#[derive(Default)]
struct Score {
    all: usize,
    right: usize,
}

impl Score {
    fn count(&mut self, right: bool) {
        self.all += 1;
        self.right += usize::from(right);
    }

    fn share(&self) -> usize {
        self.right * 10_000 / self.all.max(1)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = self.share();
        write!(f, "{:>4} of {:>4}  {:>3}.{:02} %", self.right, self.all, share / 100, share % 100)
    }
}

/// `cargo test -p domain corpus -- --nocapture` shows the table; `CORPUS=all` adds what is wrong among the replies that are not
/// held out.
#[test]
fn accuracy_does_not_fall() {
    let (mut seen, mut held_out, mut effects) = (Score::default(), Score::default(), Score::default());
    let mut classes: BTreeMap<String, Score> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, Score> = BTreeMap::new();
    let mut wrong = String::new();
    for labelled in corpus() {
        let found = verdict(labelled.reply, None);
        let same_effect = effect(&found) == labelled.effect;
        let right = same_effect && (found.attribution, found.class) == (labelled.attribution, labelled.class);
        let name = format!("{}/{}", labelled.attribution, labelled.class);
        classes.entry(name).or_default().count(right);
        hosts.entry(labelled.from).or_default().count(right);
        effects.count(same_effect);
        if labelled.held_out() {
            held_out.count(right);
        } else {
            seen.count(right);
            if !right {
                let _ = writeln!(
                    wrong,
                    "  want {}/{} {}, found {}/{} {} by {}: {}",
                    labelled.attribution,
                    labelled.class,
                    labelled.effect,
                    found.attribution,
                    found.class,
                    effect(&found),
                    found.rule,
                    labelled.reply
                );
            }
        }
    }
    println!("replies from which rules were made  {seen}\nreplies held out                    {held_out}");
    println!("effect on the recipient, all        {effects}");
    for (name, score) in
        classes.iter().map(|(name, score)| (name.as_str(), score)).chain(hosts.iter().map(|(k, v)| (*k, v)))
    {
        println!("  {name:<34}{score}");
    }
    if std::env::var_os("CORPUS").is_some() {
        println!("{wrong}");
    }
    assert!(seen.all + held_out.all >= 400 && held_out.all >= 80);
    assert!(seen.share() >= FLOOR_SEEN && held_out.share() >= FLOOR_HELD_OUT, "{seen}, {held_out}\n{wrong}");
    assert!(effects.share() >= FLOOR_EFFECT, "{effects}\n{wrong}");
}

/// Whatever a provider makes of it: a refusal of the message, the sender, the domain or the provider suppresses nobody.
#[test]
fn no_refusal_of_another_suppresses() {
    for labelled in corpus().iter().filter(|labelled| labelled.effect == "never") {
        for permanent in [None, Some(false), Some(true)] {
            let found = verdict(labelled.reply, permanent);
            assert_ne!(found.attribution, Attribution::Recipient, "{permanent:?} {} {}", found.rule, labelled.reply);
        }
    }
}

/// Where the words say who was refused, no code beside them says otherwise, neither one in front of the reply nor one that the
/// provider gives apart, and no word of the provider that blames the recipient.
#[test]
fn no_code_turns_a_refusal_of_another_against_the_recipient() {
    let mut tried = 0;
    for labelled in corpus().iter().filter(|labelled| labelled.effect == "never") {
        if text::first_match(labelled.reply).is_none_or(|found| found.attribution == Attribution::Recipient) {
            continue;
        }
        tried += 1;
        for code in
            ["550 5.1.1", "550 5.1.10", "550 5.2.1", "552 5.2.2", "553 5.1.3", "554 5.0.0", "450 4.2.1", "551 5.1.6"]
        {
            let (smtp, status) = code.split_once(' ').unwrap();
            let bare = labelled.reply.trim_start_matches(|c: char| c.is_ascii_digit() || "-. #".contains(c));
            let before = verdict(&format!("{code} {bare}"), Some(true));
            let apart = classify(&Evidence {
                permanent: Some(true),
                smtp_code: smtp.parse().ok(),
                enhanced_status: Some(status),
                diagnostic: Some(labelled.reply),
                word: None,
            });
            let worded = |word| {
                classify(&Evidence { word: Some(word), diagnostic: Some(labelled.reply), ..Evidence::default() })
            };
            let (recipient, unknown) = (Attribution::Recipient, FailureClass::UnknownRecipient);
            let weak = worded(Word::Weak(recipient, unknown, "provider.invalid"));
            let mut all = vec![before, apart, weak];
            if text::first_match(labelled.reply).is_some_and(|found| found.acquits()) {
                all.push(worded(Word::Firm(recipient, unknown, "provider.invalid")));
            }
            for found in all {
                assert_ne!(found.attribution, Attribution::Recipient, "{code} {} {}", found.rule, labelled.reply);
            }
        }
    }
    assert!(tried >= 300, "{tried}");
}

/// Prints what a reply costs; only the figure of a release build means anything.
#[test]
fn every_reply_is_bounded_work() {
    let replies = corpus();
    let _warm: usize = replies.iter().map(|labelled| verdict(labelled.reply, None).rule.len()).sum();
    let begun = std::time::Instant::now();
    let rounds = 5;
    for _ in 0..rounds {
        for labelled in &replies {
            assert!(verdict(labelled.reply, None).rule.len() <= 64);
        }
    }
    let each = begun.elapsed().as_nanos() / (rounds * replies.len()) as u128;
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    println!("{each} ns a reply ({build})");
}
