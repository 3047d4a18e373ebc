//! Topics and their settings, declared once.

/// Raw webhooks, no key.
pub const RAW: &str = "quell.raw.v1";
/// Canonical events, by recipient; applied policies and verdicts on incidents, in every partition.
pub const EVENTS: &str = "quell.events.v1";
/// Suppression deltas, by recipient.
pub const DELTAS: &str = "quell.deltas.v1";
/// Suppressions in force, by recipient and scope; compacted.
pub const STATE: &str = "quell.state.v1";
/// What providers answered to deltas, by recipient.
pub const OUTCOMES: &str = "quell.outcomes.v1";
/// Counts by mailbox domain and provider, by bucket of groups.
pub const STATISTICS: &str = "quell.statistics.v1";
/// What could not be processed.
pub const DEAD_LETTER: &str = "quell.dead-letter.v1";
/// Dead letters of subscribers on their way back to them, by recipient. The values are deltas; nobody else reads it.
pub const REDELIVERIES: &str = "quell.redeliveries.v1";

/// The consumer group of the normalizers.
pub const NORMALIZERS: &str = "quell.normalizer";
/// The consumer group of the suppressors.
pub const SUPPRESSORS: &str = "quell.suppressor";
/// The consumer group of the guards.
pub const GUARDS: &str = "quell.guard";

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A topic's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How long records are kept; `None` where the topic is compacted instead: the newest record a key.
    pub retention_ms: Option<u64>,
}

/// Every topic.
pub fn all() -> Vec<Topic> {
    let topic = |name: &'static str, days: Option<u64>| Topic { name, retention_ms: days.map(|days| days * DAY_MS) };
    vec![
        topic(RAW, Some(7)),
        topic(EVENTS, Some(90)),
        topic(DELTAS, Some(30)),
        topic(STATE, None),
        topic(OUTCOMES, Some(30)),
        topic(DEAD_LETTER, Some(30)),
        topic(REDELIVERIES, Some(30)),
        topic(STATISTICS, Some(7)),
    ]
}
