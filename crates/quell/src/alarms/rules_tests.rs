//! Each rule is raised by what it is for, stays silent on a quiet night, and recovers.

use super::{
    super::board::{Board, Change},
    *,
};

/// A process that looks at itself once a minute.
struct World {
    figures: Figures,
    rules: Rules,
    board: Board,
    minute: i64,
    changes: Vec<String>,
}

impl World {
    fn new() -> Self {
        let limits = Limits { suppressions: 100.0, spool_bytes: 1_000.0 };
        let (figures, rules, board) = (Figures::default(), Rules::new(limits), Board::default());
        let mut world = Self { figures, rules, board, minute: 0, changes: Vec::new() };
        world.quiet();
        world
    }

    /// The gauges of a process in which all is well.
    fn quiet(&mut self) {
        self.figures.set(SPOOL_BYTES, &[], 0.0).set(SPOOL_OLDEST, &[], 0.0).set(BREAKER, &[], 0.0);
        self.figures.set(LAG, &[("stage", "suppressor-0")], 0.4).set(DOWN, &[("stage", "suppressor-0")], 0.0);
        self.figures.set(LAG, &[("stage", "quell.syncer.main")], 90_000.0);
        self.figures.set(BLOCKED, &[("account", "main")], 0.0).set(SYNC_OLDEST, &[("account", "main")], 2.0);
        self.figures.set(OPT_OUTS, &[("account", "main")], 0.0).set(INCIDENTS, &[], 0.0);
        self.figures.set(NOTIFY_OLDEST, &[("subscriber", "crm")], 0.0).set(
            NOTIFY_DISABLED,
            &[("subscriber", "crm")],
            0.0,
        );
    }

    /// Lets minutes pass; before each look the figures may be changed. What was raised and resolved.
    fn pass(&mut self, minutes: i64, mut with: impl FnMut(&mut Figures, i64)) -> Vec<String> {
        for _ in 0..minutes {
            with(&mut self.figures, self.minute);
            let now_ms = self.minute * MINUTE;
            let findings = self.rules.look(now_ms, &self.figures);
            for change in self.board.step(now_ms, findings) {
                self.changes.push(match change {
                    Change::Raised(alarm) => format!("+{} {} {:?}", alarm.rule.name, alarm.subject, alarm.severity),
                    Change::Worsened(alarm) => format!("!{} {} {:?}", alarm.rule.name, alarm.subject, alarm.severity),
                    Change::Resolved(alarm) => format!("-{} {}", alarm.rule.name, alarm.subject),
                });
            }
            self.minute += 1;
        }
        std::mem::take(&mut self.changes)
    }
}

/// Sets gauges for a while, and then as before: raised once, resolved once.
#[track_caller]
fn check_gauge(name: &str, labels: &[(&str, &str)], bad: f64, good: f64, minutes: i64, expected: &str) {
    let mut world = World::new();
    assert_eq!(world.pass(5, |_, _| ()), [""; 0], "{name}: all is well");
    let raised = world.pass(minutes, |figures, _| {
        figures.set(name, labels, bad);
    });
    assert_eq!(raised, [format!("+{expected}")], "{name}");
    let (rule, subject) = expected.split_once(' ').unwrap();
    let subject = subject.rsplit_once(' ').unwrap().0;
    let over = world.pass(10, |figures, _| {
        figures.set(name, labels, good);
    });
    assert_eq!(over, [format!("-{rule} {subject}")], "{name}");
}

#[test]
fn gauges_raise_and_resolve() {
    check_gauge(INCIDENTS, &[], 1.0, 0.0, 2, "QuellIncidentOpen  Warning");
    check_gauge(BREAKER, &[], 1.0, 0.0, 4, "QuellLogAway  Warning");
    check_gauge(SPOOL_BYTES, &[], 260.0, 100.0, 4, "QuellSpoolFilling  Warning");
    check_gauge(SPOOL_BYTES, &[], 900.0, 0.0, 4, "QuellSpoolFilling  Critical");
    check_gauge(SPOOL_OLDEST, &[], 400.0, 0.0, 8, "QuellSpoolOld  Warning");
    check_gauge(LAG, &[("stage", "suppressor-0")], 301.0, 5.0, 8, "QuellStageLagging suppressor-0 Warning");
    check_gauge(DOWN, &[("stage", "suppressor-0")], 1.0, 0.0, 2, "QuellStageDown suppressor-0 Critical");
    check_gauge(BLOCKED, &[("account", "main")], 1.0, 0.0, 8, "QuellAccountBlocked main Critical");
    check_gauge(SYNC_OLDEST, &[("account", "main")], 2_000.0, 1.0, 8, "QuellSyncStuck main Critical");
    check_gauge(OPT_OUTS, &[("account", "main")], 50_000.0, 0.0, 8, "QuellOptOutsLate main Warning");
    check_gauge(NOTIFY_OLDEST, &[("subscriber", "crm")], 2_000.0, 0.0, 8, "QuellSubscriberBehind crm Warning");
    check_gauge(NOTIFY_DISABLED, &[("subscriber", "crm")], 1.0, 0.0, 2, "QuellSubscriberDisabled crm Warning");
}

/// A gauge that climbs through the warning to the critical level and falls back: told at each level, and when it is over.
#[track_caller]
fn check_ramp(name: &str, labels: &[(&str, &str)], critical: f64, subject: &str) {
    let mut world = World::new();
    let told = world.pass(100, |figures, minute| {
        let part = if minute < 60 { minute as f64 / 50.0 } else { 0.0 };
        figures.set(name, labels, critical * part);
    });
    assert_eq!(told, [format!("+{subject} Warning"), format!("!{subject} Critical"), format!("-{subject}")], "{name}");
}

#[test]
fn a_warning_that_becomes_critical_is_told() {
    check_ramp(SPOOL_BYTES, &[], 800.0, "QuellSpoolFilling ");
    check_ramp(SPOOL_OLDEST, &[], 3_600.0, "QuellSpoolOld ");
    check_ramp(LAG, &[("stage", "suppressor-0")], 1_800.0, "QuellStageLagging suppressor-0");
    check_ramp(OPT_OUTS, &[("account", "main")], 172_800.0, "QuellOptOutsLate main");
}

#[test]
fn bounces_that_grow_worse_are_told() {
    let mut world = World::new();
    let told = world.pass(60, |figures, minute| {
        event(figures, "delivered", 1_000.0);
        event(figures, "bounced_hard", 3.0 * minute as f64);
    });
    let subject = "QuellBounceRateHigh acme/sendgrid";
    assert_eq!(told, [format!("+{subject} Warning"), format!("!{subject} Critical")]);
}

#[test]
fn a_lane_that_gets_on_is_not_stuck() {
    let mut world = World::new();
    let told = world.pass(60, |figures, minute| {
        figures.set(SYNC_OLDEST, &[("account", "main")], 9_000.0);
        figures.set(OUTCOMES, &[("account", "main"), ("result", "done")], minute as f64);
    });
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_gauge_at_its_limit_does_not_flap() {
    let mut world = World::new();
    let told = world.pass(120, |figures, minute| {
        let lag = if minute % 8 < 6 { 310.0 } else { 260.0 };
        figures.set(LAG, &[("stage", "suppressor-0")], lag);
    });
    assert_eq!(told, ["+QuellStageLagging suppressor-0 Warning"]);
}

fn suppressed(figures: &mut Figures, reason: &str, n: f64) {
    figures.set(DELTAS, &[("change", "suppressed"), ("reason", reason), ("scope", "all")], n);
}

#[test]
fn more_than_a_hundred_suppressions_in_an_hour_raise_one_alarm() {
    let mut world = World::new();
    assert_eq!(
        world.pass(180, |figures, minute| suppressed(figures, "hard_bounce", minute as f64)),
        [""; 0],
        "60 an hour"
    );
    let told =
        world.pass(10, |figures, minute| suppressed(figures, "hard_bounce", 180.0 + 10.0 * (minute - 179) as f64));
    assert_eq!(told, ["+QuellSuppressionSpike  Warning"]);
    assert_eq!(world.pass(90, |_, _| ()), ["-QuellSuppressionSpike "], "an hour later it is over");
    let told = world.pass(10, |figures, minute| suppressed(figures, "unengaged", minute as f64 * 1_000.0));
    assert_eq!(told, [""; 0], "those are nobody's fault");
}

fn event(figures: &mut Figures, kind: &str, n: f64) {
    figures.set(EVENTS, &[("tenant", "acme"), ("provider", "sendgrid"), ("kind", kind)], n);
}

#[test]
fn bounces_are_judged_by_what_was_sent() {
    let play = |delivered: f64, bounced: f64| {
        let mut world = World::new();
        world.pass(20, |figures, _| {
            event(figures, "delivered", delivered);
            event(figures, "bounced_hard", bounced);
        })
    };
    assert_eq!(play(10_000.0, 100.0), [""; 0], "1 %");
    assert_eq!(play(970.0, 30.0), ["+QuellBounceRateHigh acme/sendgrid Warning"], "3 %");
    assert_eq!(play(900.0, 100.0), ["+QuellBounceRateHigh acme/sendgrid Critical"], "10 %");
    assert_eq!(play(80.0, 40.0), [""; 0], "too few to tell");
    assert_eq!(play(0.0, 300.0), [""; 0], "a provider that tells only of failures tells no number");
}

#[test]
fn complaints_are_judged_by_a_day() {
    let play = |delivered: f64, complaints: f64| {
        let mut world = World::new();
        let told = world.pass(20, |figures, _| {
            event(figures, "delivered", delivered);
            event(figures, "complaint", complaints);
        });
        (told, world)
    };
    assert_eq!(play(10_000.0, 5.0).0, [""; 0]);
    assert_eq!(play(500.0, 5.0).0, [""; 0], "too few to tell");
    assert_eq!(play(1_000.0, 4.0).0, ["+QuellComplaintRateHigh acme/sendgrid Critical"]);
    let (raised, mut world) = play(10_000.0, 15.0);
    assert_eq!(raised, ["+QuellComplaintRateHigh acme/sendgrid Warning"]);
    assert_eq!(world.pass(24 * 60 + 30, |_, _| ()), ["-QuellComplaintRateHigh acme/sendgrid"]);
}

fn webhooks(figures: &mut Figures, status: &str, cause: &str, n: f64) {
    figures.set(WEBHOOKS, &[("provider", "drip"), ("source", "default"), ("status", status), ("cause", cause)], n);
}

#[test]
fn refusals_are_told_by_cause() {
    let mut world = World::new();
    let told = world.pass(30, |figures, minute| {
        webhooks(figures, "202", "", 100.0 * minute as f64);
        webhooks(figures, "401", "wrong_signature", minute as f64);
    });
    assert_eq!(told, [""; 0], "one in a hundred");
    let told = world.pass(15, |figures, minute| webhooks(figures, "401", "wrong_signature", 100.0 * minute as f64));
    assert_eq!(told, ["+QuellWebhooksRefused drip/default/wrong_signature Warning"]);
    assert_eq!(world.pass(40, |_, _| ()), ["-QuellWebhooksRefused drip/default/wrong_signature"]);
}

#[test]
fn webhooks_that_are_turned_away_are_told() {
    let mut world = World::new();
    let told = world.pass(15, |figures, minute| webhooks(figures, "503", "log_unavailable", 3.0 * minute as f64));
    assert_eq!(told, ["+QuellWebhooksTurnedAway drip Critical"]);
    assert_eq!(world.pass(20, |_, _| ()), ["-QuellWebhooksTurnedAway drip"]);
}

#[test]
fn silence_against_the_rhythm_is_told_and_a_quiet_night_is_not() {
    let mut world = World::new();
    let mut n = 0.0;
    let mut by_day = |figures: &mut Figures, minute: i64| {
        n += if (8 * 60..20 * 60).contains(&(minute % (24 * 60))) { 5.0 } else { 0.0 };
        webhooks(figures, "202", "", n);
    };
    assert_eq!(world.pass(3 * 24 * 60 + 12 * 60, &mut by_day), [""; 0], "three days and nights");
    let told = world.pass(60, |_, _| ());
    assert_eq!(told, ["+QuellWebhooksSilent drip/default Critical"], "at noon nothing comes");
    let told = world.pass(60, by_day);
    assert_eq!(told, ["-QuellWebhooksSilent drip/default"]);
}

#[test]
fn silence_of_days_is_one_alarm_until_webhooks_come_again() {
    let mut world = World::new();
    let mut n = 0.0;
    let mut steadily = |figures: &mut Figures, _: i64| {
        n += 5.0;
        webhooks(figures, "202", "", n);
    };
    assert_eq!(world.pass(9 * 24 * 60, &mut steadily), [""; 0]);
    assert_eq!(world.pass(4 * 24 * 60, |_, _| ()), ["+QuellWebhooksSilent drip/default Critical"], "four days");
    assert_eq!(world.pass(60, steadily), ["-QuellWebhooksSilent drip/default"]);
}

/// Minutes of a world with a gateway; a campaign is checked before each minute in `sends`, and webhooks come when they do.
fn told_of_sends(minutes: i64, sends: &[(i64, f64)], comes: impl Fn(i64) -> bool) -> Vec<String> {
    let mut world = World::new();
    let (mut free, mut taken) = (0.0, 0.0);
    world.pass(minutes, |figures, minute| {
        free += sends.iter().filter(|(at, _)| *at == minute).map(|(_, n)| n).sum::<f64>();
        taken += if comes(minute) { 1.0 } else { 0.0 };
        figures.set(GATEWAY, &[], 0.0);
        figures.set(CHECKED, &[("answer", "free")], free);
        figures.set(CHECKED, &[("answer", "stopped")], 100.0 * free);
        webhooks(figures, "202", "", taken);
    })
}

#[test]
fn mail_of_which_nobody_tells_is_an_alarm() {
    let raised = "+QuellNoWebhooksAfterSend  Warning";
    let resolved = "-QuellNoWebhooksAfterSend ";
    let day = 24 * 60;
    let campaign = [(60, 50_000.0)];
    assert_eq!(told_of_sends(170, &campaign, |_| false), [""; 0], "something may still come");
    assert_eq!(told_of_sends(5 * 60, &campaign, |_| false), [raised], "webhooks were never set up");
    assert_eq!(told_of_sends(2 * day, &campaign, |_| false), [raised, resolved], "a day later it is forgotten");
    assert_eq!(told_of_sends(5 * 60, &campaign, |minute| minute == 250), [raised, resolved], "they come after all");
    assert_eq!(told_of_sends(2 * day, &campaign, |minute| minute == 70), [""; 0], "one bounce is a sign of life");
    assert_eq!(told_of_sends(2 * day, &[(60, 999.0)], |_| false), [""; 0], "too few to tell");
    assert_eq!(told_of_sends(2 * day, &[], |_| false), [""; 0], "nothing is sent");
    let weekly = [(60, 2_000.0), (7 * day, 2_000.0)];
    let told = told_of_sends(8 * day, &weekly, |minute| minute % 20 == 0 && (60..200).contains(&minute));
    assert_eq!(told, [raised], "the second campaign of a sender whose rhythm nobody knows");
}

#[test]
fn a_process_without_a_gateway_misses_no_webhooks() {
    let mut world = World::new();
    let told = world.pass(10 * 60, |figures, _| {
        figures.set(CHECKED, &[("answer", "free")], 50_000.0);
    });
    assert_eq!(told, [""; 0]);
}

#[test]
fn dead_letters_are_told_by_reason() {
    let mut world = World::new();
    let told = world.pass(5, |figures, _| {
        figures.set(NORMALIZER_DEAD, &[("provider", "drip"), ("reason", "malformed")], 3.0);
        figures.set(
            STAGE_RECORDS,
            &[("stage", "quell.notifier.crm"), ("fate", "dead"), ("reason", "undelivered")],
            1.0,
        );
        // The normalizer's letters are counted by provider.
        figures.set(STAGE_RECORDS, &[("stage", "normalizer"), ("fate", "dead"), ("reason", "malformed")], 3.0);
    });
    assert_eq!(
        told,
        ["+QuellDeadLetters drip/malformed Warning", "+QuellDeadLetters quell.notifier.crm/undelivered Warning"]
    );
    let over = world.pass(90, |_, _| ());
    assert_eq!(over, ["-QuellDeadLetters drip/malformed", "-QuellDeadLetters quell.notifier.crm/undelivered"]);
}

#[test]
fn a_store_that_fails_is_told() {
    let mut world = World::new();
    let told = world.pass(15, |figures, minute| {
        figures.set(STORE_ERRORS, &[("operation", "load")], 4.0 * minute as f64);
    });
    assert_eq!(told, ["+QuellStoreErrors load Critical"]);
    assert_eq!(world.pass(20, |_, _| ()), ["-QuellStoreErrors load"]);
}

#[test]
fn every_rule_has_a_page_and_a_row_in_the_manual() {
    let manual = include_str!("../../../../docs/alarms.md");
    for rule in RULES {
        assert!(manual.contains(&format!("runbooks/{0}.md", rule.name)), "{} is not in docs/alarms.md", rule.name);
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/runbooks/");
        assert!(std::path::Path::new(&format!("{page}{}.md", rule.name)).exists(), "{} has no runbook", rule.name);
    }
}

#[test]
fn everything_that_is_read_is_followed_by_name() {
    let mut names: Vec<&str> = READ.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), READ.len());
}
