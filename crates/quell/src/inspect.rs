//! `quell inspect`: recorded requests through the very code that gateway and normalizer run, without side effects.

use anyhow::Context as _;
use base64::Engine as _;
use domain::{
    CanonicalEvent, Tenant, Timestamp,
    classify::{UserRule, UserRules},
};
use providers::{Fate, Providers, Request, Source, SourceSpec, webhook::Context};
use serde::{Deserialize, Serialize};
use service::Clock as _;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    path::Path,
};

/// A line may hold a body of the gateway's largest size, base64-coded.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// One recorded request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recorded {
    pub(crate) provider: String,
    #[serde(default = "post")]
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
    pub(crate) body_base64: Option<String>,
    #[serde(default)]
    pub(crate) source: SourceSpec,
    /// Rules of classification, as `[[classify]]` in the configuration.
    #[serde(default)]
    pub(crate) classify: Vec<UserRule>,
    pub(crate) now: Option<Timestamp>,
}

fn post() -> String {
    "POST".to_owned()
}

/// What became of it.
#[derive(Serialize)]
pub(crate) struct Told {
    status: u16,
    authentication: Authentication,
    events: Vec<CanonicalEvent>,
    ignored: Vec<Left>,
    dead: Vec<Left>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Authentication {
    ok: bool,
    scheme: String,
    reason: String,
}

#[derive(Serialize)]
struct Left {
    index: usize,
    reason: String,
}

/// Reads requests, a JSON document a line, and writes a verdict a line. Returns how many were refused.
pub(crate) fn run(file: &Path, providers: Providers, out: &mut dyn Write) -> anyhow::Result<usize> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?)
    };
    let mut input = BufReader::new(input);
    let (mut number, mut refused) = (0_usize, 0);
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(refused);
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let recorded: Recorded = serde_json::from_slice(&line).with_context(|| format!("line {number}"))?;
        let told = inspect(recorded, providers).with_context(|| format!("line {number}"))?;
        refused += usize::from(told.status >= 400);
        serde_json::to_writer(&mut *out, &told)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
}

/// Runs one request.
pub(crate) fn inspect(recorded: Recorded, providers: Providers) -> anyhow::Result<Told> {
    let Some(provider) = providers.by_name(&recorded.provider) else {
        return Ok(refusal(404, "unknown_provider"));
    };
    let rules = UserRules::new(&recorded.classify)?;
    let body = match (recorded.body, recorded.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(coded)) => base64::engine::general_purpose::STANDARD.decode(coded).context("body_base64")?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => anyhow::bail!("give body or body_base64, not both"),
    };
    let mut headers = http::HeaderMap::new();
    for (name, value) in &recorded.headers {
        let name: http::HeaderName = name.parse().with_context(|| format!("header {name:?}"))?;
        let value = http::HeaderValue::from_bytes(value.as_bytes()).with_context(|| format!("header {name}"))?;
        headers.append(name, value);
    }
    let now = match recorded.now {
        Some(now) => now,
        None => Timestamp::from_micros(service::SystemClock.now_micros())?,
    };
    let source = Source {
        provider: provider.name(),
        name: "default".to_owned(),
        tenant: Tenant::default(),
        spec: recorded.source,
    };
    let request = Request { method: &recorded.method, url: &recorded.url, headers: &headers, body: &body };
    let context = Context { source: &source, received_at: now, receipt_id: Some("inspect") };
    let verdict = ingest_gateway::judge(provider, &request, &source, now);
    let mut told = Told {
        status: verdict.status.as_u16(),
        authentication: Authentication {
            ok: verdict.authentication.ok,
            scheme: verdict.authentication.scheme.to_owned(),
            reason: verdict.authentication.reason.to_owned(),
        },
        events: Vec::new(),
        ignored: Vec::new(),
        dead: Vec::new(),
        error: None,
    };
    let elements = match provider.elements(&request) {
        Ok(elements) => elements,
        Err(malformed) => {
            told.dead.push(Left { index: 0, reason: malformed.reason });
            return Ok(told);
        }
    };
    for element in &elements {
        for fate in provider.parse(&request, element, &context) {
            match fate {
                Fate::Event(mut event) => {
                    rules.apply(&mut event);
                    told.events.push(*event);
                }
                Fate::Found => told.dead.push(Left { index: element.index, reason: "no_receipt".to_owned() }),
                Fate::Ignored(reason) => told.ignored.push(Left { index: element.index, reason: reason.to_owned() }),
                Fate::Dead(reason) => told.dead.push(Left { index: element.index, reason }),
            }
        }
    }
    Ok(told)
}

fn refusal(status: u16, reason: &str) -> Told {
    Told {
        status,
        authentication: Authentication { ok: false, scheme: "none".to_owned(), reason: reason.to_owned() },
        events: Vec::new(),
        ignored: Vec::new(),
        dead: Vec::new(),
        error: Some(reason.to_owned()),
    }
}
