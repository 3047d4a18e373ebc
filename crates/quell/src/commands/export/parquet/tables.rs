//! The tables: their schemas, and how a record becomes a row. Tenant and date stand in the path and not in the rows.

use super::{
    buffers::Buffers,
    rows::{Rows, schema},
};
use domain::{Change, Kind, Timestamp};
use event_log::Consumed;
use schemas::wire::{DeltaRecord, EventRecord, StateRecord};
use suppressor::evidence::inner;

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Canonical events, by the day of their receipt. As the log has them: an event that was told twice is there twice.
    Events,
    /// Changes, by the day on which they were decided.
    Deltas,
    /// What is in force, by the day of the export.
    State,
    /// The same for email addresses, with the columns that lists have.
    SuppressionList,
}

impl Table {
    pub(super) const ALL: [Self; 4] = [Self::Events, Self::Deltas, Self::State, Self::SuppressionList];

    /// The folder's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deltas => "deltas",
            Self::State => "state",
            Self::SuppressionList => "suppression_list",
        }
    }

    /// Whether a run writes it as a whole, in the place of what an earlier run of the day wrote.
    pub(super) const fn is_snapshot(self) -> bool {
        matches!(self, Self::State | Self::SuppressionList)
    }

    /// None yet.
    pub(super) fn rows(self) -> anyhow::Result<Rows> {
        Rows::new(schema(match self {
            Self::Events => EVENTS,
            Self::Deltas => DELTAS,
            Self::State => STATE,
            Self::SuppressionList => SUPPRESSION_LIST,
        })?)
    }
}

/// What belongs to a tenant.
pub(super) trait Owned {
    fn tenant(&self) -> &str;
}

impl Owned for EventRecord {
    fn tenant(&self) -> &str {
        &self.tenant
    }
}

impl Owned for DeltaRecord {
    fn tenant(&self) -> &str {
        &self.tenant
    }
}

impl Owned for StateRecord {
    fn tenant(&self) -> &str {
        &self.tenant
    }
}

/// What was told of a recipient, at a position of the events.
pub(super) trait Told: Owned {
    /// Channel and key.
    fn recipient(&self) -> (&str, &str);

    /// The number of the position.
    fn number(&self, consumed: &Consumed) -> u64;

    /// Whether what came before this position is to be forgotten.
    fn erases(&self) -> bool;

    /// Whether it is of an erasure, be it this one or one that it makes whole.
    fn tells_of_erasure(&self) -> bool;

    /// Whether a job of ours said it, from what was known at its time, and nobody else told us anything.
    fn is_our_own(&self) -> bool;
}

/// What jobs of ours append, each from what the store holds at that moment.
const JOBS: [Kind; 3] = [Kind::Expired, Kind::Reconsidered, Kind::Unengaged];

impl Told for EventRecord {
    fn recipient(&self) -> (&str, &str) {
        (&self.channel, &self.recipient)
    }

    fn number(&self, consumed: &Consumed) -> u64 {
        consumed.position.number()
    }

    fn erases(&self) -> bool {
        // The second event of an erasure comes later, and names the first.
        self.tells_of_erasure() && !self.metadata.contains_key(inner::FORGETS)
    }

    fn tells_of_erasure(&self) -> bool {
        self.kind == Kind::Erased.as_str()
    }

    fn is_our_own(&self) -> bool {
        JOBS.iter().any(|kind| kind.as_str() == self.kind)
    }
}

impl Told for DeltaRecord {
    fn recipient(&self) -> (&str, &str) {
        (&self.channel, &self.recipient)
    }

    fn number(&self, _: &Consumed) -> u64 {
        u64::try_from(self.position).unwrap_or(0)
    }

    fn erases(&self) -> bool {
        self.tells_of_erasure()
    }

    fn tells_of_erasure(&self) -> bool {
        self.change == Change::Erased.as_str()
    }

    fn is_our_own(&self) -> bool {
        JOBS.iter().any(|kind| kind.as_str() == self.trigger.kind)
    }
}

const EVENTS: &str = "message event {
    required binary event_id (STRING);
    required binary channel (STRING);
    required binary recipient (STRING);
    required binary address (STRING);
    required binary kind (STRING);
    required binary provider_kind (STRING);
    required int64 occurred_at (TIMESTAMP(MICROS,true));
    required int64 received_at (TIMESTAMP(MICROS,true));
    required int32 rules;
    required binary provider (STRING);
    required binary source (STRING);
    optional binary message_id (STRING);
    optional binary campaign (STRING);
    required group categories (LIST) { repeated group list { required binary element (STRING); } }
    optional binary failure_attribution (STRING);
    optional binary failure_class (STRING);
    optional int32 failure_smtp_code;
    optional binary failure_enhanced_status (STRING);
    optional binary failure_provider_code (STRING);
    optional int32 failure_attempt;
    optional binary failure_diagnostic (STRING);
    optional binary failure_rule (STRING);
    optional binary scope (STRING);
    required boolean machine;
    required boolean echo;
    required group metadata (MAP) { repeated group key_value {
        required binary key (STRING); required binary value (STRING); } }
    required binary receipt_id (STRING);
    required int32 log_partition;
    required int64 position;
}";

/// A row of `events`.
pub(super) fn event(buffers: &mut Buffers, event: &EventRecord, consumed: &Consumed) {
    buffers.row(Table::Events, &event.tenant, &date(event.received_at), |row| {
        let texts = [&event.event_id, &event.channel, &event.recipient, &event.address, &event.kind];
        texts.into_iter().chain([&event.provider_kind]).for_each(|text| row.text(text));
        row.long(event.occurred_at);
        row.long(event.received_at);
        row.int(event.rules);
        row.text(&event.provider);
        row.text(&event.source);
        row.maybe_text(event.message_id.as_deref());
        row.maybe_text(event.campaign.as_deref());
        row.texts(event.categories.iter().map(String::as_str));
        let failure = event.failure.as_ref();
        row.maybe_text(failure.map(|failure| failure.attribution.as_str()));
        row.maybe_text(failure.map(|failure| failure.class.as_str()));
        row.maybe_int(failure.and_then(|failure| failure.smtp_code));
        row.maybe_text(failure.and_then(|failure| failure.enhanced_status.as_deref()));
        row.maybe_text(failure.and_then(|failure| failure.provider_code.as_deref()));
        row.maybe_int(failure.and_then(|failure| failure.attempt));
        row.maybe_text(failure.and_then(|failure| failure.diagnostic.as_deref()));
        row.maybe_text(failure.map(|failure| failure.rule.as_str()));
        row.maybe_text(event.scope.as_deref());
        row.flag(event.machine);
        row.flag(event.echo);
        row.texts(event.metadata.keys().map(String::as_str));
        row.texts(event.metadata.values().map(String::as_str));
        row.text(&event.receipt_id);
        row.int(i32::try_from(consumed.position.partition).unwrap_or(i32::MAX));
        row.long(i64::try_from(consumed.position.number()).unwrap_or(i64::MAX));
    });
}

const DELTAS: &str = "message delta {
    required binary delta_id (STRING);
    required binary channel (STRING);
    required binary recipient (STRING);
    required binary address (STRING);
    required binary scope (STRING);
    required binary change (STRING);
    optional binary before_reason (STRING);
    optional int64 before_since (TIMESTAMP(MICROS,true));
    optional int64 before_until (TIMESTAMP(MICROS,true));
    optional binary before_incident (STRING);
    optional binary now_reason (STRING);
    optional int64 now_since (TIMESTAMP(MICROS,true));
    optional int64 now_until (TIMESTAMP(MICROS,true));
    optional binary now_rule (STRING);
    optional binary now_event_id (STRING);
    optional binary now_provider (STRING);
    optional binary now_source (STRING);
    optional binary now_incident (STRING);
    required group in_force (LIST) { repeated group list { required group element {
        required binary scope (STRING); required binary reason (STRING); } } }
    required binary trigger_event_id (STRING);
    required binary trigger_kind (STRING);
    required binary trigger_provider (STRING);
    required binary trigger_source (STRING);
    required binary trigger_receipt_id (STRING);
    required int64 decided_at (TIMESTAMP(MICROS,true));
    required int64 position;
    required int32 policy;
}";

/// A row of `deltas`.
pub(super) fn delta(buffers: &mut Buffers, delta: &DeltaRecord, _: &Consumed) {
    buffers.row(Table::Deltas, &delta.tenant, &date(delta.decided_at), |row| {
        let texts = [&delta.delta_id, &delta.channel, &delta.recipient, &delta.address, &delta.scope, &delta.change];
        texts.into_iter().for_each(|text| row.text(text));
        let before = delta.before.as_ref();
        row.maybe_text(before.map(|before| before.reason.as_str()));
        row.maybe_long(before.map(|before| before.since));
        row.maybe_long(before.and_then(|before| before.until));
        row.maybe_text(before.and_then(|before| before.incident.as_deref()));
        let now = delta.now.as_ref();
        row.maybe_text(now.map(|now| now.reason.as_str()));
        row.maybe_long(now.map(|now| now.since));
        row.maybe_long(now.and_then(|now| now.until));
        row.maybe_text(now.map(|now| now.rule.as_str()));
        row.maybe_text(now.map(|now| now.event_id.as_str()));
        row.maybe_text(now.map(|now| now.provider.as_str()));
        row.maybe_text(now.map(|now| now.source.as_str()));
        row.maybe_text(now.and_then(|now| now.incident.as_deref()));
        row.texts(delta.in_force.iter().map(|entry| entry.scope.as_str()));
        row.texts(delta.in_force.iter().map(|entry| entry.reason.as_str()));
        let trigger = &delta.trigger;
        let texts = [&trigger.event_id, &trigger.kind, &trigger.provider, &trigger.source, &trigger.receipt_id];
        texts.into_iter().for_each(|text| row.text(text));
        row.long(delta.decided_at);
        row.long(delta.position);
        row.int(delta.policy);
    });
}

const STATE: &str = "message state {
    required binary channel (STRING);
    required binary recipient (STRING);
    required binary address (STRING);
    required binary scope (STRING);
    required binary reason (STRING);
    required int64 since (TIMESTAMP(MICROS,true));
    optional int64 until (TIMESTAMP(MICROS,true));
    required binary rule (STRING);
    required binary event_id (STRING);
    required binary provider (STRING);
    required binary source (STRING);
    optional binary incident (STRING);
    required int64 position;
    required int64 inserted_at (TIMESTAMP(MICROS,true));
}";

/// As lists of suppressions have it: the four columns that every such table has, and what tells rows of an address apart.
const SUPPRESSION_LIST: &str = "message suppression {
    required binary email_address (STRING);
    required binary event_type (STRING);
    required int64 event_timestamp (TIMESTAMP(MICROS,true));
    required int64 inserted_at (TIMESTAMP(MICROS,true));
    required binary address (STRING);
    required binary scope (STRING);
    required binary reason (STRING);
    optional int64 until (TIMESTAMP(MICROS,true));
    required binary provider (STRING);
}";

/// A row of `state`, and one of `suppression_list` where it is of email, not provisional and not over.
pub(super) fn state(buffers: &mut Buffers, state: &StateRecord, consumed: &Consumed, date: &str, now_us: i64) {
    let inserted_at = consumed.record.timestamp_ms.saturating_mul(1_000);
    let standing = &state.standing;
    buffers.row(Table::State, &state.tenant, date, |row| {
        let texts = [&state.channel, &state.recipient, &state.address, &state.scope, &standing.reason];
        texts.into_iter().for_each(|text| row.text(text));
        row.long(standing.since);
        row.maybe_long(standing.until);
        let texts = [&standing.rule, &standing.event_id, &standing.provider, &standing.source];
        texts.into_iter().for_each(|text| row.text(text));
        row.maybe_text(standing.incident.as_deref());
        row.long(state.position);
        row.long(inserted_at);
    });
    let is_over = standing.until.is_some_and(|until| until <= now_us);
    if state.channel != "email" || is_over || standing.incident.is_some() {
        return;
    }
    buffers.row(Table::SuppressionList, &state.tenant, date, |row| {
        row.text(&state.recipient);
        row.text(event_type(&standing.reason));
        row.long(standing.since);
        row.long(inserted_at);
        row.text(&state.address);
        row.text(&state.scope);
        row.text(&standing.reason);
        row.maybe_long(standing.until);
        row.text(&standing.provider);
    });
}

/// The words of lists: `bounce`, `complaint`, `unsubscribe`, `unengaged`; what they have no word for stays as it is.
fn event_type(reason: &str) -> &str {
    match reason {
        "hard_bounce" | "soft_bounce" | "unknown_bounce" => "bounce",
        "spam_complaint" => "complaint",
        other => other,
    }
}

/// The day in UTC of a time in microseconds since 1970.
pub(super) fn date(micros: i64) -> String {
    let text = Timestamp::from_micros(micros).map(|time| time.to_string()).unwrap_or_default();
    text.get(..10).filter(|date| date.as_bytes().get(4) == Some(&b'-')).unwrap_or("1970-01-01").to_owned()
}
