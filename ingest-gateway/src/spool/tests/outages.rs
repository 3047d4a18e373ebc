//! Whatever log and process do: each record that was answered with success reaches the log.

use super::bed::{Mode, Process, ScriptedLog, Told, config, record};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

const SEEDS: u64 = 16;
const STEPS: usize = 40;

struct World {
    random: u64,
    log: Arc<ScriptedLog>,
    told: Arc<Told>,
    folder: tempfile::TempDir,
    process: Process,
    n_sent: usize,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (log, told, folder) =
            (Arc::new(ScriptedLog::default()), Arc::new(Told::default()), tempfile::tempdir().unwrap());
        let process = Process::start(&config(folder.path()), &log, Some(&told));
        drop(process.drain());
        Self { random: seed, log, told, folder, process, n_sent: 0, acknowledged: Arc::default() }
    }

    /// A number below `n`, by SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    /// Some webhooks at once; what became of them is heard of later.
    fn send(&mut self) -> tokio::task::JoinHandle<()> {
        let n = 1 + self.below(30) as usize;
        let bytes = 1 + self.below(3_000) as usize;
        let (from, spooling, acknowledged) = (self.n_sent, self.process.spooling.clone(), self.acknowledged.clone());
        self.n_sent += n;
        tokio::spawn(async move {
            join_all((from..from + n).map(async |n| {
                let id = format!("id{n}");
                if spooling.append(record(&id, bytes, n as i64)).await.is_ok() {
                    acknowledged.lock().unwrap().insert(id);
                }
            }))
            .await;
        })
    }

    /// The process is killed: what is on disk now is all that the next one has. Returns what was promised by then.
    fn crash(&mut self) {
        let promised = self.acknowledged.lock().unwrap().clone();
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.folder.path(), copy.path());
        if self.below(2) == 0 {
            self.tear(copy.path());
        }
        self.folder = copy;
        self.process = Process::start(&config(self.folder.path()), &self.log, Some(&self.told));
        drop(self.process.drain());
        // Answers that came after the kill were never sent.
        self.acknowledged = Arc::new(Mutex::new(promised));
    }

    /// Something unfinished at the end of the newest segment.
    fn tear(&mut self, directory: &Path) {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let newest = names.filter(|path| path.extension().is_some_and(|end| end == "segment")).max();
        // A segment's beginning is on disk before any record is written.
        let newest = newest.filter(|path| fs::metadata(path).unwrap().len() >= 8);
        let length = self.below(500) as usize;
        if let Some(newest) = newest {
            let mut file = fs::File::options().append(true).open(newest).unwrap();
            file.write_all(&vec![self.below(256) as u8; length]).unwrap();
        }
    }

    async fn step(&mut self) {
        match self.below(10) {
            0 => self.log.set(Mode::Hangs),
            1 => self.log.set(Mode::Away),
            2 => self.log.set(Mode::Busy),
            3 => self.log.set(Mode::Mute),
            4 => self.log.set(Mode::Slow(Duration::from_millis(700))),
            5 => self.log.set(Mode::Fine),
            6 => {
                let fails = self.below(3) == 0;
                *self.told.fails.lock().unwrap() = fails;
            }
            7 => self.crash(),
            _ => {}
        }
        let sent = self.send();
        match self.below(3) {
            0 => drop(sent),
            1 => sent.await.unwrap(),
            _ => tokio::time::sleep(Duration::from_millis(self.below(3_000))).await,
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        // What is deleted meanwhile was drained.
        if path.is_file() {
            let _ = fs::copy(&path, to.join(path.file_name().unwrap()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_reaches_the_log_through_outages_and_kills() {
    let mut n_spooled = 0.0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step().await;
        }
        n_spooled += world.process.metric(r#"quell_gateway_spooled_total{cause="breaker_open"}"#);
        let promised = world.acknowledged.lock().unwrap().clone();
        world.log.set(Mode::Fine);
        *world.told.fails.lock().unwrap() = false;
        world.process.drained().await;
        let logged: BTreeSet<String> = world.log.ids().into_iter().collect();
        let lost: Vec<_> = promised.difference(&logged).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?}");
        assert!(promised.len() > 100, "seed {seed}: {} of {}", promised.len(), world.n_sent);
    }
    assert!(n_spooled > 100.0, "{n_spooled}");
}
