//! What was done, when, in which trace.

use super::context::{SpanId, TraceContext};

/// Which side of what a span is; numbered as in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server = 2,
    /// Makes one.
    Client = 3,
    /// Appends a record.
    Producer = 4,
    /// Works on a record.
    Consumer = 5,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// Several texts.
    Texts(Vec<String>),
}

/// A span that is over. Names, attributes and the error are ours and bounded; never an address, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its place.
    pub context: TraceContext,
    /// The span above it.
    pub parent: Option<SpanId>,
    /// Which side.
    pub kind: Kind,
    /// Low in cardinality.
    pub name: String,
    /// Begin and end, in microseconds since the epoch.
    pub time: (i64, i64),
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened in between, in microseconds since the epoch.
    pub events: Vec<(&'static str, i64)>,
    /// Spans of other traces that it belongs to as well.
    pub links: Vec<TraceContext>,
    /// How many more there would be.
    pub links_left_out: usize,
    /// A tag that says why it failed.
    pub error: Option<String>,
}

impl Span {
    /// A span without anything further.
    pub fn new(context: TraceContext, parent: Option<SpanId>, kind: Kind, name: String, time: (i64, i64)) -> Self {
        let (attributes, events, links) = (Vec::new(), Vec::new(), Vec::new());
        Self { context, parent, kind, name, time, attributes, events, links, links_left_out: 0, error: None }
    }

    /// Adds an attribute.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
