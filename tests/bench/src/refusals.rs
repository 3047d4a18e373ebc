//! What a refusal costs beside a good webhook: the same body with a forged signature, and a path that nobody configured. The
//! forged one is well formed, so that nothing short of the whole signature tells it.

use crate::{
    Options,
    gateway::{Target, one},
    requests::{Form, GENERIC_1, GENERIC_100, Keys},
    say,
    stats::{floor, median, round},
};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::sync::Arc;

const CONNECTIONS: usize = 64;
const TARGETS: [Target; 2] = [Target::GatewayOnly, Target::QuellUp];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Good,
    Forged,
    UnknownPath,
}

const SENT: [Sent; 3] = [Sent::Good, Sent::Forged, Sent::UnknownPath];

impl Sent {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Forged => "forged_signature",
            Self::UnknownPath => "unknown_path",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::Good => 202,
            Self::Forged => 401,
            Self::UnknownPath => 404,
        }
    }

    /// A good request, made what this is. Its length stays the same.
    fn of(self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (after, replaced): (&[u8], fn(u8) -> u8) = match self {
            Self::Good => return Ok(request.to_vec()),
            Self::Forged => (b"webhook-signature: v1,", |byte| if byte == b'A' { b'B' } else { b'A' }),
            Self::UnknownPath => (b"POST /webhooks/email/", |_| b'x'),
        };
        let at = request.windows(after.len()).position(|window| window == after).context("a request of ours")?;
        let mut request = request.to_vec();
        for byte in request.iter_mut().skip(at + after.len()).take(4) {
            *byte = replaced(*byte);
        }
        Ok(request)
    }
}

/// CPU of each answer, by what was sent.
pub(crate) fn measure(options: &Options, keys: &Keys) -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
    let (mut cases, mut floors) = (Vec::new(), Vec::new());
    for form in [GENERIC_1, GENERIC_100] {
        let good = keys.requests(form)?;
        for target in TARGETS {
            let costs = costs(options, keys, form, target, &good)?;
            let [of_good, refused @ ..] = costs;
            for (sent, cost) in SENT.iter().skip(1).zip(refused) {
                let what = format!("{}, {}: CPU of {} to good", form.name, target.name(), sent.name());
                floors.push(floor(&what, cost / of_good, 1.0, false));
            }
            let by_name = |values: Vec<f64>| -> serde_json::Map<_, _> {
                SENT.iter().zip(values).map(|(sent, value)| (sent.name().to_owned(), json!(round(value)))).collect()
            };
            cases.push(json!({
                "form": form.name,
                "target": target.name(),
                "connections": CONNECTIONS,
                "median_cpu_us_per_answer": by_name(costs.to_vec()),
                "to_good": by_name(costs.iter().map(|cost| cost / of_good).collect()),
            }));
        }
    }
    Ok((cases, floors))
}

/// The medians, in the order of [`SENT`]; all are measured in turns.
fn costs(
    options: &Options,
    keys: &Keys,
    form: Form,
    target: Target,
    good: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<[f64; 3]> {
    say(&format!("  refusals of {} by {}", form.name, target.name()));
    let mut runs: [Vec<f64>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for (sent, runs) in SENT.into_iter().zip(&mut runs) {
            let requests = match sent {
                Sent::Good => good.clone(),
                other => Arc::new(good.iter().map(|request| other.of(request)).collect::<anyhow::Result<Vec<_>>>()?),
            };
            let outcome = one(options, keys, target, CONNECTIONS, &requests)?.outcome;
            let answers = outcome.statuses.get(&sent.status()).copied().unwrap_or_default();
            let all: u64 = outcome.statuses.values().sum();
            anyhow::ensure!(answers > 0 && answers == all, "{} was answered {:?}", sent.name(), outcome.statuses);
            let micros = outcome.server_cpu * 1e6 / answers as f64;
            say(&format!("    {}: {micros:.1} us", sent.name()));
            runs.push(micros);
        }
    }
    Ok(runs.map(median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use providers::{Request, Source, SourceSpec};

    #[test]
    fn what_is_forged_is_well_formed_and_wrong() {
        let keys = Keys::new().unwrap();
        let good = keys.request(GENERIC_1, 7).unwrap();
        let verdict = |request: &[u8]| {
            let text = std::str::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let mut lines = head.lines();
            let line = lines.next().unwrap().to_owned();
            let headers = lines.map(|line| line.split_once(": ").unwrap());
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let provider = providers::by_name("generic").unwrap();
            let (secrets, name) = (vec![crate::requests::GENERIC_SECRET.to_owned()], "default".to_owned());
            let spec = SourceSpec { secrets, ..SourceSpec::default() };
            let source = Source { provider: "generic", name, tenant: domain::Tenant::default(), spec };
            let request = Request { method: "POST", url: "/", headers: &headers, body: body.as_bytes() };
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let now = Timestamp::from_seconds(i64::try_from(now).unwrap()).unwrap();
            let proof = provider.authenticate(&request, &source, now);
            (line, proof.ok, proof.reason)
        };
        let (path, ok, _) = verdict(&good);
        assert!(ok && path.contains("/webhooks/email/events"));
        let forged = Sent::Forged.of(&good).unwrap();
        let (_, ok, reason) = verdict(&forged);
        assert_eq!((ok, reason, forged.len()), (false, "wrong_signature", good.len()));
        let (path, ..) = verdict(&Sent::UnknownPath.of(&good).unwrap());
        assert!(path.contains("/webhooks/email/xxxxts"), "{path}");
    }
}
