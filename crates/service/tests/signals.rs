//! A real signal, in a process of its own.

use service::{Shutdown, admin::Readiness};
use std::{process::Command, time::Duration};

#[tokio::test]
async fn sigterm_asks_every_part_to_stop_and_ends_readiness_first() {
    let (shutdown, readiness) = (Shutdown::new(), Readiness::requiring(&["log"]));
    readiness.set("log", true);
    shutdown.on_signals(readiness.clone()).unwrap();
    assert!(readiness.report().0 && !shutdown.is_requested());
    let sent = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap();
    assert!(sent.success());
    tokio::time::timeout(Duration::from_secs(10), shutdown.requested()).await.unwrap();
    assert!(!readiness.report().0);
}
