//! Alarms by webhook: signed as Standard Webhooks says, in order, each posted until it is taken or too old.

use super::board::{Alarm, Change};
use crate::process::Process;
use domain::EventId;
use notifier::{HttpReceiver, Judged, Post, Receiver, Signer, backoff, judge};
use prometheus::IntCounterVec;
use serde_json::json;
use service::{
    Clock, Shutdown,
    http_client::{HttpClient, HttpClientOptions},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};

/// Alarms that wait for their receiver; beyond, they stand only in the log.
const WAITING_MAX: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(10);
/// An alarm of yesterday helps nobody.
const GIVE_UP_MS: i64 = 24 * 3_600 * 1_000;

/// What the counter of posts says of itself.
pub(super) const HELP: &str = "Alarms posted by webhook, by what came of it.";

/// One message, under the same id however often it is posted.
#[derive(Debug)]
pub(super) struct Told {
    id: EventId,
    body: Vec<u8>,
    made_ms: i64,
}

impl Told {
    /// What a change says. What became critical is raised anew, under an id of its own: receivers leave out ids that they
    /// know. The id is that of the process's name, the alarm, its severity and the moment it was raised.
    pub(super) fn new(instance: &str, change: &Change, now_ms: i64) -> Self {
        let (kind, alarm): (_, &Alarm) = match change {
            Change::Raised(alarm) | Change::Worsened(alarm) => ("quell.alarm.raised", alarm),
            Change::Resolved(alarm) => ("quell.alarm.resolved", alarm),
        };
        let raised = alarm.raised_ms.to_string();
        let severity = alarm.severity.as_str();
        let id = EventId::derive(&[kind, instance, alarm.rule.name, &alarm.subject, &raised, severity]);
        let mut data = alarm.json();
        data["instance"] = json!(instance);
        let timestamp = domain::Timestamp::from_millis(now_ms).ok();
        let body = json!({ "type": kind, "timestamp": timestamp, "data": data });
        Self { id, body: body.to_string().into_bytes(), made_ms: now_ms }
    }
}

/// The way to the receiver.
#[derive(Debug)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Told>,
    counts: IntCounterVec,
}

impl Mailbox {
    pub(super) fn put(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            self.counts.with_label_values(&["dropped"]).inc();
            tracing::warn!("too many alarms wait for their receiver: one was left out; the log has it");
        }
    }
}

struct Poster {
    url: String,
    signer: Signer,
    receiver: HttpReceiver,
    clock: Arc<dyn Clock>,
    counts: IntCounterVec,
    shutdown: Shutdown,
}

/// Starts the task that posts, where a URL is configured.
pub(super) fn start(process: &Process, counts: IntCounterVec) -> anyhow::Result<Option<(Mailbox, JoinHandle<()>)>> {
    let config = &process.config.alarms;
    let Some(url) = config.url.clone() else { return Ok(None) };
    let options =
        HttpClientOptions { allow_private: config.allow_private, timeout: TIMEOUT, ..HttpClientOptions::default() };
    let poster = Poster {
        url,
        signer: config.signer()?,
        receiver: HttpReceiver::new(HttpClient::new(&options)?),
        clock: process.clock.clone(),
        counts: counts.clone(),
        shutdown: process.shutdown.clone(),
    };
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    Ok(Some((Mailbox { sender, counts }, tokio::spawn(run(poster, waiting)))))
}

async fn run(poster: Poster, mut waiting: mpsc::Receiver<Told>) {
    loop {
        let told = tokio::select! {
            told = waiting.recv() => told,
            () = poster.shutdown.requested() => None,
        };
        let Some(told) = told else { return };
        poster.post(&told).await;
    }
}

impl Poster {
    /// Posts until it is taken. A receiver that says 410 is asked again with the next alarm: nobody is to miss one for good.
    async fn post(&self, told: &Told) {
        for attempt in 1.. {
            let now_ms = self.clock.now_millis();
            let headers = self.signer.headers(&told.id.to_string(), now_ms / 1_000, &told.body).to_vec();
            let post = Post { url: self.url.clone(), headers, body: told.body.clone().into() };
            let judged = judge(&self.receiver.post(&post).await, now_ms / 1_000);
            self.counts.with_label_values(&[judged.outcome()]).inc();
            let (why, after) = match judged {
                Judged::Taken => return,
                Judged::Gone => return tracing::warn!("the receiver of alarms answered 410 Gone; see alarms.url"),
                Judged::Failed { why, after, .. } => (why, after),
            };
            if now_ms.saturating_sub(told.made_ms) > GIVE_UP_MS {
                return tracing::warn!(why, "an alarm was not taken for a day and is given up");
            }
            if attempt == 3 {
                tracing::warn!(why, "the receiver of alarms does not take them; trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(backoff(attempt, told.id).max(after.unwrap_or_default())) => {}
                () = self.shutdown.requested() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::rules::{Rule, Severity},
        *,
    };
    use serde_json::Value;

    const RULE: &Rule = &Rule { name: "QuellSpoolOld", after_ms: 0, advice: "see to the brokers" };

    fn alarm(severity: Severity, over_ms: Option<i64>) -> Alarm {
        let (subject, summary) = ("a".to_owned(), "it is old".to_owned());
        Alarm { rule: RULE, subject, severity, summary, raised_ms: 60_000, over_ms }
    }

    fn told(change: &Change, now_ms: i64) -> (String, Value) {
        let told = Told::new("mail-1", change, now_ms);
        (told.id.to_string(), serde_json::from_slice(&told.body).unwrap())
    }

    fn body(kind: &str, timestamp: &str, severity: &str) -> Value {
        json!({
            "type": kind,
            "timestamp": timestamp,
            "data": {
                "alarm": "QuellSpoolOld",
                "subject": "a",
                "severity": severity,
                "summary": "it is old",
                "what_to_do": "see to the brokers",
                "runbook": "docs/runbooks/QuellSpoolOld.md",
                "raised_at": "1970-01-01T00:01:00Z",
                "instance": "mail-1",
            },
        })
    }

    #[test]
    fn each_change_is_told_as_itself() {
        let (raised_id, raised) = told(&Change::Raised(alarm(Severity::Warning, None)), 60_000);
        assert_eq!(raised, body("quell.alarm.raised", "1970-01-01T00:01:00Z", "warning"));

        // The same alarm, raised when it was; who knows no more than two types understands it.
        let (worsened_id, worsened) = told(&Change::Worsened(alarm(Severity::Critical, None)), 120_000);
        assert_eq!(worsened, body("quell.alarm.raised", "1970-01-01T00:02:00Z", "critical"));

        let (resolved_id, resolved) = told(&Change::Resolved(alarm(Severity::Critical, Some(180_000))), 180_000);
        let mut expected = body("quell.alarm.resolved", "1970-01-01T00:03:00Z", "critical");
        expected["data"]["resolved_at"] = json!("1970-01-01T00:03:00Z");
        assert_eq!(resolved, expected);

        assert!(raised_id != worsened_id && worsened_id != resolved_id && raised_id != resolved_id);
        assert_eq!(
            told(&Change::Raised(alarm(Severity::Warning, None)), 60_000).0,
            raised_id,
            "as often as it is posted"
        );
    }
}
