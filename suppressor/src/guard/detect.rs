//! When a group's hard bounces are a jump, and when they are back to their rhythm. Pure: its answer depends on the counts
//! that came before, in their order, and on nothing else.
//!
//! Two tests open an incident, over an hour of event time:
//! - **engaged**: of recipients who lately opened or clicked at least `minimum` bounced hard, at least `rate_percent` of
//!   what was told of such recipients, and `factor` times the group's usual share of them. Living recipients do not die by
//!   the dozen; an old list has none of them, so a campaign to it opens nothing.
//! - **all**: where nobody's opens are told. Far more and a far larger share ([`ALL_TIMES`], [`ALL_RATE_PERCENT`]), and
//!   only where the group's rhythm is known.
//!
//! Bounces of at least two slots must show it: a provider may tell of bounces some minutes before deliveries.
//!
//! An incident that lasts always has an end ahead of it, which is moved while the rate stays high. Where counts stop, it
//! is over by itself.

use super::count::{Counts, slot_start};
use crate::policy::Incidents;
use domain::{EventId, Group, Timestamp, incident::incident_id};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Slots of the window that is tested: an hour.
const WINDOW: i64 = 6;
/// Slots after which a rate is looked at for having calmed, and before the end at which an end is moved: half an hour.
const CALM: i64 = 3;
/// Slots that are kept as they are, to find the start of a jump: six hours.
const SLOTS_KEPT: i64 = 36;
const SLOTS_OF_HOUR: i64 = 6;
/// Hours of a group's own rhythm: three days.
const HOURS_KEPT: i64 = 72;
/// The newest hours say nothing of what is usual: a jump may be in them.
const HOURS_LEFT_OUT: i64 = 2;
/// An hour with fewer tells no rate.
const HOUR_MINIMUM: u64 = 20;
/// With fewer such hours the usual share of engaged recipients that bounce is taken to be [`USUAL_PPM`].
const ENGAGED_HOURS_MIN: usize = 6;
/// With fewer, the test of all is not made.
const ALL_HOURS_MIN: usize = 12;
const USUAL_PPM: u64 = 5_000;
/// What never bounces still has some rate.
const USUAL_PPM_MIN: u64 = 1_000;
/// The test of all needs so many times the minimum.
const ALL_TIMES: u64 = 8;
const ALL_RATE_PERCENT: u64 = 25;
/// The longest incident in slots: two days. What lasts longer is the new rhythm.
const LONGEST: i64 = 288;
const PPM: u64 = 1_000_000;

/// Which test opened an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// Of engaged recipients.
    Engaged,
    /// Of all.
    All,
}

/// Hard bounces from which on, and the share in parts of a million from which on, a test is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bar {
    test: Test,
    minimum: u64,
    ppm: u64,
}

impl Bar {
    /// Bounces, and all that was told.
    fn of(self, counts: Counts) -> (u64, u64) {
        let (bounced, delivered) = match self.test {
            Test::Engaged => (counts.engaged_bounced, counts.engaged_delivered),
            Test::All => (counts.bounced, counts.delivered),
        };
        (u64::from(bounced), u64::from(bounced) + u64::from(delivered))
    }

    fn is_reached(self, counts: Counts) -> bool {
        let (bounced, told) = self.of(counts);
        bounced >= self.minimum && bounced * PPM >= self.ppm * told
    }

    /// A single slot, however few.
    fn is_high(self, counts: Counts) -> bool {
        Self { minimum: 1, ..self }.is_reached(counts)
    }

    /// What an incident must stay above.
    fn half(self) -> Self {
        Self { minimum: (self.minimum / 5).max(2), ppm: self.ppm / 2, ..self }
    }
}

/// An incident that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    incident: EventId,
    /// First slot.
    from: i64,
    /// The slot it is known to last to, itself left out.
    to: i64,
    revision: u32,
    bar: Bar,
    /// The last slot in which the rate was high.
    high: i64,
    counts: Counts,
}

/// What was found of a group: an incident that began, goes on, or is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which incident.
    pub incident: EventId,
    /// Counts from 1.
    pub revision: u32,
    /// Start, in event time.
    pub from: Timestamp,
    /// End, in event time; of one that lasts, how far it is known to.
    pub to: Timestamp,
    /// The rate is back to its rhythm.
    pub is_over: bool,
    /// What was counted in it so far.
    pub counts: Counts,
}

/// What is remembered of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    slots: BTreeMap<i64, Counts>,
    hours: BTreeMap<i64, Counts>,
    /// The newest slot there was.
    newest: i64,
    open: Option<Open>,
    /// The slot before which incidents that are over lie.
    closed: i64,
}

impl Rhythm {
    /// Adds what was counted in a slot. What is older than the memory says nothing.
    pub fn add(&mut self, slot: i64, counts: Counts) {
        self.newest = self.newest.max(slot);
        let hour = slot.div_euclid(SLOTS_OF_HOUR);
        if hour > self.newest_hour() - HOURS_KEPT {
            self.hours.entry(hour).or_default().add(counts);
        }
        if slot > self.newest - SLOTS_KEPT {
            self.slots.entry(slot).or_default().add(counts);
        }
        if let Some(open) = &mut self.open
            && slot >= open.from
        {
            open.counts.add(counts);
        }
        self.slots = self.slots.split_off(&(self.newest - SLOTS_KEPT + 1));
        self.hours = self.hours.split_off(&(self.newest_hour() - HOURS_KEPT + 1));
    }

    /// All that is remembered, to weigh groups by.
    pub fn weight(&self) -> u64 {
        self.hours.values().map(|counts| u64::from(counts.delivered) + u64::from(counts.bounced)).sum()
    }

    /// The newest slot there was.
    pub const fn newest(&self) -> i64 {
        self.newest
    }

    /// Whether an incident lasts.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Judges what was added. Ask once after everything of a record is.
    pub fn judge(&mut self, group: &Group, settings: &Incidents) -> Option<Finding> {
        match self.open.take() {
            Some(open) => self.goes_on(open),
            None => self.begins(group, settings),
        }
    }

    fn begins(&mut self, group: &Group, settings: &Incidents) -> Option<Finding> {
        let window = self.window(WINDOW);
        let bar = self.bars(settings).into_iter().flatten().find(|bar| {
            let high = self.recent(WINDOW).filter(|(_, counts)| bar.is_high(**counts));
            bar.is_reached(window) && high.count() >= 2
        })?;
        let from = self.start(bar);
        let to = self.newest + 1 + WINDOW;
        let mut counts = Counts::default();
        self.slots.range(from..).for_each(|(_, slot)| counts.add(*slot));
        let incident = incident_id(group, slot_start(from));
        let open = Open { incident, from, to, revision: 1, bar, high: self.newest, counts };
        let finding = found(&open, to, false);
        self.open = Some(open);
        Some(finding)
    }

    /// The slot before the first high one, without a gap of more than one slot to the newest.
    fn start(&self, bar: Bar) -> i64 {
        let mut first = self.newest;
        for (slot, counts) in self.slots.iter().rev() {
            if first - slot > 2 {
                break;
            }
            if bar.is_high(*counts) {
                first = *slot;
            }
        }
        (first - 1).max(self.closed)
    }

    fn goes_on(&mut self, mut open: Open) -> Option<Finding> {
        let is_late = self.newest >= open.to;
        if open.bar.half().is_reached(self.window(CALM)) && !is_late {
            open.high = self.newest;
        }
        if is_late || self.newest - open.high >= CALM || self.newest - open.from >= LONGEST {
            let to = (open.high + 2).min(open.to);
            self.closed = to;
            open.revision += 1;
            return Some(found(&open, to, true));
        }
        let is_near = open.high == self.newest && self.newest + 1 + CALM > open.to;
        if is_near {
            open.to = self.newest + 1 + WINDOW;
            open.revision += 1;
        }
        let finding = is_near.then(|| found(&open, open.to, false));
        self.open = Some(open);
        finding
    }

    /// The bars of both tests, as far as they can be made.
    fn bars(&self, settings: &Incidents) -> [Option<Bar>; 2] {
        let (minimum, factor) = (u64::from(settings.minimum), u64::from(settings.factor));
        let floor = |percent: u64| percent * PPM / 100;
        let bar = |test, times: u64, percent: u64, usual: u64| {
            let usual = usual.max(USUAL_PPM_MIN);
            Bar { test, minimum: minimum * times, ppm: floor(percent).max(usual * factor).min(PPM) }
        };
        let engaged = self.usual(Test::Engaged, ENGAGED_HOURS_MIN).unwrap_or(USUAL_PPM);
        let all = self.usual(Test::All, ALL_HOURS_MIN);
        [
            Some(bar(Test::Engaged, 1, u64::from(settings.rate_percent), engaged)),
            all.map(|usual| bar(Test::All, ALL_TIMES, ALL_RATE_PERCENT, usual)),
        ]
    }

    /// The usual share of bounces: the median of the hours that tell one. A day of incident in three does not move it far.
    fn usual(&self, test: Test, hours_min: usize) -> Option<u64> {
        let bar = Bar { test, minimum: 0, ppm: 0 };
        let told = self.hours.range(..=self.newest_hour() - HOURS_LEFT_OUT).map(|(_, counts)| bar.of(*counts));
        let mut rates: Vec<u64> =
            told.filter(|(_, told)| *told >= HOUR_MINIMUM).map(|(bounced, told)| bounced * PPM / told).collect();
        rates.sort_unstable();
        (rates.len() >= hours_min).then(|| rates[rates.len() / 2])
    }

    fn newest_hour(&self) -> i64 {
        self.newest.div_euclid(SLOTS_OF_HOUR)
    }

    fn recent(&self, slots: i64) -> impl Iterator<Item = (&i64, &Counts)> {
        self.slots.range(self.newest - slots + 1..)
    }

    fn window(&self, slots: i64) -> Counts {
        let mut sum = Counts::default();
        self.recent(slots).for_each(|(_, counts)| sum.add(*counts));
        sum
    }
}

fn found(open: &Open, to: i64, is_over: bool) -> Finding {
    Finding {
        incident: open.incident,
        revision: open.revision,
        from: slot_start(open.from),
        // The last microsecond of it: an end is part of an incident.
        to: Timestamp::from_micros(slot_start(to).as_micros() - 1).unwrap_or_default(),
        is_over,
        counts: open.counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    fn group() -> Group {
        Group::Mailbox("one.example".to_owned())
    }

    /// Per slot: delivered, bounced, engaged delivered, engaged bounced.
    fn counts(numbers: [u32; 4]) -> Counts {
        let [delivered, bounced, engaged_delivered, engaged_bounced] = numbers;
        Counts { delivered, bounced, engaged_delivered, engaged_bounced }
    }

    /// Plays slots from `first` on; every finding with the slot it was made in.
    fn play(rhythm: &mut Rhythm, first: i64, slots: &[[u32; 4]]) -> Vec<(i64, Finding)> {
        let settings = Policy::built_in().incidents;
        let mut found = Vec::new();
        for (slot, numbers) in (first..).zip(slots) {
            rhythm.add(slot, counts(*numbers));
            found.extend(rhythm.judge(&group(), &settings).map(|finding| (slot, finding)));
        }
        found
    }

    const QUIET: [u32; 4] = [1_000, 4, 300, 1];
    const OUTAGE: [u32; 4] = [900, 104, 270, 31];
    const DAY: i64 = 144;

    fn quiet(days: i64) -> Rhythm {
        let mut rhythm = Rhythm::default();
        let slots: Vec<[u32; 4]> = (0..days * DAY).map(|_| QUIET).collect();
        assert_eq!(play(&mut rhythm, 0, &slots), []);
        rhythm
    }

    #[test]
    fn an_outage_opens_goes_on_and_is_over() {
        let mut rhythm = quiet(3);
        let first = 3 * DAY;
        let found = play(&mut rhythm, first, &[OUTAGE; 15]);
        let (slot, opened) = &found[0];
        assert!((first + 1..=first + 3).contains(slot), "{slot} of {first}");
        assert_eq!((opened.revision, opened.is_over), (1, false));
        // From before its first bounce, though it was found later.
        assert_eq!(opened.from, slot_start(first - 1));
        assert!(opened.to > slot_start(*slot + 6) && opened.to < slot_start(*slot + 7));
        assert!(opened.counts.engaged_bounced >= 62 && opened.counts.bounced >= 208);
        // Its end is moved before it comes.
        let mut to = opened.to;
        for (slot, finding) in &found[1..] {
            assert!(!finding.is_over && finding.incident == opened.incident && finding.to > to);
            assert!(slot_start(slot + 1) < to, "moved too late");
            to = finding.to;
        }
        assert!(found.len() >= 3, "{found:?}");
        let after = play(&mut rhythm, first + 15, &[QUIET; 12]);
        let [(_, over)] = after.as_slice() else { panic!("{after:?}") };
        assert!(over.is_over && over.incident == opened.incident && over.revision > found.len() as u32);
        assert!(over.to >= slot_start(first + 15) && over.to < slot_start(first + 15 + 6), "{}", over.to);
    }

    #[test]
    fn quiet_weeks_and_old_lists_are_none() {
        let mut rhythm = quiet(7);
        // A big campaign to an old list: one in eight is dead, and nobody of them reads.
        let campaign = [[9_000, 1_200, 300, 2]; 12];
        assert_eq!(play(&mut rhythm, 7 * DAY, &campaign), []);
        // A new sender's first campaign, whose readers leave as readers do.
        assert_eq!(play(&mut Rhythm::default(), 0, &[[5_000, 600, 2_000, 20]; 12]), []);
        // Few are no jump, whatever their share.
        assert_eq!(play(&mut Rhythm::default(), 0, &[[10, 10, 4, 4]; 6]), []);
    }

    #[test]
    fn bounces_told_before_deliveries_are_none() {
        let mut rhythm = quiet(3);
        assert_eq!(play(&mut rhythm, 3 * DAY, &[[0, 60, 0, 40], [30_000, 30, 9_000, 5], QUIET]), []);
    }

    #[test]
    fn where_nobodys_opens_are_told_it_takes_much_more() {
        let plain = [1_000, 5, 0, 0];
        let mut rhythm = Rhythm::default();
        assert_eq!(play(&mut rhythm, 0, &[plain; 144]), []);
        assert_eq!(play(&mut rhythm, 144, &[[900, 104, 0, 0]; 6]), [], "a tenth is not enough");
        let found = play(&mut rhythm, 150, &[[400, 604, 0, 0]; 6]);
        assert_eq!(found[0].1.revision, 1);
        let mut unknown = Rhythm::default();
        assert_eq!(play(&mut unknown, 0, &[[400, 604, 0, 0]; 6]), [], "no rhythm is known");
    }

    #[test]
    fn an_incident_without_counts_is_over_by_its_end() {
        let mut rhythm = quiet(3);
        let found = play(&mut rhythm, 3 * DAY, &[OUTAGE; 3]);
        let to = found.last().unwrap().1.to;
        // The next that is told of the group comes a day later.
        let after = play(&mut rhythm, 4 * DAY, &[QUIET]);
        assert!(after[0].1.is_over && after[0].1.to <= to);
        assert!(!rhythm.is_open());
        // The next jump is another incident, after it.
        let again = play(&mut rhythm, 4 * DAY + 1, &[OUTAGE; 3]);
        assert!(again[0].1.incident != found[0].1.incident && again[0].1.from > after[0].1.to);
    }

    #[test]
    fn what_lasts_for_days_is_the_new_rhythm() {
        let mut rhythm = quiet(3);
        let found = play(&mut rhythm, 3 * DAY, &[OUTAGE; 4 * 144]);
        let over: Vec<_> = found.iter().filter(|(_, finding)| finding.is_over).collect();
        assert_eq!(over.len(), 1, "{over:?}");
        assert!(!rhythm.is_open());
    }

    #[test]
    fn a_memory_is_bounded_and_old_news_say_nothing() {
        let mut rhythm = quiet(7);
        assert!(rhythm.slots.len() <= SLOTS_KEPT as usize && rhythm.hours.len() <= HOURS_KEPT as usize);
        let before = rhythm.clone();
        rhythm.add(DAY, counts([1_000, 1_000, 500, 500]));
        assert_eq!(rhythm, before);
    }
}
