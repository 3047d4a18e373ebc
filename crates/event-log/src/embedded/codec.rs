//! How a record lies in its keyspace.
//!
//! ```text
//! version u8 | epoch u16 BE | timestamp i64 BE | key | value | n headers | (name | value)*
//! ```
//!
//! Epoch and timestamp stand at fixed places, so that the one can be set when the record's turn comes and the other read
//! without decoding the rest. Lengths are LEB128; those of key and value are one higher than the length, 0 for "none".
//!
//! The version is 1, or 2 where the value is compressed: its length (u32, little-endian) and an LZ4 block.

use crate::{Header, Record};
use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table};
use std::{borrow::Cow, cell::RefCell};

const VERSION: u8 = 1;
const COMPRESSED: u8 = 2;
const EPOCH_AT: usize = 1;
const TIMESTAMP_AT: usize = 3;
const FIXED: usize = 11;

/// Bytes that are no record: the disk lied, or a newer version wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("unknown record version {0}: written by a newer release?")]
    Version(u8),
    #[error("record ends too early")]
    Short,
    #[error("record has {0} bytes too many")]
    Long(usize),
    #[error("record holds a length that cannot be")]
    Length,
    #[error("header name is not UTF-8")]
    Name,
    #[error("record holds a value that cannot be decompressed")]
    Compressed,
}

/// From this size on a value is compressed, and not copied, in bytes.
const LARGE_BYTES_MIN: usize = 2 * 1_024;
/// What is compressed must become smaller by a sixteenth at least, else reading it costs more than it saves.
const WORTH: usize = 16;
/// For larger values than this no memory is kept.
const SCRATCH_BYTES_MAX: usize = 256 * 1_024;
/// No value is larger, whatever stands before a compressed one.
const VALUE_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// LZ4 makes nothing smaller than this part of it.
const RATIO_MAX: usize = 255;

/// An encoded record, in pieces: a large value may lie where it came, between what is before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    before: Vec<u8>,
    value: Bytes,
    after: Vec<u8>,
}

impl Encoded {
    /// In one piece, with epoch 0 until [`Self::set_epoch`] is called.
    pub(crate) fn whole(record: &Record) -> Self {
        Self { before: encode(record), value: Bytes::new(), after: Vec::new() }
    }

    /// For a disk that is slower than this core: a large value is compressed where that helps, and not copied where not.
    pub(crate) fn small(record: &Record) -> Self {
        let Some(value) = record.value.as_ref().filter(|value| value.len() >= LARGE_BYTES_MIN) else {
            return Self::whole(record);
        };
        let (version, value) = match compress(value) {
            Some(compressed) => (COMPRESSED, compressed),
            None => (VERSION, value.clone()),
        };
        let mut before = start(version, record, FIXED + 16 + record.key.as_ref().map_or(0, Bytes::len));
        put_length(&mut before, value.len() + 1);
        let mut after = Vec::new();
        put_headers(&mut after, record);
        Self { before, value, after }
    }

    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.value.len() + self.after.len()
    }

    pub(crate) fn pieces(&self) -> [&[u8]; 3] {
        [&self.before, &self.value, &self.after]
    }

    pub(crate) fn set_epoch(&mut self, epoch: u16) {
        set_epoch(&mut self.before, epoch);
    }

    pub(crate) fn timestamp_ms(&self) -> Option<i64> {
        timestamp_ms(&self.before).ok()
    }

    /// One piece; a copy only where there are more.
    pub(crate) fn into_whole(self) -> Vec<u8> {
        if self.value.is_empty() && self.after.is_empty() { self.before } else { self.pieces().concat() }
    }
}

/// Encodes a record, with epoch 0.
fn encode(record: &Record) -> Vec<u8> {
    let mut out = start(VERSION, record, FIXED + 16 + size(record));
    put_optional(&mut out, record.value.as_deref());
    put_headers(&mut out, record);
    out
}

/// What comes before the value.
fn start(version: u8, record: &Record, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.push(version);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&record.timestamp_ms.to_be_bytes());
    put_optional(&mut out, record.key.as_deref());
    out
}

/// What comes after the value.
fn put_headers(out: &mut Vec<u8>, record: &Record) {
    put_length(out, record.headers.len());
    for header in &record.headers {
        put_bytes(out, header.name.as_bytes());
        put_bytes(out, &header.value);
    }
}

/// What a record takes, about: key, value and headers.
pub(crate) fn size(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len() + 4).sum();
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len) + headers
}

/// Writes the epoch into an encoded record.
fn set_epoch(encoded: &mut [u8], epoch: u16) {
    if let Some(place) = encoded.get_mut(EPOCH_AT..TIMESTAMP_AT) {
        place.copy_from_slice(&epoch.to_be_bytes());
    }
}

/// The timestamp alone.
pub(crate) fn timestamp_ms(encoded: &[u8]) -> Result<i64, DecodeError> {
    Ok(i64::from_be_bytes(fixed(encoded, TIMESTAMP_AT)?))
}

/// Decodes a record and its epoch, whose parts share its bytes. Any bytes are answered, none are trusted.
pub(crate) fn decode(encoded: Bytes) -> Result<(u16, Record), DecodeError> {
    let [version] = fixed::<1>(&encoded, 0)?;
    if version != VERSION && version != COMPRESSED {
        return Err(DecodeError::Version(version));
    }
    let epoch = u16::from_be_bytes(fixed(&encoded, EPOCH_AT)?);
    let timestamp_ms = timestamp_ms(&encoded)?;
    let mut reader = Reader { bytes: encoded, at: FIXED };
    let key = reader.optional()?;
    let value = reader.optional()?;
    let value = if version == COMPRESSED { value.map(|value| decompress(&value)).transpose()? } else { value };
    let n_headers = reader.length()?;
    // Two bytes are the least a header takes: a count beyond that is a lie, and nothing is reserved for it.
    if n_headers > reader.left() / 2 {
        return Err(DecodeError::Length);
    }
    let mut headers = Vec::with_capacity(n_headers);
    for _ in 0..n_headers {
        let name = reader.bytes_of_length()?;
        let name = std::str::from_utf8(&name).map_err(|_| DecodeError::Name)?.to_owned();
        headers.push(Header { name: Cow::Owned(name), value: reader.bytes_of_length()? });
    }
    match reader.left() {
        0 => Ok((epoch, Record { key, value, headers, timestamp_ms })),
        left => Err(DecodeError::Long(left)),
    }
}

/// What the compressor writes to and what it remembers while it works; threads that append keep theirs.
#[derive(Default)]
struct Scratch {
    out: Vec<u8>,
    table: CompressTable,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Length and LZ4 block, where that is worth it. It holds no more memory than it needs, as it may wait in a queue.
fn compress(value: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(value.len()).ok()?.to_le_bytes();
    let compress = |scratch: &mut Scratch| {
        let bytes_max = lz4_flex::block::get_maximum_output_size(value.len());
        if scratch.out.len() < bytes_max {
            scratch.out.resize(bytes_max, 0);
        }
        let n_bytes = compress_into_with_table(value, &mut scratch.out, &mut scratch.table).ok()?;
        let is_worth = n_bytes + length.len() < value.len() - value.len() / WORTH;
        let block = scratch.out.get(..n_bytes).filter(|_| is_worth)?;
        Some(Bytes::from([length.as_slice(), block].concat()))
    };
    match value.len() <= SCRATCH_BYTES_MAX {
        true => SCRATCH.with_borrow_mut(compress),
        false => compress(&mut Scratch::default()),
    }
}

fn decompress(compressed: &[u8]) -> Result<Bytes, DecodeError> {
    let (length, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|_| DecodeError::Compressed)?;
    // A length beyond what the block can hold is a lie, and nothing is reserved for it.
    if length > VALUE_BYTES_MAX.min(block.len().saturating_mul(RATIO_MAX)) {
        return Err(DecodeError::Compressed);
    }
    let value = lz4_flex::block::decompress(block, length).map_err(|_| DecodeError::Compressed)?;
    if value.len() == length { Ok(Bytes::from(value)) } else { Err(DecodeError::Compressed) }
}

fn fixed<const N: usize>(encoded: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    encoded.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(DecodeError::Short)
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_length(out, bytes.map_or(0, |bytes| bytes.len() + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let mut length = 0u64;
        // Five groups of seven bits: lengths stay below 2^35, far above any record.
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.bytes.get(self.at).ok_or(DecodeError::Short)?;
            self.at += 1;
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(length).map_err(|_| DecodeError::Length);
            }
        }
        Err(DecodeError::Length)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.left() {
            return Err(DecodeError::Short);
        }
        let taken = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    fn bytes_of_length(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    fn optional(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match self.length()? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(encoded: &[u8]) -> Result<(u16, Record), DecodeError> {
        super::decode(Bytes::copy_from_slice(encoded))
    }

    fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = Record> {
        let header = ("[a-zé-]{0,20}", bytes(40)).prop_map(|(name, value)| Header { name: Cow::Owned(name), value });
        let headers = proptest::collection::vec(header, 0..5);
        (proptest::option::of(bytes(40)), proptest::option::of(bytes(400)), headers, any::<i64>())
            .prop_map(|(key, value, headers, timestamp_ms)| Record { key, value, headers, timestamp_ms })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(record in record(), epoch in 0u16..1_024) {
            let mut encoded = encode(&record);
            set_epoch(&mut encoded, epoch);
            prop_assert_eq!(timestamp_ms(&encoded), Ok(record.timestamp_ms));
            prop_assert_eq!(decode(&encoded), Ok((epoch, record)));
        }

        #[test]
        fn a_large_value_is_compressed_where_that_helps(
            mut record in record(),
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 2_000..4_000),
                "(bounce|delivered){200,900}".prop_map(String::into_bytes),
                // Beyond the small table, and beyond what memory is kept for.
                proptest::sample::select(vec![65_534, 65_535, 70_000, 300_000]).prop_map(|bytes| vec![b'd'; bytes]),
            ],
        ) {
            let is_text = value[0] == b'b' || value[0] == b'd';
            record.value = Some(value.clone().into());
            let mut small = Encoded::small(&record);
            small.set_epoch(5);
            prop_assert_eq!(small.timestamp_ms(), Some(record.timestamp_ms));
            prop_assert_eq!(small.pieces().concat().len(), small.len());
            let size = small.len();
            prop_assert!(size < Encoded::whole(&record).len() + 8);
            if is_text && value.len() >= 2_048 && value.iter().all(u8::is_ascii_lowercase) {
                prop_assert!(size < value.len() / 2 + 400, "{} of {}", size, value.len());
            }
            prop_assert_eq!(decode(&small.into_whole()), Ok((5, record)));
        }

        #[test]
        fn any_compressed_bytes_are_answered(
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
            length in prop_oneof![0u32..2_000, any::<u32>()],
        ) {
            let value = [length.to_le_bytes().as_slice(), &garbage].concat();
            let mut out = start(COMPRESSED, &Record { key: None, value: None, headers: vec![], timestamp_ms: 0 }, 0);
            put_optional(&mut out, Some(&value));
            put_length(&mut out, 0);
            if let Ok((_, decoded)) = decode(&out) {
                prop_assert_eq!(decoded.value.map(|value| value.len()), Some(length as usize));
            }
        }

        #[test]
        fn any_bytes_are_answered(mut garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&garbage);
            if let Some(first) = garbage.first_mut() {
                *first = VERSION;
            }
            // Nothing but a panic could go wrong; and what does decode encodes to something that decodes alike.
            if let Ok((_, record)) = decode(&garbage) {
                prop_assert_eq!(decode(&encode(&record)).map(|(_, again)| again), Ok(record));
            }
        }

        #[test]
        fn a_cut_or_a_longer_record_is_refused(record in record(), extra in 1usize..4) {
            let mut encoded = encode(&record);
            for cut in 0..encoded.len() {
                prop_assert!(decode(&encoded[..cut]).is_err());
            }
            encoded.extend(std::iter::repeat_n(0, extra));
            prop_assert_eq!(decode(&encoded), Err(DecodeError::Long(extra)));
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let head = || encode(&Record { key: None, value: None, headers: vec![], timestamp_ms: 0 })[..FIXED].to_vec();
        let check = |rest: &[u8], expected| {
            let mut encoded = head();
            encoded.extend_from_slice(rest);
            assert_eq!(decode(&encoded), Err(expected), "{rest:?}");
        };
        check(&[0xff, 0xff, 0xff, 0xff, 0xff], DecodeError::Length);
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], DecodeError::Short);
        check(&[0, 0, 0xff, 0x7f], DecodeError::Length);
        check(&[0, 0, 1, 1, 0xff, 0], DecodeError::Name);
        check(&[0, 0], DecodeError::Short);
        assert_eq!(decode(&[]), Err(DecodeError::Short));
        assert_eq!(decode(&[9; 40]), Err(DecodeError::Version(9)));
    }
}
