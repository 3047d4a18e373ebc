//! Files of a spool's directory: segments of records, and how far they are drained.

use super::frame;
use flate2::Crc;
use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// What a segment begins with.
pub(super) const MAGIC: &[u8; 8] = b"qspool1\n";
pub(super) const MAGIC_BYTES: u64 = MAGIC.len() as u64;
const DRAINED_BYTES: usize = 12;

/// The segment whose first record has this number.
pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.segment"))
}

/// The numbers of the first records of all segments, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let first: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse().ok());
        firsts.extend(first);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// What was found in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whole records from its start on.
    pub(super) n_records: u64,
    /// Where the last of them ends.
    pub(super) good_bytes: u64,
    /// How long the file is.
    pub(super) file_bytes: u64,
    /// When the first record at or after the number asked for came.
    pub(super) oldest_ms: Option<i64>,
}

/// Reads a segment through; `None` if it is no segment of this format.
pub(super) fn scan(path: &Path, first: u64, from: u64) -> io::Result<Option<Scan>> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut scan = Scan { n_records: 0, good_bytes: 0, file_bytes, oldest_ms: None };
    let mut reader = BufReader::with_capacity(256 * 1_024, file);
    let mut magic = [0; MAGIC.len()];
    if file_bytes < MAGIC_BYTES {
        return Ok(Some(scan));
    }
    reader.read_exact(&mut magic)?;
    if magic != *MAGIC {
        // A crash may leave a new file's length without its contents.
        return Ok((magic == [0; MAGIC.len()]).then_some(scan));
    }
    scan.good_bytes = MAGIC_BYTES;
    let mut payload = Vec::new();
    while file_bytes - scan.good_bytes >= frame::HEAD_BYTES as u64 {
        let mut head = [0; frame::HEAD_BYTES];
        reader.read_exact(&mut head)?;
        let Ok(length) = frame::payload_bytes(head) else { break };
        let frame_bytes = (frame::HEAD_BYTES + length) as u64;
        if frame_bytes > file_bytes - scan.good_bytes {
            break;
        }
        payload.resize(length, 0);
        reader.read_exact(&mut payload)?;
        if frame::check(head, &payload).is_err() {
            break;
        }
        if scan.oldest_ms.is_none() && first + scan.n_records >= from {
            scan.oldest_ms = frame::timestamp_ms(&payload).ok();
        }
        scan.n_records += 1;
        scan.good_bytes += frame_bytes;
    }
    Ok(Some(scan))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Remembers how far records are drained. It is not synced: what is forgotten is drained again, and appending a record
/// twice changes nothing downstream.
#[derive(Debug)]
pub(super) struct Progress(File);

impl Progress {
    /// Opens it; the number of the first record that is not drained, as far as is known.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, u64)> {
        let path = directory.join("drained");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; DRAINED_BYTES];
        let next = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode(bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        Ok((Self(file), next))
    }

    pub(super) fn write(&self, next: u64) -> io::Result<()> {
        let number = next.to_le_bytes();
        let mut bytes = [0; DRAINED_BYTES];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&checksum(&number));
        self.0.write_all_at(&bytes, 0)
    }
}

fn decode(bytes: [u8; DRAINED_BYTES]) -> Option<u64> {
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    (checksum(number) == crc).then(|| u64::from_le_bytes(*number))
}

fn checksum(number: &[u8; 8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(number);
    crc.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::Record;

    fn frames(n: i64) -> Vec<u8> {
        (0..n)
            .flat_map(|at| frame::encode(&Record { key: None, value: None, headers: vec![], timestamp_ms: at }))
            .collect()
    }

    #[test]
    fn a_scan_ends_where_whole_records_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), 7);
        let frame_bytes = frames(1).len();
        let check = |bytes: &[u8], n_records: u64| {
            fs::write(&path, bytes).unwrap();
            let good_bytes = 8 + n_records * frame_bytes as u64;
            let oldest_ms = (n_records > 2).then_some(2);
            let expected = Scan { n_records, good_bytes, file_bytes: bytes.len() as u64, oldest_ms };
            assert_eq!(scan(&path, 7, 9).unwrap(), Some(expected));
        };
        let whole = [MAGIC.as_slice(), &frames(4)].concat();
        check(&whole, 4);
        for cut in 1..=frame_bytes {
            check(&whole[..whole.len() - cut], 3);
        }
        check(&[whole.as_slice(), &[0; 100]].concat(), 4);
        check(&[whole.as_slice(), &[0xff; 100]].concat(), 4);
        assert_eq!(list(folder.path()).unwrap(), [7]);
    }

    #[test]
    fn a_file_of_another_kind_is_told_from_one_that_was_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), 0);
        for (bytes, is_segment) in [(b"".as_slice(), true), (b"qsp", true), (&[0; 40], true), (b"qspool9\n...", false)]
        {
            fs::write(&path, bytes).unwrap();
            assert_eq!(scan(&path, 0, 0).unwrap().map(|scan| scan.good_bytes), is_segment.then_some(0));
        }
    }

    #[test]
    fn progress_is_read_back_and_a_torn_one_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (progress, next) = Progress::open(folder.path()).unwrap();
        assert_eq!(next, 0);
        progress.write(300).unwrap();
        progress.write(1_729).unwrap();
        assert_eq!(Progress::open(folder.path()).unwrap().1, 1_729);
        fs::write(folder.path().join("drained"), [1; DRAINED_BYTES]).unwrap();
        assert_eq!(Progress::open(folder.path()).unwrap().1, 0);
    }
}
