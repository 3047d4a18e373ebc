//! `kill -9`, again and again, under load: every 2xx is an obligation.

use crate::{
    instance::Instance,
    oracle,
    traffic::{Dice, Webhook, facts, webhooks},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::RwLock;

const RECIPIENTS: u64 = 1_500;
const SENDERS: usize = 12;
const KILLS: usize = 12;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_2xx_is_lost_or_told_twice() {
    let mut dice = Dice(20_260_122);
    let begun = now();
    let facts = facts(&mut dice, RECIPIENTS, begun);
    let plan = webhooks(&mut dice, &facts);
    let n_webhooks = plan.len();
    let n_events: usize = plan.iter().map(Webhook::n_facts).sum();

    let mut instance = Instance::new();
    instance.start().await;
    let instance = Arc::new(RwLock::new(instance));
    let queue = Arc::new(Mutex::new(plan.into_iter().collect::<VecDeque<_>>()));
    let receipts = Arc::new(Mutex::new(Vec::new()));
    let broken = Arc::new(Mutex::new(0_usize));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (instance, queue, receipts, broken) =
                (instance.clone(), queue.clone(), receipts.clone(), broken.clone());
            tokio::spawn(async move { send_all(&instance, &queue, &receipts, &broken).await })
        })
        .collect();

    // Killed each time a share of the webhooks has been answered, while the others are under way.
    for kill in 1..=KILLS {
        let share = n_webhooks * kill / (KILLS + 2);
        while receipts.lock().unwrap_or_else(PoisonError::into_inner).len() < share {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The lock keeps nobody from sending: the process dies under the requests in flight.
        let process = instance.read().await.pid();
        kill_now(process);
        let mut guard = instance.write().await;
        guard.reap();
        guard.start().await;
    }
    for sender in senders {
        sender.await.unwrap();
    }

    let instance = instance.read().await;
    let receipts = std::mem::take(&mut *receipts.lock().unwrap_or_else(PoisonError::into_inner));
    let broken = *broken.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(receipts.len(), n_webhooks, "every webhook is answered 2xx in the end");
    assert!(broken > 0, "no kill met a request under way: the test did not test");
    drained(&instance).await;

    for receipt in receipts.iter().step_by(7) {
        let shown: Value = serde_json::from_str(&instance.lookup(&format!("/v1/receipts/{receipt}")).await).unwrap();
        assert_eq!(shown["status"], "processed", "{receipt}: {shown}");
    }
    let expected = oracle::expected(&facts);
    let deltas = instance.lines("/v1/deltas?max=100000").await;
    let told = oracle::fold(&deltas);
    let in_force = oracle::exported(&instance.lines("/v1/export").await);
    assert_eq!(differences(&expected, &in_force), "", "the state is not the fold of what was sent");
    assert_eq!(differences(&expected, &told), "", "the deltas do not add up to the state");
    println!(
        "{KILLS} kills, {n_webhooks} webhooks ({n_events} events) answered 2xx, {broken} attempts broken off, {} deltas, \
         {} suppressions in force: 0 lost, 0 told twice",
        deltas.len().saturating_sub(1),
        in_force.len()
    );
}

async fn send_all(
    instance: &RwLock<Instance>,
    queue: &Mutex<VecDeque<Webhook>>,
    receipts: &Mutex<Vec<String>>,
    broken: &Mutex<usize>,
) {
    while let Some(webhook) = pop(queue) {
        loop {
            let answer = {
                let guard = instance.read().await;
                guard.send(&webhook.request(&guard, now())).await
            };
            match answer {
                Some(answer) if answer.status.is_success() => {
                    let body: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
                    let id = body["receipt_id"].as_str().unwrap_or_else(|| panic!("no receipt: {body}")).to_owned();
                    receipts.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                    break;
                }
                Some(answer) => panic!("a good webhook was refused: {answer:?}"),
                None => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

fn pop(queue: &Mutex<VecDeque<Webhook>>) -> Option<Webhook> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn kill_now(process: u32) {
    // The shell's own kill: the program of that name is not on every machine.
    let sent = std::process::Command::new("sh").args(["-c", "kill -KILL \"$0\"", &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -KILL");
}

/// Waits until no stage has anything left to read.
async fn drained(instance: &Instance) {
    let mut quiet = 0;
    for _ in 0..1_200 {
        let behind = instance.metric("quell_stage_lag_records").await;
        let done = instance.metric("quell_stage_records_total").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let moved = instance.metric("quell_stage_records_total").await > done;
        quiet = if behind == 0.0 && !moved { quiet + 1 } else { 0 };
        // Longer than a stage waits for its first record.
        if quiet >= 15 {
            return;
        }
    }
    panic!("the stages did not catch up; the log:\n{}", instance.log());
}

fn differences(expected: &oracle::State, found: &oracle::State) -> String {
    let mut lines = Vec::new();
    for (key, value) in expected {
        if found.get(key) != Some(value) {
            lines.push(format!("{key:?}: expected {value:?}, found {:?}", found.get(key)));
        }
    }
    for (key, value) in found {
        if !expected.contains_key(key) {
            lines.push(format!("{key:?}: expected nothing, found {value:?}"));
        }
    }
    let count = lines.len();
    lines.truncate(10);
    if count > 10 {
        lines.push(format!("and {} more", count - 10));
    }
    lines.join("\n")
}
