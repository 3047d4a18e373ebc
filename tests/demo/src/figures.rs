//! Which figures are reported, and what the story implies for each.

use crate::{
    campaign::Filtered,
    fakes,
    fakes::Account,
    play::Played,
    readback,
    readback::{Alarm, Metrics, Row},
    report::{Report, bar, grouped, percent},
    story::{Standings, Story},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Everything that was read back.
#[derive(Debug)]
pub(crate) struct Found {
    /// The email webhooks, as their sender saw them.
    pub(crate) email: Played,
    /// The SMS webhooks, as their sender saw them.
    pub(crate) sms: Played,
    /// Once all was processed.
    pub(crate) metrics: Metrics,
    /// Everything in force.
    pub(crate) rows: Vec<Row>,
    /// The alarms that are on.
    pub(crate) alarms: Vec<Alarm>,
    /// The campaign.
    pub(crate) filtered: Filtered,
    /// What each fake provider holds and went through.
    pub(crate) accounts: Vec<Account>,
    /// Addresses that Mailgun was told of while it was down.
    pub(crate) mailgun_told_while_down: usize,
}

/// The report.
pub(crate) fn report(story: &Story, found: &Found) -> Report {
    let mut report = Report::default();
    webhooks(&mut report, story, found);
    state(&mut report, story, found);
    campaign(&mut report, story, &found.filtered);
    providers(&mut report, found);
    alarms(&mut report, &found.alarms);
    report
}

/// The alarm that so many failing addresses in an hour are to raise.
pub(crate) const SPIKE: &str = "QuellSuppressionSpike";

fn alarms(report: &mut Report, alarms: &[Alarm]) {
    report.section("Alarms (GET /alarms; no Prometheus watches)");
    let state = |alarm: Option<&Alarm>| if alarm.is_some() { "raised" } else { "silent" }.to_owned();
    let spike = alarms.iter().find(|alarm| alarm.alarm == SPIKE);
    let summary = spike.map_or("", |alarm| &alarm.summary);
    report.check(SPIKE, state(spike), "raised".to_owned(), summary);
    for other in alarms.iter().filter(|alarm| alarm.alarm != SPIKE) {
        report.measure(&other.alarm, state(Some(other)), &other.summary);
    }
}

fn webhooks(report: &mut Report, story: &Story, found: &Found) {
    report.section("Webhooks");
    let Found { email, sms, metrics, .. } = found;
    report.count("email, answered 2xx", email.accepted, story.arrivals.len(), "bounces, complaints, unsubscribes");
    report.count("SMS, answered 2xx", sms.accepted, story.sms.len(), "failed text messages");
    let counted = to_usize(metrics.sum("quell_gateway_webhooks_total", "cause=\"accepted\""));
    report.count("by the gateway's count", counted, story.arrivals.len() + story.sms.len(), "both");
    let statuses = [email, sms].into_iter().flat_map(|played| played.statuses.iter());
    let others: u64 = statuses.filter(|(status, _)| !(200..300).contains(*status)).map(|(_, count)| count).sum();
    report.measure("answered otherwise", grouped(to_usize(others)), "sent again, as providers do");
    let duplicates = to_usize(metrics.sum("quell_suppressor_duplicates_total", ""));
    report.count("duplicates dropped", duplicates, story.duplicates(), "");
    let dead = to_usize(metrics.sum("quell_normalizer_dead_letters_total", ""));
    report.count("dead letters", dead, 0, "");
    report.measure("latency p50", millis(email.percentile(50)), "signed request to durable 202, at the client");
    report.measure("latency p99", millis(email.percentile(99)), "");
    report.measure("latency mean", millis(email.mean()), "");
    let rate = email.latencies.len() as f64 / email.took.as_secs_f64().max(f64::EPSILON);
    report.measure("requests a second", grouped(rate as usize), "32 connections, client and server on this machine");
}

fn state(report: &mut Report, story: &Story, found: &Found) {
    report.section("Suppressions in force (GET /v1/export)");
    let mut differing = 0;
    for (channel, name, note, expected) in [
        ("email", "email addresses", "unique", story.email_standings()),
        ("sms", "phone numbers", "counted apart", story.sms_standings()),
    ] {
        let found = readback::standings(&found.rows, channel);
        report.count(name, found.len(), expected.len(), note);
        reasons(report, &found, &expected);
        let recipients: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
        differing += recipients.iter().filter(|one| found.get(**one) != expected.get(**one)).count();
    }
    report.count("other than the input implies", differing, 0, "one by one, with reason and scope");
}

fn reasons(report: &mut Report, found: &Standings, expected: &Standings) {
    let count = |standings: &Standings| {
        standings.values().flatten().fold(BTreeMap::<String, usize>::new(), |mut counts, (_, reason)| {
            *counts.entry(reason.clone()).or_default() += 1;
            counts
        })
    };
    let (found, expected) = (count(found), count(expected));
    let of = |counts: &BTreeMap<String, usize>, reason: &String| counts.get(reason).copied().unwrap_or(0);
    for reason in found.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        report.count(&format!("  {reason}"), of(&found, reason), of(&expected, reason), "");
    }
}

fn campaign(report: &mut Report, story: &Story, filtered: &Filtered) {
    report.section("The next campaign (quell filter)");
    let known = story.people.len();
    report.count("recipients in the file", filtered.total, story.campaign.len(), "");
    report.count("held back", filtered.held_back, known, "");
    report.count("held back, it says", to_usize(filtered.summary_suppressed), known, "its own JSON summary");
    report.count("held back wrongly", filtered.held_back_wrongly, 0, "");
    report.count("left to send to", filtered.sendable, story.campaign.len() - known, "");
    report.count("known to fail among them", filtered.slipped, 0, "");
    report.count("dead, of whom nobody told", filtered.still_dead, story.unknown_dead.len(), "");
    report.measure("time to filter", millis(filtered.took), "from the command's start to its end");
    let (before, after) =
        ((filtered.reported, filtered.total), (filtered.still_dead + filtered.slipped, filtered.sendable));
    let implied_before = percent(known, story.campaign.len());
    let implied_after = percent(story.unknown_dead.len(), story.campaign.len() - known);
    report.check(
        "bounce rate before",
        percent(before.0, before.1),
        implied_before,
        "all who failed, as the report counted",
    );
    report.check("bounce rate after", percent(after.0, after.1), implied_after, "");
    for (name, (part, whole)) in [("before", before), ("after ", after)] {
        let (bar, share) = (bar(part, whole), percent(part, whole));
        report.text(format!("    {name} {bar} {share}  ({} of {})", grouped(part), grouped(whole)));
    }
}

fn providers(report: &mut Report, found: &Found) {
    for account in &found.accounts {
        report.section(&format!("What the fake {} holds and saw", account.name));
        let expected = fakes::expected(account.name, &found.rows);
        let lists: BTreeSet<&String> = account.held.keys().chain(expected.keys()).collect();
        for list in lists {
            let (is, ought) = (account.held.get(list), expected.get(list));
            let told = is.map_or(0, |entries| {
                entries.values().filter(|entry| entry.origin == testkit::fake::Origin::Api).count()
            });
            let note = format!("{} told by quell, the rest its own", grouped(told));
            report.count(&format!("list {list}"), is.map_or(0, BTreeMap::len), ought.map_or(0, BTreeMap::len), &note);
        }
        let (missing, extra, other) = fakes::difference(&account.held, &expected);
        report.count("missing", missing, 0, "against the export, address by address");
        report.count("too many", extra, 0, "");
        report.count("other than expected", other, 0, "told though it told us, or with other tags");
        report.measure("calls", grouped(to_usize(account.calls)), "");
        report.at_least("  answered 429", account.limited, account.limited_planned, "");
        let failed_least = if account.name == "sendgrid" { 0 } else { 1 };
        report.at_least("  answered 5xx", account.failed, failed_least, "and made again");
        report.count("  refused as wrong", to_usize(account.refused), 0, "");
        report.measure("largest call", grouped(account.largest_call), "addresses");
        let in_flight = account.in_flight_max.to_string();
        report.check("in flight a recipient", in_flight, "1".to_owned(), "at most, ever");
        if account.name == "mailgun" {
            let note = "until SendGrid was told everything: one outage delays no other";
            report.count("told while it was down", found.mailgun_told_while_down, 0, note);
        }
    }
}

fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1_000.0;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
