//! What the lookup API is given in this process.

use crate::{config::Role, engine::Engine, process::Process};
use domain::{Tenant, Timestamp};
use providers::{Fate, Providers, Request, Source, SourceSpec, webhook::Context};
use schemas::wire::RawWebhook;
use serde_json::{Value, json};
use std::sync::Arc;
use suppressor::lookup::{self, ApiToken, Keeping, LookupDeps, LookupLimits, SpooledReceipts};

pub(crate) fn make<E: Engine>(
    process: &Process,
    engine: &E,
    keeping: Arc<dyn Keeping>,
    spooled: Option<Arc<dyn SpooledReceipts>>,
) -> LookupDeps {
    let (config, clock, log) = (&process.config, process.clock.clone(), Arc::new(engine.log().clone()));
    let tokens = config.lookup.tokens.iter().map(|token| ApiToken {
        name: token.name.clone(),
        secret: token.secret.expose().to_owned(),
        role: match token.role {
            Role::Read => lookup::Role::Read,
            Role::Write => lookup::Role::Write,
        },
        tenant: token.tenant.clone(),
    });
    LookupDeps {
        store: Arc::new(process.store(engine.store().clone())),
        append: log.clone(),
        browse: log,
        clock: Arc::new(move || Timestamp::from_micros(clock.now_micros()).unwrap_or(Timestamp::EPOCH)),
        policy: process.policy.clone(),
        tokens: tokens.collect(),
        open: config.lookup.open,
        reparse: Some(Arc::new(Reparse(config.adapters.providers))),
        spooled,
        keeping,
        metrics: Some(process.lookup_calls.clone()),
        limits: LookupLimits::default(),
    }
}

/// Reads a raw webhook again, as the normalizer did.
#[derive(Debug)]
struct Reparse(Providers);

impl lookup::Reparse for Reparse {
    fn events(&self, raw: &RawWebhook, receipt_id: &str) -> Value {
        let (Some(provider), Ok(tenant), Ok(received_at)) =
            (self.0.by_name(&raw.provider), Tenant::new(&raw.tenant), Timestamp::from_micros(raw.received_at))
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
        let context = Context { source: &source, received_at, receipt_id: Some(receipt_id) };
        let elements = match provider.elements(&request) {
            Ok(elements) => elements,
            Err(malformed) => return json!({"dead": [{"index": 0, "reason": malformed.reason}]}),
        };
        let (mut events, mut ignored, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for element in &elements {
            for fate in provider.parse(&request, element, &context) {
                match fate {
                    Fate::Event(event) => events.push(json!(event)),
                    Fate::Found => dead.push(json!({"index": element.index, "reason": "no_receipt"})),
                    Fate::Ignored(reason) => ignored.push(json!({"index": element.index, "reason": reason})),
                    Fate::Dead(reason) => dead.push(json!({"index": element.index, "reason": reason})),
                }
            }
        }
        json!({"events": events, "ignored": ignored, "dead": dead})
    }
}
