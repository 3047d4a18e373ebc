//! What the tests run against.

use crate::spool::{SpoolConfig, SpooledReceipts, SpooledReceiptsError, Spooling, SpoolingDeps, disk::Disk};
use async_trait::async_trait;
use event_log::{Append, AppendError, Header, Position, Record};
use service::{ManualClock, Metrics, admin::Readiness};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A record that carries `id` as its inner receipt id, and so many bytes.
pub(super) fn record(id: &str, bytes: usize, timestamp_ms: i64) -> Record {
    let header = Header { name: Cow::Borrowed("receipt-id"), value: id.to_owned().into() };
    Record { key: None, value: Some(vec![7; bytes].into()), headers: vec![header], timestamp_ms }
}

pub(super) fn id_of(record: &Record) -> String {
    String::from_utf8(record.headers[0].value.to_vec()).unwrap()
}

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Fine,
    /// Reports after a while.
    Slow(Duration),
    /// Never reports, and loses the record.
    Hangs,
    /// Takes the record, and never reports.
    Mute,
    Away,
    Busy,
}

#[derive(Debug)]
pub(super) struct ScriptedLog {
    pub(super) mode: Mutex<Mode>,
    pub(super) value_bytes_max: AtomicUsize,
    pub(super) records: Mutex<Vec<Record>>,
    /// What it was asked to append, in this order.
    pub(super) asked: Mutex<Vec<String>>,
    /// How often it was asked.
    pub(super) calls: AtomicUsize,
    under_way: AtomicUsize,
    /// The most appends at a time.
    pub(super) under_way_max: AtomicUsize,
}

impl Default for ScriptedLog {
    fn default() -> Self {
        Self {
            mode: Mutex::new(Mode::Fine),
            value_bytes_max: AtomicUsize::new(usize::MAX),
            records: Mutex::default(),
            asked: Mutex::default(),
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            under_way_max: AtomicUsize::new(0),
        }
    }
}

impl ScriptedLog {
    pub(super) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.records.lock().unwrap().iter().map(id_of).collect()
    }

    fn take(&self, record: Record) -> Position {
        let mut records = self.records.lock().unwrap();
        records.push(record);
        Position { epoch: 1, partition: 2, offset: records.len() as u64 - 1 }
    }
}

#[async_trait]
impl Append for ScriptedLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        assert_eq!((topic, partition), ("quell.raw.v1", None));
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(id_of(&record));
        let (bytes, bytes_max) = (record.value.as_ref().unwrap().len(), self.value_bytes_max.load(Ordering::SeqCst));
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.under_way_max.fetch_max(now, Ordering::SeqCst);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Fine => {}
            Mode::Slow(for_) => tokio::time::sleep(for_).await,
            Mode::Hangs => std::future::pending().await,
            Mode::Mute => {
                self.take(record);
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                return std::future::pending().await;
            }
            Mode::Away | Mode::Busy => {
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                let away = AppendError::Unavailable("planted".to_owned());
                return Err(if mode == Mode::Busy { AppendError::Busy } else { away });
            }
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(self.take(record))
    }

    fn partitions(&self, _: &str) -> Result<u32, AppendError> {
        Ok(4)
    }
}

/// The table of receipts.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) table: Mutex<BTreeMap<String, String>>,
    pub(super) fails: Mutex<bool>,
    pub(super) tries: AtomicUsize,
}

#[async_trait]
impl SpooledReceipts for Told {
    async fn put(&self, inner: &str, receipt: &str) -> Result<(), SpooledReceiptsError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        if *self.fails.lock().unwrap() {
            return Err(SpooledReceiptsError("planted".to_owned()));
        }
        self.table.lock().unwrap().insert(inner.to_owned(), receipt.to_owned());
        Ok(())
    }
}

/// A process with a spool; what outlives it is handed in.
pub(super) struct Process {
    pub(super) spooling: Arc<Spooling>,
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) clock: Arc<ManualClock>,
    stop: CancellationToken,
}

impl Process {
    pub(super) fn start(config: &SpoolConfig, log: &Arc<ScriptedLog>, told: Option<&Arc<Told>>) -> Self {
        let (metrics, readiness, clock) =
            (Metrics::new().unwrap(), Readiness::default(), Arc::new(ManualClock::default()));
        readiness.set("log", true);
        let deps = SpoolingDeps {
            append: log.clone(),
            receipts: told.map(|told| told.clone() as Arc<dyn SpooledReceipts>),
            clock: clock.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let spooling = Spooling::open(config, deps).unwrap();
        Self { spooling, metrics, readiness, clock, stop: CancellationToken::new() }
    }

    pub(super) fn drain(&self) -> JoinHandle<()> {
        let (spooling, stop) = (self.spooling.clone(), self.stop.clone());
        tokio::spawn(async move { spooling.drain(stop).await })
    }

    /// Ends it as it should.
    pub(super) async fn end(self, drain: JoinHandle<()>) {
        self.stop.cancel();
        drain.await.unwrap();
    }

    pub(super) async fn drained(&self) {
        until(|| self.spooling.is_drained()).await;
    }

    pub(super) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn config(directory: &Path) -> SpoolConfig {
    SpoolConfig { directory: directory.to_owned(), bytes_max: 4 * 1_024 * 1_024, ..SpoolConfig::default() }
}

/// Waits for something that comes true by work elsewhere: a real minute at most.
pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came true");
        // With a paused clock this moves the time on; the real pause leaves room for threads.
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::thread::sleep(Duration::from_micros(50));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Sync,
    Write,
    /// Half of the bytes find room.
    NoRoom,
}

/// A disk that fails on demand, counts its syncs, and can be held up.
#[derive(Debug, Clone, Default)]
pub(super) struct TestDisk(Arc<TestDiskState>);

#[derive(Debug, Default)]
struct TestDiskState {
    fault: Mutex<Option<Fault>>,
    syncs: AtomicUsize,
    held: Mutex<bool>,
    freed: Condvar,
}

impl TestDisk {
    pub(super) fn fault(&self, fault: Option<Fault>) {
        *self.0.fault.lock().unwrap() = fault;
    }

    pub(super) fn syncs(&self) -> usize {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Syncs wait from now on, or go on.
    pub(super) fn hold(&self, held: bool) {
        *self.0.held.lock().unwrap() = held;
        self.0.freed.notify_all();
    }
}

impl Disk for TestDisk {
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        match *self.0.fault.lock().unwrap() {
            Some(Fault::Write) => Err(io::Error::other("planted")),
            Some(Fault::NoRoom) => {
                file.write_all(&bytes[..bytes.len() / 2])?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(Fault::Sync) | None => file.write_all(bytes),
        }
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        drop(self.0.freed.wait_while(self.0.held.lock().unwrap(), |held| *held).unwrap());
        if *self.0.fault.lock().unwrap() == Some(Fault::Sync) {
            return Err(io::Error::other("planted"));
        }
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        file.sync_data()
    }
}
