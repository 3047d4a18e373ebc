//! Receipts: what a webhook's sender is told, and where its raw record lies.
//!
//! A receipt has an inner id, made before the record is appended and carried inside it. The id that is answered adds the
//! record's position, known once it is appended, so that the record is found without an index.

use std::{fmt, str::FromStr};

/// The longest inner id.
const INNER_BYTES_MAX: usize = 64;

/// A receipt's whole id: `r{epoch}.{partition}.{offset}.{inner}`, e.g. `r0.3.1729.01jd5xg6z5c9xq6s3r9f0k2m4t`. The
/// position is that of the raw webhook in its topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiptId {
    epoch: u16,
    partition: u32,
    offset: u64,
    inner: String,
}

/// Text that is no receipt id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt id: it looks like r0.3.1729.01jd5xg6z5c9xq6s3r9f0k2m4t")]
pub struct ReceiptIdError;

impl ReceiptId {
    /// The receipt of a raw webhook whose record carries `inner` and lies at this position. What of `inner` no receipt
    /// can hold is left out.
    pub fn of(inner: &str, epoch: u16, partition: u32, offset: u64) -> Self {
        let inner = inner.chars().filter(|c| is_inner(*c)).take(INNER_BYTES_MAX).collect();
        Self { epoch, partition, offset, inner }
    }

    /// The log's epoch.
    pub const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// The raw topic's partition.
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset in the partition.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The id that the record itself carries.
    pub fn inner(&self) -> &str {
        &self.inner
    }
}

fn is_inner(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// A number as it is written: no sign, no leading zero, so that a receipt has one spelling.
fn number<T: FromStr>(text: &str) -> Result<T, ReceiptIdError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| ReceiptIdError) } else { Err(ReceiptIdError) }
}

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}.{}.{}.{}", self.epoch, self.partition, self.offset, self.inner)
    }
}

impl FromStr for ReceiptId {
    type Err = ReceiptIdError;

    fn from_str(text: &str) -> Result<Self, ReceiptIdError> {
        let mut parts = text.strip_prefix('r').ok_or(ReceiptIdError)?.split('.');
        let mut part = || parts.next().ok_or(ReceiptIdError);
        let (epoch, partition, offset, inner) = (number(part()?)?, number(part()?)?, number(part()?)?, part()?);
        let fine =
            (1..=INNER_BYTES_MAX).contains(&inner.len()) && inner.chars().all(is_inner) && parts.next().is_none();
        if fine { Ok(Self { epoch, partition, offset, inner: inner.to_owned() }) } else { Err(ReceiptIdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (epoch, partition, offset) in [(0, 0, 0), (7, 3, 1_729), (1_023, u32::MAX, u64::MAX)] {
            let receipt = ReceiptId::of("01jd5xg6z5", epoch, partition, offset);
            let read: ReceiptId = receipt.to_string().parse().unwrap();
            assert_eq!(read, receipt);
            assert_eq!((read.epoch(), read.partition(), read.offset()), (epoch, partition, offset));
            assert_eq!(read.inner(), "01jd5xg6z5");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let wrong = [
            "",
            "r",
            "0.0.0.a",
            "r0.0.0",
            "r0.0.0.",
            "r0.0.0.a.b",
            "r0.0.0.A",
            "r-1.0.0.a",
            "r+1.0.0.a",
            "r00.0.0.a",
            "r0.0.01.a",
            "r65536.0.0.a",
            "r0.4294967296.0.a",
            "r0.0.18446744073709551616.a",
            "r0.0.0.a b",
            "r0..0.a",
            "r0.0.0.é",
        ];
        for text in wrong {
            assert_eq!(text.parse::<ReceiptId>(), Err(ReceiptIdError), "{text}");
        }
        assert!(format!("r0.0.0.{}", "a".repeat(65)).parse::<ReceiptId>().is_err());
    }
}
