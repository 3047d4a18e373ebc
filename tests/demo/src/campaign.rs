//! The next campaign: a file of recipients, filtered by `quell filter`, and what of it would have bounced.

use crate::{
    child::Quell,
    story::{CATEGORY, Story},
};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// What came of it, all of it read from the files.
#[derive(Debug)]
pub(crate) struct Filtered {
    /// Recipients in the campaign's file.
    pub(crate) total: usize,
    /// Of them, those whose failure was reported.
    pub(crate) reported: usize,
    /// Recipients in the part that may be sent.
    pub(crate) sendable: usize,
    /// Of them, those whose address is dead all the same.
    pub(crate) still_dead: usize,
    /// Of them, those whose failure was reported: must be none.
    pub(crate) slipped: usize,
    /// Recipients in the part that is held back.
    pub(crate) held_back: usize,
    /// Of them, those whose address works: must be none.
    pub(crate) held_back_wrongly: usize,
    /// How many were held back by the command's own summary.
    pub(crate) summary_suppressed: u64,
    /// What the command took, its start included.
    pub(crate) took: Duration,
}

/// The part of the command's JSON that is looked at.
#[derive(Debug, Deserialize)]
struct Summary {
    suppressed: u64,
}

/// Writes the campaign, filters it, and reads both parts.
pub(crate) async fn filter(story: &Story, quell: &Quell, lookup: &str) -> anyhow::Result<Filtered> {
    let [all, sendable, held_back] =
        ["campaign.csv", "sendable.csv", "held-back.csv"].map(|name| quell.folder().join(name));
    write(&story.campaign, &all)?;
    let mut command = quell.command();
    command.arg("filter").args([&all, &sendable]).arg("--suppressed").arg(&held_back);
    command.args(["--class", "marketing", "--category", CATEGORY]);
    command.args(["--api", &format!("http://{lookup}"), "--output", "json"]).stdin(Stdio::null());
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("cannot run quell filter")?;
    let took = begun.elapsed();
    if !output.status.success() {
        bail!("quell filter failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let summary: Summary =
        serde_json::from_slice(&output.stdout).context("the summary of quell filter is not the documented JSON")?;
    let failing: BTreeSet<String> = story.people.iter().map(|person| person.address.clone()).collect();
    let (all, sendable, held_back) = (read(&all)?, read(&sendable)?, read(&held_back)?);
    let reported = |rows: &[String]| rows.iter().filter(|address| failing.contains(*address)).count();
    Ok(Filtered {
        total: all.len(),
        reported: reported(&all),
        sendable: sendable.len(),
        still_dead: sendable.iter().filter(|address| story.is_unknown_dead(address)).count(),
        slipped: reported(&sendable),
        held_back: held_back.len(),
        held_back_wrongly: held_back.len() - reported(&held_back),
        summary_suppressed: summary.suppressed,
        took,
    })
}

fn write(campaign: &[String], file: &Path) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_path(file)?;
    writer.write_record(["customer", "email", "greeting"])?;
    for (index, address) in campaign.iter().enumerate() {
        writer.write_record([&index.to_string(), address, "Hello, you"])?;
    }
    Ok(writer.flush()?)
}

/// The addresses of a file, in lower case.
fn read(file: &Path) -> anyhow::Result<Vec<String>> {
    let mut reader = csv::Reader::from_path(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let column = reader.headers()?.iter().position(|name| name == "email");
    let column = column.with_context(|| format!("{} has no column email", file.display()))?;
    let rows = reader.records().map(|row| Ok(row?.get(column).unwrap_or_default().to_lowercase()));
    rows.collect()
}
