//! How a provider writes times.

use domain::Timestamp;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use serde::Deserialize;

const LAYOUT_BYTES_MAX: usize = 64;
/// Longer texts are no times.
const TIME_BYTES_MAX: usize = 64;

/// A layout of times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum TimeFormat {
    /// `2026-01-20T14:32:15Z`, also with a space for the `T`; without a zone it is taken as UTC.
    #[default]
    Rfc3339,
    /// `Tue, 20 Jan 2026 14:32:15 +0000`.
    Rfc2822,
    /// Since 1970, with or without a fraction.
    Seconds,
    /// Since 1970.
    Milliseconds,
    /// Since 1970.
    Microseconds,
    /// As `strftime` would write it; without a zone it is taken as UTC.
    Layout(String),
}

impl TryFrom<String> for TimeFormat {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "rfc3339" => Ok(Self::Rfc3339),
            "rfc2822" => Ok(Self::Rfc2822),
            "seconds" => Ok(Self::Seconds),
            "milliseconds" => Ok(Self::Milliseconds),
            "microseconds" => Ok(Self::Microseconds),
            layout if layout.contains('%') => check(layout).map(|()| Self::Layout(text)),
            _ => Err("unknown format of times: use rfc3339, rfc2822, seconds, milliseconds, microseconds, or a layout such as \
                      %Y-%m-%d %H:%M:%S"
                .to_owned()),
        }
    }
}

/// A layout is fine if what it writes can be read back to the second.
fn check(layout: &str) -> Result<(), String> {
    let wrong =
        |why: String| Err(format!("the layout `{layout}` tells no time: {why}; an example is %Y-%m-%d %H:%M:%S"));
    if layout.len() > LAYOUT_BYTES_MAX {
        return wrong(format!("it is longer than {LAYOUT_BYTES_MAX} bytes"));
    }
    let sample = jiff::civil::datetime(2026, 11, 22, 15, 8, 9, 0).to_zoned(TimeZone::UTC);
    let sample = sample.map_err(|error| error.to_string())?;
    match strtime::format(layout, &sample) {
        Ok(text) => match by_layout(layout, &text) {
            Some(read) if read.as_seconds() == sample.timestamp().as_second() => Ok(()),
            Some(_) => wrong("it leaves out part of the date or the time".to_owned()),
            None => wrong("what it writes cannot be read back".to_owned()),
        },
        Err(error) => wrong(error.to_string()),
    }
}

fn by_layout(layout: &str, text: &str) -> Option<Timestamp> {
    let parts = strtime::parse(layout, text).ok()?;
    let read = parts
        .to_timestamp()
        .or_else(|_| parts.to_datetime()?.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()))
        .ok()?;
    Timestamp::from_micros(read.as_microsecond()).ok()
}

impl TimeFormat {
    /// Reads a time; what is none is `None`.
    pub(super) fn read(&self, text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if text.is_empty() || text.len() > TIME_BYTES_MAX {
            return None;
        }
        let whole = || text.split('.').next()?.parse::<i64>().ok();
        match self {
            Self::Rfc3339 => Timestamp::parse_rfc3339(text).ok().or_else(|| {
                let (date, time) = text.split_once([' ', 'T'])?;
                Timestamp::parse_rfc3339(&format!("{date}T{time}Z")).ok()
            }),
            Self::Rfc2822 => rfc2822::parse(text)
                .ok()
                .and_then(|read| Timestamp::from_micros(read.timestamp().as_microsecond()).ok()),
            Self::Seconds => Timestamp::parse_decimal_seconds(text).ok(),
            Self::Milliseconds => Timestamp::from_millis(whole()?).ok(),
            Self::Microseconds => Timestamp::from_micros(whole()?).ok(),
            Self::Layout(layout) => by_layout(layout, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_layout() {
        let check = |format: &str, text: &str, expected: Option<&str>| {
            let format = TimeFormat::try_from(format.to_owned()).unwrap();
            assert_eq!(format.read(text).map(|time| time.to_string()).as_deref(), expected, "{format:?} {text}");
        };
        let time = Some("2026-01-20T14:32:15Z");
        check("rfc3339", "2026-01-20T14:32:15Z", time);
        check("rfc3339", "2026-01-20T09:32:15-05:00", time);
        check("rfc3339", "2026-01-20 14:32:15", time);
        check("rfc2822", "Tue, 20 Jan 2026 14:32:15 +0000", time);
        check("rfc2822", "20 Jan 2026 15:32:15 +0100", time);
        check("seconds", "1768919535", time);
        check("seconds", "1768919535.5", Some("2026-01-20T14:32:15.5Z"));
        check("milliseconds", "1768919535000", time);
        check("milliseconds", "1768919535000.25", time);
        check("microseconds", "1768919535000000", time);
        check("%Y-%m-%d %H:%M:%S", "2026-01-20 14:32:15", time);
        check("%d/%b/%Y:%H:%M:%S %z", "20/Jan/2026:16:32:15 +0200", time);
        for format in ["rfc3339", "rfc2822", "seconds", "milliseconds", "microseconds", "%Y-%m-%d %H:%M:%S"] {
            for wrong in ["", "yesterday", "-1", "99999999999999999999", "2026-13-40 25:61:61", &"1".repeat(65)] {
                check(format, wrong, None);
            }
        }
    }

    #[test]
    fn layouts_that_tell_no_time_are_refused() {
        for wrong in ["unix", "%Y-%m-%d", "%H:%M:%S", "%Y-%m-%d %H:%M", "%!", "%", &"%Y".repeat(40)] {
            assert!(TimeFormat::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
