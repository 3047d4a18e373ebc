//! Points in time as microseconds since the Unix epoch, UTC.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z. Ordered, copyable, without a zone. RFC 3339 where people read it, a number
/// in compact formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A time that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time")]
pub struct TimeError;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// 9999-12-31T00:00:00Z: later than any time a provider means.
const MAX_MICROS: i64 = 253_402_214_400 * MICROS_PER_SECOND;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch; what lies before 1970 or after 9999 is refused.
    pub fn from_micros(micros: i64) -> Result<Self, TimeError> {
        if (0..=MAX_MICROS).contains(&micros) { Ok(Self(micros)) } else { Err(TimeError) }
    }

    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Result<Self, TimeError> {
        Self::from_micros(millis.checked_mul(1_000).ok_or(TimeError)?)
    }

    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Result<Self, TimeError> {
        Self::from_micros(seconds.checked_mul(MICROS_PER_SECOND).ok_or(TimeError)?)
    }

    /// From a decimal number of seconds as text (`1529006854.329574`), exactly, without going through a float.
    pub fn parse_decimal_seconds(text: &str) -> Result<Self, TimeError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(TimeError);
        }
        let seconds: i64 = whole.parse().map_err(|_| TimeError)?;
        let mut micros = 0;
        for place in 0..6 {
            micros = micros * 10 + i64::from(fraction.as_bytes().get(place).map_or(0, |b| b - b'0'));
        }
        Self::from_micros(seconds.checked_mul(MICROS_PER_SECOND).and_then(|s| s.checked_add(micros)).ok_or(TimeError)?)
    }

    /// Reads RFC 3339 with any number of fractional digits; what is finer than a microsecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let read: jiff::Timestamp = text.trim().parse().map_err(|_| TimeError)?;
        Self::from_micros(read.as_microsecond())
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0 / 1_000
    }

    /// Seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0 / MICROS_PER_SECOND
    }

    /// This time plus a number of seconds (which may be negative), held within what can be written.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)).clamp(0, MAX_MICROS))
    }

    /// The next microsecond.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(MAX_MICROS))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl std::fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse_rfc3339(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if !d.is_human_readable() {
            return Self::from_micros(i64::deserialize(d)?).map_err(serde::de::Error::custom);
        }
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_providers_write() {
        let cases = [
            ("2026-01-20T14:32:15Z", 1_768_919_535_000_000),
            ("2019-11-05T16:33:54.9070259Z", 1_572_971_634_907_025),
            ("2019-11-05T11:33:54.907-05:00", 1_572_971_634_907_000),
        ];
        for (text, micros) in cases {
            assert_eq!(Timestamp::parse_rfc3339(text).unwrap().as_micros(), micros, "{text}");
        }
        assert_eq!(Timestamp::parse_decimal_seconds("1529006854.329574").unwrap().as_micros(), 1_529_006_854_329_574);
        assert_eq!(Timestamp::parse_decimal_seconds("1529006854").unwrap().as_micros(), 1_529_006_854_000_000);
        for bad in ["", ".5", "-1", "1e9", "99999999999999999999", "yesterday"] {
            assert!(Timestamp::parse_decimal_seconds(bad).is_err(), "{bad}");
            assert!(Timestamp::parse_rfc3339(bad).is_err(), "{bad}");
        }
    }
}
