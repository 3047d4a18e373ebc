//! Runs recorded requests and signature vectors from a folder through `quell inspect` and compares its verdicts.
//!
//! The folder holds `signature_vectors.jsonl` (a signed request a line, with the right verdict) and `docs_cases.jsonl` (a
//! documented sample a line, with the events it stands for). Cases of providers that this build does not know are
//! counted apart, never as passed.

use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Compare `quell inspect` with recorded requests.
#[derive(Parser)]
struct Args {
    /// Folder with `signature_vectors.jsonl` and `docs_cases.jsonl`.
    dir: PathBuf,
    /// The binary to try.
    #[arg(long)]
    quell: PathBuf,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    advisory: usize,
    unknown: BTreeMap<String, usize>,
    failed: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let vectors = read(&args.dir.join("signature_vectors.jsonl"))?;
    let samples = read(&args.dir.join("docs_cases.jsonl"))?;
    let mut out = std::io::stdout().lock();
    let mut bad = false;
    let told = inspect(&args.quell, vectors.iter().map(vector_request))?;
    let mut tally = Tally::default();
    for (case, told) in vectors.iter().zip(&told) {
        judge_vector(case, told, &mut tally);
    }
    bad |= report(&mut out, "signature vectors", &tally)?;
    let told = inspect(&args.quell, samples.iter().map(sample_request))?;
    let mut tally = Tally::default();
    for (case, told) in samples.iter().zip(&told) {
        judge_sample(case, told, &mut tally);
    }
    bad |= report(&mut out, "documented samples", &tally)?;
    if bad {
        bail!("some cases disagree");
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().filter(|line| !line.is_empty()).map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Names that the vectors use for schemes rather than providers.
fn provider(case: &Value) -> String {
    match case["provider"].as_str().unwrap_or_default() {
        "sns" => "ses".to_owned(),
        "standard_webhooks" => "generic".to_owned(),
        "unisender_go" => "unisender-go".to_owned(),
        other => other.to_owned(),
    }
}

fn vector_request(case: &Value) -> Value {
    let mut source = serde_json::Map::new();
    let (mut secrets, mut certificates) = (Vec::new(), serde_json::Map::new());
    for (name, value) in case["key"].as_object().into_iter().flatten() {
        collect_keys(name, value, &mut secrets, &mut certificates);
    }
    source.insert("secrets".to_owned(), Value::Array(secrets));
    if !certificates.is_empty() {
        source.insert("certificates".to_owned(), Value::Object(certificates));
    }
    if let Some(tolerance) = case["tolerance_s"].as_u64() {
        source.insert("tolerance".to_owned(), json!(tolerance));
    }
    let mut request = json!({
        "provider": provider(case), "method": case["method"], "url": case["url"], "headers": case["headers"],
        "body": case["body"], "source": source,
    });
    if let Some(clock) = case["clock"].as_str() {
        request["now"] = json!(clock);
    }
    request
}

fn collect_keys(
    name: &str,
    value: &Value,
    secrets: &mut Vec<Value>,
    certificates: &mut serde_json::Map<String, Value>,
) {
    match value {
        Value::String(_) if name.starts_with("http") => {
            certificates.insert(name.to_owned(), value.clone());
        }
        Value::String(_) => secrets.push(value.clone()),
        Value::Array(list) => secrets.extend(list.iter().filter(|entry| entry.is_string()).cloned()),
        Value::Object(map) => map.iter().for_each(|(name, value)| collect_keys(name, value, secrets, certificates)),
        _ => {}
    }
}

fn sample_request(case: &Value) -> Value {
    let mut headers = case["headers"].clone();
    if let Some(kind) = case["content_type"].as_str() {
        headers["content-type"] = json!(kind);
    }
    json!({
        "provider": provider(case), "method": case["method"], "url": format!("/webhooks/{}", provider(case)),
        "headers": headers, "body": case["body"], "source": {"unauthenticated": true},
    })
}

/// One process for all: a request a line in, a verdict a line out.
fn inspect(quell: &Path, requests: impl Iterator<Item = Value>) -> anyhow::Result<Vec<Value>> {
    let mut child = Command::new(quell)
        .args(["inspect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", quell.display()))?;
    let lines: String = requests.map(|request| format!("{request}\n")).collect();
    let mut input = child.stdin.take().context("no standard input")?;
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn name(case: &Value) -> String {
    format!("{}: {}", provider(case), case["case"].as_str().unwrap_or_default())
}

/// Whether this build does not know the provider; such a case is neither passed nor failed.
fn unknown(case: &Value, told: &Value, tally: &mut Tally) -> bool {
    let unknown = told["status"] == 404;
    if unknown {
        *tally.unknown.entry(provider(case)).or_default() += 1;
    }
    unknown
}

fn judge_vector(case: &Value, told: &Value, tally: &mut Tally) {
    if unknown(case, told, tally) {
        return;
    }
    if told["authentication"]["ok"] == case["valid"] {
        tally.passed += 1;
    } else if case["advisory"] == true {
        tally.advisory += 1;
    } else {
        tally.failed.push(format!("{}: expected {}, got {}", name(case), case["valid"], told["authentication"]));
    }
}

fn kind_of(hint: &str) -> &str {
    match hint {
        "sent" => "accepted",
        "unsubscribe" => "unsubscribed",
        "resubscribe" => "resubscribed",
        "failed" => "rejected",
        other => other,
    }
}

fn judge_sample(case: &Value, told: &Value, tally: &mut Tally) {
    if unknown(case, told, tally) {
        return;
    }
    let mut found: BTreeSet<(String, String)> = BTreeSet::new();
    for event in told["events"].as_array().into_iter().flatten() {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_lowercase();
        found.insert((text("recipient"), text("kind")));
    }
    let mut wrong = Vec::new();
    for expected in case["expected"].as_array().into_iter().flatten() {
        let recipient = expected["recipient"].as_str().unwrap_or_default().to_lowercase();
        let hints: Vec<&str> = expected["canonical_hint"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(kind_of)
            .collect();
        let hit = found.iter().find(|(who, kind)| *who == recipient && hints.contains(&kind.as_str())).cloned();
        match hit {
            Some(_) => {}
            None if recipient.is_empty() || hints.contains(&"ignored") => {}
            None => wrong.push(format!("{recipient}: one of {hints:?}")),
        }
    }
    let status = told["status"].as_u64().unwrap_or_default();
    let wanted = case["expect_status"].as_u64().unwrap_or(200);
    if (200..300).contains(&wanted) != (200..300).contains(&status) {
        wrong.push(format!("status {status}, expected {wanted}"));
    }
    if wrong.is_empty() {
        tally.passed += 1;
    } else {
        tally.failed.push(format!("{}: {}; got {found:?} dead {}", name(case), wrong.join(", "), told["dead"]));
    }
}

fn report(out: &mut impl std::io::Write, what: &str, tally: &Tally) -> anyhow::Result<bool> {
    for failure in &tally.failed {
        writeln!(out, "  disagrees: {failure}")?;
    }
    let unknown: Vec<String> = tally.unknown.iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(
        out,
        "{what}: {} agree, {} disagree, {} advisory ones differ; providers unknown to this build: {}",
        tally.passed,
        tally.failed.len(),
        tally.advisory,
        if unknown.is_empty() { "none".to_owned() } else { unknown.join(", ") }
    )?;
    Ok(!tally.failed.is_empty())
}
