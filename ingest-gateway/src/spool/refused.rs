//! Records that the log refuses for good, as they are larger than it takes: each in a file of its own, so that they block
//! nothing and are not lost. They are appended at the next start, by when the log's limit may have been raised.
//!
//! The dead-letter topic is no place for them: a dead letter holds the record, and so is larger still.

use super::{frame, segment};
use bytes::Bytes;
use event_log::Record;
use schemas::SpooledId;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Their directory inside the spool's.
pub(super) fn directory(spool: &Path) -> PathBuf {
    spool.join("refused")
}

/// The files that are there.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "record"));
    paths.sort();
    Ok(paths)
}

/// What they take on disk.
pub(super) fn bytes(paths: &[PathBuf]) -> io::Result<u64> {
    paths.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

/// Writes a record durably under its inner id; the same record again replaces itself. Blocks.
pub(super) fn put(directory: &Path, inner: &str, record: &Record) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join(SpooledId::of(inner).inner()).with_extension("record");
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(&frame::encode(record))?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    segment::sync_directory(directory)?;
    if let Some(parent) = directory.parent() {
        segment::sync_directory(parent)?;
    }
    Ok(path)
}

/// Reads a record back; `None` if the file holds none. Blocks.
pub(super) fn read(path: &Path) -> io::Result<Option<Record>> {
    let bytes = fs::read(path)?;
    let Some((head, payload)) = bytes.split_first_chunk() else { return Ok(None) };
    Ok(frame::check(*head, payload).and_then(|()| frame::decode(Bytes::copy_from_slice(payload))).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_and_found() {
        let folder = tempfile::tempdir().unwrap();
        let directory = directory(folder.path());
        assert_eq!(list(&directory).unwrap(), Vec::<PathBuf>::new());
        let record = Record { key: None, value: Some("x".into()), headers: vec![], timestamp_ms: 7 };
        let path = put(&directory, "../01ab", &record).unwrap();
        assert_eq!(put(&directory, "01ab", &record).unwrap(), path);
        let files = list(&directory).unwrap();
        assert_eq!(files, std::slice::from_ref(&path));
        assert_eq!(bytes(&files).unwrap(), fs::metadata(&path).unwrap().len());
        assert_eq!(read(&path).unwrap(), Some(record));
        fs::write(&path, b"torn").unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
