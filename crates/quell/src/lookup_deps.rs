//! What the lookup API is given in this process.

use crate::config::{Config, Role};
use domain::{Tenant, Timestamp};
use event_log::embedded::EmbeddedLog;
use providers::{Fate, Request, Source, SourceSpec, webhook::Context};
use schemas::wire::RawWebhook;
use serde_json::{Value, json};
use service::Clock;
use std::sync::Arc;
use suppressor::{
    lookup::{self, ApiToken, CurrentPolicy, LookupDeps, LookupLimits},
    store::embedded::EmbeddedStore,
};

/// The parts it rests on.
pub(crate) struct Parts {
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Arc<CurrentPolicy>,
}

pub(crate) fn make(config: &Config, parts: Parts) -> anyhow::Result<LookupDeps> {
    let clock = parts.clock;
    let tokens = config.lookup.tokens.iter().map(|token| ApiToken {
        name: token.name.clone(),
        secret: token.secret.expose().to_owned(),
        role: match token.role {
            Role::Read => lookup::Role::Read,
            Role::Write => lookup::Role::Write,
        },
        tenant: token.tenant.clone(),
    });
    Ok(LookupDeps {
        store: parts.store,
        append: parts.log.clone(),
        browse: parts.log,
        clock: Arc::new(move || Timestamp::from_micros(clock.now_micros()).unwrap_or(Timestamp::EPOCH)),
        policy: parts.policy,
        tokens: tokens.collect(),
        open: config.lookup.open,
        reparse: Some(Arc::new(Reparse)),
        limits: LookupLimits::default(),
    })
}

/// Reads a raw webhook again, as the normalizer did.
#[derive(Debug)]
struct Reparse;

impl lookup::Reparse for Reparse {
    fn events(&self, raw: &RawWebhook, receipt_id: &str) -> Value {
        let (Some(provider), Ok(tenant), Ok(received_at)) =
            (providers::by_name(&raw.provider), Tenant::new(&raw.tenant), Timestamp::from_micros(raw.received_at))
        else {
            return json!({"error": "cannot be read by this build"});
        };
        let mut headers = http::HeaderMap::new();
        for (name, value) in &raw.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        let request = Request { method: &raw.method, url: &raw.url, headers: &headers, body: &raw.body };
        let source =
            Source { provider: provider.name(), name: raw.source.clone(), tenant, spec: SourceSpec::default() };
        let context = Context { source: &source, received_at, receipt_id };
        let elements = match provider.elements(&request) {
            Ok(elements) => elements,
            Err(malformed) => return json!({"dead": [{"index": 0, "reason": malformed.reason}]}),
        };
        let (mut events, mut ignored, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for element in &elements {
            for fate in provider.parse(&request, element, &context) {
                match fate {
                    Fate::Event(event) => events.push(json!(event)),
                    Fate::Ignored(reason) => ignored.push(json!({"index": element.index, "reason": reason})),
                    Fate::Dead(reason) => dead.push(json!({"index": element.index, "reason": reason})),
                }
            }
        }
        json!({"events": events, "ignored": ignored, "dead": dead})
    }
}
