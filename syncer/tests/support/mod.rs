//! What the tests of lanes share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use domain::Delta;
use event_log::{Batch, Consumed, Fate, Outputs, Position, Record, TopicSpec, memory::MemoryLog};
use providers::suppression_api::{ApiAnswer, ApiRequest};
use schemas::{
    decode, encode, topics,
    wire::{DeltaRecord, OutcomeRecord},
};
use service::Clock;
use std::sync::Arc;
use syncer::{Account, AccountConfig, ApiError, Lane, Metrics, ProviderApi};
use testkit::fake::{Call, FakeApi, FakeProvider};
use tokio::time::Instant;

/// The fake provider without a socket, so that a test can pause time.
#[derive(Debug)]
pub(crate) struct Direct(pub(crate) FakeApi);

#[async_trait]
impl ProviderApi for Direct {
    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, ApiError> {
        let (_, rest) = request.url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = http::HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        for (name, value) in &request.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        let call = Call {
            method: request.method.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: request.body.clone().unwrap_or_default(),
        };
        let answer = self.0.answer(&call).await;
        Ok(ApiAnswer { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// Tokio's clock, also where it is paused.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant, i64);

impl Default for TokioClock {
    fn default() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(Instant::now(), i64::try_from(since.as_micros()).unwrap())
    }
}

impl Clock for TokioClock {
    fn now_micros(&self) -> i64 {
        self.1 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

pub(crate) const PROVIDERS: [&str; 3] = ["sendgrid", "mailgun", "postmark"];
pub(crate) const DOMAIN: &str = "mg.example.com";
pub(crate) const STREAM: &str = "broadcast";
const KEY_ID: &str = "id-1";
const REGION: &str = "eu-west-1";
const DOMAIN_ID: &str = "12345";
pub(crate) const OTHER_DOMAIN: &str = "other.example.com";
/// Twilio's senders.
pub(crate) const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
pub(crate) const NUMBER: &str = "+15550001111";

pub(crate) fn fake_of(provider: &str) -> FakeProvider {
    match provider {
        "sendgrid" => FakeProvider::SendGrid { api_key: "key-1".to_owned(), groups: vec![7] },
        "mailgun" => FakeProvider::Mailgun { api_key: "key-1".to_owned(), domains: vec![DOMAIN.to_owned()] },
        "resend" => FakeProvider::Resend { api_key: "key-1".to_owned() },
        "sparkpost" => FakeProvider::SparkPost { api_key: "key-1".to_owned() },
        "mandrill" => FakeProvider::Mandrill { api_key: "key-1".to_owned() },
        "ses" => FakeProvider::Ses { key_id: KEY_ID.to_owned(), secret: "key-1".to_owned(), region: REGION.to_owned() },
        "brevo" => FakeProvider::Brevo { api_key: "key-1".to_owned() },
        "mailjet" => FakeProvider::Mailjet { key_id: KEY_ID.to_owned(), secret: "key-1".to_owned() },
        "mailersend" => FakeProvider::MailerSend { token: "key-1".to_owned(), domain_id: DOMAIN_ID.to_owned() },
        "mailtrap" => {
            let domains = vec![(DOMAIN.to_owned(), 12_345), (OTHER_DOMAIN.to_owned(), 54_321)];
            FakeProvider::Mailtrap { token: "key-1".to_owned(), domains }
        }
        "unisender-go" => FakeProvider::UnisenderGo { api_key: "key-1".to_owned() },
        "drip" => FakeProvider::Drip { token: "key-1".to_owned(), account: "9999".to_owned() },
        "scaleway" => FakeProvider::Scaleway {
            secret: "key-1".to_owned(),
            region: REGION.to_owned(),
            domain_id: DOMAIN_ID.to_owned(),
        },
        "twilio" => FakeProvider::Twilio {
            key_id: KEY_ID.to_owned(),
            secret: "key-1".to_owned(),
            senders: [SERVICE, NUMBER, "+15550007777"].map(str::to_owned).into(),
        },
        _ => FakeProvider::Postmark { token: "key-1".to_owned(), streams: vec![STREAM.to_owned()] },
    }
}

/// The fake's name for the list on which a dead address is written.
pub(crate) fn dead_list(provider: &str) -> String {
    match provider {
        "sendgrid" => "global".to_owned(),
        "mailgun" => format!("{DOMAIN}/bounces"),
        _ => STREAM.to_owned(),
    }
}

pub(crate) fn config(provider: &str) -> AccountConfig {
    let text = |providers: &[&str], value: &str| providers.contains(&provider).then(|| value.to_owned());
    AccountConfig {
        name: format!("{provider}-main"),
        provider: provider.to_owned(),
        tenant: domain::Tenant::default(),
        base_url: None,
        credential: "key-1".to_owned(),
        key_id: text(&["ses", "mailjet", "twilio"], KEY_ID),
        session_token: None,
        region: text(&["ses", "scaleway"], REGION),
        account: text(&["drip"], "9999"),
        domain: text(&["mailgun", "mailtrap"], DOMAIN),
        domain_id: text(&["mailersend", "mailtrap", "scaleway"], DOMAIN_ID),
        stream: text(&["postmark"], STREAM).or(text(&["mailtrap"], "bulk")),
        senders: if provider == "twilio" { vec![SERVICE.to_owned(), NUMBER.to_owned()] } else { Vec::new() },
        groups: std::collections::BTreeMap::new(),
        sources: vec!["default".to_owned()],
        scopes: Vec::new(),
        spacing_ms: 200,
        rate_limit: None,
        batch_max: None,
        timeout_ms: 10_000,
        dry_run: false,
    }
}

/// An empty log that keeps deltas so long.
pub(crate) fn log_keeping(deltas_ms: u64) -> MemoryLog {
    let spec = |topic: topics::Topic| TopicSpec {
        name: Arc::from(topic.name),
        partitions: 2,
        retention_ms: if topic.name == topics::DELTAS { Some(deltas_ms) } else { topic.retention_ms },
    };
    MemoryLog::new(&topics::all().into_iter().map(spec).collect::<Vec<_>>())
}

/// A lane over an empty log, for those who hand it their batches themselves.
pub(crate) fn lane_with(config: AccountConfig, api: Arc<dyn ProviderApi>) -> Lane {
    lane_on(&log_keeping(1_000), config, api)
}

/// A lane over a log.
pub(crate) fn lane_on(log: &MemoryLog, config: AccountConfig, api: Arc<dyn ProviderApi>) -> Lane {
    let metrics = Metrics::new(&service::Metrics::new().unwrap()).unwrap();
    let browse = Arc::new(log.clone());
    Lane::new(Account::new(config).unwrap(), api, browse, Arc::new(TokioClock::default()), metrics)
}

/// A lane and its provider.
pub(crate) fn pair(provider: &str) -> (Lane, FakeApi) {
    let fake = FakeApi::new(fake_of(provider));
    (lane_with(config(provider), Arc::new(Direct(fake.clone()))), fake)
}

pub(crate) fn record(delta: &Delta) -> Record {
    Record {
        key: Some(delta.key.to_log_key().into_bytes().into()),
        value: Some(encode(&DeltaRecord::from(delta.clone())).unwrap()),
        headers: Vec::new(),
        timestamp_ms: delta.decided_at.as_millis(),
    }
}

/// A batch of one partition, at the deltas' own positions.
pub(crate) fn batch(deltas: &[Delta]) -> Batch {
    let consumed = |delta: &Delta| Consumed {
        topic: Arc::from(topics::DELTAS),
        position: Position::from_number(delta.position, 0),
        record: record(delta),
    };
    Batch { records: deltas.iter().map(consumed).collect(), generation: 1 }
}

/// The outcomes as `result detail list`, one a record; what has none is shown by its fate.
pub(crate) fn shown(outputs: &Outputs) -> Vec<String> {
    let one = |verdict: &event_log::Verdict| match (&verdict.fate, verdict.outputs.as_slice()) {
        (Fate::Emitted, [output]) => {
            let outcome: OutcomeRecord = decode(output.record.value.as_ref().unwrap()).unwrap();
            let parts = [Some(outcome.action), Some(outcome.result), outcome.list, outcome.detail];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
        (fate, outputs) => format!("{fate:?} {}", outputs.len()),
    };
    outputs.verdicts.iter().map(one).collect()
}
