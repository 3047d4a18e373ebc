//! The rules: what is wrong, judged by the process's own figures. Pure.
//!
//! They are those of deploy/prometheus, as far as one process sees enough for them, under the same names and with the same
//! limits; where they differ, docs/alarms.md says how.

use super::{
    figures::{By, Figures},
    history::{self, History, Rhythm},
};
use std::collections::BTreeMap;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const DELTAS: &str = "quell_suppressor_deltas_total";
const EVENTS: &str = "quell_suppressor_events_total";
const WEBHOOKS: &str = "quell_gateway_webhooks_total";
const CHECKED: &str = "quell_lookup_checked_total";
/// There wherever a gateway is.
const GATEWAY: &str = "quell_gateway_in_flight_requests";
const NORMALIZER_DEAD: &str = "quell_normalizer_dead_letters_total";
const STAGE_RECORDS: &str = "quell_stage_records_total";
const STORE_ERRORS: &str = "quell_store_errors_total";
const OUTCOMES: &str = "quell_syncer_outcomes_total";
const SYNC_OLDEST: &str = "quell_syncer_oldest_pending_seconds";
const OPT_OUTS: &str = "quell_syncer_oldest_optout_seconds";
const SPOOL_BYTES: &str = "quell_gateway_spool_bytes";
const SPOOL_OLDEST: &str = "quell_gateway_spool_oldest_seconds";
const LAG: &str = "quell_stage_lag_seconds";
const DOWN: &str = "quell_stage_down";
const BREAKER: &str = "quell_gateway_log_breaker_open";
const BLOCKED: &str = "quell_syncer_account_blocked";
const INCIDENTS: &str = "quell_guard_incidents_open";
const NOTIFY_OLDEST: &str = "quell_notifier_oldest_pending_seconds";
const NOTIFY_DISABLED: &str = "quell_notifier_disabled";

/// Every metric that a rule rests on.
pub(super) const READ: &[&str] = &[
    DELTAS,
    EVENTS,
    WEBHOOKS,
    CHECKED,
    GATEWAY,
    NORMALIZER_DEAD,
    STAGE_RECORDS,
    STORE_ERRORS,
    OUTCOMES,
    SYNC_OLDEST,
    OPT_OUTS,
    SPOOL_BYTES,
    SPOOL_OLDEST,
    LAG,
    DOWN,
    BREAKER,
    BLOCKED,
    INCIDENTS,
    NOTIFY_OLDEST,
    NOTIFY_DISABLED,
];

/// How bad an alarm is: as in deploy/prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// For working hours.
    Warning,
    /// Wakes somebody.
    Critical,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What does not change about an alarm.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its name; its page is docs/runbooks/NAME.md.
    pub(super) name: &'static str,
    /// How long it must be bad before it is raised.
    pub(super) after_ms: i64,
    /// What to do first.
    pub(super) advice: &'static str,
}

/// How it stands. Between the two nothing changes, so that a figure at its limit does not flap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Bad,
    Between,
    Well,
}

impl Level {
    /// Bad above the limit, well at four fifths of it or less.
    fn above(value: f64, limit: f64) -> Self {
        if value > limit {
            Self::Bad
        } else if value > 0.8 * limit {
            Self::Between
        } else {
            Self::Well
        }
    }

    fn of(is_bad: bool) -> Self {
        if is_bad { Self::Bad } else { Self::Well }
    }
}

/// What a rule found about one subject: an account, a source, a stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) rule: &'static Rule,
    pub(super) subject: String,
    pub(super) level: Level,
    pub(super) severity: Severity,
    pub(super) summary: String,
}

/// What an operator set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// Suppressions in an hour.
    pub(super) suppressions: f64,
    /// What the spool may hold.
    pub(super) spool_bytes: f64,
}

macro_rules! rules {
    ($($id:ident $name:literal $after:expr, $advice:literal;)*) => {
        $(const $id: &Rule = &Rule { name: $name, after_ms: $after, advice: $advice };)*
        /// Every rule.
        pub(super) const RULES: &[&Rule] = &[$($id),*];
    };
}

rules! {
    SPIKE "QuellSuppressionSpike" 0, "find the campaign or provider behind it (`quell why` on one address) before it sends on";
    BOUNCES "QuellBounceRateHigh" 5 * MINUTE, "stop the campaign and filter its list (`quell filter`); look at what the failures say";
    COMPLAINTS "QuellComplaintRateHigh" 5 * MINUTE, "stop the campaign; look at whom it went to and how they signed up";
    INCIDENT "QuellIncidentOpen" 0, "see which mailbox bounces; confirm or undo the incident";
    SILENT "QuellWebhooksSilent" 2 * MINUTE, "see at the provider whether webhooks are on, where they go and what it says of failures";
    UNHEARD "QuellNoWebhooksAfterSend" 10 * MINUTE, "see at the provider whether webhooks are set up at all, where they go and what it says of failures";
    REFUSED "QuellWebhooksRefused" 5 * MINUTE, "compare the source's secrets with the provider's; the cause names the check";
    TURNED_AWAY "QuellWebhooksTurnedAway" 5 * MINUTE, "see what is full or away: the log, the disk, the store";
    LOG_AWAY "QuellLogAway" 2 * MINUTE, "see to the brokers; the spool keeps what comes meanwhile";
    SPOOL_FULL "QuellSpoolFilling" MINUTE, "see to the brokers, or give the spool more room";
    SPOOL_OLD "QuellSpoolOld" 5 * MINUTE, "see to the brokers; suppressions are as late as the spool is old";
    LAGGING "QuellStageLagging" 5 * MINUTE, "see whether the stage goes back again and again, and what for; else give it more workers";
    STAGE_DOWN "QuellStageDown" 0, "read the log for why it ended; the process must be started again";
    DEAD "QuellDeadLetters" 0, "`quell dead-letters list` shows them; mend the cause, then `quell dead-letters replay`";
    STORE "QuellStoreErrors" 5 * MINUTE, "see to the store's nodes; stages wait and lookups answer 503 meanwhile";
    ACCOUNT "QuellAccountBlocked" 5 * MINUTE, "check the account's credential, domain and stream at the provider";
    STUCK "QuellSyncStuck" 5 * MINUTE, "see whether the provider's API is up and what it answers";
    OPT_OUT "QuellOptOutsLate" 5 * MINUTE, "stop sending by that account until it was told; two days are allowed";
    SUBSCRIBER "QuellSubscriberBehind" 5 * MINUTE, "tell who runs the endpoint; what is too old becomes a dead letter";
    DISABLED "QuellSubscriberDisabled" 0, "the endpoint answered 410: mend its url or take the subscriber out, then restart";
}

/// What the rules remember from one look to the next.
#[derive(Debug)]
pub(super) struct Rules {
    limits: Limits,
    history: History,
    rhythms: BTreeMap<[String; 2], Rhythm>,
    /// Recipients that were free to be sent to.
    cleared: Rhythm,
    /// Webhooks of any source.
    taken: Rhythm,
}

/// One look.
struct Look<'a> {
    now_ms: i64,
    figures: &'a Figures,
    found: Vec<Finding>,
}

impl Look<'_> {
    fn add(&mut self, rule: &'static Rule, subject: &str, level: Level, severity: Severity, summary: String) {
        self.found.push(Finding { rule, subject: subject.to_owned(), level, severity, summary });
    }

    /// The whole of a metric, by one label.
    fn by<const N: usize>(&self, name: &str, labels: [&str; N]) -> By<N> {
        self.figures.by(name, labels, |_| true)
    }

    /// A rule about a gauge with one label that is to be zero.
    fn must_be_zero(&mut self, rule: &'static Rule, name: &str, label: &str, severity: Severity, what: &str) {
        for ([subject], value) in self.by(name, [label]) {
            self.add(rule, &subject, Level::of(value > 0.0), severity, format!("{what} {subject}"));
        }
    }
}

impl Rules {
    pub(super) fn new(limits: Limits) -> Self {
        let (cleared, taken) = (Rhythm::default(), Rhythm::default());
        Self { limits, history: History::default(), rhythms: BTreeMap::new(), cleared, taken }
    }

    /// Judges the figures of this moment. What is not named in the answer is well.
    pub(super) fn look(&mut self, now_ms: i64, figures: &Figures) -> Vec<Finding> {
        let mut look = Look { now_ms, figures, found: Vec::new() };
        self.suppressions(&mut look);
        self.rates(&mut look);
        self.webhooks(&mut look);
        self.silence(&mut look);
        self.unheard(&mut look);
        self.spool(&mut look);
        self.pipeline(&mut look);
        self.sync(&mut look);
        subscribers(&mut look);
        look.found
    }

    fn increases<const N: usize>(&mut self, rule: &Rule, look: &Look<'_>, window_ms: i64, values: By<N>) -> By<N> {
        let increase = |(labels, value): ([String; N], f64)| {
            let counter = format!("{}/{window_ms}/{}", rule.name, labels.join("\n"));
            (labels, self.history.increase(counter, window_ms, look.now_ms, value))
        };
        values.into_iter().map(increase).collect()
    }

    fn suppressions(&mut self, look: &mut Look<'_>) {
        let values = look.figures.by(DELTAS, [], |label| {
            label("change") == "suppressed" && !["manual", "unengaged"].contains(&label("reason").as_str())
        });
        for ([], n) in self.increases(SPIKE, look, HOUR, values) {
            let summary = format!("{n:.0} suppressions came into force in the last hour");
            look.add(SPIKE, "", Level::above(n, self.limits.suppressions), Severity::Warning, summary);
        }
        for ([], n) in look.by(INCIDENTS, []) {
            let summary = format!("{n:.0} groups of recipients bounce far beyond their own rhythm");
            look.add(INCIDENT, "", Level::of(n > 0.0), Severity::Warning, summary);
        }
    }

    /// Bounces and complaints relative to what was sent, where that is enough to tell.
    fn rates(&mut self, look: &mut Look<'_>) {
        let events = look.by(EVENTS, ["tenant", "provider", "kind"]);
        let hour = self.increases(BOUNCES, look, HOUR, events.clone());
        let day = self.increases(COMPLAINTS, look, DAY, events);
        for ([tenant, provider], hour) in by_kind(hour) {
            let (sends, bounced) = (hour.sends(), hour.of("bounced_hard"));
            let rate = if sends >= 200.0 { bounced / sends } else { 0.0 };
            let severity = if rate > 0.05 { Severity::Critical } else { Severity::Warning };
            let summary = format!(
                "{:.1} % of the last hour's {sends:.0} messages of {tenant} by {provider} bounced for good",
                rate * 100.0
            );
            look.add(BOUNCES, &format!("{tenant}/{provider}"), Level::above(rate, 0.02), severity, summary);
        }
        for ([tenant, provider], day) in by_kind(day) {
            let (delivered, complaints) = (day.delivered(), day.of("complaint"));
            let rate = if delivered > 0.0 { complaints / delivered } else { 0.0 };
            let (severity, level) = if delivered >= 1_000.0 && rate > 0.003 {
                (Severity::Critical, Level::Bad)
            } else if delivered >= 2_000.0 {
                (Severity::Warning, Level::above(rate, 0.001))
            } else {
                (Severity::Warning, Level::Well)
            };
            let summary = format!(
                "{:.2} % of a day's {delivered:.0} messages of {tenant} by {provider} were called spam",
                rate * 100.0
            );
            look.add(COMPLAINTS, &format!("{tenant}/{provider}"), level, severity, summary);
        }
    }

    fn webhooks(&mut self, look: &mut Look<'_>) {
        let known = |label: &dyn Fn(&str) -> String| label("provider") != "unknown";
        let status = |label: &dyn Fn(&str) -> String| label("status").parse::<u16>().unwrap_or(0);
        let all = look.figures.by(WEBHOOKS, ["provider", "source"], known);
        let all = self.increases(REFUSED, look, 15 * MINUTE, all);
        let refused = look.figures.by(WEBHOOKS, ["provider", "source", "cause"], |label| {
            known(label) && (400..500).contains(&status(label)) && status(label) != 429
        });
        for ([provider, source, cause], n) in self.increases(REFUSED, look, 15 * MINUTE, refused) {
            let of = all.get(&[provider.clone(), source.clone()]).copied().unwrap_or(0.0);
            let summary =
                format!("{n:.0} of {of:.0} webhooks at {provider}/{source} were refused in 15 minutes: {cause}");
            let level = if n >= 10.0 && n > 0.05 * of {
                Level::Bad
            } else if n > 5.0 && n > 0.04 * of {
                Level::Between
            } else {
                Level::Well
            };
            look.add(REFUSED, &format!("{provider}/{source}/{cause}"), level, Severity::Warning, summary);
        }
        let away = look
            .figures
            .by(WEBHOOKS, ["provider"], |label| known(label) && (status(label) == 429 || status(label) >= 500));
        for ([provider], n) in self.increases(TURNED_AWAY, look, 5 * MINUTE, away) {
            let summary = format!("{n:.0} webhooks of {provider} were told to come later in five minutes");
            look.add(TURNED_AWAY, &provider, Level::above(n, 4.9), Severity::Critical, summary);
        }
    }

    fn silence(&mut self, look: &mut Look<'_>) {
        let taken = look.figures.by(WEBHOOKS, ["provider", "source"], |label| {
            label("provider") != "unknown" && label("status").starts_with('2')
        });
        for (key, total) in taken {
            let rhythm = self.rhythms.entry(key.clone()).or_default();
            rhythm.observe(look.now_ms, total);
            let [provider, source] = key;
            let missed = rhythm.missed();
            let summary = format!(
                "no webhooks come from {provider}/{source}; by its own rhythm {} were to be expected",
                missed.unwrap_or_default()
            );
            look.add(SILENT, &format!("{provider}/{source}"), Level::of(missed.is_some()), Severity::Critical, summary);
        }
    }

    /// Who asks whom to leave out sends, and of what was sent something is told within two hours. Only a process that takes
    /// webhooks knows that none came.
    fn unheard(&mut self, look: &mut Look<'_>) {
        const LATE: usize = 2 * history::HOUR;
        if look.by(GATEWAY, []).is_empty() {
            return;
        }
        let total = |values: By<0>| values.into_values().sum();
        let cleared = look.figures.by(CHECKED, [], |label| label("answer") == "free");
        self.cleared.observe(look.now_ms, total(cleared));
        let taken =
            look.figures.by(WEBHOOKS, [], |label| label("provider") != "unknown" && label("status").starts_with('2'));
        self.taken.observe(look.now_ms, total(taken));
        let n = self.cleared.within(history::DAY + LATE, LATE);
        let is_bad = n >= 1_000 && self.taken.within(history::DAY + LATE, 0) == 0;
        let summary =
            format!("no webhook comes, though in the day until two hours ago {n} recipients were free to be sent to");
        look.add(UNHEARD, "", Level::of(is_bad), Severity::Warning, summary);
    }

    fn spool(&self, look: &mut Look<'_>) {
        for ([], open) in look.by(BREAKER, []) {
            let summary = "the gateway cannot reach the log and spools what comes".to_owned();
            look.add(LOG_AWAY, "", Level::of(open > 0.0), Severity::Warning, summary);
        }
        for ([], bytes) in look.by(SPOOL_BYTES, []) {
            let part = bytes / self.limits.spool_bytes.max(1.0);
            let severity = if part > 0.8 { Severity::Critical } else { Severity::Warning };
            let summary = format!("the spool is {:.0} % full", part * 100.0);
            look.add(SPOOL_FULL, "", Level::above(part, 0.25), severity, summary);
        }
        for ([], seconds) in look.by(SPOOL_OLDEST, []) {
            let severity = if seconds > 3_600.0 { Severity::Critical } else { Severity::Warning };
            let summary = format!("the oldest webhook in the spool is {seconds:.0} s old");
            look.add(SPOOL_OLD, "", Level::above(seconds, 300.0), severity, summary);
        }
    }

    fn pipeline(&mut self, look: &mut Look<'_>) {
        let own = look.figures.by(LAG, ["stage"], |label| !waits_for_others(&label("stage")));
        for ([stage], seconds) in own {
            let severity = if seconds > 1_800.0 { Severity::Critical } else { Severity::Warning };
            let summary = format!("the oldest record that {stage} has still to process is {seconds:.0} s old");
            look.add(LAGGING, &stage, Level::above(seconds, 300.0), severity, summary);
        }
        look.must_be_zero(STAGE_DOWN, DOWN, "stage", Severity::Critical, "this stage has ended for good:");
        let mut dead = self.increases(DEAD, look, HOUR, look.by(NORMALIZER_DEAD, ["provider", "reason"]));
        let others = look
            .figures
            .by(STAGE_RECORDS, ["stage", "reason"], |label| label("fate") == "dead" && label("stage") != "normalizer");
        dead.extend(self.increases(DEAD, look, HOUR, others));
        for ([of, reason], n) in dead {
            let summary = format!("{n:.0} dead letters of {of} in the last hour: {reason}");
            look.add(DEAD, &format!("{of}/{reason}"), Level::of(n > 0.0), Severity::Warning, summary);
        }
        for ([operation], n) in self.increases(STORE, look, 5 * MINUTE, look.by(STORE_ERRORS, ["operation"])) {
            let summary = format!("{n:.0} calls of the store failed in five minutes: {operation}");
            look.add(STORE, &operation, Level::above(n, 5.0), Severity::Critical, summary);
        }
    }

    fn sync(&mut self, look: &mut Look<'_>) {
        look.must_be_zero(ACCOUNT, BLOCKED, "account", Severity::Critical, "the provider refuses this account:");
        let settled = self.increases(STUCK, look, 30 * MINUTE, look.by(OUTCOMES, ["account"]));
        for ([account], seconds) in look.by(SYNC_OLDEST, ["account"]) {
            let is_moving = settled.get(std::slice::from_ref(&account)).is_some_and(|n| *n > 0.0);
            let level = if is_moving { Level::Well } else { Level::above(seconds, 1_800.0) };
            let summary =
                format!("{account} has taken nothing for half an hour; the oldest change waits for {seconds:.0} s");
            look.add(STUCK, &account, level, Severity::Critical, summary);
        }
        for ([account], seconds) in look.by(OPT_OUTS, ["account"]) {
            let severity = if seconds >= 172_800.0 { Severity::Critical } else { Severity::Warning };
            let summary = format!("an opt-out of {seconds:.0} s ago is not in effect at {account}");
            look.add(OPT_OUT, &account, Level::above(seconds, 43_200.0), severity, summary);
        }
    }
}

fn subscribers(look: &mut Look<'_>) {
    for ([subscriber], seconds) in look.by(NOTIFY_OLDEST, ["subscriber"]) {
        let summary = format!("the subscriber {subscriber} has not taken a delta of {seconds:.0} s ago");
        look.add(SUBSCRIBER, &subscriber, Level::above(seconds, 1_800.0), Severity::Warning, summary);
    }
    look.must_be_zero(
        DISABLED,
        NOTIFY_DISABLED,
        "subscriber",
        Severity::Warning,
        "this subscriber wants no more webhooks:",
    );
}

/// Lanes wait for providers and subscribers; other rules watch them.
fn waits_for_others(stage: &str) -> bool {
    ["quell.syncer.", "quell.notifier.", "quell.redeliver."].iter().any(|lane| stage.starts_with(lane))
}

/// Events by kind.
#[derive(Debug, Default)]
struct Kinds(BTreeMap<String, f64>);

impl Kinds {
    fn of(&self, kind: &str) -> f64 {
        self.0.get(kind).copied().unwrap_or_default()
    }

    /// What was sent: as accepted, or as it ended, whichever the provider tells more of. A provider that tells only of
    /// failures tells no number.
    fn sends(&self) -> f64 {
        let told = self.of("accepted") + self.of("delivered");
        let ended = ["delivered", "bounced_hard", "bounced_soft", "rejected"].map(|kind| self.of(kind)).iter().sum();
        if told > 0.0 { self.of("accepted").max(ended) } else { 0.0 }
    }

    fn delivered(&self) -> f64 {
        if self.of("delivered") > 0.0 { self.of("delivered") } else { self.sends() }
    }
}

fn by_kind(events: By<3>) -> BTreeMap<[String; 2], Kinds> {
    let mut groups: BTreeMap<[String; 2], Kinds> = BTreeMap::new();
    for ([tenant, provider, kind], n) in events {
        groups.entry([tenant, provider]).or_default().0.insert(kind, n);
    }
    groups
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
