//! Lanes over the log: order, crashes, retries, dead letters and their way back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Reason, Tenant, Timestamp};
use event_log::{Header, Record, runner::PhaseName};
use notifier::{Answer, PostError, Way};
use schemas::{decode, topics, wire::DeltaRecord};
use serde_json::json;
use service::traces::{TraceContext, TraceSettings, Traces};
use std::{collections::BTreeSet, time::Duration};
use support::{BEGIN, Bed, Scripted, append_with, config, expected, off, on, orders, status};

/// A subscriber for which deltas are tried for two hours.
fn impatient(name: &str) -> notifier::SubscriberConfig {
    notifier::SubscriberConfig { retry_hours: 2, ..config(name) }
}

const HOUR: u64 = 3_600;

/// Comings and goings of some recipients.
fn history() -> Vec<Delta> {
    let each = |number: u64| {
        let address = format!("user{}@example.com", number % 40);
        if number.is_multiple_of(3) { off(&address, number) } else { on(&address, number) }
    };
    (0..120).map(each).collect()
}

#[tokio::test(start_paused = true)]
async fn every_delta_is_posted_once_in_order_for_each_recipient() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::willing());
    bed.finish(bed.deltas("crm", receiver.clone())).await;
    assert_eq!(receiver.seen().len(), deltas.len(), "none twice");
    assert_eq!(orders(&receiver.taken()), expected(&deltas));
    assert!((2..=8).contains(&receiver.in_flight_max()), "{}", receiver.in_flight_max());
    let first = receiver.taken().into_iter().find(|seen| seen.id == deltas[1].delta_id.to_string()).unwrap();
    assert_eq!(first.body["type"], "quell.suppression.suppressed");
    assert_eq!(first.body["data"], schemas::json::delta(&deltas[1]));
    assert_eq!(bed.metric("quell_notifier_deliveries_total{outcome=\"delivered\",subscriber=\"crm\"}"), Some(120.0));
    assert_eq!(bed.metric("quell_notifier_oldest_pending_seconds{subscriber=\"crm\"}"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_loses_nothing_and_ids_are_the_same() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::willing());
    for (phase, at) in [(PhaseName::Process, 1), (PhaseName::Commit, 1), (PhaseName::Poll, 2), (PhaseName::Commit, 1)] {
        let mut count = 0;
        let crash = |now: PhaseName| {
            count += usize::from(now == phase);
            count == at
        };
        bed.run(bed.deltas("crm", receiver.clone()), Way::Deltas, crash).await;
    }
    bed.finish(bed.deltas("crm", receiver.clone())).await;
    assert_eq!(orders(&receiver.taken()), expected(&deltas));
    assert!(receiver.seen().len() > deltas.len(), "what was not committed is posted again");
    assert!(bed.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_asked_less_and_less_and_gets_all_once_it_is_back() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::new(|_| Err(PostError::NotSent("no connection".to_owned()))));
    let back = receiver.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2 * HOUR)).await;
        back.now(|_| status(200));
    });
    bed.finish(bed.deltas("crm", receiver.clone())).await;
    let (seen, taken) = (receiver.seen(), receiver.taken());
    let failed = seen.len() - taken.len();
    assert!((20..80).contains(&failed), "{failed} posts in two hours");
    let waits: Vec<Duration> = seen[..failed].windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits.iter().skip(20).all(|wait| *wait >= Duration::from_secs(100)), "{waits:?}");
    let asked: BTreeSet<&str> = seen[..failed].iter().map(support::Seen::address).collect();
    assert!(asked.len() > 10, "another one each time: {asked:?}");
    assert_eq!(orders(&taken), expected(&deltas));
    assert_eq!(taken.len(), deltas.len(), "nothing was taken twice");
    assert!(bed.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed() {
    let bed = Bed::new(&[on("a@example.com", 1), on("b@example.com", 2), on("c@example.com", 3)]);
    let mut answers = vec![
        Ok(Answer { status: 429, retry_after: Some("600".to_owned()) }),
        // 1,700,001,800 s since the epoch: half an hour after the beginning.
        Ok(Answer { status: 503, retry_after: Some("Tue, 14 Nov 2023 22:43:20 GMT".to_owned()) }),
    ]
    .into_iter();
    let receiver = Scripted::new(move |_| answers.next().unwrap_or_else(|| status(204)));
    let mut one = config("crm");
    one.in_flight_max = 1;
    bed.finish(bed.lane(one, Way::Deltas, receiver.clone())).await;
    let at: Vec<u64> = receiver.seen().iter().map(|seen| seen.at.as_secs()).collect();
    assert_eq!((at.len(), at[0]), (5, 0), "{at:?}");
    assert!(at[1] >= 600 && at[2] >= 1_800 && at[2] < 2_200, "{at:?}");
    assert_eq!(receiver.taken().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_taken_becomes_a_dead_letter_after_the_schedule() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::new(|_| status(500)));
    let lane = |receiver: &Scripted| bed.lane(impatient("crm"), Way::Deltas, receiver.clone());
    bed.finish(lane(&receiver)).await;
    let last = receiver.seen().last().unwrap().at;
    assert!(last >= Duration::from_secs(2 * HOUR - 600) && last <= Duration::from_secs(2 * HOUR + 600), "{last:?}");
    let letters = bed.dead_letters();
    assert_eq!(letters.len(), deltas.len());
    let (record, letter) = &letters[0];
    assert_eq!((letter.stage.as_str(), letter.reason.as_str()), ("notifier", "undelivered"));
    assert!(letter.detail.starts_with("subscriber crm: "), "{}", letter.detail);
    assert!(!letter.detail.contains("example.com"), "{}", letter.detail);
    assert_eq!((letter.topic.as_str(), letter.receipt_id.as_str(), letter.attempt), (topics::DELTAS, "r1", 1));
    assert!(letter.tenant == "default" && ["drip", "quell"].contains(&letter.provider.as_str()), "{}", letter.provider);
    assert!(decode::<DeltaRecord>(letter.value.as_ref().unwrap()).is_ok(), "it holds the delta, whole");
    assert_eq!(record.record.key.as_deref(), letter.key.as_deref());
    assert_eq!(bed.metric("quell_notifier_dead_letters_total{subscriber=\"crm\"}"), Some(120.0));

    // The next one gets its chance.
    receiver.now(|_| status(204));
    let late = on("late@example.com", 500);
    support::append(&bed.log, std::slice::from_ref(&late));
    bed.finish(lane(&receiver)).await;
    assert_eq!(receiver.taken().iter().map(|seen| seen.id.clone()).collect::<Vec<_>>(), [late.delta_id.to_string()]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_come_back_by_the_topic_of_redeliveries_to_their_subscriber_alone() {
    let delta = on("jane@example.com", 1);
    let (bed, receiver) = (Bed::new(std::slice::from_ref(&delta)), Scripted::new(|_| status(500)));
    bed.finish(bed.lane(impatient("crm"), Way::Deltas, receiver.clone())).await;
    let (_, letter) = bed.dead_letters().remove(0);
    // As `quell dead-letters replay` does it.
    let back = |subscriber: &str| {
        let mut headers: Vec<Header> = letter
            .headers
            .iter()
            .filter(|(name, _)| name.as_str() != "subscriber")
            .map(|(name, value)| Header { name: name.clone().into(), value: value.clone().into() })
            .collect();
        headers.push(Header { name: "subscriber".into(), value: subscriber.to_owned().into() });
        headers.push(Header { name: "attempt".into(), value: "2".into() });
        let (key, value) = (letter.key.clone().map(Into::into), letter.value.clone().map(Into::into));
        Record { key, value, headers, timestamp_ms: BEGIN * 1_000 + 2 * 3_600_000 }
    };
    assert_eq!(letter.headers.get("subscriber").map(String::as_str), Some("crm"));
    for subscriber in ["crm", "other"] {
        bed.log.append_now(topics::REDELIVERIES, None, back(subscriber)).unwrap();
    }
    let redeliver = |receiver: Scripted| bed.lane(impatient("crm"), Way::Redeliveries, receiver);
    // It may die again.
    let deaf = Scripted::new(|_| status(503));
    assert!(bed.run(redeliver(deaf), Way::Redeliveries, |_| false).await);
    let (_, again) = bed.dead_letters().remove(1);
    assert_eq!((again.attempt, again.topic.as_str()), (2, topics::REDELIVERIES));
    bed.log.append_now(topics::REDELIVERIES, None, back("crm")).unwrap();
    receiver.now(|_| status(200));
    assert!(bed.run(redeliver(receiver.clone()), Way::Redeliveries, |_| false).await);
    assert_eq!(receiver.taken().len(), 1, "the other's is not ours");
    assert_eq!(receiver.taken()[0].id, delta.delta_id.to_string(), "the id is the delta's for ever");
}

#[tokio::test(start_paused = true)]
async fn one_delta_that_is_always_refused_blocks_nobody() {
    let bad = on("poison@example.com", 7);
    let mut deltas: Vec<Delta> = (0..30).map(|number| on(&format!("user{number}@example.com"), 100 + number)).collect();
    deltas.insert(3, bad.clone());
    deltas.push(off("poison@example.com", 900));
    let bed = Bed::new(&deltas);
    let id = bad.delta_id.to_string();
    let receiver = Scripted::new(move |seen| if seen.id == id { status(500) } else { status(204) });
    // Now and then something changes: without, nobody would wait for the one, nor could anybody tell that it is at fault.
    let log = bed.log.clone();
    tokio::spawn(async move {
        for number in 1_000..1_100 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            support::append(&log, &[on(&format!("user{number}@example.com"), number)]);
        }
    });
    let (mut steps, seen) = (0, receiver.clone());
    let stop = |_| {
        steps += 1;
        steps % 100 == 0 && seen.taken().iter().any(|seen| seen.body["type"] == "quell.suppression.released")
    };
    bed.run(bed.deltas("crm", receiver.clone()), Way::Deltas, stop).await;
    let letters = bed.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].1.reason, "refused_by_subscriber");
    let taken = receiver.taken();
    let position = |seen: &support::Seen| seen.body["data"]["position"].as_u64().unwrap();
    let waited = |seen: &&support::Seen| seen.at.as_secs().saturating_sub(60 * position(seen).saturating_sub(999));
    let others = taken.iter().filter(|seen| seen.address() != "poison@example.com");
    assert!(others.map(|seen| waited(&seen)).max() < Some(90), "they do not wait");
    let tries = receiver.seen().iter().filter(|seen| seen.id == bad.delta_id.to_string()).count();
    assert!((5..=20).contains(&tries), "{tries}");
    let own = taken.iter().find(|seen| seen.address() == "poison@example.com").unwrap();
    assert_eq!(own.body["type"], "quell.suppression.released");
    assert!(own.at < Duration::from_secs(2_400), "its own later delta waits for it: {:?}", own.at);
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_delta_that_is_refused_is_posted_meanwhile() {
    let bad = on("poison@example.com", 7);
    let bed = Bed::new(std::slice::from_ref(&bad));
    let id = bad.delta_id.to_string();
    let receiver = Scripted::new(move |seen| if seen.id == id { status(400) } else { status(204) });
    let log = bed.log.clone();
    // Long after batches have shrunk to one record.
    let later: Vec<Delta> = (0..20).map(|number| on(&format!("user{number}@example.com"), 100 + number)).collect();
    let appended = later.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5 * HOUR)).await;
        support::append(&log, &appended);
    });
    let (mut steps, seen) = (0, receiver.clone());
    let lane = bed.deltas("crm", receiver.clone());
    let stop = |_| {
        steps += 1;
        seen.taken().len() == 20 && steps % 50 == 0
    };
    bed.run(lane, Way::Deltas, stop).await;
    let taken = receiver.taken();
    assert_eq!(orders(&taken), expected(&later));
    assert!(taken.iter().all(|seen| seen.at < Duration::from_secs(5 * HOUR + 900)), "{:?}", taken.last());
    assert_eq!(taken.len(), 20, "none twice");
}

#[tokio::test(start_paused = true)]
async fn gone_disables_and_nothing_is_lost() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::new(|_| status(410)));
    let lane = bed.deltas("crm", receiver.clone());
    let told = lane.status();
    let mut steps = 0;
    let is_done = bed
        .run(lane, Way::Deltas, |_| {
            steps += 1;
            steps == 500
        })
        .await;
    assert!(!is_done);
    assert!(receiver.seen().len() <= 8, "{} posts: those in flight when it said so", receiver.seen().len());
    assert!(told.trouble().unwrap().to_string().contains("410 Gone"));
    assert_eq!(bed.metric("quell_notifier_disabled{subscriber=\"crm\"}"), Some(1.0));
    assert_eq!(bed.committed("quell.notifier.crm").await, 0);
    // A restart after it was mended.
    receiver.now(|_| status(200));
    bed.finish(bed.deltas("crm", receiver.clone())).await;
    assert_eq!(orders(&receiver.taken()), expected(&deltas));
    assert!(bed.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_subscribers_are_independent() {
    let deltas = history();
    let bed = Bed::new(&deltas);
    let (deaf, willing) = (Scripted::new(|_| status(500)), Scripted::willing());
    let mut steps = 0;
    bed.run(bed.deltas("deaf", deaf), Way::Deltas, |_| {
        steps += 1;
        steps == 300
    })
    .await;
    bed.finish(bed.deltas("willing", willing.clone())).await;
    assert_eq!(willing.seen().len(), deltas.len());
    assert_eq!((bed.committed("quell.notifier.deaf").await, bed.committed("quell.notifier.willing").await), (0, 120));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_what_it_asked_for() {
    let acme = Delta {
        key: {
            let mut key = on("x@example.com", 4).key;
            key.tenant = Tenant::new("acme").unwrap();
            key
        },
        ..on("x@example.com", 4)
    };
    let deltas = [on("a@example.com", 100), off("b@example.com", 200), acme.clone()];
    let bed = Bed::new(&deltas);
    let run = async |name: &str, edit: &dyn Fn(&mut notifier::SubscriberConfig)| {
        let mut config = config(name);
        edit(&mut config);
        let receiver = Scripted::willing();
        bed.finish(bed.lane(config, Way::Deltas, receiver.clone())).await;
        let mut addresses: Vec<String> = receiver.taken().iter().map(|seen| seen.address().to_owned()).collect();
        addresses.sort();
        addresses.join(" ")
    };
    assert_eq!(run("all", &|_| ()).await, "a@example.com b@example.com x@example.com");
    assert_eq!(run("acme", &|config| config.tenant = Some(acme.key.tenant.clone())).await, "x@example.com");
    let since = Timestamp::from_seconds(testkit::builders::at(150).as_seconds()).unwrap();
    assert_eq!(run("since", &|config| config.since = Some(since)).await, "b@example.com");
    // What was for that reason counts too: the end of it is told.
    let all = "a@example.com b@example.com x@example.com";
    assert_eq!(run("bounces", &|config| config.reasons = vec![Reason::HardBounce]).await, all);
    assert_eq!(run("complaints", &|config| config.reasons = vec![Reason::SpamComplaint]).await, "");
}

#[tokio::test(start_paused = true)]
async fn batches_hold_several_and_are_taken_apart_where_one_is_refused() {
    let deltas = history();
    let (bed, receiver) = (Bed::new(&deltas), Scripted::willing());
    let mut wide = impatient("wide");
    wide.batch_max = 50;
    bed.finish(bed.lane(wide.clone(), Way::Deltas, receiver.clone())).await;
    let taken = receiver.taken();
    assert!(taken.len() <= 4, "{}", taken.len());
    let ids = |taken: &[support::Seen]| -> Vec<String> {
        let deltas = taken.iter().flat_map(|seen| seen.body["data"]["deltas"].as_array().unwrap().clone());
        deltas.map(|delta| delta["delta_id"].as_str().unwrap().to_owned()).collect()
    };
    let mut found = ids(&taken);
    found.sort();
    let mut all: Vec<String> = deltas.iter().map(|delta| delta.delta_id.to_string()).collect();
    all.sort();
    assert_eq!(found, all);
    assert_eq!(taken[0].body["type"], "quell.suppression.batch");

    let bad = json!(deltas[5].delta_id.to_string());
    let refuses = move |seen: &support::Seen| {
        let has = seen.body["data"]["deltas"].as_array().unwrap().iter().any(|delta| delta["delta_id"] == bad);
        status(if has { 422 } else { 200 })
    };
    wide.name = "picky".to_owned();
    let receiver = Scripted::new(refuses);
    bed.finish(bed.lane(wide, Way::Deltas, receiver.clone())).await;
    assert_eq!(ids(&receiver.taken()).len(), 119);
    assert_eq!(bed.dead_letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_lane_ends_its_waits_at_once() {
    let (bed, receiver) = (Bed::new(&[on("a@example.com", 1)]), Scripted::new(|_| status(500)));
    let lane = bed.deltas("crm", receiver.clone());
    let status = lane.status();
    status.stop();
    let began = tokio::time::Instant::now();
    let mut steps = 0;
    bed.run(lane, Way::Deltas, |_| {
        steps += 1;
        steps == 20
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(30) && receiver.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_dead_letter_and_the_next_goes_on() {
    let bed = Bed::new(&[]);
    let record = |value: Option<&'static [u8]>| Record {
        key: None,
        value: value.map(Into::into),
        headers: vec![],
        timestamp_ms: 0,
    };
    bed.log.append_now(topics::DELTAS, Some(0), record(Some(b"nonsense"))).unwrap();
    bed.log.append_now(topics::DELTAS, Some(0), record(None)).unwrap();
    support::append(&bed.log, &[on("a@example.com", 1)]);
    let receiver = Scripted::willing();
    bed.finish(bed.deltas("crm", receiver.clone())).await;
    let reasons: Vec<String> = bed.dead_letters().into_iter().map(|(_, letter)| letter.reason).collect();
    assert_eq!(
        (reasons.as_slice(), receiver.taken().len()),
        (&["malformed_delta".to_owned(), "malformed_delta".to_owned()][..], 1)
    );
}

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SILENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Traces that nobody takes.
fn traces() -> Traces {
    let (url, headers, resource) = ("http://127.0.0.1:9/".to_owned(), Vec::new(), Vec::new());
    let settings = TraceSettings { url, sample: 1.0, callers_per_s: 0, headers, resource };
    Traces::start(Some(settings), &service::Metrics::new().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_post_tells_its_trace_where_that_is_wanted() {
    let told = async |headers: &[(&'static str, &'static str)], is_wanted, traces: Traces| {
        let (bed, receiver) = (Bed::new(&[]), Scripted::willing());
        append_with(&bed.log, &[on("a@example.com", 1)], headers);
        let config = notifier::SubscriberConfig { traceparent: is_wanted, ..config("crm") };
        bed.finish(bed.lane(config, Way::Deltas, receiver.clone()).traced(traces)).await;
        let seen = receiver.seen().remove(0);
        let header = |name| seen.header(name).map(str::to_owned);
        (header("traceparent"), header("tracestate"))
    };
    let both = [("traceparent", CALLER), ("tracestate", "vendor=1,other=2")];
    let (parent, state) = told(&both, true, traces()).await;
    let (parent, caller) = (TraceContext::parse(&parent.unwrap()).unwrap(), TraceContext::parse(CALLER).unwrap());
    assert_eq!((parent.trace, parent.is_sampled, state.as_deref()), (caller.trace, true, Some("vendor=1,other=2")));
    assert_ne!(parent.span, caller.span, "its own span");
    let (parent, state) = told(&[("traceparent", CALLER), ("tracestate", "malformed")], true, traces()).await;
    assert!(parent.is_some() && state.is_none());
    assert_eq!(told(&both, false, traces()).await, (None, None));
    assert_eq!(told(&both, true, Traces::off()).await, (None, None));
    assert_eq!(told(&[("traceparent", SILENT), ("tracestate", "vendor=1")], true, traces()).await, (None, None));
    assert_eq!(told(&[("tracestate", "vendor=1")], true, traces()).await, (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_what_is_carried() {
    let (bed, receiver) = (Bed::new(&[]), Scripted::new(|_| status(500)));
    append_with(&bed.log, &[on("a@example.com", 1)], &[("traceparent", CALLER), ("tracestate", "vendor=1")]);
    bed.finish(bed.lane(impatient("crm"), Way::Deltas, receiver)).await;
    let (letter, _) = bed.dead_letters().remove(0);
    let headers: BTreeSet<&str> = letter.record.headers.iter().map(|header| header.name.as_ref()).collect();
    assert_eq!(headers, BTreeSet::from(["receipt-id", "traceparent", "tracestate"]));
}
