//! One segment file: its name and header, and reading it through.
//!
//! ```text
//! header = magic (8 bytes) | salt u32 | n partitions u32 | offset u64 of the first record of each | crc32 u32 | frames
//! ```

use super::{
    Damage, SegmentError,
    frame::{HEAD_BYTES, Head},
    index::Index,
};
use std::{
    fs::{self, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"qlogseg1";
/// Magic, salt, number of partitions, checksum.
const FIXED_BYTES: usize = 8 + 4 + 4 + 4;

/// What a segment's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Counts the segments of the topic.
    pub(super) number: u64,
    pub(super) salt: u32,
    /// By partition: the offset of its first record here or in a later segment.
    pub(super) firsts: Vec<u64>,
}

impl Segment {
    pub(super) fn new(number: u64, firsts: Vec<u64>) -> Self {
        // The randomness of a hasher's keys is enough: the salt keeps accidents apart, not attackers.
        let salt = RandomState::new().build_hasher().finish() as u32;
        Self { number, salt, firsts }
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        path(directory, self.number)
    }

    /// Where the frames begin.
    pub(super) fn header_bytes(&self) -> u64 {
        header_bytes(self.firsts.len())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&(self.firsts.len() as u32).to_le_bytes());
        self.firsts.iter().for_each(|first| out.extend_from_slice(&first.to_le_bytes()));
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header of a file, if it has a whole one for so many partitions.
    pub(super) fn read(directory: &Path, number: u64, n_partitions: u32) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let length = header_bytes(n_partitions as usize);
        File::open(path(directory, number))?.take(length).read_to_end(&mut bytes)?;
        Ok(Self::decode(number, &bytes).filter(|segment| segment.firsts.len() == n_partitions as usize))
    }

    fn decode(number: u64, bytes: &[u8]) -> Option<Self> {
        let (header, crc) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = header.split_first_chunk::<8>()?;
        let (salt, rest) = rest.split_first_chunk::<4>()?;
        let (_, firsts) = rest.split_first_chunk::<4>()?;
        let firsts = firsts.chunks_exact(8).filter_map(|first| Some(u64::from_le_bytes(first.try_into().ok()?)));
        let segment = Self { number, salt: u32::from_le_bytes(*salt), firsts: firsts.collect() };
        (magic == MAGIC && crc32fast::hash(header) == u32::from_le_bytes(*crc)).then_some(segment)
    }
}

pub(super) const fn header_bytes(n_partitions: usize) -> u64 {
    (FIXED_BYTES + 8 * n_partitions) as u64
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.segment"))
}

/// The numbers of all segments, in order.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> = name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What was found in a segment.
#[derive(Debug)]
pub(super) struct Scan {
    /// By partition: one after its last record here.
    pub(super) ends: Vec<u64>,
    pub(super) index: Index,
    /// Timestamp of the first record.
    pub(super) began_ms: Option<i64>,
    /// Where the last whole frame ends.
    pub(super) good_bytes: u64,
    /// How long the file is.
    pub(super) file_bytes: u64,
}

/// Reads a segment through, up to its end or to the first frame that is none.
pub(super) fn scan(directory: &Path, segment: &Segment) -> Result<Scan, SegmentError> {
    let path = segment.path(directory);
    let of = |error| SegmentError::Io(path.clone(), error);
    let file = File::open(&path).map_err(of)?;
    let file_bytes = file.metadata().map_err(of)?.len();
    let mut reader = BufReader::with_capacity(256 * 1_024, file);
    let good_bytes = segment.header_bytes();
    reader.seek_relative(good_bytes as i64).map_err(of)?;
    let mut scan =
        Scan { ends: segment.firsts.clone(), index: Index::default(), began_ms: None, good_bytes, file_bytes };
    let mut record = Vec::new();
    while file_bytes.saturating_sub(scan.good_bytes) >= HEAD_BYTES as u64 {
        let mut head = [0; HEAD_BYTES];
        reader.read_exact(&mut head).map_err(of)?;
        let head = Head::decode(&head);
        if head.frame_bytes() > file_bytes - scan.good_bytes {
            break;
        }
        record.resize(head.length as usize, 0);
        reader.read_exact(&mut record).map_err(of)?;
        if !head.fits(segment.salt, &record) {
            break;
        }
        let place = u32::try_from(scan.good_bytes).ok();
        let end = scan.ends.get_mut(head.partition as usize).filter(|end| **end == head.offset);
        let (Some(end), Some(place)) = (end, place) else {
            return Err(SegmentError::Damaged(path, Damage::Order { at: scan.good_bytes }));
        };
        let n_before = *end - segment.firsts[head.partition as usize];
        scan.index.note(head.partition, n_before as u32, place);
        *end += 1;
        scan.began_ms = scan.began_ms.or_else(|| super::super::codec::timestamp_ms(&record).ok());
        scan.good_bytes += head.frame_bytes();
    }
    Ok(scan)
}

/// Whether what follows the last whole frame was ever acknowledged: a later frame says so. Only what cannot have been may
/// be cut off.
pub(super) fn is_torn(directory: &Path, segment: &Segment, scan: &Scan) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut rest = vec![0; usize::try_from(scan.file_bytes - scan.good_bytes).unwrap_or_default()];
    File::open(segment.path(directory))?.read_exact_at(&mut rest, scan.good_bytes)?;
    for at in 1..rest.len() {
        let Some((head, after)) = rest[at..].split_first_chunk::<HEAD_BYTES>() else { break };
        let head = Head::decode(head);
        let is_later = u64::from(head.since) > scan.good_bytes
            && u64::from(head.since) <= scan.good_bytes + at as u64
            && (head.partition as usize) < segment.firsts.len();
        if is_later && after.get(..head.length as usize).is_some_and(|record| head.fits(segment.salt, record)) {
            return Ok(false);
        }
    }
    Ok(true)
}
