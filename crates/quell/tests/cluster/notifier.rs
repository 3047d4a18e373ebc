//! `quell serve --role notifier`: webhooks out of Kafka, by processes that come and go.

use crate::{
    bed::{Bed, Instance},
    examples::{OTHER_SECRET, Receiver},
};
use std::collections::BTreeSet;

#[test]
fn every_delta_is_posted_though_a_notifier_is_killed() {
    let bed = Bed::start();
    bed.set_up();
    let [port] = testkit::ports::free().expect("loopback has ports");
    let secret = bed.write("secret", OTHER_SECRET);
    let receiver = Receiver::start(port, &bed.path(""));
    let subscriber = format!(
        "[[subscriber]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{port}/\"\nallow_private = true\n\
         secrets = [\"file:{secret}\"]\n"
    );
    let notifier = |name: &str| {
        let config = |ports| format!("{}{subscriber}", bed.config(name, ports));
        std::fs::create_dir_all(bed.path(name)).expect("a folder");
        Instance::spawn(&bed.path(""), name, config, &["serve", "--role", "notifier"])
    };
    let mut all = bed.serve("all", "gateway,normalizer,suppressor,lookup");
    let (mut one, mut two) = (notifier("one"), notifier("two"));
    all.wait_ready();
    one.wait_ready();
    two.wait_ready();
    let bounce = |users: std::ops::Range<u32>| {
        for user in users.clone() {
            all.drip_bounce(&format!("user{user}@example.com"), "2026-01-20T10:00:00Z");
        }
        all.until(1, &["check", &format!("user{}@example.com", users.end - 1)]);
    };
    bounce(0..15);
    receiver.until(15);
    drop(one);
    bounce(15..30);
    let kept = receiver.until(30);
    let posted: BTreeSet<String> = kept.into_iter().map(|(id, ..)| id).collect();
    let told: BTreeSet<String> =
        all.deltas().iter().map(|delta| delta["delta_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(posted, told);
    assert_eq!((two.terminate(), all.terminate()), (Some(0), Some(0)), "{}", two.log());
}
