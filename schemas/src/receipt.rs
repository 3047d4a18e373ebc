//! Receipts: what a webhook's sender is told, and where its raw record lies.
//!
//! A receipt has an inner id, made before the record is appended and carried inside it. The id that is answered adds the
//! record's position, known once it is appended, so that the record is found without an index. A webhook that was taken
//! while the log was away has no position yet: its receipt is `s` and the inner id, and a table says where it went.

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
#[error("not a receipt id: it looks like r0.3.1729.01jd5xg6z5c9xq6s3r9f0k2m4t or s01jd5xg6z5c9xq6s3r9f0k2m4t")]
pub struct ReceiptIdError;

/// The receipt of a webhook that was taken into a spool while the log was away: `s{inner}`, e.g.
/// `s01jd5xg6z5c9xq6s3r9f0k2m4t`. Whoever drains the spool tells under which [`ReceiptId`] it then lies in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpooledId {
    inner: String,
}

/// What a sender was told: where its webhook lies, or that it will be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// In the log, here.
    Logged(ReceiptId),
    /// In a spool when it was answered.
    Spooled(SpooledId),
}

impl ReceiptId {
    /// The receipt of a raw webhook whose record carries `inner` and lies at this position. What of `inner` no receipt
    /// can hold is left out.
    pub fn of(inner: &str, epoch: u16, partition: u32, offset: u64) -> Self {
        Self { epoch, partition, offset, inner: kept(inner) }
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

impl SpooledId {
    /// The receipt of a spooled webhook whose record carries `inner`. What of it no receipt can hold is left out.
    pub fn of(inner: &str) -> Self {
        Self { inner: kept(inner) }
    }

    /// The id that the record itself carries.
    pub fn inner(&self) -> &str {
        &self.inner
    }
}

fn kept(inner: &str) -> String {
    if is_whole_inner(inner) {
        return inner.to_owned();
    }
    inner.chars().filter(|c| is_inner(*c)).take(INNER_BYTES_MAX).collect()
}

fn is_whole_inner(inner: &str) -> bool {
    (1..=INNER_BYTES_MAX).contains(&inner.len()) && inner.bytes().all(|byte| is_inner(char::from(byte)))
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
        // Written for every webhook: without the machinery of `write!`.
        let mut number = itoa::Buffer::new();
        f.write_str("r")?;
        for at in [self.epoch.into(), self.partition.into(), self.offset] {
            f.write_str(number.format(at))?;
            f.write_str(".")?;
        }
        f.write_str(&self.inner)
    }
}

impl FromStr for ReceiptId {
    type Err = ReceiptIdError;

    fn from_str(text: &str) -> Result<Self, ReceiptIdError> {
        let mut parts = text.strip_prefix('r').ok_or(ReceiptIdError)?.split('.');
        let mut part = || parts.next().ok_or(ReceiptIdError);
        let (epoch, partition, offset, inner) = (number(part()?)?, number(part()?)?, number(part()?)?, part()?);
        let fine = is_whole_inner(inner) && parts.next().is_none();
        if fine { Ok(Self { epoch, partition, offset, inner: inner.to_owned() }) } else { Err(ReceiptIdError) }
    }
}

impl fmt::Display for SpooledId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.inner)
    }
}

impl FromStr for SpooledId {
    type Err = ReceiptIdError;

    fn from_str(text: &str) -> Result<Self, ReceiptIdError> {
        let inner = text.strip_prefix('s').filter(|inner| is_whole_inner(inner)).ok_or(ReceiptIdError)?;
        Ok(Self { inner: inner.to_owned() })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logged(id) => id.fmt(f),
            Self::Spooled(id) => id.fmt(f),
        }
    }
}

impl FromStr for Receipt {
    type Err = ReceiptIdError;

    fn from_str(text: &str) -> Result<Self, ReceiptIdError> {
        match text.as_bytes().first() {
            Some(b's') => text.parse().map(Self::Spooled),
            _ => text.parse().map(Self::Logged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn either_form_has_one_spelling(inner in "[a-z0-9]{1,64}", at in any::<(u16, u32, u64)>()) {
            let (epoch, partition, offset) = at;
            for receipt in [
                Receipt::Logged(ReceiptId::of(&inner, epoch, partition, offset)),
                Receipt::Spooled(SpooledId::of(&inner)),
            ] {
                prop_assert_eq!(receipt.to_string().parse(), Ok(receipt));
            }
        }

        #[test]
        fn what_is_read_is_written_alike(text in "[rs]?[0-9a-zA-Z.é -]{0,70}") {
            if let Ok(receipt) = text.parse::<Receipt>() {
                prop_assert_eq!(receipt.to_string(), text);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_spooled_receipt() {
        assert_eq!("s01jd5xg6z5".parse::<Receipt>(), Ok(Receipt::Spooled(SpooledId::of("01jd5xg6z5"))));
        assert_eq!(SpooledId::of("01JD-5x.é").inner(), "015x");
        for text in ["", "s", "S01", "s0.1", "s0A", "s 0", "sé", "t01", "01", "r01"] {
            assert_eq!(text.parse::<Receipt>(), Err(ReceiptIdError), "{text}");
        }
        assert!(format!("s{}", "a".repeat(65)).parse::<Receipt>().is_err());
    }

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
