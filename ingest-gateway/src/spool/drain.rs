//! Draining the spool beside live traffic.
//!
//! It begins with one record, as the probe of a log that was away, and doubles while all goes well; any failure puts it
//! back to one. Progress is noted along the prefix that is in the log and told, so nothing is passed over.

use super::{Leave, Spool, Spooling, Unappended, reader::Reader, refused};
use crate::gateway::{LOG_CHECK, LOG_CHECK_FAILS_FOR};
use event_log::{AppendError, Position, Record};
use futures_util::future::join_all;
use schemas::{ReceiptId, headers as names};
use std::{collections::VecDeque, fs, io, path::PathBuf, sync::PoisonError, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Appends under way at a time, at most.
const WINDOW_RECORDS: usize = 256;
/// Bytes of them, about.
const WINDOW_BYTES: usize = 8 * 1_024 * 1_024;
/// A drained record has time: a log that is merely busy must not be taken for one that is away.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
const RECEIPT_WAIT: Duration = Duration::from_secs(2);
/// How long receipts are waited for while none can be told. The store that takes them is the one that whatever follows needs
/// too, so waiting delays little; but in the end webhooks matter more.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(10 * 60);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Where a record came from, and so what is to be done once it is in the log.
#[derive(Debug)]
enum Origin {
    /// The queue; the number of the one after it.
    Queue(u64),
    /// A file of its own.
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// In the log, its receipt not told yet.
    Appended(Position),
    /// Done with.
    Done,
    /// Larger than the log takes.
    Refused,
}

#[derive(Debug)]
struct Item {
    origin: Origin,
    /// None where the disk lost it.
    record: Option<Record>,
    stage: Stage,
}

struct Drain<'a> {
    on: &'a Spooling,
    spool: &'a Spool,
    reader: Option<Reader>,
    /// Refused records of an earlier process, to be tried once.
    files: Vec<PathBuf>,
    window: VecDeque<Item>,
    /// How many records the next round appends.
    pace: usize,
    /// Since when not all receipts could be told.
    untold_since: Option<Instant>,
}

/// How a round went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Fine,
    Idle,
    /// The log is to be left alone until then.
    Away(Instant),
    /// Something else failed.
    Trouble,
}

impl Spooling {
    /// Drains the spool, for as long as the process runs: until `stop`. What is under way then is appended again after the
    /// next start. Only the first call drains.
    pub async fn drain(&self, stop: CancellationToken) {
        let Some(spool) = &self.spool else { return };
        let reader = spool.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(reader) = reader else { return };
        let files = self.count_refused(spool);
        let drain = Drain {
            on: self,
            spool,
            reader: Some(reader),
            files,
            window: VecDeque::new(),
            pace: 1,
            untold_since: None,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = drain.run() => {}
        }
    }
}

impl Spooling {
    /// Counts the records that lie in files of their own.
    fn count_refused(&self, spool: &Spool) -> Vec<PathBuf> {
        let counted = refused::list(&spool.refused).and_then(|files| Ok((refused::bytes(&files)?, files)));
        let (bytes, files) = counted.unwrap_or_else(|error| {
            tracing::error!(%error, path = %spool.refused.display(), "cannot list the records that the log refused");
            Default::default()
        });
        self.metrics.refused.set(i64::try_from(files.len()).unwrap_or(i64::MAX));
        spool.queue.set_aside(bytes);
        files
    }
}

impl Drain<'_> {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        while self.reader.is_some() {
            match self.round().await {
                Round::Fine => {
                    backoff = BACKOFF_MIN;
                    self.pace = (self.pace * 2).min(WINDOW_RECORDS);
                }
                Round::Idle => self.spool.queue.grown().await,
                Round::Away(until) => {
                    self.pace = 1;
                    self.tell_readiness();
                    sleep_until(until).await;
                }
                Round::Trouble => {
                    self.pace = 1;
                    self.tell_readiness();
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    async fn round(&mut self) -> Round {
        if let Err(error) = self.fill().await {
            tracing::error!(%error, "the spool cannot be read; trying again");
            return Round::Trouble;
        }
        if self.window.is_empty() {
            return Round::Idle;
        }
        let mut fine = true;
        if self.window.iter().any(|item| item.stage == Stage::Waiting) {
            let (n_max, wait) = match self.on.ask(true) {
                Leave::Call => (self.pace, self.on.wait.max(DRAIN_WAIT)),
                Leave::Probe => (1, self.on.wait),
                Leave::Skip { until } => return Round::Away(self.on.started + until),
            };
            fine &= self.append(n_max, wait).await;
        }
        let is_away = !fine && !self.on.breaker().is_closed();
        fine &= self.tell_receipts().await;
        fine &= self.advance().await;
        match (fine, is_away) {
            (true, _) => Round::Fine,
            // The breaker says for how long, when it is asked next.
            (false, true) => Round::Away(Instant::now()),
            (false, false) => Round::Trouble,
        }
    }

    /// Reads ahead, up to a window.
    async fn fill(&mut self) -> io::Result<()> {
        let Some(mut reader) = self.reader.take() else { return Ok(()) };
        let (room, file) = (WINDOW_RECORDS - self.window.len().min(WINDOW_RECORDS), self.files.last().cloned());
        let held: usize = self.window.iter().filter_map(|item| item.record.as_ref()).map(size).sum();
        let bytes = WINDOW_BYTES.saturating_sub(held);
        if bytes == 0 {
            self.reader = Some(reader);
            return Ok(());
        }
        let read = tokio::task::spawn_blocking(move || {
            let Some(path) = file else { return (reader.read(room, bytes).map(queued), reader) };
            let item = refused::read(&path).map(|record| Item {
                // A file that cannot be read stays for whoever can.
                stage: if record.is_some() { Stage::Waiting } else { Stage::Refused },
                origin: Origin::File(path),
                record,
            });
            (item.map(|item| vec![item]), reader)
        });
        let Ok((items, reader)) = read.await else {
            // Its panic was told; without a reader there is no draining until a restart.
            return Err(io::Error::other("reading the spool failed; restart the process"));
        };
        self.reader = Some(reader);
        self.files.pop();
        self.window.extend(items?);
        Ok(())
    }

    /// Appends the next records, all at once and begun in order; says whether the log took them.
    async fn append(&mut self, n_max: usize, wait: Duration) -> bool {
        let on = self.on;
        let waiting = self.window.iter_mut().filter(|item| item.stage == Stage::Waiting).take(n_max);
        let appends = waiting.map(async |item| {
            let Some(record) = item.record.clone() else { return true };
            match on.append_within(wait, record).await {
                Ok(position) => item.stage = Stage::Appended(position),
                Err(Unappended::Log(AppendError::TooLarge { bytes, bytes_max })) => {
                    tracing::error!(bytes, bytes_max, "the log refuses a spooled webhook for its size");
                    item.stage = Stage::Refused;
                }
                Err(Unappended::Log(error)) => {
                    tracing::debug!(%error, "cannot drain the spool now");
                    return false;
                }
                Err(Unappended::NoReport) => return false,
            }
            true
        });
        join_all(appends).await.into_iter().all(|fine| fine)
    }

    /// Tells the receipts of what was appended; says whether all were.
    async fn tell_receipts(&mut self) -> bool {
        let receipts = self.on.receipts.as_deref();
        let tells = self.window.iter_mut().map(async |item| {
            let Stage::Appended(at) = item.stage else { return true };
            if let (Some(receipts), Some(inner)) = (receipts, item.record.as_ref().and_then(inner)) {
                let receipt = ReceiptId::of(inner, at.epoch, at.partition, at.offset).to_string();
                match timeout(RECEIPT_WAIT, receipts.put(inner, &receipt)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a spooled webhook is in the log, but its receipt cannot be told");
                        return false;
                    }
                    Err(_) => return false,
                }
            }
            item.stage = Stage::Done;
            true
        });
        let fine = join_all(tells).await.into_iter().all(|fine| fine);
        if fine {
            self.untold_since = None;
            return true;
        }
        if self.untold_since.get_or_insert_with(Instant::now).elapsed() < RECEIPT_PATIENCE {
            return false;
        }
        for item in self.window.iter_mut().filter(|item| matches!(item.stage, Stage::Appended(_))) {
            item.stage = Stage::Done;
            self.on.metrics.untold.inc();
        }
        true
    }

    /// Notes the prefix that is done with; says whether it could.
    async fn advance(&mut self) -> bool {
        let (mut next, mut fine) = (None, true);
        while let Some(item) = self.window.front() {
            match (item.stage, &item.origin) {
                (Stage::Waiting | Stage::Appended(_), _) => break,
                (Stage::Done, Origin::Queue(after)) => next = Some(*after),
                (Stage::Done, Origin::File(path)) => {
                    if let Err(error) = fs::remove_file(path) {
                        tracing::warn!(%error, path = %path.display(), "cannot delete a record that the log took");
                    }
                    self.on.count_refused(self.spool);
                }
                (Stage::Refused, Origin::File(_)) => {}
                (Stage::Refused, Origin::Queue(after)) => {
                    let after = *after;
                    if !self.set_aside(after).await {
                        fine = false;
                        break;
                    }
                    next = Some(after);
                }
            }
            if let Some(Item { stage: Stage::Done, record: Some(_), .. }) = self.window.pop_front() {
                self.on.metrics.drained.inc();
            }
        }
        if let Some(next) = next {
            let oldest_ms = self.window.front().and_then(|item| Some(item.record.as_ref()?.timestamp_ms));
            self.spool.queue.mark(next, oldest_ms);
        }
        fine
    }

    /// Puts the first record, which the log refuses, into a file of its own.
    async fn set_aside(&self, after: u64) -> bool {
        let Some(record) = self.window.front().and_then(|item| item.record.clone()) else { return true };
        let directory = self.spool.refused.clone();
        let put = tokio::task::spawn_blocking(move || {
            let name = inner(&record).map_or_else(|| format!("{after:020}"), str::to_owned);
            refused::put(&directory, &name, &record)
        });
        match put.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(path) => {
                self.on.count_refused(self.spool);
                let path = path.display();
                tracing::error!(%path, "a spooled webhook is larger than the log takes: raise the limit and restart");
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot set a spooled webhook aside that the log refuses; trying again");
                false
            }
        }
    }

    /// While neither takes webhooks, no live traffic may come that would show it.
    fn tell_readiness(&self) {
        if !self.on.can_take() {
            self.on.readiness.fail_for(LOG_CHECK, LOG_CHECK_FAILS_FOR);
        }
    }
}

fn queued(entries: Vec<super::reader::Entry>) -> Vec<Item> {
    let item = |entry: super::reader::Entry| Item {
        origin: Origin::Queue(entry.next),
        stage: stage(&entry.record),
        record: entry.record,
    };
    entries.into_iter().map(item).collect()
}

/// What the disk lost is passed over; it was told when it was found.
const fn stage(record: &Option<Record>) -> Stage {
    if record.is_some() { Stage::Waiting } else { Stage::Done }
}

/// The inner id that a record carries.
fn inner(record: &Record) -> Option<&str> {
    let header = record.headers.iter().find(|header| header.name == names::RECEIPT_ID)?;
    std::str::from_utf8(&header.value).ok()
}

fn size(record: &Record) -> usize {
    record.value.as_ref().map_or(0, bytes::Bytes::len)
}
