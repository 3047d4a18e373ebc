//! Live traffic, the breaker and draining, on a clock that stands still unless somebody waits.

use super::bed::{Mode, Process, ScriptedLog, Told, config, record, until};
use crate::spool::{Kept, SpoolConfig, SpoolingError};
use event_log::{AppendError, Position};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

fn id(n: usize) -> String {
    format!("id{n:04}")
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(id).collect()
}

async fn spool(process: &Process, range: std::ops::Range<usize>) {
    for n in range {
        assert_eq!(process.spooling.append(record(&id(n), 100, 0)).await, Ok(Kept::Spooled), "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_answers_is_used_alone() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&config(folder.path()), &log, None);
    log.set(Mode::Slow(Duration::from_millis(900)));
    for offset in 0..3 {
        let kept = process.spooling.append(record(&id(0), 10, 0)).await;
        assert_eq!(kept, Ok(Kept::Logged(Position { epoch: 1, partition: 2, offset })));
    }
    log.value_bytes_max.store(5, Ordering::SeqCst);
    let refused = process.spooling.append(record(&id(0), 10, 0)).await;
    assert_eq!(refused, Err(SpoolingError::Log(AppendError::TooLarge { bytes: 10, bytes_max: 5 })));
    assert!(process.spooling.is_drained() && process.spooling.can_take());
    assert_eq!(process.metric("quell_gateway_spool_records"), 0.0);
    // What fills the spool is judged by its room.
    assert_eq!(process.metric("quell_gateway_spool_limit_bytes"), 4_194_304.0);
}

#[tokio::test(start_paused = true)]
async fn only_the_first_waits_for_a_log_that_hangs() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&config(folder.path()), &log, None);
    process.clock.set_micros(90_000_000);
    log.set(Mode::Hangs);
    let begun = Instant::now();
    spool(&process, 0..1).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
    spool(&process, 1..50).await;
    assert_eq!((log.calls(), begun.elapsed().as_secs()), (1, 1), "the others asked nobody and waited for nothing");
    // While there is something to drain, draining finds out, not a sender.
    tokio::time::advance(Duration::from_secs(60)).await;
    spool(&process, 50..51).await;
    assert_eq!(log.calls(), 1);

    assert!(process.spooling.can_take());
    assert_eq!(process.metric("quell_gateway_log_breaker_open"), 1.0);
    assert_eq!(process.metric(r#"quell_gateway_spooled_total{cause="no_delivery_report"}"#), 1.0);
    assert_eq!(process.metric(r#"quell_gateway_spooled_total{cause="breaker_open"}"#), 50.0);
    assert_eq!(process.metric("quell_gateway_spool_records"), 51.0);
    assert_eq!(process.metric("quell_gateway_spool_oldest_seconds"), 90.0);
    assert!(process.metric("quell_gateway_spool_bytes") > 5_100.0);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_wait_together() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&config(folder.path()), &log, None);
    log.set(Mode::Hangs);
    let begun = Instant::now();
    let appends = (0..100).map(|n| process.spooling.append(record(&id(n), 100, 0)));
    let kept = futures_util::future::join_all(appends).await;
    assert!(kept.iter().all(|kept| *kept == Ok(Kept::Spooled)));
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn drains_in_order_beside_live_traffic_once_the_log_is_back() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let told = Arc::new(Told::default());
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    log.set(Mode::Away);
    let drain = process.drain();
    spool(&process, 0..600).await;
    let before = log.calls();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!process.spooling.is_drained());
    let n_probes = log.calls() - before;
    assert!((5..=11).contains(&n_probes), "{n_probes} probes in ten seconds");

    log.set(Mode::Slow(Duration::from_millis(20)));
    until(|| process.metric("quell_gateway_drained_total") > 0.0).await;
    let live = process.spooling.append(record("live", 100, 0)).await;
    assert!(matches!(live, Ok(Kept::Logged(_))), "{live:?}");
    assert!(!process.spooling.is_drained(), "live traffic did not wait for the spool");
    process.drained().await;

    let mut drained = log.asked.lock().unwrap().clone();
    drained.retain(|id| id != "live");
    // Failed probes were of the first.
    drained.dedup();
    let asked_again = drained.windows(2).find(|pair| pair[0] > pair[1]);
    assert_eq!((asked_again, drained.len()), (None, 600));
    assert_eq!(log.ids().len(), 601, "none twice");
    assert!(log.under_way_max.load(Ordering::SeqCst) <= 257);
    assert!(log.under_way_max.load(Ordering::SeqCst) > 100, "it picks up speed");
    assert_eq!(process.metric("quell_gateway_drained_total"), 600.0);
    assert_eq!(process.metric("quell_gateway_log_breaker_open"), 0.0);
    assert_eq!(process.metric("quell_gateway_spool_records"), 0.0);
    let table = told.table.lock().unwrap().clone();
    assert_eq!(table.len(), 600);
    for (offset, id) in log.ids().iter().enumerate().filter(|(_, id)| *id != "live") {
        assert_eq!(table[id], format!("r1.2.{offset}.{id}"));
    }
    process.end(drain).await;
    // Nothing is left behind.
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["drained", "lock"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_unheard_of_is_only_repeated() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&config(folder.path()), &log, None);
    log.set(Mode::Mute);
    spool(&process, 0..2).await;
    log.set(Mode::Fine);
    let _drain = process.drain();
    process.drained().await;
    assert_eq!(log.ids(), ["id0000", "id0000", "id0001"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_or_disabled_spool_refuses_at_once() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let full = SpoolConfig { bytes_max: 1_024 * 1_024, ..config(folder.path()) };
    let process = Process::start(&full, &log, None);
    log.set(Mode::Hangs);
    let large = || record(&id(0), 200_000, 0);
    for _ in 0..5 {
        assert_eq!(process.spooling.append(large()).await, Ok(Kept::Spooled));
    }
    let begun = Instant::now();
    assert_eq!(process.spooling.append(large()).await, Err(SpoolingError::Full));
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let folder = tempfile::tempdir().unwrap();
    let disabled = SpoolConfig { enabled: false, directory: folder.path().join("none"), ..config(folder.path()) };
    let process = Process::start(&disabled, &log, None);
    let begun = Instant::now();
    let refused = process.spooling.append(large()).await;
    assert!(matches!(refused, Err(SpoolingError::Log(AppendError::Unavailable(_)))), "{refused:?}");
    assert_eq!(begun.elapsed().as_secs(), 1);
    let refused = process.spooling.append(large()).await;
    assert!(matches!(refused, Err(SpoolingError::Log(AppendError::Unavailable(_)))), "{refused:?}");
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert!(!process.spooling.can_take());
    // With nothing to drain, live traffic finds out that the log is back.
    tokio::time::advance(Duration::from_secs(1)).await;
    log.set(Mode::Fine);
    assert!(matches!(process.spooling.append(large()).await, Ok(Kept::Logged(_))));
    assert!(process.spooling.can_take());
}

#[tokio::test(start_paused = true)]
async fn a_disabled_spool_is_still_drained() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    log.set(Mode::Away);
    spool(&Process::start(&config(folder.path()), &log, None), 0..3).await;
    let process = Process::start(&SpoolConfig { enabled: false, ..config(folder.path()) }, &log, None);
    assert!(matches!(process.spooling.append(record("new", 10, 0)).await, Err(SpoolingError::Log(_))));
    log.set(Mode::Fine);
    let _drain = process.drain();
    process.drained().await;
    assert_eq!(log.ids(), ids(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_busy_log_spools_without_being_taken_for_away() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&config(folder.path()), &log, None);
    log.set(Mode::Busy);
    spool(&process, 0..3).await;
    assert_eq!((log.calls(), process.metric("quell_gateway_log_breaker_open")), (3, 0.0));
    let _drain = process.drain();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(log.calls() < 40, "it backs off: {}", log.calls());
    log.set(Mode::Fine);
    process.drained().await;
    assert_eq!(log.ids(), ids(0..3));
}

#[tokio::test(start_paused = true)]
async fn neither_log_nor_spool_shows_in_readiness() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let process = Process::start(&SpoolConfig { bytes_max: 1_024 * 1_024, ..config(folder.path()) }, &log, None);
    log.set(Mode::Away);
    let _drain = process.drain();
    assert_eq!(process.spooling.append(record(&id(0), 500_000, 0)).await, Ok(Kept::Spooled));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(process.readiness.report().0, "the spool has room");
    assert_eq!(process.spooling.append(record(&id(1), 500_000, 0)).await, Ok(Kept::Spooled));
    // Nobody sends anything, and yet it is told.
    until(|| !process.readiness.report().0).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_too_large_for_the_log_is_set_aside_and_tried_at_the_next_start() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let told = Arc::new(Told::default());
    log.set(Mode::Away);
    log.value_bytes_max.store(1_000, Ordering::SeqCst);
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    spool(&process, 0..2).await;
    assert_eq!(process.spooling.append(record("large", 1_001, 0)).await, Ok(Kept::Spooled));
    spool(&process, 2..4).await;
    log.set(Mode::Fine);
    let drain = process.drain();
    process.drained().await;
    assert_eq!(log.ids(), ids(0..4));
    assert_eq!(process.metric("quell_gateway_spool_refused_records"), 1.0);
    assert!(process.metric("quell_gateway_spool_bytes") > 1_000.0);
    assert!(!told.table.lock().unwrap().contains_key("large"));
    process.end(drain).await;

    // Still too large: it stays, and blocks nothing.
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    let drain = process.drain();
    until(|| process.metric("quell_gateway_spool_refused_records") > 0.0).await;
    log.set(Mode::Away);
    spool(&process, 4..5).await;
    log.set(Mode::Fine);
    process.drained().await;
    assert_eq!(log.ids(), ids(0..5));
    process.end(drain).await;

    log.value_bytes_max.store(2_000, Ordering::SeqCst);
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    let drain = process.drain();
    until(|| log.ids().contains(&"large".to_owned())).await;
    until(|| process.metric("quell_gateway_spool_refused_records") == 0.0).await;
    assert_eq!(told.table.lock().unwrap()["large"], "r1.2.5.large");
    assert_eq!(process.metric("quell_gateway_spool_bytes"), 0.0);
    process.end(drain).await;
}

#[tokio::test(start_paused = true)]
async fn receipts_are_told_before_a_record_counts_as_drained() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let told = Arc::new(Told::default());
    log.set(Mode::Away);
    *told.fails.lock().unwrap() = true;
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    spool(&process, 0..1).await;
    log.set(Mode::Fine);
    let drain = process.drain();
    until(|| told.tries.load(Ordering::SeqCst) > 1).await;
    assert!(!process.spooling.is_drained());
    *told.fails.lock().unwrap() = false;
    process.drained().await;
    assert_eq!(told.table.lock().unwrap()["id0000"], "r1.2.0.id0000");
    assert_eq!(log.calls() - 1, log.ids().len(), "it was not appended again for that");
    process.end(drain).await;
}

#[tokio::test(start_paused = true)]
async fn receipts_outlast_a_store_that_is_away_for_minutes() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let told = Arc::new(Told::default());
    log.set(Mode::Away);
    *told.fails.lock().unwrap() = true;
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    spool(&process, 0..400).await;
    log.set(Mode::Fine);
    let drain = process.drain();
    tokio::time::sleep(Duration::from_secs(5 * 60)).await;
    *told.fails.lock().unwrap() = false;
    process.drained().await;
    assert_eq!(process.metric("quell_gateway_spool_receipts_untold_total"), 0.0);
    assert_eq!(told.table.lock().unwrap().len(), 400);
    assert_eq!(log.ids(), ids(0..400));
    process.end(drain).await;
}

#[tokio::test(start_paused = true)]
async fn receipts_that_cannot_be_told_do_not_hold_up_webhooks_for_ever() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::new(ScriptedLog::default()));
    let told = Arc::new(Told::default());
    log.set(Mode::Away);
    *told.fails.lock().unwrap() = true;
    let process = Process::start(&config(folder.path()), &log, Some(&told));
    spool(&process, 0..400).await;
    log.set(Mode::Fine);
    let drain = process.drain();
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    process.drained().await;
    assert_eq!(process.metric("quell_gateway_spool_receipts_untold_total"), 400.0);
    assert_eq!(log.ids(), ids(0..400));
    process.end(drain).await;
}
