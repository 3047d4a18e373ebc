//! What normalizer and suppressor count. Labels come from closed sets: kinds, reasons, providers, tenants, mailboxes.

use super::{
    GuardCounts,
    in_force::{InForceGauge, Move, Series, recipient_hash},
    labels::{ProviderNames, Tags, Tenants, outer_kinds},
    mailboxes::Mailboxes,
};
use crate::process::Process;
use domain::{Change, Kind, Reason};
use prometheus::{HistogramVec, IntCounterVec};
use service::{
    Clock,
    telemetry::{DELAY_SECONDS, Metrics, TelemetryError, WORK_SECONDS},
};
use std::sync::{Arc, Mutex, PoisonError};
use suppressor::stage::{Counted, DeltaCount, is_inner};

/// Later than so long after its own time, an event is late.
const LATE_MS: i64 = 3_600_000;
/// So many reasons of dead letters have labels. Parsers have some dozens.
const DEAD_REASONS_MAX: usize = 200;
/// The sorts of scopes.
const SCOPES: [&str; 5] = ["all", "non_critical", "marketing", "category", "sender"];

/// Figures of both stages.
#[derive(Debug)]
pub(crate) struct StageMetrics {
    normalizer: NormalizerCounts,
    suppressor: SuppressorCounts,
    guard: Arc<GuardCounts>,
}

impl StageMetrics {
    /// Registers them. What can be named beforehand begins at 0: a rate knows the first event only by what was before.
    pub(crate) fn new(process: &Process) -> Result<Self, TelemetryError> {
        let stages = Self {
            normalizer: NormalizerCounts::new(&process.metrics)?,
            suppressor: SuppressorCounts::new(process)?,
            guard: Arc::new(GuardCounts::new(&process.metrics)?),
        };
        stages.suppressor.begin(process);
        Ok(stages)
    }

    pub(crate) fn guard(&self) -> &Arc<GuardCounts> {
        &self.guard
    }

    pub(crate) fn in_force(&self) -> &InForceGauge {
        &self.suppressor.in_force
    }
}

#[derive(Debug)]
struct NormalizerCounts {
    events: IntCounterVec,
    ignored: IntCounterVec,
    dead: IntCounterVec,
    dead_reasons: Tags,
    delay: HistogramVec,
}

impl NormalizerCounts {
    fn new(metrics: &Metrics) -> Result<Self, TelemetryError> {
        Ok(Self {
            events: metrics.counters(
                "quell_normalizer_events_total",
                "Canonical events emitted.",
                &["provider", "kind"],
            )?,
            ignored: metrics.counters(
                "quell_normalizer_ignored_total",
                "Elements of webhooks that concern nobody, by reason.",
                &["provider", "reason"],
            )?,
            dead: metrics.counters(
                "quell_normalizer_dead_letters_total",
                "Elements of webhooks, or whole ones, that went to dead-letter, by reason.",
                &["provider", "reason"],
            )?,
            dead_reasons: Tags::new(DEAD_REASONS_MAX),
            delay: metrics.histograms(
                "quell_normalizer_event_delay_seconds",
                "Time from an event, as its provider tells it, to the receipt of its webhook.",
                DELAY_SECONDS,
                &["provider"],
            )?,
        })
    }
}

impl normalizer::NormalizerMetrics for StageMetrics {
    fn event(&self, provider: &'static str, kind: Kind, delay_ms: i64) {
        self.normalizer.events.with_label_values(&[provider, kind.as_str()]).inc();
        self.normalizer.delay.with_label_values(&[provider]).observe(seconds(delay_ms));
    }

    fn ignored(&self, provider: &'static str, reason: &'static str) {
        self.normalizer.ignored.with_label_values(&[provider, reason]).inc();
    }

    fn dead(&self, provider: &'static str, reason: &str) {
        let reason = self.normalizer.dead_reasons.label(reason);
        self.normalizer.dead.with_label_values(&[provider, reason]).inc();
    }
}

#[derive(Debug)]
struct SuppressorCounts {
    clock: Arc<dyn Clock>,
    providers: ProviderNames,
    tenants: Arc<Tenants>,
    mailboxes: Mutex<Mailboxes>,
    events: IntCounterVec,
    mailbox_events: IntCounterVec,
    duplicates: IntCounterVec,
    clamped: IntCounterVec,
    late: IntCounterVec,
    out_of_order: IntCounterVec,
    deltas: IntCounterVec,
    delay: HistogramVec,
    in_force: InForceGauge,
}

impl SuppressorCounts {
    fn new(process: &Process) -> Result<Self, TelemetryError> {
        let (metrics, config) = (&process.metrics, &process.config);
        let tenants = Arc::new(Tenants::of(config));
        let by_provider = |name, help| metrics.counters(name, help, &["provider"]);
        Ok(Self {
            clock: process.clock.clone(),
            providers: ProviderNames::of(config.adapters.providers),
            mailboxes: Mutex::new(config.metrics.groups()),
            events: metrics.counters(
                "quell_suppressor_events_total",
                "Canonical events, each once, by tenant: configured ones, or other.",
                &["tenant", "provider", "kind"],
            )?,
            mailbox_events: metrics.counters(
                "quell_suppressor_mailbox_events_total",
                "The same of email by the recipient's registrable domain: configured ones, heavy ones, or other.",
                &["mailbox", "provider", "kind"],
            )?,
            duplicates: by_provider(
                "quell_suppressor_duplicates_total",
                "Events that were known already and dropped.",
            )?,
            clamped: by_provider("quell_suppressor_clamped_total", "Events whose time was later than their receipt.")?,
            late: by_provider(
                "quell_suppressor_late_total",
                "Events whose webhook came more than an hour after their own time.",
            )?,
            out_of_order: by_provider(
                "quell_suppressor_out_of_order_total",
                "Events older than the newest evidence known of their recipient.",
            )?,
            deltas: metrics.counters(
                "quell_suppressor_deltas_total",
                "Deltas emitted, by change, reason and scope.",
                &["change", "reason", "scope"],
            )?,
            delay: metrics.histograms(
                "quell_suppressor_delta_delay_seconds",
                "Time from the receipt of a webhook to the commit of the delta it brought.",
                WORK_SECONDS,
                &["provider"],
            )?,
            in_force: InForceGauge::register(metrics, Arc::clone(&tenants))?,
            tenants,
        })
    }

    /// Series that can be named beforehand.
    fn begin(&self, process: &Process) {
        for source in &process.config.sources {
            let provider = self.providers.known(&source.provider);
            for kind in outer_kinds() {
                self.events.with_label_values(&[source.tenant.as_str(), provider, kind.as_str()]);
            }
            for counters in [&self.duplicates, &self.clamped, &self.late, &self.out_of_order] {
                counters.with_label_values(&[provider]);
            }
        }
        for (change, reason) in
            Change::ALL.iter().flat_map(|change| Reason::ALL.iter().map(move |reason| (change, reason)))
        {
            for scope in SCOPES {
                self.deltas.with_label_values(&[change.as_str(), reason.as_str(), scope]);
            }
        }
    }

    fn event(&self, counted: &Counted, mailboxes: &mut Mailboxes, guard: &GuardCounts) {
        let (event, found) = (&counted.event, &counted.found);
        let provider = self.providers.known(&event.provider);
        if found.is_duplicate {
            self.duplicates.with_label_values(&[provider]).inc();
            return;
        }
        let tenant = self.tenants.name(self.tenants.number(event.tenant.as_str()));
        let kind = event.kind.as_str();
        self.events.with_label_values(&[tenant, provider, kind]).inc();
        if is_inner(event.kind) {
            return;
        }
        if let Some(domain) = event.recipient.domain() {
            let mailbox = mailboxes.group(domain);
            self.mailbox_events.with_label_values(&[mailbox, provider, kind]).inc();
            if found.is_held {
                guard.held.with_label_values(&[mailbox]).inc();
            }
        }
        if event.received_at.as_millis().saturating_sub(event.occurred_at.as_millis()) > LATE_MS {
            self.late.with_label_values(&[provider]).inc();
        }
        if found.is_clamped {
            self.clamped.with_label_values(&[provider]).inc();
        }
        if found.is_out_of_order {
            self.out_of_order.with_label_values(&[provider]).inc();
        }
    }

    fn deltas(&self, counted: &Counted, now_ms: i64, moves: &mut Vec<Move>) {
        let event = &counted.event;
        let tenant = self.tenants.number(event.tenant.as_str());
        let recipient = recipient_hash((event.tenant.as_str(), event.recipient.as_str()));
        let delay = self.delay.with_label_values(&[self.providers.known(&event.provider)]);
        for DeltaCount { change, before, now, scope } in &counted.found.deltas {
            let reason = now.or(*before).map_or("none", Reason::as_str);
            self.deltas.with_label_values(&[change.as_str(), reason, scope]).inc();
            delay.observe(seconds(now_ms.saturating_sub(event.received_at.as_millis())));
            let series = |reason: Option<Reason>| -> Option<Series> { reason.map(|reason| (tenant, reason, *scope)) };
            moves.push(Move {
                partition: counted.partition,
                recipient,
                position: counted.position,
                before: series(*before),
                now: series(*now),
            });
        }
    }
}

impl suppressor::SuppressorMetrics for StageMetrics {
    fn committed(&self, events: &[Counted]) {
        let counts = &self.suppressor;
        let (now_ms, mut moves) = (counts.clock.now_millis(), Vec::new());
        {
            // Once a batch; the workers of a process share the groups.
            let mut mailboxes = counts.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
            events.iter().for_each(|counted| counts.event(counted, &mut mailboxes, &self.guard));
        }
        for counted in events.iter().filter(|counted| !counted.found.deltas.is_empty()) {
            counts.deltas(counted, now_ms, &mut moves);
        }
        if !moves.is_empty() {
            counts.in_force.moved(&moves);
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}
