//! Time to check 50,000 addresses, 6.5 % of them suppressed, in one request over HTTP.

use crate::{
    Options,
    child::{Process, argument},
    events,
    http::Connection,
    instance::Instance,
    requests::Keys,
    say,
    stats::{floor, median, round, spread},
    usage,
};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const ADDRESSES: u64 = 50_000;
/// 6.5 % of them.
const SUPPRESSED: u64 = 3_250;
const RUNS: u64 = 10;
const MS_MAX: f64 = 150.0;
const IDLE_MB_MAX: f64 = 300.0;
/// Raise it when what a store holds, or how, changes: kept stores are then made anew.
const LAYOUT: u32 = 2;

/// Every size of store.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Value> {
    let keys = Keys::new()?;
    let mut cases = Vec::new();
    let mut floors = Vec::new();
    for &suppressions in &options.suppressions {
        let directory = filled(&options.data, suppressions)?;
        read_through(&directory)?;
        say(&format!("  checking against {suppressions} suppressions"));
        let instance = Instance::start(&options.quell, &directory, &keys)?;
        let idle_mb = idle_mb(&instance)?;
        let json = form(&instance, suppressions, "application/json", json_body)?;
        let csv = form(&instance, suppressions, "text/csv", csv_body)?;
        floors.push(floor(&format!("JSON check against {suppressions}, ms, median"), json.1, MS_MAX, false));
        floors.push(floor(&format!("idle with {suppressions} suppressions, MB"), idle_mb, IDLE_MB_MAX, false));
        cases.push(json!({
            "suppressions": suppressions,
            "addresses": ADDRESSES,
            "page_cache": "read through before the start",
            "suppressed": SUPPRESSED,
            "started_in_ms": round(instance.started_in.as_secs_f64() * 1_000.0),
            "disk_mb": round(size(&directory)? as f64 / 1e6),
            "json_ms": json.0,
            "csv_ms": csv.0,
            "idle_mb": round(idle_mb),
            "after_checks_mb": round(usage::resident_mb(instance.pid())?),
            "peak_mb": round(usage::peak_mb(instance.pid())?),
        }));
    }
    Ok(json!({ "floors": floors, "cases": cases }))
}

/// A store of this size, made if it is not there from an earlier time.
pub(crate) fn filled(data: &Path, suppressions: u64) -> anyhow::Result<PathBuf> {
    let directory = data.join(format!("store-v{LAYOUT}-{suppressions}"));
    if !directory.exists() {
        say(&format!("  making a store of {suppressions} suppressions (kept for the next time)"));
        let unfinished = data.join(format!("store-v{LAYOUT}-{suppressions}.unfinished"));
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        Process::ours(&["fill-store", argument(&unfinished)?, &suppressions.to_string()], &[])?.document()?;
        std::fs::rename(&unfinished, &directory)?;
    }
    Ok(directory)
}

/// What an instance holds once it has come to rest.
pub(crate) fn idle_mb(instance: &Instance) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_secs(3));
    usage::resident_mb(instance.pid())
}

/// The addresses of one check: of known recipients one in so many, in a list of its own for every number.
fn addresses(list: u64, suppressions: u64) -> impl Iterator<Item = String> {
    (0..ADDRESSES).map(move |place| {
        let number = list * ADDRESSES + place;
        // Spread evenly: in every 200 addresses 13 are known.
        if place * SUPPRESSED / ADDRESSES != (place + 1) * SUPPRESSED / ADDRESSES {
            events::address(events::scatter(number) % suppressions)
        } else {
            format!("unknown.{:x}@mail{}.example.com", events::scatter(number), place % 5_000)
        }
    })
}

fn json_body(list: u64, suppressions: u64) -> Vec<u8> {
    let addresses: Vec<String> = addresses(list, suppressions).map(|address| format!("\"{address}\"")).collect();
    format!(r#"{{"class":"marketing","recipients":[{}]}}"#, addresses.join(",")).into_bytes()
}

fn csv_body(list: u64, suppressions: u64) -> Vec<u8> {
    let rows: Vec<String> = addresses(list, suppressions).map(|address| format!("{address},Jane")).collect();
    format!("email,name\n{}\n", rows.join("\n")).into_bytes()
}

/// The first run apart, then another list each time, then one list again and again; and the median of the middle ones.
fn form(
    instance: &Instance,
    suppressions: u64,
    content_type: &str,
    body: fn(u64, u64) -> Vec<u8>,
) -> anyhow::Result<(Value, f64)> {
    let mut connection = Connection::open(instance.lookup)?;
    let mut run = |list: u64| -> anyhow::Result<f64> {
        let body = body(list, suppressions);
        let began = Instant::now();
        let answer = connection.send("POST", "/v1/check", content_type, &body)?;
        let ms = began.elapsed().as_secs_f64() * 1_000.0;
        let text = String::from_utf8(answer.body).context("the answer is not text")?;
        anyhow::ensure!(answer.status == 200, "check answered {}: {:.200}", answer.status, text);
        let found = match content_type {
            "text/csv" => text.lines().filter(|line| line.contains(",hard_bounce,")).count(),
            _ => text.matches(r#""suppressed":true"#).count(),
        };
        anyhow::ensure!(found as u64 == SUPPRESSED, "{found} of {SUPPRESSED} were found suppressed");
        Ok(ms)
    };
    let first = run(0)?;
    let other = (1..=RUNS).map(&mut run).collect::<anyhow::Result<Vec<_>>>()?;
    let same = (0..RUNS).map(|_| run(1)).collect::<anyhow::Result<Vec<_>>>()?;
    let middle = median(other.clone());
    let figures = json!({ "first": round(first), "another_list_each": spread(other), "same_list": spread(same) });
    Ok((figures, middle))
}

/// Reads every file once, so that the system's page cache is as warm as it is on a machine that has been up for a while,
/// and no figure depends on how long ago the store was made. The process itself still starts with empty caches.
fn read_through(directory: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_through(&entry.path())?;
        } else {
            std::io::copy(&mut std::fs::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn size(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_known_as_promised() {
        let known = |list| addresses(list, 100_000).filter(|address| !address.starts_with("unknown.")).count();
        assert_eq!((known(0), known(7)), (3_250, 3_250));
        let body: serde_json::Value = serde_json::from_slice(&json_body(0, 100)).unwrap();
        assert_eq!(body["recipients"].as_array().map(Vec::len), Some(50_000));
    }
}
