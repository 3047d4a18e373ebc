//! Clocks beside ours. Signed webhooks bear times, the log and the store keep what they are given for as long as their
//! own clocks say.

use super::{Findings, Health};
use domain::Timestamp;

/// Further off, and something is wrong with a clock. What lies below may be the way of the answer.
const WARN_SECONDS: i64 = 10;
/// Further off, signed webhooks are refused as stale, and rows end at the wrong time.
const FAIL_SECONDS: i64 = 120;

/// What is known of how far another clock runs ahead of ours, in seconds: at least, and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) at_least: i64,
    pub(super) at_most: i64,
}

impl Ahead {
    /// A clock that was read between two looks at ours.
    pub(super) fn between(before: Timestamp, theirs: Timestamp, after: Timestamp) -> Self {
        let seconds = |ours: Timestamp| theirs.as_millis().saturating_sub(ours.as_millis()) / 1_000;
        Self { at_least: seconds(after), at_most: seconds(before) }
    }

    /// How far it is off for certain; 0 where it may be right.
    pub(super) fn surely(self) -> i64 {
        if self.at_least > 0 {
            self.at_least
        } else if self.at_most < 0 {
            self.at_most
        } else {
            0
        }
    }
}

/// Tells how a clock stands to ours.
pub(super) fn compare(whose: &str, ahead: Ahead, findings: &mut Findings) {
    let check = format!("clock of {whose}");
    let off = ahead.surely();
    let health = match off.abs() {
        0..=WARN_SECONDS => return findings.ok(check, "as ours"),
        off if off <= FAIL_SECONDS => Health::Warn,
        _ => Health::Fail,
    };
    let way = if off > 0 { "ahead of" } else { "behind" };
    let detail = format!(
        "{} s {way} ours: find out which is wrong and set it by NTP (`timedatectl set-ntp true`, `chronyc tracking`)",
        off.abs()
    );
    findings.add(check, health, detail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_is_certain() {
        let at = |seconds: i64| Timestamp::from_seconds(1_800_000_000 + seconds).unwrap();
        let check = |before, theirs, after, expected: Health, says: &str| {
            let mut findings = Findings::default();
            compare("a broker", Ahead::between(at(before), at(theirs), at(after)), &mut findings);
            assert_eq!(findings.0[0].health, expected, "{findings:?}");
            assert!(findings.0[0].detail.contains(says), "{findings:?}");
        };
        check(0, 0, 1, Health::Ok, "as ours");
        // An answer that took a minute says little.
        check(0, 55, 60, Health::Ok, "as ours");
        check(0, -5, 60, Health::Ok, "as ours");
        check(0, 31, 1, Health::Warn, "30 s ahead of ours");
        check(0, -30, 1, Health::Warn, "30 s behind ours");
        check(0, 3_600, 0, Health::Fail, "3600 s ahead");
        check(0, -3_600, 0, Health::Fail, "3600 s behind");
    }
}
