//! Incidents beyond the guard's own verdicts: what an operator rules, and the sweeps that bring a verdict to the bounces
//! that came before it.
//!
//! A sweep reads every recipient once and appends a `reconsidered` event for those of the group alone whose bounces a
//! verdict changes. How far each sweep is stands in one note, that of an incident for as long as it is known. It begins once every partition has applied the verdict (what comes later is marked by its position),
//! and resumes where it was. There is one for each thing that is said of an incident: that it began (its first bounces came
//! before it was found), that it is over (bounces told late may lie in its last part), and each ruling.

use super::{InnerEvent, JobError, inner_event};
use crate::{
    Evidence, History, Store,
    evidence::inner,
    guard::{Clock, Incident, incidents},
    store::IncidentRow,
};
use domain::{CanonicalEvent, Channel, EventId, Group, IncidentMark, Kind, RecipientKey, Ruling, Timestamp};
use event_log::{Append, Record};
use schemas::{encode, topics, wire::IncidentVerdict};
use std::collections::{BTreeMap, HashMap};

const OVER: &str = "over";
/// How far the sweeps are: for each incident a line of id, tag, and the key to go on after.
const NOTE: &str = "incidents";
/// Rulings of one incident, until those that later ones settled are gone from the store.
const RULINGS_MAX: usize = 100;
const PAGE: usize = 500;
const APPENDS_AT_ONCE: usize = 64;
/// A ruling that some partition has not applied by then may be lacking there.
const IN_FLIGHT_SECONDS: i64 = 60;
/// How long it is then waited for.
const MEND_SECONDS: i64 = 300;

/// Every incident that is not forgotten, as the first partition knows it.
pub async fn known(store: &dyn Store) -> Result<BTreeMap<EventId, Incident>, JobError> {
    let rows = store.incidents(0).await?;
    Ok(incidents(rows.iter().map(|(_, row)| row)))
}

/// Appends an operator's ruling to every partition of the events. Asked again, it is appended again and changes nothing.
pub async fn rule(
    store: &dyn Store,
    log: &dyn Append,
    incident: EventId,
    ruling: Ruling,
    now: Timestamp,
    (by, note): (&str, &str),
) -> Result<Option<Incident>, JobError> {
    let rows = store.incidents(0).await?;
    let Some(known) = incidents(rows.iter().map(|(_, row)| row)).remove(&incident) else { return Ok(None) };
    if rows.iter().filter(|(_, row)| row.incident == incident && row.revision == 0).count() >= RULINGS_MAX {
        return Err(JobError::TooManyRulings);
    }
    // Later than what was ruled before, also by a clock that is behind.
    let ruled_at = Some(known.ruled_at.map_or(now, |before| now.max(before.next())));
    let note = Some(note.to_owned()).filter(|note| !note.is_empty());
    let ruled = Incident { ruling, ruled_at, ruled_by: Some(by.to_owned()), note, ..known };
    for partition in 0..log.partitions(topics::EVENTS)? {
        append_ruling(log, partition, &ruled, now).await?;
    }
    Ok(Some(ruled))
}

async fn append_ruling(log: &dyn Append, partition: u32, ruled: &Incident, now: Timestamp) -> Result<(), JobError> {
    let record = IncidentVerdict {
        incident: ruled.id.to_string(),
        group: ruled.group.to_string(),
        from: ruled.from.as_micros(),
        to: ruled.to.as_micros(),
        revision: 0,
        is_over: ruled.is_over,
        ruling: ruled.ruling.as_str().to_owned(),
        policy: i32::try_from(ruled.policy).unwrap_or(i32::MAX),
        bounced: i64::try_from(ruled.bounced).unwrap_or(i64::MAX),
        engaged: i64::try_from(ruled.engaged).unwrap_or(i64::MAX),
        decided_at: ruled.ruled_at.unwrap_or(now).as_micros(),
        decided_by: ruled.ruled_by.clone().unwrap_or_default(),
        note: ruled.note.clone().unwrap_or_default(),
    };
    let (value, timestamp_ms) = (Some(encode(&record)?), now.as_millis());
    log.append(topics::EVENTS, Some(partition), Record { key: None, value, headers: Vec::new(), timestamp_ms }).await?;
    Ok(())
}

/// What a step of the sweeps did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events appended.
    pub appended: usize,
    /// Nothing is left to do for now.
    pub over: bool,
    /// A ruling that this step brought to its end.
    pub ruled: Option<Ruling>,
    /// Incidents that hold bounces at the moment.
    pub open: usize,
}

/// The sweeps. Keeps which are over, so that the store is not asked again.
#[derive(Debug, Default)]
pub struct Sweeps {
    done: HashMap<EventId, String>,
    /// When rulings were appended again.
    mended: HashMap<EventId, Timestamp>,
}

impl Sweeps {
    /// Goes on by a page.
    pub async fn step(&mut self, store: &dyn Store, log: &dyn Append, now: Timestamp) -> Result<Swept, JobError> {
        let known = known(store).await?;
        let mut progress = Progress::read(store, &known).await?;
        self.done.retain(|id, _| known.contains_key(id));
        self.mended.retain(|id, _| known.contains_key(id));
        let lasts = |incident: &&Incident| !incident.is_over && incident.to > now && incident.ruling == Ruling::Held;
        let open = known.values().filter(lasts).count();
        for incident in known.into_values() {
            if self.done.get(&incident.id) == Some(&incident.tag()) {
                continue;
            }
            let Some(after) = progress.pending(&incident) else {
                self.done.insert(incident.id, incident.tag());
                continue;
            };
            if after.is_empty() {
                let lacking = lacking(store, log, &incident).await?;
                if self.mend(log, &incident, &lacking, now).await? {
                    return Ok(Swept { open, ..Swept::default() });
                }
                if !lacking.is_empty() {
                    continue;
                }
            }
            let (appended, next) = page(store, log, &incident, &after, now).await?;
            let over = next.is_none();
            progress.note(store, &incident, next).await?;
            let ruled = Some(incident.ruling).filter(|ruling| over && *ruling != Ruling::Held);
            return Ok(Swept { appended, over: false, ruled, open });
        }
        Ok(Swept { over: true, open, ..Swept::default() })
    }

    /// A ruling that reached only some partitions, as whoever ruled was cut off, is appended to the rest. Whether it was.
    async fn mend(
        &mut self,
        log: &dyn Append,
        incident: &Incident,
        lacking: &[(u32, bool)],
        now: Timestamp,
    ) -> Result<bool, JobError> {
        let Some(ruled_at) = incident.ruled_at else { return Ok(false) };
        let partitions: Vec<u32> = lacking.iter().filter(|(_, is_untold)| *is_untold).map(|(p, _)| *p).collect();
        let last = self.mended.get(&incident.id).copied();
        let is_due = last.is_none_or(|last| now >= last.plus_seconds(MEND_SECONDS));
        if partitions.is_empty() || !is_due || now < ruled_at.plus_seconds(IN_FLIGHT_SECONDS) {
            return Ok(false);
        }
        for partition in partitions {
            append_ruling(log, partition, incident, now).await?;
        }
        self.mended.insert(incident.id, now);
        Ok(true)
    }
}

/// How far the sweeps of known incidents are: the tag of each one's sweep, and after which key it goes on.
struct Progress(BTreeMap<EventId, (String, String)>);

impl Progress {
    async fn read(store: &dyn Store, known: &BTreeMap<EventId, Incident>) -> Result<Self, JobError> {
        let note = store.note(NOTE).await?.unwrap_or_default();
        let line = |line: &str| {
            let mut fields = line.splitn(3, '\t');
            let (id, tag, after) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
            Some((id, (tag.to_owned(), after.to_owned())))
        };
        Ok(Self(note.lines().filter_map(line).filter(|(id, _)| known.contains_key(id)).collect()))
    }

    /// After which key to go on; `None` where the sweep is over.
    fn pending(&self, incident: &Incident) -> Option<String> {
        match self.0.get(&incident.id) {
            Some((tag, after)) if *tag == incident.tag() => Some(after.clone()).filter(|after| after != OVER),
            // That of what was said before.
            _ => Some(String::new()),
        }
    }

    async fn note(&mut self, store: &dyn Store, incident: &Incident, next: Option<String>) -> Result<(), JobError> {
        self.0.insert(incident.id, (incident.tag(), next.unwrap_or_else(|| OVER.to_owned())));
        let lines: Vec<String> = self.0.iter().map(|(id, (tag, after))| format!("{id}\t{tag}\t{after}")).collect();
        Ok(store.put_note(NOTE, &lines.join("\n")).await?)
    }
}

/// The partitions that do not know what the first one does, or are not past it; and which of them lack the ruling.
async fn lacking(store: &dyn Store, log: &dyn Append, incident: &Incident) -> Result<Vec<(u32, bool)>, JobError> {
    let mut lacking = Vec::new();
    for partition in 0..log.partitions(topics::EVENTS)? {
        let rows = store.incidents(partition).await?;
        if Clock::of(rows.iter().map(|(_, row)| row)).is_over(incident) {
            // Forgotten there: its bounces are marked no more.
            continue;
        }
        let rows: Vec<&(u64, IncidentRow)> = rows.iter().filter(|(_, row)| row.incident == incident.id).collect();
        let here = incidents(rows.iter().map(|(_, row)| row)).remove(&incident.id);
        let since = rows.iter().map(|(position, _)| *position).max();
        let applied = store.applied(partition).await?;
        let is_untold = here.as_ref().is_none_or(|here| here.ruled_at != incident.ruled_at);
        if here.is_none_or(|here| here.tag() != incident.tag()) || applied < since {
            lacking.push((partition, is_untold));
        }
    }
    Ok(lacking)
}

async fn page(
    store: &dyn Store,
    log: &dyn Append,
    incident: &Incident,
    after: &str,
    now: Timestamp,
) -> Result<(usize, Option<String>), JobError> {
    let page = store.scan(Some(after).filter(|after| !after.is_empty()), PAGE).await?;
    let events: Vec<CanonicalEvent> = page
        .items
        .into_iter()
        .filter(|(key, history)| is_changed(key, history, incident))
        .map(|(key, _)| reconsidered(key, incident, now))
        .collect::<Result<_, JobError>>()?;
    let count = inner_event::append_all(log, events, APPENDS_AT_ONCE).await?;
    Ok((count, page.next))
}

/// Whether a bounce of the recipient is in the incident, and its rows say something else of it.
fn is_changed(key: &RecipientKey, history: &History, incident: &Incident) -> bool {
    let is_of_group = key.recipient.channel() == Channel::Email
        && match &incident.group {
            Group::Mailbox(domain) => key.recipient.domain() == Some(domain),
            Group::Provider(_) => true,
        };
    let mark = incident.mark();
    let mut bounces = history.rows.iter().filter(|row| {
        row.kind == Kind::BouncedHard && row.is_own_failure() && mark.reaches_at(&row.provider, row.effective_at())
    });
    is_of_group && bounces.any(|row| differs(said(row, &history.rows, incident.id), incident.ruling))
}

fn differs(said: Option<Ruling>, ruling: Ruling) -> bool {
    match said {
        // A bounce of which nothing is said counts.
        None => ruling != Ruling::Confirmed,
        Some(said) => said != ruling,
    }
}

/// What the newest mark says of a bounce and an incident.
fn said(row: &Evidence, rows: &[Evidence], incident: EventId) -> Option<Ruling> {
    let own = row.marks.iter().map(|mark| (row.position, mark));
    let later = rows.iter().filter(|other| other.kind == Kind::Reconsidered);
    let later = later.flat_map(|other| other.marks.iter().map(|mark| (other.position, mark)));
    let later = later.filter(|(_, mark)| mark.reaches_at(&row.provider, row.effective_at()));
    let all = own.chain(later).filter(|(_, mark)| mark.incident == incident);
    all.max_by_key(|(position, mark)| (*position, mark.ruling)).map(|(_, mark)| mark.ruling)
}

/// The same however often the page is swept.
fn reconsidered(key: RecipientKey, incident: &Incident, now: Timestamp) -> Result<CanonicalEvent, JobError> {
    let mark: IncidentMark = incident.mark();
    let text = serde_json::to_string(&mark)
        .map_err(|error| schemas::EncodeError { what: "IncidentMark", detail: error.to_string() })?;
    let mut metadata = BTreeMap::from([(inner::INCIDENT.to_owned(), text)]);
    if let Some(by) = &incident.ruled_by {
        metadata.insert(inner::ACTOR.to_owned(), by.clone());
    }
    if let Some(note) = &incident.note {
        metadata.insert(inner::NOTE.to_owned(), note.clone());
    }
    let event = InnerEvent {
        key,
        kind: Kind::Reconsidered,
        occurred_at: incident.tagged_at(),
        received_at: now,
        provider: "quell",
        source: "incident".to_owned(),
        scope: None,
        identity: format!("{} {}", incident.id, incident.tag()),
        metadata,
    };
    Ok(event.into_event())
}
