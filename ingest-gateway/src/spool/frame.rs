//! How a record lies in a segment.
//!
//! ```text
//! frame   = length u32 LE | crc32 u32 LE | payload
//! payload = version u8 = 1 | timestamp i64 LE | key | value | n headers u32 LE | (name | value)*
//! ```
//!
//! The checksum (CRC-32 as gzip has it) is over the length and the payload, so that a run of zeros, as a crash may leave
//! it, is no frame. Names and values are a u32 length and bytes; of key and value the length is one higher, 0 for "none".

use bytes::Bytes;
use event_log::{Header, Record};
use flate2::Crc;
use std::borrow::Cow;

/// Length and checksum.
pub(super) const HEAD_BYTES: usize = 8;
const VERSION: u8 = 1;
/// Version, timestamp, key, value, number of headers: the least a payload has.
const PAYLOAD_BYTES_MIN: usize = 1 + 8 + 4 + 4 + 4;

/// Bytes that are no frame, or not wholly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record of a spool")]
pub(super) struct Broken;

/// A frame of a record.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len() + 8).sum();
    let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(HEAD_BYTES + PAYLOAD_BYTES_MIN + of(&record.key) + of(&record.value) + headers);
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.push(VERSION);
    out.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    put_optional(&mut out, record.key.as_deref());
    put_optional(&mut out, record.value.as_deref());
    put_length(&mut out, record.headers.len());
    for header in &record.headers {
        put_bytes(&mut out, header.name.as_bytes());
        put_bytes(&mut out, &header.value);
    }
    let length = length_of(out.len() - HEAD_BYTES);
    let crc = checksum(length, &out[HEAD_BYTES..]);
    out[..4].copy_from_slice(&length);
    out[4..HEAD_BYTES].copy_from_slice(&crc);
    out
}

/// The length of the payload that follows a head.
pub(super) fn payload_bytes(head: [u8; HEAD_BYTES]) -> Result<usize, Broken> {
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|_| Broken)?;
    if length < PAYLOAD_BYTES_MIN { Err(Broken) } else { Ok(length) }
}

/// Whether head and payload belong together.
pub(super) fn check(head: [u8; HEAD_BYTES], payload: &[u8]) -> Result<(), Broken> {
    let [a, b, c, d, crc @ ..] = head;
    let fits = [a, b, c, d] == length_of(payload.len()) && checksum([a, b, c, d], payload) == crc;
    if fits { Ok(()) } else { Err(Broken) }
}

/// When the record of a payload came, without decoding the rest.
pub(super) fn timestamp_ms(payload: &[u8]) -> Result<i64, Broken> {
    let bytes = payload.get(1..9).and_then(|bytes| bytes.try_into().ok()).ok_or(Broken)?;
    Ok(i64::from_le_bytes(bytes))
}

/// The record of a payload. Any bytes are answered, none are trusted.
pub(super) fn decode(payload: Bytes) -> Result<Record, Broken> {
    if payload.first() != Some(&VERSION) {
        return Err(Broken);
    }
    let timestamp_ms = timestamp_ms(&payload)?;
    let mut reader = Reader { bytes: payload, at: 9 };
    let key = reader.optional()?;
    let value = reader.optional()?;
    let n_headers = reader.length()?;
    // Two lengths are the least a header takes: a count beyond that is a lie, and nothing is reserved for it.
    if n_headers > reader.left() / 8 {
        return Err(Broken);
    }
    let mut headers = Vec::with_capacity(n_headers);
    for _ in 0..n_headers {
        let length = reader.length()?;
        let name = std::str::from_utf8(&reader.take(length)?).map_err(|_| Broken)?.to_owned();
        let length = reader.length()?;
        headers.push(Header { name: Cow::Owned(name), value: reader.take(length)? });
    }
    if reader.left() == 0 { Ok(Record { key, value, headers, timestamp_ms }) } else { Err(Broken) }
}

/// Records are far smaller than 4 GiB: the gateway bounds bodies. Should one not be, its frame does not check.
fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

fn checksum(length: [u8; 4], payload: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(&length);
    crc.update(payload);
    crc.sum().to_le_bytes()
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&length_of(length));
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
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Broken> {
        if length > self.left() {
            return Err(Broken);
        }
        let taken = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    fn length(&mut self) -> Result<usize, Broken> {
        let bytes: [u8; 4] = self.take(4)?.as_ref().try_into().map_err(|_| Broken)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Broken)
    }

    fn optional(&mut self) -> Result<Option<Bytes>, Broken> {
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

    fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
    }

    fn record() -> impl Strategy<Value = Record> {
        let header = ("[a-zé-]{0,20}", bytes(40)).prop_map(|(name, value)| Header { name: Cow::Owned(name), value });
        let headers = proptest::collection::vec(header, 0..4);
        (proptest::option::of(bytes(20)), proptest::option::of(bytes(200)), headers, any::<i64>())
            .prop_map(|(key, value, headers, timestamp_ms)| Record { key, value, headers, timestamp_ms })
    }

    fn read(frame: &[u8]) -> Result<Record, Broken> {
        let (head, payload) = frame.split_first_chunk().ok_or(Broken)?;
        if payload_bytes(*head)? != payload.len() {
            return Err(Broken);
        }
        check(*head, payload)?;
        decode(Bytes::copy_from_slice(payload))
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(record in record()) {
            let frame = encode(&record);
            prop_assert_eq!(timestamp_ms(&frame[HEAD_BYTES..]), Ok(record.timestamp_ms));
            prop_assert_eq!(read(&frame), Ok(record));
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_told(record in record(), at in any::<usize>(), bit in 0u8..8) {
            let mut frame = encode(&record);
            let at = at % frame.len();
            prop_assert_eq!(read(&frame[..at]), Err(Broken));
            frame[at] ^= 1 << bit;
            prop_assert_eq!(read(&frame), Err(Broken));
        }

        #[test]
        fn any_payload_is_answered(mut garbage in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some(first) = garbage.first_mut() {
                *first = VERSION;
            }
            // What does decode is what its own frame holds.
            if let Ok(record) = decode(Bytes::from(garbage.clone())) {
                prop_assert_eq!(&encode(&record)[HEAD_BYTES..], &garbage[..]);
            }
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(payload_bytes([0; HEAD_BYTES]), Err(Broken));
        assert_eq!(read(&[0; 64]), Err(Broken));
    }
}
