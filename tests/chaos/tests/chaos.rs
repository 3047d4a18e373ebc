//! The shorter run: about a minute of load and faults.

#![expect(clippy::expect_used, reason = "a test")]

use chaos_tests::{BrokerDropped, Options, Plan, run};
use std::{path::PathBuf, time::Duration};

fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    here.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps").join("quell")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_missing_or_told_twice_whatever_is_killed() {
    let options = Options {
        quell: binary(),
        seed: 20_260_122,
        events: 6_000,
        span: Duration::from_secs(50),
        kills_min: 8,
        settle_max: Duration::from_secs(240),
        plan: Plan::Chaos,
        logs: "info".to_owned(),
    };
    let mut ended = run(&options).await;
    for _ in 0..2 {
        // Nothing is judged where the broker itself lost what it had to do.
        if ended.as_ref().is_err_and(|error| error.downcast_ref::<BrokerDropped>().is_some()) {
            ended = run(&options).await;
        }
    }
    let report = ended.unwrap();
    println!("\n{report}\n{}", report.to_json());
    assert_eq!(report.wrong().join("\n"), "");
    assert!(report.n_kills() >= 8);
    assert!(report.n_erased() >= 24, "{}", report.n_erased());
    for words in ["broker stopped", "store stopped", "store paused"] {
        assert!(report.n_outages(words) >= 1, "{words}");
    }
}
