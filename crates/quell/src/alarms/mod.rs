//! Alarms without Prometheus: the process looks at its own metrics every few seconds and tells of what is wrong, once when
//! it begins, once more if it becomes critical, and once when it is over: in the log, on the admin port, as a gauge, and by
//! webhook. docs/alarms.md is the manual.

mod board;
mod figures;
mod history;
mod post;
mod rules;

use crate::{config::Config, process::Process};
use axum::{Json, Router, extract::State, routing::get};
use board::{Alarm, Board, Change};
use figures::Figures;
use post::{Mailbox, Told};
use prometheus::IntGaugeVec;
use rules::{Limits, RULES, Rules};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;

/// What the admin port shows. Clones show the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarms(Arc<Mutex<Board>>);

impl Alarms {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /alarms`, for the admin port.
pub(crate) fn router(alarms: Alarms) -> Router {
    Router::new().route("/alarms", get(shown)).with_state(alarms)
}

async fn shown(State(alarms): State<Alarms>) -> Json<Value> {
    Json(alarms.board().json())
}

/// Looks until the process ends.
pub(crate) fn start(process: &Process) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let help = "Alarms that are firing, by name.";
    let firing = process.metrics.gauges("quell_alarms_firing", help, &["alarm"])?;
    let posts = process.metrics.counters("quell_alarms_posts_total", post::HELP, &["outcome"])?;
    if !process.config.alarms.enabled {
        return Ok(Vec::new());
    }
    let (mailbox, poster) = post::start(process, posts)?.unzip();
    let watch = Watch { process: process.clone(), rules: Rules::new(limits(&process.config)), firing, mailbox };
    Ok(std::iter::once(tokio::spawn(watch.run())).chain(poster).collect())
}

fn limits(config: &Config) -> Limits {
    Limits {
        suppressions: config.alarms.suppressions_per_hour as f64,
        spool_bytes: config.gateway.spool.bytes_max as f64,
    }
}

struct Watch {
    process: Process,
    rules: Rules,
    firing: IntGaugeVec,
    mailbox: Option<Mailbox>,
}

impl Watch {
    async fn run(mut self) {
        let every = Duration::from_secs(self.process.config.alarms.every_s);
        let instance = self.process.config.instance().unwrap_or_default();
        while !self.process.shutdown.is_requested() {
            self.look(&instance);
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.process.shutdown.requested() => {}
            }
        }
    }

    fn look(&mut self, instance: &str) {
        let now_ms = self.process.clock.now_millis();
        let figures = Figures::read(&self.process.metrics.gather(), rules::READ);
        let findings = self.rules.look(now_ms, &figures);
        let mut board = self.process.alarms.board();
        let changes = board.step(now_ms, findings);
        for rule in RULES {
            let number = board.firing().filter(|alarm| alarm.rule == *rule).count();
            self.firing.with_label_values(&[rule.name]).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        drop(board);
        for change in &changes {
            tell(change);
            if let Some(mailbox) = &self.mailbox {
                mailbox.put(Told::new(instance, change, now_ms));
            }
        }
    }
}

fn tell(change: &Change) {
    match change {
        Change::Raised(alarm) => warn(alarm, "alarm raised"),
        Change::Worsened(alarm) => warn(alarm, "alarm became critical"),
        Change::Resolved(alarm) => {
            tracing::info!(alarm = alarm.rule.name, subject = alarm.subject, "alarm resolved");
        }
    }
}

fn warn(alarm: &Alarm, what: &str) {
    tracing::warn!(
        alarm = alarm.rule.name,
        subject = alarm.subject,
        severity = ?alarm.severity,
        summary = alarm.summary,
        what_to_do = alarm.rule.advice,
        runbook = alarm.runbook(),
        "{what}"
    );
}
