//! A stage whose records are followed: a span for each that is traced, a log line for each that dies, and, where `debug` is
//! on, a line for every one, all with the ids by which a webhook is found again.
//!
//! It stands around every stage alike and changes one thing: what a traced record brings carries the stage's own span on.
//! Ids are derived from trace, stage and position, so a batch that is processed again brings the same bytes. Told is what
//! was committed; what is rewound was nothing.

mod ids;

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{Batch, Consumed, Fate, Header, Outputs, Stage, StageError, Verdict, session::Assigned};
use ids::Ids;
use schemas::{headers, topics};
use service::traces::{Kind, Span, TraceContext, Traces};

/// So many events of one webhook are named.
const EVENTS_MAX: usize = 16;

/// A stage, followed.
#[derive(Debug)]
pub(crate) struct Followed<T> {
    stage: T,
    /// Who it is in spans: its own name, or its consumer group where several stages of a name read the same records.
    name: String,
    traces: Traces,
    /// Of the batch that is open.
    steps: Vec<Step>,
}

/// What a record came to.
#[derive(Debug)]
struct Step {
    ids: Ids,
    fate: Fate,
    /// Why something of it lies in dead-letter: of the whole, or of an element.
    dead: Option<&'static str>,
    event_ids: Vec<String>,
    place: String,
    span: Option<Span>,
}

/// The context in a record's header, if it is traced.
fn traced(consumed: &Consumed) -> Option<TraceContext> {
    let header = consumed.record.headers.iter().find(|header| header.name == headers::TRACEPARENT)?;
    TraceContext::parse(std::str::from_utf8(&header.value).ok()?).filter(|context| context.is_sampled)
}

impl<T: Stage> Followed<T> {
    pub(crate) fn new(stage: T, name: &str, traces: Traces) -> Self {
        Self { stage, name: name.to_owned(), traces, steps: Vec::new() }
    }

    fn note(&mut self, batch: &Batch, began: i64, outputs: &mut Outputs) {
        let processed = self.traces.now_micros();
        let is_told = tracing::enabled!(tracing::Level::DEBUG);
        for (consumed, verdict) in batch.records.iter().zip(&mut outputs.verdicts) {
            let parent = if self.traces.is_on() { traced(consumed) } else { None };
            let dead = dead(verdict);
            if parent.is_none() && dead.is_none() && !is_told {
                continue;
            }
            let span = parent.map(|parent| {
                let at = consumed.position;
                let own = parent.of_stage(&self.name, at.partition, at.number());
                carry(verdict, own);
                let name = format!("process {}", consumed.topic);
                let mut span = Span::new(own, Some(parent.span), Kind::Consumer, name, (began, processed));
                span.events.push(("processed", processed));
                span
            });
            self.steps.push(Step {
                ids: Ids::of(consumed),
                fate: verdict.fate.clone(),
                dead,
                event_ids: events(consumed, verdict),
                place: format!("{}/{}/{}", consumed.topic, consumed.position.partition, consumed.position.offset),
                span: span.map(|span| self.described(span, consumed, batch.records.len())),
            });
        }
    }

    fn described(&self, mut span: Span, consumed: &Consumed, n_records: usize) -> Span {
        span.note("messaging.system", self.traces.system());
        span.note("messaging.operation.type", "process");
        span.note("messaging.operation.name", "process");
        span.note("messaging.destination.name", &*consumed.topic);
        span.note("messaging.destination.partition.id", consumed.position.partition.to_string());
        span.note("messaging.kafka.offset", consumed.position.offset);
        span.note("quell.stage", self.name.as_str());
        span.note("quell.batch.records", n_records);
        span
    }
}

impl Step {
    fn tell(self, stage: &str, traces: &Traces) {
        let Self { ids, fate, dead, event_ids, place, span } = self;
        let receipt_id = ids.receipt_id.as_deref();
        // What the record itself names, or else what it brought.
        let event_id = ids.event_id.as_deref();
        if let Some(reason) = dead {
            tracing::warn!(stage, receipt_id, event_id, place, reason, "what cannot be processed lies in dead-letter");
        }
        let (word, reason) = words(&fate);
        tracing::debug!(
            stage,
            receipt_id,
            event_id,
            delta_id = ids.delta_id,
            provider = ids.provider,
            source = ids.source,
            kind = ids.kind,
            brought = ?event_ids,
            place,
            fate = word,
            reason,
            "processed a record"
        );
        let Some(mut span) = span else { return };
        let known = [
            ("quell.receipt_id", ids.receipt_id),
            ("quell.event_id", ids.event_id),
            ("quell.delta_id", ids.delta_id),
            ("quell.tenant", ids.tenant),
            ("quell.provider", ids.provider),
            ("quell.source", ids.source),
            ("quell.kind", ids.kind),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                span.note(name, value);
            }
        }
        if !event_ids.is_empty() {
            span.note("quell.event_ids", event_ids);
        }
        span.note("quell.fate", word);
        if let Some(reason) = reason {
            span.note("quell.reason", reason);
        }
        span.error = dead.map(str::to_owned);
        span.links = traces.links(span.context.span);
        span.time.1 = traces.now_micros();
        traces.record(span);
    }
}

fn words(fate: &Fate) -> (&'static str, Option<&'static str>) {
    match fate {
        Fate::Emitted => ("emitted", None),
        Fate::Ignored(reason) => ("ignored", Some(*reason)),
        Fate::Dead(reason) => ("dead", Some(*reason)),
    }
}

/// Why something of the record lies in dead-letter.
fn dead(verdict: &Verdict) -> Option<&'static str> {
    match verdict.fate {
        Fate::Dead(reason) => Some(reason),
        _ => verdict.outputs.iter().any(|output| &*output.topic == topics::DEAD_LETTER).then_some("bad_element"),
    }
}

/// What was carried on so far is replaced by the stage's own span.
fn carry(verdict: &mut Verdict, own: TraceContext) {
    let value = Bytes::from(own.to_string());
    let headers = verdict.outputs.iter_mut().flat_map(|output| &mut output.record.headers);
    for Header { value: carried, .. } in headers.filter(|header| header.name == headers::TRACEPARENT) {
        *carried = value.clone();
    }
}

/// The events that a webhook became.
fn events(consumed: &Consumed, verdict: &Verdict) -> Vec<String> {
    if &*consumed.topic != topics::RAW {
        return Vec::new();
    }
    let values = verdict.outputs.iter().filter(|output| &*output.topic == topics::EVENTS);
    let values = values.filter_map(|output| output.record.value.as_deref());
    values.take(EVENTS_MAX).filter_map(|value| Ids::of_value(value).event_id).collect()
}

#[async_trait]
impl<T: Stage> Stage for Followed<T> {
    fn name(&self) -> &'static str {
        self.stage.name()
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        self.steps.clear();
        let began = self.traces.now_micros();
        let mut outputs = self.stage.process(batch).await?;
        self.note(batch, began, &mut outputs);
        Ok(outputs)
    }

    async fn committed(&mut self, batch: &Batch) -> Result<(), StageError> {
        for step in self.steps.drain(..) {
            step.tell(&self.name, &self.traces);
        }
        self.stage.committed(batch).await
    }

    async fn assigned(&mut self, assigned: &Assigned) -> Result<Option<u64>, StageError> {
        self.stage.assigned(assigned).await
    }

    async fn reapply(&mut self, records: &[Consumed]) -> Result<(), StageError> {
        self.stage.reapply(records).await
    }

    async fn prepare(&mut self, assigned: &Assigned) -> Result<bool, StageError> {
        self.stage.prepare(assigned).await
    }

    fn revoked(&mut self, partitions: &[u32]) {
        self.steps.clear();
        self.stage.revoked(partitions);
    }
}

#[cfg(test)]
mod tests;
