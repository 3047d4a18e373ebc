//! Senders that take their time, and readers that do not read.

use crate::{
    bed::{Bed, Change},
    wire::{Line, PATIENCE, Raw},
};
use std::time::Instant;

/// Impatient, so that the test need not wait long.
const IMPATIENT: Change = Change {
    server: "head_timeout_ms = 1500\nbody_grace_ms = 1500\nidle_timeout_ms = 3000\nwrite_timeout_ms = 1500",
    sources: String::new(),
};

/// Sends each line a byte after the other, all in turn, until nobody listens any more.
fn trickle(lines: &mut [Line], bytes: &[u8]) {
    let began = Instant::now();
    let mut open: Vec<&mut Line> = lines.iter_mut().collect();
    for at in 0.. {
        let byte = &bytes[at % bytes.len()..=at % bytes.len()];
        // An end is only seen once the other side has answered what came after it.
        open.retain_mut(|line| line.send(byte).is_ok());
        if open.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} are still listened to", open.len());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn open(bed: &Bed, count: usize) -> Vec<Line> {
    (0..count).map(|_| Line::open(bed.gateway).expect("the gateway is there")).collect()
}

#[test]
fn a_head_that_trickles_in_is_cut_off() {
    let bed = Bed::with(&IMPATIENT);
    let mut lines = open(&bed, 200);
    lines.iter_mut().for_each(|line| line.send(b"POST /webhooks/generic HTTP/1.1\r\n").expect("it is open"));
    trickle(&mut lines, b"x-header: 1\r\n");
    for line in lines {
        let answers = line.answers().expect("an end");
        assert!(answers.is_empty(), "{answers:?}");
    }
    bed.until("200 slow heads", |bed| bed.ended("slow_head") == 200);
    bed.finish();
}

#[test]
fn a_body_that_trickles_in_is_cut_off() {
    let mut bed = Bed::with(&IMPATIENT);
    let raw = bed.keys.generic();
    let mut lines = open(&bed, 100);
    for line in &mut lines {
        line.send(format!("{}\r\n", raw.clone().set("content-length", "100000").head()).as_bytes())
            .expect("it is open");
    }
    trickle(&mut lines, b" ");
    answered_slow(&mut bed, lines, &raw);
    bed.finish();
}

#[test]
fn large_bodies_that_stop_midway_keep_nobody_out() {
    let mut bed = Bed::with(&IMPATIENT);
    let raw = bed.keys.generic();
    // Together more than the gateway holds at a time.
    let part =
        [raw.clone().set("content-length", "5000000").head().as_bytes(), b"\r\n", &vec![b' '; 4_500_000]].concat();
    let mut lines = open(&bed, 16);
    std::thread::scope(|scope| {
        for line in &mut lines {
            // Refused midway, it is not read to the end.
            scope.spawn(|| line.send(&part).ok());
        }
    });
    let mut statuses = Vec::new();
    for line in lines {
        statuses.extend(line.answers().expect("an end in time").into_iter().map(|answer| answer.status));
    }
    assert!(!statuses.is_empty() && statuses.iter().all(|status| matches!(status, 408 | 503)), "{statuses:?}");
    bed.any_of(&["slow_body", "too_many_bytes", "gave_way", "client_gone"]);
    bed.finish();
}

#[test]
fn bodies_that_take_every_place_keep_nobody_out() {
    let server = "head_timeout_ms = 1500\nbody_grace_ms = 3000\n[gateway.limits]\nin_flight_max = 32";
    let mut bed = Bed::with(&Change { server, sources: String::new() });
    let raw = bed.keys.generic();
    let mut lines = open(&bed, 96);
    for line in &mut lines {
        line.send(format!("{}\r\n", raw.clone().set("content-length", "100000").head()).as_bytes())
            .expect("it is open");
    }
    trickle(&mut lines, b" ");
    for line in lines {
        for answer in line.answers().expect("an end in time") {
            assert!(matches!(answer.status, 408 | 503), "{answer:?}");
        }
    }
    bed.any_of(&["slow_body", "gave_way", "too_many_requests", "client_gone"]);
    assert!(bed.counted_as(&["gave_way"]) > 0);
    bed.finish();
}

#[track_caller]
fn answered_slow(bed: &mut Bed, lines: Vec<Line>, raw: &Raw) {
    for line in lines {
        // A reset may overtake the answer, as bytes were still being sent.
        for answer in line.answers().expect("an end in time") {
            assert_eq!(answer.status, 408, "{answer:?}");
        }
    }
    bed.expect(&raw.target, "408", "slow_body", 100);
}

#[test]
fn who_does_not_read_answers_is_cut_off() {
    let mut bed = Bed::with(&IMPATIENT);
    let began = Instant::now();
    let pipelined = b"GET /webhooks/nobody HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    let mut line = Line::open(bed.gateway).expect("the gateway is there");
    while line.send(&pipelined).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it is still written to");
    }
    bed.any_of(&["not_found"]);
    bed.until("its end", |bed| bed.ended("broken") == 1);
    bed.finish();
}
