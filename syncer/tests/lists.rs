//! Lanes against the fakes of providers whose lists differ from each other in size of calls, number of entries and errors:
//! with time paused, and once each over real HTTP.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{Stage as _, StageError};
use service::http_client::{HttpClient, HttpClientOptions};
use std::{sync::Arc, time::Duration};
use support::{Direct, NUMBER, SERVICE, batch, config, fake_of, lane_with, pair, shown};
use syncer::{HttpApi, Lane};
use testkit::{Fake, Fault, builders::delta, fake::FakeApi};

/// A provider, the lists that a dead address is written on, the most addresses a call takes, and the calls that an addition
/// of addresses unknown to it takes.
const LISTS: [(&str, &[&str], usize, u64); 11] = [
    ("resend", &["suppressions"], 100, 1),
    ("sparkpost", &["transactional", "non_transactional"], 10_000, 1),
    ("mandrill", &["rejects"], 1, 1),
    ("ses", &["suppressed"], 1, 1),
    ("brevo", &["contacts"], 1, 1),
    ("mailjet", &["exclusion"], 1, 2),
    ("mailersend", &["hard-bounces"], 100, 1),
    ("mailtrap", &["mg.example.com/bulk"], 1, 1),
    ("unisender-go", &["permanent_unavailable"], 1, 1),
    ("drip", &["unsubscribed"], 1_000, 1),
    ("scaleway", &["blocklist"], 100, 1),
];

fn on(address: &str, scope: &Scope, position: u64) -> Delta {
    delta(address, scope, &[(scope.clone(), Reason::HardBounce)], ("postmark", Kind::BouncedHard), position)
}

fn dead(address: &str, position: u64) -> Delta {
    on(address, &Scope::All, position)
}

fn off(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

fn many(n: u64) -> Vec<Delta> {
    (0..n).map(|number| dead(&format!("user{number}@example.com"), number)).collect()
}

async fn run(lane: &mut Lane, deltas: &[Delta]) -> Result<Vec<String>, StageError> {
    let batch = batch(deltas);
    let outputs = process(lane, &batch).await?;
    lane.committed(&batch).await?;
    Ok(shown(&outputs))
}

/// As a runner does: again, for as long as calls take long or a rate limit is to be waited for.
async fn process(lane: &mut Lane, batch: &event_log::Batch) -> Result<event_log::Outputs, StageError> {
    for _ in 0..200 {
        match lane.process(batch).await {
            Err(StageError::Unavailable(why)) if why.contains("take long") || why.contains("rate limit") => {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            other => return other,
        }
    }
    lane.process(batch).await
}

#[tokio::test(start_paused = true)]
async fn suppressions_and_releases_reach_every_list() {
    for (provider, lists, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &[dead("a+b/c%d@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
        for list in lists {
            assert_eq!(fake.addresses(list), ["a+b/c%d@example.com", "b@example.com"], "{provider} {list}");
        }
        let said = run(&mut lane, &[off("a+b/c%d@example.com", 3)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{said:?}");
        for list in lists {
            assert_eq!(fake.addresses(list), ["b@example.com"], "{provider} {list}");
        }
        // What is not there any more is as good as removed.
        let said = run(&mut lane, &[off("a+b/c%d@example.com", 4)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_as_large_as_the_provider_takes() {
    for (provider, lists, most, calls) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &many(250)).await.unwrap();
        let batches = (250_usize.div_ceil(most) * lists.len()) as u64;
        assert_eq!((fake.held(), fake.largest_call()), (250, most.min(250)), "{provider}");
        assert_eq!(fake.calls(), batches * calls, "{provider}");
        // Each keeps to the rate that its provider documents.
        assert_eq!(fake.statuses().get(&429), None, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_address_is_refused_alone() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        let mut deltas = many(40);
        deltas.push(dead("j\u{fc}rgen@example.com", 40));
        deltas.extend((41..60).map(|number| dead(&format!("user{number}@example.com"), number)));
        let said = run(&mut lane, &deltas).await.unwrap();
        assert_eq!(said.iter().filter(|line| line.contains("done")).count(), 59, "{provider}");
        assert!(said[40].starts_with("suppress refused") && !said[40].contains("rgen@"), "{provider}: {}", said[40]);
        assert_eq!(fake.held(), 59, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_sat_out() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        let faults = [Fault::Status(500), Fault::Silent, Fault::RateLimited(9), Fault::FailedAfterEffect];
        fake.next_faults(faults);
        let said = run(&mut lane, &many(10)).await.unwrap();
        assert!(said.iter().all(|line| line.starts_with("suppress done")), "{provider}: {said:?}");
        assert_eq!(fake.held(), 10, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unclear_removal_is_read_back() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &many(1)).await.unwrap();
        fake.next_faults([Fault::SilentAfterEffect]);
        let said = run(&mut lane, &[off("user0@example.com", 9)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{provider}: {said:?}");
        assert_eq!(fake.held(), 0, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_stop_the_lane() {
    for (provider, ..) in LISTS {
        let mut config = config(provider);
        config.credential = "another".to_owned();
        let fake = FakeApi::new(fake_of(provider));
        let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
        for _ in 0..5 {
            assert!(matches!(run(&mut lane, &many(3)).await, Err(StageError::Unavailable(_))));
        }
        assert_eq!((fake.calls(), fake.held()), (1, 0), "{provider}");
        let trouble = lane.status().trouble().unwrap().to_string();
        assert!(trouble.contains("refuses this account"), "{provider}: {trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn sparkpost_keeps_transactional_mail_going_after_an_opt_out() {
    let (mut lane, fake) = pair("sparkpost");
    run(&mut lane, &[on("a@example.com", &Scope::Marketing, 1), on("b@example.com", &Scope::NonCritical, 2)])
        .await
        .unwrap();
    assert_eq!(fake.addresses("non_transactional"), ["a@example.com", "b@example.com"]);
    assert!(fake.addresses("transactional").is_empty());
    // Dead and back: what it opted out of stays.
    let both = [(Scope::All, Reason::HardBounce), (Scope::Marketing, Reason::Unsubscribe)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &both, ("drip", Kind::BouncedHard), 3)]).await.unwrap();
    assert!(fake.holds("transactional", "a@example.com"));
    let healed = [(Scope::Marketing, Reason::Unsubscribe)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &healed, ("drip", Kind::Delivered), 4)]).await.unwrap();
    assert!(!fake.holds("transactional", "a@example.com") && fake.holds("non_transactional", "a@example.com"));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_will_not_change_is_said_so_and_stops_nothing() {
    let (mut lane, fake) = pair("sparkpost");
    fake.put_by_itself("transactional", "a@example.com", "Compliance");
    let said = run(&mut lane, &[off("a@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("release refused") && said[0].contains("Compliance"), "{said:?}");
    assert!(fake.holds("transactional", "b@example.com"));
    let (mut lane, fake) = pair("mandrill");
    fake.put_by_itself("allowlist", "a@example.com", "allowed");
    let said = run(&mut lane, &[dead("a@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("suppress refused") && said[0].contains("allow list"), "{said:?}");
    assert!(fake.holds("rejects", "b@example.com"));
}

#[tokio::test(start_paused = true)]
async fn mandrill_is_told_what_it_told_us_as_its_own_entries_expire() {
    let told = |provider: &str| {
        let in_force = [(Scope::All, Reason::HardBounce)];
        delta("a@example.com", &Scope::All, &in_force, (provider, Kind::BouncedHard), 1)
    };
    for (provider, written) in [("mandrill", 1), ("resend", 0), ("sparkpost", 0)] {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &[told(provider)]).await.unwrap();
        assert_eq!(fake.calls(), written, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_called_no_more_often_than_it_documents() {
    // So many single calls as an hour has seconds, or batches of everybody.
    for (provider, n, least, most) in
        [("ses", 90, 89, 200), ("mailtrap", 40, 180, 400), ("mailersend", 90, 0, 30), ("drip", 900, 0, 30)]
    {
        let (mut lane, fake) = pair(provider);
        let begun = tokio::time::Instant::now();
        run(&mut lane, &many(n)).await.unwrap();
        let took = begun.elapsed().as_secs();
        assert!((least..=most).contains(&took), "{provider}: {took} s");
        assert_eq!(fake.held() as u64, n, "{provider}");
    }
    // Fifty batches are there at once, and then one every 72 seconds.
    let (mut lane, _) = pair("drip");
    let begun = tokio::time::Instant::now();
    for position in 0..52 {
        run(&mut lane, &[dead(&format!("user{position}@example.com"), position)]).await.unwrap();
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(130) && took < Duration::from_secs(250), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_several_calls_survives_a_failure_at_each() {
    for (provider, ..) in LISTS {
        for failing in 0..3 {
            for fault in [Fault::SilentAfterEffect, Fault::Status(500), Fault::FailedAfterEffect, Fault::RateLimited(2)]
            {
                let (mut lane, fake) = pair(provider);
                run(&mut lane, &many(2)).await.unwrap();
                fake.next_faults((0..failing).map(|_| Fault::None).chain([fault]));
                let said = run(&mut lane, &[off("user0@example.com", 9)]).await.unwrap();
                assert!(said[0].starts_with("release done"), "{provider} {failing} {fault:?}: {said:?}");
                assert_eq!(fake.held(), 1, "{provider} {failing} {fault:?}");
            }
        }
    }
}

/// Providers that keep a complaint apart from a dead address, each with the fake's list, its word for a complaint, and
/// whether it keeps one entry an address.
const COMPLAINTS: [(&str, &str, &str); 4] = [
    ("ses", "suppressed", "COMPLAINT"),
    ("mailersend", "spam-complaints", "spam-complaints"),
    ("mailtrap", "mg.example.com/bulk", "spam complaint"),
    ("unisender-go", "complained", "complained"),
];

#[tokio::test(start_paused = true)]
async fn complaints_go_only_by_an_explicit_act() {
    let healed = |address: &str, position| delta(address, &Scope::All, &[], ("drip", Kind::Delivered), position);
    for (provider, list, word) in COMPLAINTS {
        let (mut lane, fake) = pair(provider);
        // The provider knows of a complaint that nobody told us.
        fake.put_by_itself(list, "a@example.com", word);
        run(&mut lane, &[healed("a@example.com", 1)]).await.unwrap();
        assert!(fake.holds(list, "a@example.com"), "{provider}");
        let said = run(&mut lane, &[off("a@example.com", 2)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{provider}: {said:?}");
        assert!(!fake.holds(list, "a@example.com"), "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_complaint_stays_when_a_dead_address_comes_back() {
    for (provider, list, word) in COMPLAINTS {
        let (mut lane, fake) = pair(provider);
        let both = [(Scope::All, Reason::HardBounce), (Scope::NonCritical, Reason::SpamComplaint)];
        let told = delta("a@example.com", &Scope::NonCritical, &both, ("postmark", Kind::Complaint), 2);
        run(&mut lane, &[dead("a@example.com", 1), told]).await.unwrap();
        assert_eq!(fake.entry(list, "a@example.com").unwrap().reason, word, "{provider}");
        let left = [(Scope::NonCritical, Reason::SpamComplaint)];
        let back = delta("a@example.com", &Scope::All, &left, ("quell", Kind::ReleasedManually), 3);
        run(&mut lane, &[back]).await.unwrap();
        assert_eq!(fake.entry(list, "a@example.com").unwrap().reason, word, "{provider}");
        assert_eq!(fake.held(), 1, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_opt_out_is_no_business_of_ses() {
    let (mut lane, fake) = pair("ses");
    let said = run(&mut lane, &[on("a@example.com", &Scope::Marketing, 1)]).await.unwrap();
    assert_eq!((said[0].as_str(), fake.calls()), ("suppress skipped no_list", 0));
}

#[tokio::test(start_paused = true)]
async fn ses_refuses_what_is_signed_wrongly_or_late() {
    for wrong in 0..3 {
        let mut config = config("ses");
        match wrong {
            0 => config.credential = "another".to_owned(),
            1 => config.key_id = Some("another".to_owned()),
            _ => (config.region, config.base_url) = (Some("us-east-1".to_owned()), Some("https://x.test".to_owned())),
        }
        let fake = FakeApi::new(fake_of("ses"));
        let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
        assert!(run(&mut lane, &many(1)).await.is_err(), "{wrong}");
        assert_eq!(fake.statuses().get(&403), Some(&1), "{wrong}");
    }
    // A temporary key's token is signed with the rest.
    let mut config = config("ses");
    config.session_token = Some("token+/=".to_owned());
    let fake = FakeApi::new(fake_of("ses"));
    let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
    run(&mut lane, &[dead("a+b/c%d@example.com", 1)]).await.unwrap();
    assert!(fake.holds("suppressed", "a+b/c%d@example.com"));
}

#[tokio::test(start_paused = true)]
async fn mailersend_is_read_page_by_page() {
    let (mut lane, fake) = pair("mailersend");
    for number in 0..350 {
        fake.put_by_itself("hard-bounces", &format!("user{number:04}@example.com"), "hard-bounces");
    }
    let said = run(&mut lane, &[off("user0349@example.com", 1), off("nobody@example.com", 2)]).await.unwrap();
    assert!(said.iter().all(|line| line.starts_with("release done")), "{said:?}");
    assert!(!fake.holds("hard-bounces", "user0349@example.com") && fake.held() == 349);
    // Beyond what is read, the outcome says so instead of claiming a removal.
    for number in 0..3_200 {
        fake.put_by_itself("unsubscribes", &format!("user{number:04}@example.com"), "unsubscribes");
    }
    let back = delta("user3199@example.com", &Scope::Marketing, &[], ("drip", Kind::Resubscribed), 3);
    let said = run(&mut lane, &[back]).await.unwrap();
    assert!(said[0].starts_with("release refused") && said[0].contains("first 3000 entries"), "{said:?}");
    assert!(fake.holds("unsubscribes", "user3199@example.com"));
}

#[tokio::test(start_paused = true)]
async fn mailtrap_leaves_other_domains_and_streams_alone() {
    let (mut lane, fake) = pair("mailtrap");
    let others = ["mg.example.com/transactional", "other.example.com/bulk"];
    for list in others.iter().chain(&["mg.example.com/bulk"]) {
        fake.put_by_itself(list, "a@example.com", "hard bounce");
    }
    run(&mut lane, &[off("a@example.com", 1)]).await.unwrap();
    assert!(!fake.holds("mg.example.com/bulk", "a@example.com"));
    assert!(others.iter().all(|list| fake.holds(list, "a@example.com")));
}

#[tokio::test(start_paused = true)]
async fn unisender_go_keeps_each_cause() {
    let (mut lane, fake) = pair("unisender-go");
    let both = [(Scope::All, Reason::HardBounce), (Scope::Marketing, Reason::Unsubscribe)];
    let told = delta("a@example.com", &Scope::Marketing, &both, ("postmark", Kind::Unsubscribed), 2);
    run(&mut lane, &[dead("a@example.com", 1), told]).await.unwrap();
    assert!(fake.holds("permanent_unavailable", "a@example.com") && fake.holds("unsubscribed", "a@example.com"));
    // Its removal takes both; the one that has to stay is written again.
    let left = [(Scope::Marketing, Reason::Unsubscribe)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &left, ("quell", Kind::ReleasedManually), 3)]).await.unwrap();
    assert!(!fake.holds("permanent_unavailable", "a@example.com") && fake.holds("unsubscribed", "a@example.com"));
    fake.put_by_itself("blocked", "b@example.com", "blocked");
    fake.put_by_itself("permanent_unavailable", "c@example.com", "permanent_unavailable");
    fake.put_by_itself("complained", "c@example.com", "complained");
    let back = |address: &str, position| delta(address, &Scope::All, &[], ("drip", Kind::Delivered), position);
    let said = run(&mut lane, &[back("b@example.com", 4), back("c@example.com", 5)]).await.unwrap();
    assert!(said[0].starts_with("release done") && fake.holds("blocked", "b@example.com"), "{said:?}");
    assert!(said[1].starts_with("release refused") && fake.holds("complained", "c@example.com"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn drip_subscribes_nobody_who_is_no_subscriber() {
    let (mut lane, fake) = pair("drip");
    fake.put_by_itself("undeliverable", "b@example.com", "undeliverable");
    let said = run(&mut lane, &[off("a@example.com", 1), off("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("release done") && fake.statuses().get(&404) == Some(&1), "{said:?}");
    assert!(said[1].starts_with("release refused") && said[1].contains("undeliverable"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn brevos_own_list_is_emptied_only_by_hand() {
    let (mut lane, fake) = pair("brevo");
    fake.put_by_itself("blocked_contacts", "a@example.com", "hardBounce");
    let healed = delta("a@example.com", &Scope::All, &[], ("drip", Kind::Delivered), 1);
    run(&mut lane, &[healed]).await.unwrap();
    assert!(fake.holds("blocked_contacts", "a@example.com"));
    // Nor while another scope is in force that Brevo may hold it for.
    let left = [(Scope::NonCritical, Reason::SpamComplaint)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &left, ("quell", Kind::ReleasedManually), 2)]).await.unwrap();
    assert!(fake.holds("blocked_contacts", "a@example.com") && fake.holds("contacts", "a@example.com"));
    run(&mut lane, &[off("a@example.com", 3)]).await.unwrap();
    assert_eq!(fake.held(), 0);
}

fn phone(scope: &Scope, in_force: bool, kind: (&str, Kind), position: u64) -> Delta {
    let in_force: &[(Scope, Reason)] = if in_force { &[(scope.clone(), Reason::Manual)] } else { &[] };
    let mut delta = delta("a@example.com", scope, in_force, kind, position);
    delta.key.recipient = domain::Recipient::parse(domain::Channel::Sms, "+15551234567").unwrap();
    delta
}

#[tokio::test(start_paused = true)]
async fn twilio_is_told_of_phones_sender_by_sender() {
    let (mut lane, fake) = pair("twilio");
    let by_hand = ("quell", Kind::SuppressedManually);
    let dead = [phone(&Scope::All, true, by_hand, 1), dead("a@example.com", 2)];
    let said = run(&mut lane, &dead).await.unwrap();
    assert!(said[0].starts_with("suppress done") && said[1].contains("other_channel"), "{said:?}");
    assert!([SERVICE, NUMBER].iter().all(|sender| fake.holds(sender, "+15551234567")));
    run(&mut lane, &[phone(&Scope::All, false, ("quell", Kind::ReleasedManually), 3)]).await.unwrap();
    assert_eq!(fake.held(), 0);
    // What one sender was told concerns that one; and what Twilio told us it knows.
    let other = Scope::sender("+15550007777");
    run(&mut lane, &[phone(&other, true, by_hand, 4)]).await.unwrap();
    assert!(fake.holds("+15550007777", "+15551234567") && !fake.holds(SERVICE, "+15551234567"));
    let unknown = phone(&Scope::sender("+15559999999"), true, by_hand, 6);
    let said = run(&mut lane, &[unknown]).await.unwrap();
    assert!(said[0].starts_with("suppress refused") && said[0].contains("INVALID_SENDER_ID"), "{said:?}");
    let (mut lane, fake) = pair("twilio");
    let stop = phone(&Scope::sender(NUMBER), true, ("twilio", Kind::Unsubscribed), 5);
    let said = run(&mut lane, &[stop]).await.unwrap();
    assert_eq!((said, fake.calls()), (vec!["suppress skipped told_us".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn twilio_takes_25_consents_a_call_and_refuses_each_alone() {
    let (mut lane, fake) = pair("twilio");
    let one = |number: u64| {
        let mut delta = phone(&Scope::sender(SERVICE), true, ("quell", Kind::SuppressedManually), number);
        let text = if number == 7 { "+2905123".to_owned() } else { format!("+1555000{number:04}") };
        delta.key.recipient = domain::Recipient::parse(domain::Channel::Sms, &text).unwrap();
        delta
    };
    let deltas: Vec<Delta> = (0..60).map(one).collect();
    fake.next_faults([Fault::Status(500), Fault::Silent, Fault::RateLimited(3), Fault::FailedAfterEffect]);
    let said = run(&mut lane, &deltas).await.unwrap();
    assert_eq!(said.iter().filter(|line| line.contains("done")).count(), 59);
    assert!(said[7].starts_with("suppress refused") && said[7].contains("INVALID_CONTACT_ID"), "{}", said[7]);
    assert_eq!((fake.held(), fake.calls()), (59, 3 + 4));
}

#[tokio::test]
async fn the_fakes_take_what_is_sent_over_http() {
    for (provider, lists, ..) in LISTS {
        let fake = Fake::start(fake_of(provider)).await.unwrap();
        let mut config = config(provider);
        (config.base_url, config.spacing_ms, config.timeout_ms) = (Some(fake.url()), 1, 5_000);
        // The providers' own limits would make this a test of minutes.
        config.rate_limit = Some(syncer::RateLimit { calls: 10_000, seconds: 1 });
        let options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
        let mut lane = lane_with(config, Arc::new(HttpApi::new(HttpClient::new(&options).unwrap())));
        let odd = "odd+plus/slash%percent@example.com";
        let mut deltas = many(20);
        deltas.push(dead(odd, 20));
        fake.next_faults([Fault::Slow(Duration::from_millis(20))]);
        lane.process(&batch(&deltas)).await.unwrap();
        assert_eq!(fake.addresses(lists[0]).len(), 21, "{provider}");
        let outputs = lane.process(&batch(&[off(odd, 21)])).await.unwrap();
        assert!(shown(&outputs).iter().all(|line| line.starts_with("release done")), "{:?}", shown(&outputs));
        assert_eq!(fake.held(), 20, "{provider}");
        // Some look an address up first, or take what is not there off a list of their own.
        let expected = |status: &u16| matches!(status, 200 | 201 | 204 | 404);
        assert!(fake.statuses().keys().all(expected), "{provider}: {:?}", fake.statuses());
    }
}
