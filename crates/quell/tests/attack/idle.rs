//! Ten thousand connections that ask for nothing.

use crate::{
    bed::{Bed, Change},
    wire::{Line, Raw},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::TcpStream;

const WANTED: usize = 10_000;
/// Descriptors for all else, of either process.
const SPARE: u64 = 600;
/// Resident memory of a connection that lies idle, in bytes: its task, hyper's state and a buffer of 8 KiB, with room for
/// what the allocator rounds up.
const CONNECTION_BYTES_MAX: u64 = 32 * 1_024;

/// As many as both processes may have descriptors for: each has its own limit, which a child inherits.
fn affordable() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit it may always be raised");
    let files = limit.maximum.map_or(WANTED, |files| usize::try_from(files.saturating_sub(SPARE)).unwrap_or(WANTED));
    if files < WANTED {
        eprintln!("the hard limit of open files (ulimit -Hn) allows for {files} connections instead of {WANTED}");
    }
    files.min(WANTED)
}

/// Connections of which every other one has sent a request and been answered.
fn open(bed: &Bed, count: usize) -> Vec<TcpStream> {
    let asks = Raw::post("/webhooks/nobody", Vec::new()).kept();
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        if number % 2 == 0 {
            held.push(TcpStream::connect(bed.gateway).expect("a connection"));
            continue;
        }
        let mut line = Line::open(bed.gateway).expect("a connection");
        line.send(&asks).expect("it is open");
        let answer = line.answer().expect("an answer in time").expect("an answer");
        assert_eq!(answer.status, 404);
        held.push(line.into_stream());
    }
    held
}

/// One test, as both halves together would need more descriptors than there are.
#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    let count = affordable();
    held_where_there_is_room(count);
    closed_where_there_is_none(count);
}

fn held_where_there_is_room(count: usize) {
    let mut bed = Bed::with(&Change {
        server: "connections_max = 12000\nhead_timeout_ms = 120000\nidle_timeout_ms = 120000",
        sources: String::new(),
    });
    // What the first connections bring with them is no cost of one.
    drop(open(&bed, 64));
    bed.until("their end", |bed| bed.open_connections() < 8);
    let before = bed.resident_kib();
    let held = open(&bed, count);
    bed.until("all of them", |bed| bed.open_connections() >= held.len() as u64);
    let each = bed.resident_kib().saturating_sub(before) * 1_024 / held.len() as u64;
    eprintln!("{} idle connections of {each} bytes each", held.len());
    assert!(each <= CONNECTION_BYTES_MAX, "{each} bytes a connection");
    assert_eq!(bed.ended("made_room"), 0);
    bed.expect("/webhooks/nobody", "404", "not_found", (held.len() / 2 + 32) as u64);
    drop(held);
    bed.until("their end", |bed| bed.open_connections() < 8);
    bed.finish();
}

fn closed_where_there_is_none(count: usize) {
    // The usual bound: 4,096 connections.
    let mut bed = Bed::start();
    let held = open(&bed, count);
    bed.expect("/webhooks/nobody", "404", "not_found", (held.len() / 2) as u64);
    let over = (held.len() as u64).saturating_sub(4_096);
    bed.until("room", |bed| bed.ended("made_room") + bed.ended("slow_head") >= over);
    assert!(bed.ended("made_room") > 0);
    bed.finish();
}
