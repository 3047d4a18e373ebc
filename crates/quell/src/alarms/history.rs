//! How counters grew: over a window of time, and by the clock of former days. Bounded; pure.

use std::collections::{HashMap, VecDeque};

/// Counters that are followed at once; their labels are bounded already.
const FOLLOWED_MAX: usize = 20_000;
/// Points kept of each window.
const POINTS: i64 = 60;

/// One counter over one window: its value at some times, the oldest first.
#[derive(Debug)]
struct Growth {
    points: VecDeque<(i64, f64)>,
}

/// Counters over their windows. All counters of a process begin at 0 with it.
#[derive(Debug, Default)]
pub(super) struct History {
    followed: HashMap<String, Growth>,
}

impl History {
    /// Takes note of a counter's value, and tells how much it grew within the window.
    pub(super) fn increase(&mut self, counter: String, window_ms: i64, now_ms: i64, value: f64) -> f64 {
        if self.followed.len() >= FOLLOWED_MAX && !self.followed.contains_key(&counter) {
            return 0.0;
        }
        let new = || Growth { points: VecDeque::from([(now_ms, 0.0)]) };
        let growth = self.followed.entry(counter).or_insert_with(new);
        let (newest_ms, newest) = growth.points.back().copied().unwrap_or((i64::MIN, 0.0));
        // A point holds until the next: what does not grow costs nothing.
        if value > newest && now_ms.saturating_sub(newest_ms) >= (window_ms / POINTS).max(1) {
            growth.points.push_back((now_ms, value));
        }
        let begin_ms = now_ms.saturating_sub(window_ms);
        while growth.points.get(1).is_some_and(|second| second.0 <= begin_ms) {
            growth.points.pop_front();
        }
        value - growth.points.front().map_or(0.0, |oldest| oldest.1)
    }
}

/// Length of a bucket.
pub(super) const BUCKET_MS: i64 = 10 * 60 * 1_000;
pub(super) const HOUR: usize = 6;
pub(super) const DAY: usize = 24 * HOUR;
const WEEK: usize = 7 * DAY;
/// A silence of up to a week is judged by the week before it.
const KEPT: usize = 2 * WEEK + HOUR;
/// From then on yesterday is a part of the silence and says nothing.
const LONG: usize = DAY - HOUR;
/// So much later than a week ago mail may go out.
const LATE: usize = 6 * HOUR;
/// So long a source must have come in every bucket before its silence counts on its first day: longer than a working day.
const STEADY: usize = 16 * HOUR;

/// How one source's webhooks come, in buckets of ten minutes for two weeks.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// Newest last; the newest is not over yet.
    buckets: VecDeque<u32>,
    newest: i64,
    total: f64,
}

impl Rhythm {
    /// Takes note of how many webhooks there were since the process began.
    pub(super) fn observe(&mut self, now_ms: i64, total: f64) {
        let bucket = now_ms.div_euclid(BUCKET_MS);
        if self.buckets.is_empty() {
            (self.buckets, self.newest) = (VecDeque::from([0]), bucket);
        }
        let passed = usize::try_from(bucket.saturating_sub(self.newest)).unwrap_or(0);
        for _ in 0..passed.min(KEPT) {
            self.buckets.push_back(0);
        }
        self.newest = self.newest.max(bucket);
        while self.buckets.len() > KEPT {
            self.buckets.pop_front();
        }
        let came = (total - self.total).max(0.0) as u32;
        self.total = total;
        if let Some(newest) = self.buckets.back_mut() {
            *newest = newest.saturating_add(came);
        }
    }

    /// Webhooks in so many whole buckets that ended so many buckets ago; `None` where that is not known.
    fn count(&self, length: usize, ago: usize) -> Option<u64> {
        // The newest bucket is not over.
        let end = self.buckets.len().checked_sub(1 + ago)?;
        let begin = end.checked_sub(length)?;
        Some(self.buckets.range(begin..end).map(|count| u64::from(*count)).sum())
    }

    /// How many came from so many buckets ago until so many buckets ago, as far as is known; the newest is the first.
    pub(super) fn within(&self, from: usize, until: usize) -> u64 {
        let at = |ago: usize| self.buckets.len().saturating_sub(ago);
        self.buckets.range(at(from)..at(until)).map(|count| u64::from(*count)).sum()
    }

    /// How many were to be expected by now in a window that is silent: as many as came at this time yesterday, and a week
    /// ago where that is known. The lesser counts, and the hour after too: clocks are put back and forward.
    fn usual(&self, length: usize) -> Option<u64> {
        let at = |ago: usize| {
            let counts = [self.count(length, ago), self.count(length, ago.saturating_sub(HOUR))];
            counts.into_iter().flatten().min()
        };
        let day = at(DAY)?;
        Some(at(WEEK).map_or(day, |week| week.min(day)))
    }

    /// How many webhooks are missed, where the source has gone quiet against its own rhythm.
    pub(super) fn missed(&self) -> Option<u64> {
        if self.buckets.back().is_none_or(|newest| *newest > 0) {
            return None;
        }
        let is_silent = |length| self.count(length, 0) == Some(0);
        // Ten minutes are judged by a whole hour's number: few in ten minutes say little.
        if is_silent(1)
            && let Some(usual) = self.usual(HOUR).filter(|usual| *usual >= 90)
        {
            return Some(usual / 6);
        }
        if is_silent(HOUR)
            && let Some(usual) = self.usual(HOUR).filter(|usual| *usual >= 15)
        {
            return Some(usual);
        }
        if is_silent(6 * HOUR)
            && self.count(6 * HOUR, WEEK).is_some()
            && let Some(usual) = self.usual(6 * HOUR).filter(|usual| *usual >= 15)
        {
            return Some(usual);
        }
        // The first day knows no yesterday: only who came all the time is missed.
        let is_first_day = self.count(HOUR, DAY).is_none();
        if is_first_day && is_silent(HOUR) && self.was_steady() {
            return self.count(HOUR, HOUR + 1);
        }
        self.missed_for_long()
    }

    /// How many are missed in a silence of a day or more: as many as came in its hours a week ago, the last ones left out.
    /// After a week nothing is left of the rhythm.
    fn missed_for_long(&self) -> Option<u64> {
        let silent = self.silent();
        if !(LONG..WEEK).contains(&silent) {
            return None;
        }
        let known = self.buckets.len().saturating_sub(1 + WEEK + LATE);
        let week_ago = self.count(known.min(silent - LATE), WEEK + LATE).unwrap_or_default();
        if week_ago >= 15 {
            return Some(week_ago);
        }
        // As long as a week ago is not known: only who came all the time is missed.
        if known < DAY && self.was_steady() { self.count(HOUR, silent) } else { None }
    }

    /// Whole buckets since something came.
    fn silent(&self) -> usize {
        self.buckets.iter().rev().skip(1).take_while(|count| **count == 0).count()
    }

    /// Whether webhooks came in each bucket for long before the present silence.
    fn was_steady(&self) -> bool {
        let before: Vec<&u32> = self.buckets.iter().rev().skip(1 + self.silent()).take(STEADY).collect();
        before.len() == STEADY && before.iter().all(|count| **count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_window() {
        let (mut history, minute) = (History::default(), 60_000);
        let mut grew =
            |minutes: i64, value: f64| history.increase("a".to_owned(), 60 * minute, minutes * minute, value);
        assert_eq!(grew(0, 5.0), 5.0, "all since the process began");
        assert_eq!(grew(10, 5.0), 5.0);
        assert_eq!(grew(30, 25.0), 25.0);
        assert_eq!(grew(71, 25.0), 20.0, "the first five are too long ago");
        assert_eq!(grew(89, 25.0), 20.0);
        assert_eq!(grew(200, 25.0), 0.0);
        assert_eq!(history.increase("b".to_owned(), minute, 200 * minute, 3.0), 3.0, "each by itself");
    }

    #[test]
    fn a_window_keeps_few_points() {
        let mut history = History::default();
        for second in 0..100_000 {
            history.increase("a".to_owned(), 3_600_000, second * 1_000, second as f64);
        }
        assert!(history.followed["a"].points.len() <= 63, "{}", history.followed["a"].points.len());
    }

    /// Plays hours; `rate(hour)` webhooks every ten minutes. Gives back the hours at whose ends something is missed.
    fn missed(hours: i64, rate: impl Fn(i64) -> f64) -> Vec<i64> {
        let (mut rhythm, mut total, mut missed) = (Rhythm::default(), 0.0, Vec::new());
        for step in 0..hours * 6 {
            let hour = step / 6;
            total += rate(hour);
            rhythm.observe(step * BUCKET_MS + 1, total);
            if rhythm.missed().is_some() && missed.last() != Some(&hour) {
                missed.push(hour);
            }
        }
        missed
    }

    #[test]
    fn quiet_nights_and_weekends_that_are_usual_raise_nothing() {
        let by_day = |hour: i64| if (8..20).contains(&(hour % 24)) { 50.0 } else { 0.0 };
        assert_eq!(missed(24 * 8, by_day), [0; 0]);
        // After a week a weekend is usual too.
        let by_week = |hour: i64| if (hour / 24) % 7 < 5 { by_day(hour) } else { 0.0 };
        let raised: Vec<i64> = missed(24 * 15, by_week).into_iter().filter(|hour| *hour >= 24 * 7).collect();
        assert_eq!(raised, [0; 0]);
        assert_eq!(missed(24 * 3, |_| 0.0), [0; 0], "who never came is not missed");
        assert_eq!(missed(24 * 3, |hour| if hour % 24 == 3 { 1.0 } else { 0.0 }), [0; 0], "a trickle has no rhythm");
    }

    #[test]
    fn silence_against_the_rhythm_is_told_within_the_hour() {
        let stops = |hour: i64| if hour < 24 * 3 + 10 { 50.0 } else { 0.0 };
        let told = missed(24 * 4, stops);
        assert_eq!(told.first(), Some(&(24 * 3 + 10)), "{told:?}");
        let slow = |hour: i64| if hour < 24 * 3 + 10 { 5.0 } else { 0.0 };
        let told = missed(24 * 4, slow);
        assert_eq!(told.first(), Some(&(24 * 3 + 11)), "thirty an hour are missed after an hour: {told:?}");
    }

    /// What is missed of a source that fell silent at a time, and the hours after that time at whose ends it is.
    fn missed_after(at: i64, hours: i64, rate: impl Fn(i64) -> f64) -> Vec<i64> {
        let told = missed(at + hours, |hour| if hour < at { rate(hour) } else { 0.0 });
        told.into_iter().filter(|hour| *hour >= at).map(|hour| hour - at).collect()
    }

    #[test]
    fn a_long_silence_is_missed_until_a_week_has_gone_by() {
        let noon = |day: i64| 24 * day + 12;
        let all: Vec<i64> = (0..24 * 7).collect();
        assert_eq!(missed_after(noon(9), 24 * 20, |_| 50.0), all, "by day and night");
        assert_eq!(missed_after(noon(9), 24 * 20, |_| 5.0), all[1..], "slowly");
        let by_day = |hour: i64| if (8..20).contains(&(hour % 24)) { 50.0 } else { 0.0 };
        let told = missed_after(noon(9), 24 * 20, by_day);
        assert!(all[24..].iter().all(|hour| told.contains(hour)), "the nights between too: {told:?}");
        assert_eq!(told.last(), Some(&(24 * 7 - 1)));
        // It ended on a Wednesday; the weekend is within its silence.
        let by_week = |hour: i64| if (hour / 24) % 7 < 5 { by_day(hour) } else { 0.0 };
        let told = missed_after(noon(9), 24 * 20, by_week);
        assert!(all[24..].iter().all(|hour| told.contains(hour)), "{told:?}");
        // It ended on a Saturday, when nothing comes anyway: Monday shows it.
        let told = missed_after(noon(12), 24 * 20, by_week);
        assert_eq!(told.first(), Some(&(24 + 20 + LATE as i64 / 6)), "{told:?}");
    }

    #[test]
    fn a_long_silence_of_a_process_without_a_week_is_missed_where_webhooks_came_all_the_time() {
        let all: Vec<i64> = (0..24 * 7).collect();
        assert_eq!(missed_after(24 * 2, 24 * 20, |_| 50.0), all);
        assert_eq!(missed_after(24 * 6, 24 * 20, |_| 5.0), all[1..]);
        let by_day = |hour: i64| if (8..20).contains(&(hour % 24)) { 50.0 } else { 0.0 };
        assert_eq!(missed_after(24 * 2 + 20, 24 * 2, by_day).last(), Some(&23), "for a day by yesterday");
    }

    #[test]
    fn what_comes_again_after_days_of_silence_is_missed_no_more() {
        let (ends, begins) = (24 * 9 + 12, 24 * 13);
        let pause = |hour: i64| if (ends..begins).contains(&hour) { 0.0 } else { 50.0 };
        assert_eq!(missed(24 * 25, pause), (ends..begins).collect::<Vec<_>>());
    }

    #[test]
    fn quiet_days_that_are_usual_and_mail_that_is_late_are_no_long_silence() {
        let by_day = |hour: i64| if (8..20).contains(&(hour % 24)) { 50.0 } else { 0.0 };
        let by_week = |hour: i64| if (hour / 24) % 7 < 5 { by_day(hour) } else { 0.0 };
        let after_a_week = |told: Vec<i64>| told.into_iter().filter(|hour| *hour >= 24 * 7).collect::<Vec<i64>>();
        assert_eq!(after_a_week(missed(24 * 40, by_week)), [0; 0], "weekends");
        let late = |hour: i64| if (24 * 21..24 * 21 + 14).contains(&hour) { 0.0 } else { by_week(hour) };
        assert_eq!(after_a_week(missed(24 * 40, late)), [0; 0], "a Monday that begins at two");
        assert_eq!(missed(24 * 40, |hour| if hour % 24 == 3 { 0.3 } else { 0.0 }), [0; 0], "a trickle has no rhythm");
    }

    #[test]
    fn on_the_first_day_only_a_steady_source_is_missed() {
        assert_eq!(missed(24, |hour| if hour < 18 { 3.0 } else { 0.0 }).first(), Some(&19));
        assert_eq!(missed(20, |hour| if hour < 6 { 300.0 } else { 0.0 }), [0; 0], "a campaign of a morning");
        assert_eq!(missed(20, |_| 3.0), [0; 0]);
    }

    #[test]
    fn a_source_that_comes_again_is_missed_no_more() {
        let pause = |hour: i64| if (24 * 3..24 * 3 + 5).contains(&hour) { 0.0 } else { 50.0 };
        let told = missed(24 * 4, pause);
        assert_eq!(told.last(), Some(&(24 * 3 + 4)), "{told:?}");
    }
}
