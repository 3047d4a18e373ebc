//! What the outside does: providers send webhooks, twice, late and out of order; operators act; policies change.

use crate::{scenario::Scenario, world::pick};
use domain::{
    Attribution, CanonicalEvent, Channel, EventId, Failure, FailureClass, Group, Kind, Recipient, RecipientKey, Ruling,
    Scope, Tenant, Timestamp, event::RULES_REVISION, incident::incident_id,
};
use event_log::{Record, memory::SplitMix64};
use schemas::{
    EncodeError, encode,
    wire::{EventRecord, IncidentVerdict, RawWebhook},
};
use std::collections::BTreeMap;
use suppressor::{evidence::inner, jobs::InnerEvent};

pub(crate) const DAY: i64 = 86_400;
/// About as long as an incident is known after its end.
pub(crate) const LATE_DAYS: i64 = 170;
/// 2026-01-20: the first day of every world.
const FIRST_DAY: i64 = 1_768_867_200;

/// Something to append; kept until the append is told to have worked.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// The elements of a webhook, as JSON.
    Webhook(Vec<String>),
    /// An event as it is.
    Event(Box<CanonicalEvent>),
    /// What is known of an incident, for one partition.
    Incident(u32, Box<IncidentVerdict>),
    /// What nobody can read.
    Garbage,
}

/// Everyone outside.
#[derive(Debug)]
pub(crate) struct Outside {
    random: SplitMix64,
    n_recipients: u64,
    is_raw: bool,
    corrects: bool,
    has_incidents: bool,
    n_facts: u64,
    n_receipts: u64,
    /// Sent before: to be sent again.
    pub(crate) facts: Vec<Fact>,
    /// The newest that was said of each incident.
    incidents: Vec<IncidentVerdict>,
}

/// Something that happened, as its provider knows it.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    id: u64,
    recipient: u64,
    kind: Kind,
    occurred_at: Timestamp,
    scope: Option<Scope>,
    attribution: Attribution,
    is_machine: bool,
    rules: u32,
}

/// Midnight of a day.
pub(crate) fn day(day: i64) -> Timestamp {
    Timestamp::EPOCH.plus_seconds(FIRST_DAY + day * DAY)
}

const KINDS: [(u64, Kind); 11] = [
    (22, Kind::BouncedSoft),
    (10, Kind::BouncedHard),
    (16, Kind::Delivered),
    (8, Kind::Complaint),
    (10, Kind::Unsubscribed),
    (10, Kind::Resubscribed),
    (6, Kind::Opened),
    (4, Kind::Clicked),
    (8, Kind::Accepted),
    (3, Kind::Deferred),
    (3, Kind::Rejected),
];

impl Outside {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            random: SplitMix64::new(scenario.seed ^ 0xfac7),
            n_recipients: scenario.n_recipients,
            is_raw: scenario.raw,
            corrects: scenario.corrections,
            has_incidents: scenario.incidents,
            n_facts: 0,
            n_receipts: 0,
            facts: Vec::new(),
            incidents: Vec::new(),
        }
    }

    /// One to three things that happened, or happened before and are told again.
    pub(crate) fn tell(&mut self, now: Timestamp) -> Item {
        if self.random.below(40) == 0 {
            return Item::Garbage;
        }
        if !self.is_raw {
            let fact = self.fact(now);
            return Item::Event(Box::new(self.event(&fact, now)));
        }
        let mut elements = Vec::new();
        for _ in 0..=self.random.below(3) {
            elements.push(match self.random.below(15) {
                0 => r#"{"kind":"delivered","bad":1}"#.to_owned(),
                _ => self.fact(now).json(),
            });
        }
        Item::Webhook(elements)
    }

    fn fact(&mut self, now: Timestamp) -> Fact {
        let random = &mut self.random;
        if !self.facts.is_empty() && random.below(4) == 0 {
            let mut again = pick(random, &self.facts).clone();
            let is_bounce = matches!(again.kind, Kind::BouncedHard | Kind::BouncedSoft);
            if self.corrects && !self.is_raw && is_bounce && again.rules < RULES_REVISION && random.below(2) == 0 {
                again.rules += 1;
                again.kind = pick(random, &[Kind::BouncedHard, Kind::BouncedSoft]).to_owned();
                again.attribution = pick(random, &[Attribution::Recipient, Attribution::Sender]).to_owned();
                // A provider's retry is read by the newest rules too.
                self.facts.iter_mut().filter(|fact| fact.id == again.id).for_each(|fact| *fact = again.clone());
            }
            return again;
        }
        self.n_facts += 1;
        let is_bounce = self.has_incidents && random.below(2) == 0;
        let kind = if is_bounce { Kind::BouncedHard } else { weighed(random, &KINDS) };
        let today = (now.as_seconds() - FIRST_DAY) / DAY;
        // Few days, so that times collide; sometimes a provider's clock is ahead.
        // Where incidents are, some are told so late that theirs may be forgotten.
        let is_late = self.has_incidents && random.below(4) == 0;
        let late = if is_late { LATE_DAYS + i64::try_from(random.below(20)).unwrap_or(0) } else { 0 };
        let ago = late + i64::try_from(random.below(12)).unwrap_or(0);
        let at = if random.below(15) == 0 { day(today + 2) } else { day((today - ago).max(0)) };
        let scoped = matches!(kind, Kind::Unsubscribed | Kind::Resubscribed);
        let fact = Fact {
            id: self.n_facts,
            recipient: random.below(self.n_recipients),
            kind,
            occurred_at: at,
            scope: scoped.then(|| if random.below(3) == 0 { Scope::category("news") } else { Scope::Marketing }),
            attribution: if random.below(5) == 0 { Attribution::Sender } else { Attribution::Recipient },
            is_machine: random.below(4) == 0,
            // What this build read is of its own revision; what is to be corrected, of the one before.
            rules: if self.corrects && !self.is_raw { RULES_REVISION - 1 } else { RULES_REVISION },
        };
        self.facts.push(fact.clone());
        fact
    }

    fn event(&self, fact: &Fact, now: Timestamp) -> CanonicalEvent {
        let key = recipient(fact.recipient);
        let is_bounce = matches!(fact.kind, Kind::BouncedHard | Kind::BouncedSoft);
        let class = if fact.id.is_multiple_of(4) { FailureClass::Undetermined } else { FailureClass::MailboxFull };
        CanonicalEvent {
            event_id: EventId::derive(&["sim", &fact.id.to_string()]),
            tenant: key.tenant,
            channel: key.recipient.channel(),
            address: key.recipient.as_str().to_owned(),
            recipient: key.recipient,
            kind: fact.kind,
            provider_kind: fact.kind.as_str().to_owned(),
            occurred_at: fact.occurred_at,
            received_at: now,
            rules: fact.rules,
            provider: if fact.id.is_multiple_of(2) { "sendgrid" } else { "postmark" }.to_owned(),
            source: "default".to_owned(),
            message_id: Some(format!("m-{}", fact.id % 5)),
            campaign: None,
            categories: Vec::new(),
            failure: is_bounce.then(|| failure(fact.attribution, class)),
            scope: fact.scope.clone(),
            machine: fact.is_machine && matches!(fact.kind, Kind::Opened | Kind::Clicked),
            echo: fact.id.is_multiple_of(23),
            metadata: BTreeMap::new(),
            receipt_id: "direct".to_owned(),
        }
    }

    /// Somebody suppresses or releases a recipient by hand, stamped after the newest evidence there is.
    pub(crate) fn by_hand(&mut self, now: Timestamp, newest: impl Fn(&RecipientKey) -> Timestamp) -> Item {
        let random = &mut self.random;
        let key = recipient(random.below(self.n_recipients));
        let occurred_at = newest(&key).next().max(now);
        let mut metadata = BTreeMap::from([(inner::ACTOR.to_owned(), "jo".to_owned())]);
        let kind = if random.below(3) == 0 { Kind::SuppressedManually } else { Kind::ReleasedManually };
        if kind == Kind::SuppressedManually && random.below(2) == 0 {
            let until = occurred_at.plus_seconds(DAY * (1 + i64::try_from(random.below(9)).unwrap_or(0)));
            metadata.insert(inner::UNTIL.to_owned(), until.to_string());
        }
        let scope = (random.below(3) == 0).then_some(Scope::All);
        let event = InnerEvent {
            key,
            kind,
            occurred_at,
            received_at: occurred_at.max(now),
            provider: "manual",
            source: "console".to_owned(),
            scope,
            identity: String::new(),
            metadata,
        };
        Item::Event(Box::new(event.into_event()))
    }

    /// An incident begins, goes on or is over, as the guard says it: to every partition.
    pub(crate) fn incident(&mut self, now: Timestamp, n_partitions: u32) -> Vec<Item> {
        let random = &mut self.random;
        let later = |micros: i64, days: u64| micros + i64::try_from(days).unwrap_or(0) * DAY * 1_000_000;
        let verdict = if !self.incidents.is_empty() && random.below(2) == 0 {
            let at = random.below(self.incidents.len() as u64) as usize;
            let known = &mut self.incidents[at];
            if !known.is_over && now.as_micros() > later(known.to, LATE_DAYS.unsigned_abs() / 2) {
                // Nothing was told of it in its last hour: it is over since.
                (known.revision, known.is_over, known.decided_at) = (known.revision + 1, true, now.as_micros());
            } else if !known.is_over {
                known.revision += 1;
                (known.to, known.is_over) = (later(known.to, random.below(3)), random.below(2) == 0);
                known.decided_at = now.as_micros();
            }
            known.clone()
        } else {
            let group = match random.below(3) {
                0 if self.is_raw => Group::Provider("generic".to_owned()),
                0 => Group::Provider("sendgrid".to_owned()),
                _ => Group::Mailbox("example.com".to_owned()),
            };
            let today = (now.as_seconds() - FIRST_DAY) / DAY;
            let from = day((today - i64::try_from(random.below(10)).unwrap_or(0)).max(0));
            let verdict = IncidentVerdict {
                incident: incident_id(&group, from).to_string(),
                group: group.to_string(),
                from: from.as_micros(),
                to: later(from.as_micros(), random.below(14)),
                revision: 1,
                is_over: false,
                ruling: Ruling::Held.as_str().to_owned(),
                policy: 0,
                bounced: 0,
                engaged: 0,
                decided_at: now.as_micros(),
                decided_by: "guard".to_owned(),
                note: String::new(),
            };
            match self.incidents.iter().find(|known| known.incident == verdict.incident) {
                Some(known) => known.clone(),
                None => {
                    self.incidents.push(verdict.clone());
                    verdict
                }
            }
        };
        (0..n_partitions).map(|partition| Item::Incident(partition, Box::new(verdict.clone()))).collect()
    }

    /// Every incident that goes on is over, as the guard says of each at last. Its clock stands still where nothing is told.
    pub(crate) fn end_incidents(&mut self, now: Timestamp, n_partitions: u32) -> Vec<Item> {
        let newest = self.incidents.iter().map(|known| known.decided_at).max().unwrap_or_default();
        let now = (newest + DAY * 1_000_000).min(now.as_micros());
        let open = self.incidents.iter_mut().filter(|known| !known.is_over);
        let ended = open.map(|known| {
            (known.revision, known.is_over, known.decided_at) = (known.revision + 1, true, now);
            known.clone()
        });
        let all = |verdict: IncidentVerdict| {
            (0..n_partitions).map(move |partition| Item::Incident(partition, Box::new(verdict.clone())))
        };
        ended.flat_map(all).collect()
    }

    /// A recipient is to be forgotten; nothing that was sent of it is sent again.
    pub(crate) fn erase(&mut self, now: Timestamp) -> (Item, RecipientKey) {
        let erased = self.random.below(self.n_recipients);
        self.facts.retain(|fact| fact.recipient != erased);
        let key = recipient(erased);
        let event = InnerEvent {
            key: key.clone(),
            kind: Kind::Erased,
            occurred_at: now,
            received_at: now,
            provider: "manual",
            source: "console".to_owned(),
            scope: None,
            identity: String::new(),
            metadata: BTreeMap::new(),
        };
        (Item::Event(Box::new(event.into_event())), key)
    }

    /// The record of an item, and under which receipt the gateway takes it, if it is a webhook.
    pub(crate) fn record(&mut self, item: &Item, now: Timestamp) -> Result<(Record, Option<String>), EncodeError> {
        let record =
            |key, value| Record { key, value: Some(value), headers: Vec::new(), timestamp_ms: now.as_millis() };
        Ok(match item {
            Item::Garbage => (record(Some("default/email/r0@example.com".into()), "not avro".into()), None),
            Item::Incident(_, verdict) => (record(None, encode(&**verdict)?), None),
            Item::Event(event) => {
                let key = event.key().to_log_key();
                (record(Some(key.into()), encode(&EventRecord::from((**event).clone()))?), None)
            }
            Item::Webhook(elements) => {
                self.n_receipts += 1;
                let receipt_id = format!("w{}", self.n_receipts);
                let webhook = RawWebhook {
                    receipt_id: receipt_id.clone(),
                    provider: "generic".to_owned(),
                    source: "default".to_owned(),
                    tenant: "default".to_owned(),
                    received_at: now.as_micros(),
                    method: "POST".to_owned(),
                    url: "/webhooks/email/events".to_owned(),
                    headers: BTreeMap::new(),
                    body: format!("[{}]", elements.join(",")).into_bytes(),
                    verified: "none".to_owned(),
                    shadow: false,
                };
                (record(None, encode(&webhook)?), Some(receipt_id))
            }
        })
    }
}

impl Fact {
    /// As an element of the generic format.
    fn json(&self) -> String {
        let mut event = serde_json::json!({
            "id": format!("f{}", self.id),
            "kind": self.kind.as_str(),
            "recipient": recipient(self.recipient).recipient.as_str(),
            "occurred_at": self.occurred_at.to_string(),
            "message_id": format!("m-{}", self.id % 5),
            "machine": self.is_machine,
        });
        if let Some(scope) = &self.scope {
            event["scope"] = scope.to_string().into();
        }
        let status = match (self.kind, self.attribution) {
            (Kind::BouncedHard, Attribution::Recipient) => "5.1.1",
            (Kind::BouncedSoft, Attribution::Recipient) => "4.2.2",
            _ => "5.7.1",
        };
        event["failure"] = serde_json::json!({ "enhanced_status": status });
        event.to_string()
    }
}

/// The recipient of a number; every third by phone.
pub(crate) fn recipient(number: u64) -> RecipientKey {
    let recipient = match number % 3 {
        2 => Recipient::parse(Channel::Sms, &format!("+1415867530{}", number % 10)),
        _ => Recipient::parse(Channel::Email, &format!("r{number}@example.com")),
    };
    #[expect(clippy::expect_used, reason = "two literals of this file")]
    let recipient = recipient.expect("a valid address");
    RecipientKey { tenant: Tenant::default(), recipient }
}

fn failure(attribution: Attribution, class: FailureClass) -> Failure {
    Failure {
        attribution,
        class,
        smtp_code: None,
        enhanced_status: None,
        provider_code: None,
        attempt: None,
        diagnostic: None,
        rule: "sim".to_owned(),
    }
}

fn weighed(random: &mut SplitMix64, choices: &[(u64, Kind)]) -> Kind {
    let mut drawn = random.below(choices.iter().map(|(weight, _)| weight).sum());
    for (weight, kind) in choices {
        match drawn.checked_sub(*weight) {
            Some(rest) => drawn = rest,
            None => return *kind,
        }
    }
    Kind::Unknown
}
