//! Whatever fails, a provider's lists end as our state says.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::Stage as _;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{DOMAIN, Direct, PROVIDERS, STREAM, batch, config, fake_of, lane_with};
use testkit::{Fault, builders::delta, fake::FakeApi};

#[derive(Debug, Clone, Copy)]
struct Change {
    who: u8,
    scope: u8,
    suppress: bool,
    /// Told by the account itself, whose provider has suppressed already.
    told: bool,
}

#[derive(Debug, Clone)]
struct Story {
    provider: &'static str,
    changes: Vec<Change>,
    faults: Vec<Fault>,
    /// Sizes of batches; where the sign is negative, the batch is processed but not committed and comes again.
    batches: Vec<i8>,
    /// After so many batches the process dies. Then nothing is told by the account itself: what a dead process removed
    /// last is not remembered.
    crash_after: Option<usize>,
}

fn story() -> impl Strategy<Value = Story> {
    let change = (0..5u8, 0..3u8, any::<bool>(), any::<bool>()).prop_map(|(who, scope, suppress, told)| Change {
        who,
        scope,
        suppress,
        told,
    });
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::Status(500)),
        Just(Fault::Status(503)),
        Just(Fault::Status(401)),
        Just(Fault::RateLimited(2)),
        Just(Fault::RateLimited(90)),
        Just(Fault::FailedAfterEffect),
        Just(Fault::Silent),
        Just(Fault::SilentAfterEffect),
        Just(Fault::Slow(Duration::from_secs(3))),
        Just(Fault::Slow(Duration::from_secs(30))),
    ];
    (
        prop::sample::select(&PROVIDERS[..]),
        prop::collection::vec(change, 1..30),
        prop::collection::vec(fault, 0..25),
        prop::collection::vec(prop_oneof![1..8i8, -8..0i8], 1..30),
        prop::option::of(0..6usize),
    )
        .prop_map(|(provider, changes, faults, batches, crash_after)| Story {
            provider,
            changes,
            faults,
            batches,
            crash_after,
        })
}

const SCOPES: [(Scope, Reason, Kind); 3] = [
    (Scope::All, Reason::HardBounce, Kind::BouncedHard),
    (Scope::NonCritical, Reason::SpamComplaint, Kind::Complaint),
    (Scope::Marketing, Reason::Unsubscribe, Kind::Unsubscribed),
];

type InForce = BTreeMap<u8, BTreeMap<Scope, Reason>>;

fn address(who: u8) -> String {
    format!("user+{who}/%@example.com")
}

/// The deltas of a story, in order, with what is in force at its end.
fn deltas(story: &Story) -> (Vec<(Delta, bool)>, InForce) {
    let mut in_force = InForce::new();
    let mut deltas = Vec::new();
    for change in &story.changes {
        let (scope, reason, kind) = &SCOPES[usize::from(change.scope)];
        let mine = in_force.entry(change.who).or_default();
        let is_news =
            if change.suppress { mine.insert(scope.clone(), *reason).is_none() } else { mine.remove(scope).is_some() };
        if !is_news {
            continue;
        }
        // Postmark never lets go of a complaint of its own.
        let told = change.suppress
            && change.told
            && story.crash_after.is_none()
            && !(story.provider == "postmark" && *kind == Kind::Complaint);
        let told_by = if told { story.provider } else { "drip" };
        let trigger = if change.suppress { (told_by, *kind) } else { ("quell", Kind::ReleasedManually) };
        let now: Vec<(Scope, Reason)> = mine.iter().map(|(scope, reason)| (scope.clone(), *reason)).collect();
        let position = deltas.len() as u64;
        deltas.push((delta(&address(change.who), scope, &now, trigger, position), told));
    }
    (deltas, in_force)
}

fn by_itself(provider: &str, fake: &FakeApi, delta: &Delta) {
    let place = if provider == "mailgun" { DOMAIN } else { STREAM };
    match delta.scope {
        Scope::All => fake.bounced_by_itself(place, &delta.address),
        Scope::NonCritical => fake.complained_by_itself(place, &delta.address),
        _ => fake.unsubscribed_by_itself(place, &delta.address),
    }
}

async fn play(story: Story) {
    let (deltas, in_force) = deltas(&story);
    let fake = FakeApi::new(fake_of(story.provider));
    let lane = || lane_with(config(story.provider), Arc::new(Direct(fake.clone())));
    let mut first = lane();
    fake.next_faults(story.faults.iter().copied());
    let (mut at, mut rounds, mut happened) = (0, 0, 0);
    let mut sizes = story.batches.iter().cycle();
    while at < deltas.len() {
        rounds += 1;
        assert!(rounds < 2_000, "does not come to an end: {story:?}");
        if story.crash_after == Some(rounds) {
            first = lane();
        }
        let size = *sizes.next().unwrap();
        let end = deltas.len().min(at + usize::from(size.unsigned_abs()));
        // The provider acts by itself before it tells us.
        deltas[happened.min(end)..end]
            .iter()
            .filter(|(_, told)| *told)
            .for_each(|(delta, _)| by_itself(story.provider, &fake, delta));
        happened = happened.max(end);
        let part: Vec<Delta> = deltas[at..end].iter().map(|(delta, _)| delta.clone()).collect();
        let batch = batch(&part);
        match first.process(&batch).await {
            // An aborted commit, as long as faults are left: then the sizes alone could go on for ever.
            Ok(_) if size < 0 && rounds < 60 => first.revoked(&[0]),
            Ok(outputs) => {
                assert_eq!(outputs.verdicts.len(), part.len());
                first.committed(&batch).await.unwrap();
                at = end;
            }
            Err(_) => {
                first.revoked(&[0]);
                tokio::time::sleep(Duration::from_secs(15)).await;
            }
        }
    }
    for who in 0..5 {
        let scopes = in_force.get(&who).cloned().unwrap_or_default();
        let address = address(who);
        let holds = |list: &str| fake.holds(list, &address);
        match story.provider {
            "mailgun" => {
                for (list, scope) in
                    [("bounces", Scope::All), ("complaints", Scope::NonCritical), ("unsubscribes", Scope::Marketing)]
                {
                    assert_eq!(
                        holds(&format!("{DOMAIN}/{list}")),
                        scopes.contains_key(&scope),
                        "{list} {who}: {story:?}"
                    );
                }
            }
            "sendgrid" => {
                let any =
                    ["global", "bounces", "blocks", "spam_reports", "invalid_emails"].iter().any(|list| holds(list));
                assert_eq!(any, !scopes.is_empty(), "{who}: {story:?}");
            }
            _ => assert_eq!(holds(STREAM), !scopes.is_empty(), "{who}: {story:?}"),
        }
    }
    assert!(fake.in_flight_max() <= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_the_lists_end_as_our_state_says(story in story()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(story));
    }
}
