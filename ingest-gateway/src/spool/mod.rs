//! The spool: what keeps webhooks while the log is away.
//!
//! A webhook whose delivery report does not come in time goes to disk, and its sender hears 2xx once it is synced. After
//! the first such webhook the log is left alone ([`breaker`]): nobody waits until one call, a probe, found it back. The
//! spool drains beside live traffic, in order, from the first start after that, and each drained webhook's first
//! receipt is told to [`SpooledReceipts`].
//!
//! An append that was given up may still arrive, and what was appended but not yet noted as drained is appended again
//! after a crash. Both only repeat a raw webhook, which is harmless: events are told apart by their ids downstream.
//!
//! The spool is files of its own and not the embedded log's database, because its bound must be true and its room free
//! again soon: a deleted segment is gone from the disk at once, where a database keeps journals and deleted records for
//! as long as it likes; and because a spool that is empty, as it is nearly always, then costs neither memory nor threads
//! that flush and compact.

mod breaker;
mod config;
mod disk;
mod drain;
mod frame;
mod metrics;
mod queue;
mod reader;
mod receipts;
mod refused;
mod segment;
mod way;
mod writer;

pub use config::{SpoolConfig, SpoolConfigError};
pub use queue::SpoolOpenError;
pub use receipts::{SpooledReceipts, SpooledReceiptsError};
pub use way::Way;

use breaker::{Breaker, Leave};
use event_log::{Append, AppendError, Position, Record};
use metrics::SpoolMetrics;
use queue::{PushError, Queue};
use reader::Reader;
use schemas::topics;
use service::{Clock, Metrics, admin::Readiness, telemetry::TelemetryError};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// What the spool works with.
#[derive(Debug)]
pub struct SpoolingDeps {
    /// The log.
    pub append: Arc<dyn Append>,
    /// Who is told where spooled webhooks went; without it their receipts are never resolved.
    pub receipts: Option<Arc<dyn SpooledReceipts>>,
    /// The time, for the age of the oldest webhook.
    pub clock: Arc<dyn Clock>,
    /// Where to report that neither the log nor the spool takes webhooks.
    pub readiness: Readiness,
    /// Where to count.
    pub metrics: Metrics,
}

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] SpoolConfigError),
    /// Its directory.
    #[error(transparent)]
    Open(#[from] SpoolOpenError),
    /// Its metrics are registered already.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}

/// Where a webhook is safe now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the log.
    Logged(Position),
    /// On disk; the log follows.
    Spooled,
}

/// Why a webhook was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolingError {
    /// The log said so, or is away and there is no spool.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// The log is away and the spool has no room.
    #[error("the log is away and the spool is full: give it more room, or mend the log")]
    Full,
    /// The log is away and the spool's disk failed.
    #[error("the log is away and the spool cannot be written: {0}; mend its disk and restart")]
    Failed(String),
}

#[derive(Debug)]
struct Spool {
    queue: Arc<Queue>,
    /// With whoever drains.
    reader: Mutex<Option<Reader>>,
    /// Where refused records lie.
    refused: PathBuf,
    /// Whether new webhooks are taken; if not, it is only drained.
    takes: bool,
}

/// The log, and the spool for when it is away.
#[derive(Debug)]
pub struct Spooling {
    log: Arc<dyn Append>,
    spool: Option<Spool>,
    receipts: Option<Arc<dyn SpooledReceipts>>,
    readiness: Readiness,
    metrics: SpoolMetrics,
    breaker: Mutex<Breaker>,
    /// The breaker's times are since then.
    started: Instant,
    wait: Duration,
}

impl Spooling {
    /// Opens the spool and what an earlier process left in it. Blocks while it reads that.
    pub fn open(config: &SpoolConfig, deps: SpoolingDeps) -> Result<Arc<Self>, SpoolError> {
        config.validate()?;
        // What was answered 2xx is drained whatever the settings say now.
        let spool = match config.enabled || config.directory.is_dir() {
            true => {
                let (queue, reader) = Queue::open(&config.directory, config.bytes_max)?;
                let refused = refused::directory(&config.directory);
                Some(Spool { queue: Arc::new(queue), reader: Mutex::new(Some(reader)), refused, takes: config.enabled })
            }
            false => None,
        };
        Ok(Arc::new(Self::over(spool, Duration::from_millis(config.wait_ms), deps)?))
    }

    fn over(spool: Option<Spool>, wait: Duration, deps: SpoolingDeps) -> Result<Self, TelemetryError> {
        let SpoolingDeps { append: log, receipts, clock, readiness, metrics } = deps;
        let metrics = SpoolMetrics::register(&metrics, spool.as_ref().map(|spool| &spool.queue), &clock)?;
        let (breaker, started) = (Mutex::new(Breaker::new(wait)), Instant::now());
        Ok(Self { log, spool, receipts, readiness, metrics, breaker, started, wait })
    }

    /// Appends a record to the raw topic, or spools it. Returns once it is durable in one of them.
    pub async fn append(&self, record: Record) -> Result<Kept, SpoolingError> {
        if !self.breaker().is_closed()
            // Draining finds out by itself whether the log is back, so that no sender waits for it.
            && let Leave::Skip { .. } = self.ask(self.is_drained())
        {
            let away = AppendError::Unavailable("it gave no delivery report lately".to_owned());
            return match self.taking() {
                Some(spool) => Box::pin(self.spool(spool, record, "breaker_open", away)).await,
                None => Err(away.into()),
            };
        }
        // Without a spool nobody needs the record again, and its memory is free once the log has it.
        let spare = self.taking().map(|spool| (spool, record.clone()));
        let (cause, error) = match self.append_within(self.wait, record).await {
            Ok(position) => return Ok(Kept::Logged(position)),
            Err(Unappended::Log(error @ AppendError::TooLarge { .. })) => return Err(error.into()),
            Err(Unappended::Log(error @ AppendError::Busy)) => ("log_busy", error),
            Err(Unappended::Log(error)) => ("log_unavailable", error),
            Err(Unappended::NoReport) => {
                let detail = format!("no delivery report within {} ms", self.wait.as_millis());
                ("no_delivery_report", AppendError::Unavailable(detail))
            }
        };
        match spare {
            Some((spool, record)) => Box::pin(self.spool(spool, record, cause, error)).await,
            None => Err(error.into()),
        }
    }

    /// The spool, if it takes new webhooks.
    fn taking(&self) -> Option<&Spool> {
        self.spool.as_ref().filter(|spool| spool.takes)
    }

    /// Whether a webhook would be taken now, as far as is known: for readiness.
    pub fn can_take(&self) -> bool {
        self.breaker().is_closed() || self.has_room()
    }

    /// Whether nothing is left to drain, records that the log refused aside.
    pub fn is_drained(&self) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.queue.is_empty())
    }

    /// Whether a webhook would be taken while the log is away.
    pub fn has_room(&self) -> bool {
        self.taking().is_some_and(|spool| spool.queue.has_room())
    }

    /// Appends and lets the breaker know how it went.
    async fn append_within(&self, wait: Duration, record: Record) -> Result<Position, Unappended> {
        let appended = timeout(wait, self.log.append(topics::RAW, None, record)).await;
        let mut breaker = self.breaker();
        let result = match appended {
            Ok(Ok(position)) => {
                breaker.succeeded();
                Ok(position)
            }
            // Neither says that the log is away, or that it is back.
            Ok(Err(error @ (AppendError::Busy | AppendError::TooLarge { .. }))) => Err(Unappended::Log(error)),
            Ok(Err(error @ AppendError::Unavailable(_))) => {
                breaker.failed(self.started.elapsed());
                Err(Unappended::Log(error))
            }
            Err(_) => {
                breaker.failed(self.started.elapsed());
                Err(Unappended::NoReport)
            }
        };
        self.metrics.breaker_open.set(i64::from(!breaker.is_closed()));
        result
    }

    async fn spool(
        &self,
        spool: &Spool,
        record: Record,
        cause: &'static str,
        error: AppendError,
    ) -> Result<Kept, SpoolingError> {
        match spool.queue.push(&record).await {
            Ok(()) => {
                self.metrics.spooled.with_label_values(&[cause]).inc();
                Ok(Kept::Spooled)
            }
            // The log may not be away at all.
            Err(_) if error == AppendError::Busy => Err(error.into()),
            Err(PushError::Full) => Err(SpoolingError::Full),
            Err(PushError::Failed(detail)) => Err(SpoolingError::Failed(detail)),
        }
    }

    fn ask(&self, may_probe: bool) -> Leave {
        self.breaker().ask(self.started.elapsed(), may_probe)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an append gave no position.
#[derive(Debug)]
enum Unappended {
    Log(AppendError),
    /// It may still be delivered.
    NoReport,
}

#[cfg(test)]
mod tests;
