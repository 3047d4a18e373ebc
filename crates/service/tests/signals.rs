//! A real signal, in a process of its own.

use rustix::process::{Signal, getpid, kill_process};
use service::{Shutdown, admin::Readiness};
use std::time::Duration;

#[tokio::test]
async fn sigterm_asks_every_part_to_stop_and_ends_readiness_first() {
    let (shutdown, readiness) = (Shutdown::new(), Readiness::requiring(&["log"]));
    readiness.set("log", true);
    shutdown.on_signals(readiness.clone()).unwrap();
    assert!(readiness.report().0 && !shutdown.is_requested());
    kill_process(getpid(), Signal::TERM).unwrap();
    tokio::time::timeout(Duration::from_secs(10), shutdown.requested()).await.unwrap();
    assert!(!readiness.report().0);
}
