//! What a batch of the suppressor brings to the counts: one record a bucket of groups, however many recipients it has.

use crate::{Evidence, evidence::Engagement, policy::Incidents};
use domain::{CanonicalEvent, EventId, Group, Kind, Timestamp};
use event_log::{Output, Record};
use schemas::{
    EncodeError, encode, topics,
    wire::{GroupCount, Statistics},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds of event time that are counted together.
pub const SLOT_SECONDS: i64 = 600;
/// Groups are spread over so many keys, so that a batch with hundreds of rare domains makes few records. A number that is
/// part of the topic: raised, groups would change their owners.
const BUCKETS: u8 = 16;
/// What `quell import` says of every row: a list that is taken over is no traffic.
const IMPORTED: &str = "imported_reason";

/// Deliveries and hard bounces, of all and of recipients who lately opened or clicked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Deliveries.
    pub delivered: u32,
    /// Hard bounces that are the recipient's own failure.
    pub bounced: u32,
    /// Deliveries to engaged recipients.
    pub engaged_delivered: u32,
    /// Hard bounces of engaged recipients.
    pub engaged_bounced: u32,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.bounced = self.bounced.saturating_add(other.bounced);
        self.engaged_delivered = self.engaged_delivered.saturating_add(other.engaged_delivered);
        self.engaged_bounced = self.engaged_bounced.saturating_add(other.engaged_bounced);
    }
}

/// The ten minutes that a time lies in, counted from 1970.
pub fn slot_of(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(SLOT_SECONDS)
}

/// When a slot begins.
pub fn slot_start(slot: i64) -> Timestamp {
    Timestamp::EPOCH.plus_seconds(slot.saturating_mul(SLOT_SECONDS))
}

/// The counts of the batch that is being worked out.
#[derive(Debug, Default)]
pub struct Counter {
    counts: BTreeMap<Group, BTreeMap<i64, Counts>>,
    policy: u32,
    counted_at: Timestamp,
}

impl Counter {
    /// Counts an event that was not known before, if it is a delivery or a recipient's own hard bounce by email.
    /// `engagement` is what was known of the recipient.
    pub fn note(&mut self, event: &CanonicalEvent, row: &Evidence, engagement: Engagement, rules: (u32, Incidents)) {
        let (policy, settings) = rules;
        let is_bounce = row.kind == Kind::BouncedHard && row.is_own_failure();
        let Some(domain) = event.recipient.domain() else { return };
        let is_traffic = !event.metadata.contains_key(IMPORTED);
        if !settings.is_enabled || !is_traffic || !(is_bounce || row.kind == Kind::Delivered) {
            return;
        }
        let limit = row.effective_at().plus_seconds(-settings.engaged_seconds);
        let is_engaged = engagement.engaged_at.is_some_and(|at| at >= limit);
        let (delivered, bounced) = (u32::from(!is_bounce), u32::from(is_bounce));
        let engaged = u32::from(is_engaged);
        let counts =
            Counts { delivered, bounced, engaged_delivered: delivered * engaged, engaged_bounced: bounced * engaged };
        let slot = slot_of(row.effective_at());
        for group in [Group::Mailbox(domain.to_owned()), Group::Provider(event.provider.clone())] {
            self.counts.entry(group).or_default().entry(slot).or_default().add(counts);
        }
        self.policy = self.policy.max(policy);
        self.counted_at = self.counted_at.max(row.received_at);
    }

    /// The records; none where nothing was counted.
    pub fn outputs(self) -> Result<Vec<Output>, EncodeError> {
        let mut buckets: BTreeMap<String, Vec<GroupCount>> = BTreeMap::new();
        for (group, slots) in self.counts {
            let counts = buckets.entry(bucket_of(&group)).or_default();
            counts.extend(slots.into_iter().map(|(slot, counts)| wire(&group, slot, counts)));
        }
        let record = |(bucket, counts): (String, Vec<GroupCount>)| {
            let statistics = Statistics {
                bucket: bucket.clone(),
                policy: i32::try_from(self.policy).unwrap_or(i32::MAX),
                counted_at: self.counted_at.as_micros(),
                counts,
            };
            let value = Some(encode(&statistics)?);
            let timestamp_ms = self.counted_at.as_millis();
            let record = Record { key: Some(bucket.into()), value, headers: Vec::new(), timestamp_ms };
            Ok(Output { topic: topics::STATISTICS.into(), partition: None, record })
        };
        buckets.into_iter().map(record).collect()
    }
}

fn bucket_of(group: &Group) -> String {
    let id = EventId::derive(&["bucket", &group.to_string()]);
    format!("b{:02}", id.as_bytes()[0] % BUCKETS)
}

fn wire(group: &Group, slot: i64, counts: Counts) -> GroupCount {
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    GroupCount {
        group: group.to_string(),
        at: slot_start(slot).as_micros(),
        delivered: number(counts.delivered),
        bounced: number(counts.bounced),
        engaged_delivered: number(counts.engaged_delivered),
        engaged_bounced: number(counts.engaged_bounced),
    }
}

/// The way back: a count's group, slot and numbers, if it has them.
pub(super) fn read(count: &GroupCount) -> Option<(Group, i64, Counts)> {
    let number = |count: i32| u32::try_from(count).unwrap_or(0);
    let at = Timestamp::from_micros(count.at).ok()?;
    let counts = Counts {
        delivered: number(count.delivered),
        bounced: number(count.bounced),
        engaged_delivered: number(count.engaged_delivered),
        engaged_bounced: number(count.engaged_bounced),
    };
    Some((count.group.parse().ok()?, slot_of(at), counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use domain::{Channel, Recipient, Tenant, event::RULES_REVISION};
    use schemas::decode;

    fn event(address: &str, kind: Kind, seconds: i64) -> CanonicalEvent {
        let at = Timestamp::from_seconds(1_700_000_000 + seconds).unwrap();
        let recipient = Recipient::guess(address).unwrap();
        CanonicalEvent {
            event_id: EventId::derive(&[address, kind.as_str(), &seconds.to_string()]),
            tenant: Tenant::default(),
            channel: recipient.channel(),
            recipient,
            address: address.to_owned(),
            kind,
            provider_kind: kind.as_str().to_owned(),
            occurred_at: at,
            received_at: at.plus_seconds(5),
            rules: RULES_REVISION,
            provider: "sendgrid".to_owned(),
            source: "default".to_owned(),
            message_id: None,
            campaign: None,
            categories: Vec::new(),
            failure: None,
            scope: None,
            machine: false,
            echo: false,
            metadata: BTreeMap::new(),
            receipt_id: "r".to_owned(),
        }
    }

    fn count(events: &[(CanonicalEvent, bool)], settings: Incidents) -> Vec<(Group, i64, Counts)> {
        let mut counter = Counter::default();
        for (event, is_engaged) in events {
            let row = Evidence::of(event, 1, 0).unwrap();
            let engaged_at = is_engaged.then(|| event.occurred_at.plus_seconds(-86_400));
            counter.note(event, &row, Engagement { engaged_at, ..Engagement::default() }, (3, settings));
        }
        let mut found = Vec::new();
        for output in counter.outputs().unwrap() {
            assert_eq!((&*output.topic, output.partition), (topics::STATISTICS, None));
            let record: Statistics = decode(&output.record.value.unwrap()).unwrap();
            assert_eq!(output.record.key.unwrap(), record.bucket.as_bytes());
            assert_eq!(record.policy, 3);
            found.extend(record.counts.iter().map(|count| read(count).unwrap()));
        }
        found.sort_by(|one, two| (&one.0, one.1).cmp(&(&two.0, two.1)));
        found
    }

    #[test]
    fn deliveries_and_own_bounces_are_counted_by_group_and_slot() {
        let settings = Policy::built_in().incidents;
        let mut events = [
            (event("a@one.example", Kind::Delivered, 0), true),
            (event("b@one.example", Kind::BouncedHard, 1), true),
            (event("c@two.example", Kind::BouncedHard, 2), false),
            (event("c@two.example", Kind::BouncedHard, 700), false),
            (event("a@one.example", Kind::Complaint, 3), true),
            (event("+15551234567", Kind::Delivered, 4), false),
            (event("a@one.example", Kind::BouncedHard, 5), false),
        ];
        assert_eq!(events[5].0.channel, Channel::Sms);
        events[6].0.metadata.insert(IMPORTED.to_owned(), "hard_bounce".to_owned());
        let found = count(&events, settings);
        let slot = slot_of(events[0].0.occurred_at);
        let of = |group: &str, at: i64| {
            let group: Group = group.parse().unwrap();
            found.iter().find(|(known, known_at, _)| *known == group && *known_at == at).map(|(.., counts)| *counts)
        };
        let counts = |delivered, bounced, engaged_delivered, engaged_bounced| {
            Some(Counts { delivered, bounced, engaged_delivered, engaged_bounced })
        };
        assert_eq!(of("mailbox:one.example", slot), counts(1, 1, 1, 1));
        assert_eq!(of("mailbox:two.example", slot), counts(0, 1, 0, 0));
        assert_eq!(of("mailbox:two.example", slot + 1), counts(0, 1, 0, 0));
        assert_eq!(of("provider:sendgrid", slot), counts(1, 2, 1, 1));
        assert_eq!(found.len(), 5);
        assert!(count(&events, Incidents { is_enabled: false, ..settings }).is_empty());
    }

    #[test]
    fn many_rare_domains_make_few_records() {
        let mut counter = Counter::default();
        for n in 0..500 {
            let event = event(&format!("a@domain-{n}.example"), Kind::Delivered, n);
            let row = Evidence::of(&event, 1, 0).unwrap();
            counter.note(&event, &row, Engagement::default(), (0, Policy::built_in().incidents));
        }
        let outputs = counter.outputs().unwrap();
        assert!(outputs.len() <= usize::from(BUCKETS), "{}", outputs.len());
        assert!(Counter::default().outputs().unwrap().is_empty());
    }
}
