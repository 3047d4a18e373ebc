//! The folder that is exported into: `TABLE/tenant=TENANT/date=DATE/RUN-NUMBER.parquet`, and how far the runs came.
//!
//! A file is written as `NAME.parquet.part` and synced. At the end of a run all its files get their names, then `_quell.json`
//! says that the run is over and where the next one goes on, and then earlier snapshots of the day go. A run that ends
//! before `_quell.json` is written has not been: the next one removes its files, which are those with a higher number than
//! `_quell.json` names, and reads the same records again.

use super::{buffers::Partition, rows::Rows, tables::Table};
use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

const FORM: &str = "quell-parquet-1";
/// Names that begin so are passed over by whoever reads a folder of Parquet files.
const PROGRESS: &str = "_quell.json";
const LOCK: &str = "_quell.lock";

/// How far the runs came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    form: String,
    /// The last run that went through, from 1.
    run: u64,
    /// Its day.
    date: String,
    /// Of the log's positions: a log with another one begins anew.
    epoch: u16,
    /// The only tenant that is exported here.
    tenant: Option<String>,
    /// Topic → offset to go on from, of each partition.
    next: BTreeMap<String, BTreeMap<u32, u64>>,
    /// The offset of the oldest erasure in each partition of the events that records of the next run may still be about.
    #[serde(default)]
    erasures: BTreeMap<u32, u64>,
}

/// A folder that no other run may use meanwhile.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// What `_quell.json` will say.
    progress: Progress,
    /// Written and synced: the name under way, and the one it gets.
    written: Vec<(PathBuf, PathBuf)>,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and removes what a run left that was not finished. `date` is today's.
    pub(super) fn open(root: &Path, epoch: u16, tenant: Option<&str>, date: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let lock = File::options().create(true).append(true).open(root.join(LOCK));
        let lock = lock.with_context(|| format!("cannot write in {}", root.display()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another export writes into {}: wait until it is over", root.display()))?;
        let known = known(root)?;
        let tenant = tenant.map(str::to_owned);
        if let Some(known) = known.as_ref().filter(|known| known.tenant != tenant) {
            bail!(
                "{} holds {}: export into another folder, or say the same --tenant again",
                root.display(),
                known
                    .tenant
                    .as_ref()
                    .map_or_else(|| "all tenants".to_owned(), |tenant| format!("tenant {tenant} only"))
            );
        }
        if let Some(known) = known.as_ref().filter(|known| known.epoch > epoch) {
            bail!(
                "{} was written from a log of epoch {}, and this one is of epoch {epoch}: export into another folder",
                root.display(),
                known.epoch
            );
        }
        let run = known.as_ref().map_or(0, |known| known.run);
        tidy(root, |name, partition| {
            let is_replaced = |known: &Progress| {
                partition.table.is_snapshot() && partition.date == known.date && number(name) < Some(known.run)
            };
            name.ends_with(".part") || number(name) > Some(run) || known.as_ref().is_some_and(is_replaced)
        })?;
        // Offsets of another epoch mean other records.
        let known = known.filter(|known| known.epoch == epoch);
        let (next, erasures) = known.map(|known| (known.next, known.erasures)).unwrap_or_default();
        let (form, date) = (FORM.to_owned(), date.to_owned());
        let progress = Progress { form, run: run + 1, date, epoch, tenant, next, erasures };
        Ok(Self { root: root.to_owned(), progress, written: Vec::new(), _lock: lock })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The number of this run.
    pub(super) const fn run(&self) -> u64 {
        self.progress.run
    }

    /// The day of this run.
    pub(super) fn date(&self) -> &str {
        &self.progress.date
    }

    /// Where the last run came to in a partition; `None` where none read it yet.
    pub(super) fn next(&self, topic: &str, partition: u32) -> Option<u64> {
        self.progress.next.get(topic)?.get(&partition).copied()
    }

    /// This run came so far.
    pub(super) fn reached(&mut self, topic: &str, partition: u32, offset: u64) {
        self.progress.next.entry(topic.to_owned()).or_default().insert(partition, offset);
    }

    /// Where the oldest erasure lies that the last run left word of, in a partition of the events.
    pub(super) fn erased(&self, partition: u32) -> Option<u64> {
        self.progress.erasures.get(&partition).copied()
    }

    /// Leaves word for the next run: where the oldest erasure lies that its records may be about, if one does.
    pub(super) fn leave_erased(&mut self, partition: u32, offset: Option<u64>) {
        match offset {
            Some(offset) => self.progress.erasures.insert(partition, offset),
            None => self.progress.erasures.remove(&partition),
        };
    }

    /// Writes a file of a partition, under a name that no reader looks at.
    pub(super) fn write(&mut self, place: &Partition, rows: Rows) -> anyhow::Result<()> {
        let Partition { table, tenant, date } = place;
        let folder = self.root.join(table.name()).join(format!("tenant={tenant}")).join(format!("date={date}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{:08}-{:05}.parquet", self.progress.run, self.written.len()));
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let written = File::create(&part).map_err(anyhow::Error::from).and_then(|file| rows.write(file));
        written.and_then(|file| Ok(file.sync_all()?)).with_context(|| format!("cannot write {}", part.display()))?;
        self.written.push((part, path));
        Ok(())
    }

    /// Gives all files their names, notes how far it came, and removes the snapshots of today that are replaced. Returns how
    /// many files there are.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        for (part, path) in &self.written {
            fs::rename(part, path).with_context(|| format!("cannot put {} in its place", path.display()))?;
        }
        let folders: BTreeSet<&Path> = self.written.iter().filter_map(|(_, path)| path.parent()).collect();
        for folder in folders {
            sync(folder)?;
        }
        let path = self.root.join(PROGRESS);
        let part = self.root.join(format!("{PROGRESS}.part"));
        let mut file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
        file.write_all(&serde_json::to_vec_pretty(&self.progress)?)?;
        file.sync_all()?;
        fs::rename(&part, &path).with_context(|| format!("cannot put {} in its place", path.display()))?;
        sync(&self.root)?;
        let Progress { run, date, .. } = &self.progress;
        tidy(&self.root, |name, partition| {
            partition.table.is_snapshot() && partition.date == *date && number(name) < Some(*run)
        })?;
        Ok(self.written.len() as u64)
    }
}

fn known(root: &Path) -> anyhow::Result<Option<Progress>> {
    let path = root.join(PROGRESS);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let known: Option<Progress> = serde_json::from_slice(&text).ok();
    let known = known.filter(|known| known.form == FORM);
    let known =
        known.with_context(|| format!("{} is not of this build: export into another folder", path.display()))?;
    Ok(Some(known))
}

/// A folder's entries are on the disk.
fn sync(folder: &Path) -> anyhow::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("cannot sync {}", folder.display()))
}

/// The number of the run that wrote a file; `None` for what is not ours, which is left alone.
fn number(name: &str) -> Option<u64> {
    let (run, rest) = name.split_once('-')?;
    let rest = rest.strip_suffix(".part").unwrap_or(rest).strip_suffix(".parquet")?;
    let is_ours = run.len() >= 8 && rest.len() >= 5 && rest.bytes().all(|byte| byte.is_ascii_digit());
    if is_ours { run.parse().ok() } else { None }
}

/// Removes those of our files that should go.
fn tidy(root: &Path, should_go: impl Fn(&str, &Partition) -> bool) -> anyhow::Result<()> {
    for table in Table::ALL {
        for (tenant, folder) in named(&root.join(table.name()), "tenant=")? {
            for (date, folder) in named(&folder, "date=")? {
                let partition = Partition { table, tenant: tenant.clone(), date };
                for (name, path) in named(&folder, "")? {
                    if number(&name).is_some() && should_go(&name, &partition) {
                        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The entries of a folder whose names begin so, with what follows; none where the folder is not there.
fn named(folder: &Path, begin: &str) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let entries = entries.filter_map(Result::ok);
    Ok(entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.strip_prefix(begin)?.to_owned(), entry.path())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{super::rows::schema, *};

    fn rows() -> Rows {
        let mut rows = Rows::new(schema("message m { required binary a (STRING); }").unwrap()).unwrap();
        rows.text("x");
        rows
    }

    fn place(table: Table, date: &str) -> Partition {
        Partition { table, tenant: "acme".to_owned(), date: date.to_owned() }
    }

    fn files(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for table in Table::ALL {
            for (_, folder) in named(&root.join(table.name()), "tenant=").unwrap() {
                for (date, folder) in named(&folder, "date=").unwrap() {
                    let names = named(&folder, "").unwrap().into_iter();
                    found.extend(names.map(|(name, _)| format!("{}/{date}/{name}", table.name())));
                }
            }
        }
        found.sort();
        found
    }

    const TODAY: &str = "2026-01-20";

    #[test]
    fn runs_add_events_and_replace_the_snapshot_of_the_day() {
        let dir = tempfile::tempdir().unwrap();
        for run in 1..=2_u64 {
            let mut folder = Folder::open(dir.path(), 0, None, TODAY).unwrap();
            assert_eq!((folder.run(), folder.next("t", 3)), (run, (run == 2).then_some(10)));
            folder.write(&place(Table::Events, "2026-01-19"), rows()).unwrap();
            folder.write(&place(Table::State, TODAY), rows()).unwrap();
            folder.reached("t", 3, run * 10);
            assert!(Folder::open(dir.path(), 0, None, TODAY).unwrap_err().to_string().contains("another export"));
            assert_eq!(folder.finish().unwrap(), 2);
        }
        let expected = [
            "events/2026-01-19/00000001-00000.parquet",
            "events/2026-01-19/00000002-00000.parquet",
            "state/2026-01-20/00000002-00001.parquet",
        ];
        assert_eq!(files(dir.path()), expected);
        // Another day's snapshot stands beside it; nobody's own files are touched.
        fs::write(dir.path().join("state/tenant=acme/date=2026-01-20/notes.parquet"), "").unwrap();
        let mut folder = Folder::open(dir.path(), 0, None, "2026-01-21").unwrap();
        folder.write(&place(Table::State, "2026-01-21"), rows()).unwrap();
        folder.finish().unwrap();
        assert_eq!(files(dir.path()).len(), 5);
    }

    #[test]
    fn what_was_not_finished_has_not_been() {
        let dir = tempfile::tempdir().unwrap();
        let write = |is_named: bool| {
            let mut folder = Folder::open(dir.path(), 0, None, TODAY).unwrap();
            folder.write(&place(Table::Events, TODAY), rows()).unwrap();
            folder.reached("t", 0, 7);
            if is_named {
                // As a run that dies between its last two steps.
                let (part, path) = folder.written.first().unwrap();
                fs::rename(part, path).unwrap();
            }
        };
        for is_named in [false, true] {
            write(is_named);
            assert_eq!(files(dir.path()).len(), 1);
            let folder = Folder::open(dir.path(), 0, None, TODAY).unwrap();
            assert_eq!((folder.run(), folder.next("t", 0)), (1, None));
            assert_eq!(files(dir.path()), [""; 0]);
        }
    }

    #[test]
    fn a_folder_belongs_to_one_log_and_one_choice_of_tenants() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path(), 1, None, TODAY).unwrap();
        folder.reached("t", 0, 7);
        folder.finish().unwrap();
        let refused = |epoch, tenant| Folder::open(dir.path(), epoch, tenant, TODAY).unwrap_err().to_string();
        assert!(refused(1, Some("acme")).contains("all tenants"));
        assert!(refused(0, None).contains("epoch 1"));
        // A new log has new offsets.
        let folder = Folder::open(dir.path(), 2, None, TODAY).unwrap();
        assert_eq!((folder.run(), folder.next("t", 0)), (2, None));
        drop(folder);
        fs::write(dir.path().join(PROGRESS), "{}").unwrap();
        assert!(refused(2, None).contains("not of this build"));
    }

    #[test]
    fn files_of_ours_are_known_by_their_names() {
        assert_eq!(number("00000012-00003.parquet"), Some(12));
        assert_eq!(number("00000012-00003.parquet.part"), Some(12));
        for other in ["part-00003.parquet", "00000012-00003.csv", "12-00003.parquet", "00000012-x.parquet"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
