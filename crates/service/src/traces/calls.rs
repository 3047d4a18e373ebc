//! Calls that are made for many records at once: a call belongs to the trace of each.

use super::{Carried, Kind, Span, TraceContext, TraceState, Traces};
use std::{collections::HashMap, hash::Hash};

/// Links of one span; more are counted.
const LINKS_MAX: usize = 64;

/// Which traces the calls of a stage belong to: told for each batch, asked for each call. `K` names what a call is for.
#[derive(Debug)]
pub struct Calls<K> {
    traces: Traces,
    /// Stands in the spans' ids, so that two stages that do the same work make two spans.
    stage: String,
    /// The stage's spans of the open batch, by what they are about.
    of_batch: HashMap<K, Carried>,
    /// Those that the next call is for.
    next: Vec<Carried>,
    n_calls: u64,
}

/// A call that is being made.
#[derive(Debug)]
pub struct OpenCall {
    span: Span,
    state: Option<TraceState>,
    traces: Traces,
}

impl<K: Eq + Hash> Calls<K> {
    /// Of a stage that has made none.
    pub fn new(traces: Traces, stage: &str) -> Self {
        Self { traces, stage: stage.to_owned(), of_batch: HashMap::new(), next: Vec::new(), n_calls: 0 }
    }

    /// Whether anything is to be told.
    pub fn is_on(&self) -> bool {
        self.traces.is_on()
    }

    /// A batch is worked on: what came with its records, where they were read, and what they are about.
    pub fn batch(&mut self, records: impl IntoIterator<Item = (K, Carried, u32, u64)>) {
        self.of_batch.clear();
        self.next.clear();
        if self.traces.is_on() {
            let own = |(key, Carried { context, state }, partition, number): (K, Carried, u32, u64)| {
                (key, Carried { context: context.of_stage(&self.stage, partition, number), state })
            };
            self.of_batch = records.into_iter().filter(|(_, parent, ..)| parent.context.is_sampled).map(own).collect();
        }
    }

    /// What the calls that follow are for.
    pub fn next_for<'a>(&mut self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        self.next.clear();
        if !self.of_batch.is_empty() {
            self.next.extend(keys.into_iter().filter_map(|key| self.of_batch.get(key).cloned()));
        }
    }

    /// A call begins; `None` where no trace holds it. It lies in the trace of the first record and is linked with those of
    /// the others, both ways. A call made again is another call: the moment is part of its id.
    pub fn begin(&mut self, name: &str) -> Option<OpenCall> {
        let (Carried { context: parent, state }, others) = self.next.split_first()?;
        let now = self.traces.now_micros();
        self.n_calls += 1;
        let context = parent.child(&[
            &parent.span_bytes(),
            self.stage.as_bytes(),
            b"call",
            &now.to_be_bytes(),
            &self.n_calls.to_be_bytes(),
        ]);
        let mut span = Span::new(context, Some(parent.span), Kind::Client, name.to_owned(), (now, now));
        span.links = others.iter().take(LINKS_MAX).map(|other| other.context).collect();
        span.links_left_out = others.len() - span.links.len();
        for other in others {
            self.traces.link(other.context.span, context);
        }
        Some(OpenCall { span, state: state.clone(), traces: self.traces.clone() })
    }
}

impl OpenCall {
    /// Its place, for who is called.
    pub const fn context(&self) -> TraceContext {
        self.span.context
    }

    /// What others say of its trace, for who is called.
    pub const fn state(&self) -> Option<&TraceState> {
        self.state.as_ref()
    }

    /// The span, to note something.
    pub const fn span(&mut self) -> &mut Span {
        &mut self.span
    }

    /// The call is over; `error` is a tag that says why it failed.
    pub fn end(mut self, error: Option<String>) {
        self.span.time.1 = self.traces.now_micros();
        self.span.error = error;
        self.traces.record(self.span);
    }
}
