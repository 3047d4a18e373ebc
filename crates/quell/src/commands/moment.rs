//! Times and spans as an operator types them.

use anyhow::{Context as _, bail};
use domain::Timestamp;
use service::{Clock as _, SystemClock};

/// Now.
pub(crate) fn now() -> anyhow::Result<Timestamp> {
    Timestamp::from_micros(SystemClock.now_micros()).context("the clock of this machine is not set")
}

/// A point in time: RFC 3339 (`2026-01-20T14:32:15Z`), the same with a space and without a zone (then UTC), a date (its
/// first moment, UTC), or seconds since 1970.
pub(crate) fn point(text: &str) -> anyhow::Result<Timestamp> {
    let text = text.trim();
    if let Ok(at) = Timestamp::parse_rfc3339(text) {
        return Ok(at);
    }
    let seconds = (9..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = match text.len() {
        _ if seconds => text.parse().ok().and_then(|seconds| Timestamp::from_seconds(seconds).ok()),
        10 => Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).ok(),
        _ => {
            let with_t = text.replacen(' ', "T", 1);
            // PostgreSQL writes `+00` and leaves the minutes of the zone out.
            [with_t.clone(), format!("{with_t}Z"), format!("{with_t}:00")]
                .iter()
                .find_map(|text| Timestamp::parse_rfc3339(text).ok())
        }
    };
    read.context("not a time: write 2026-01-20T14:32:15Z or 2026-01-20")
}

/// For clap.
pub(crate) fn point_arg(text: &str) -> Result<Timestamp, String> {
    point(text).map_err(|error| error.to_string())
}

/// A span in seconds: `30d`, `12h`, `45m`, `2w`.
pub(crate) fn span_arg(text: &str) -> Result<i64, String> {
    span(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> anyhow::Result<i64> {
    const WRONG: &str = "not a span: write 45m, 12h, 30d or 2w";
    let Some(unit) = text.chars().last() else { bail!(WRONG) };
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => bail!(WRONG),
    };
    let number: i64 = text[..text.len() - 1].parse().context(WRONG)?;
    match number.checked_mul(seconds) {
        Some(span) if span > 0 => Ok(span),
        _ => bail!(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_points() {
        let cases = [
            ("2026-01-20T14:32:15Z", Some("2026-01-20T14:32:15Z")),
            ("2026-01-20T14:32:15+01:00", Some("2026-01-20T13:32:15Z")),
            ("2026-01-20 14:32:15", Some("2026-01-20T14:32:15Z")),
            (" 2026-01-20 14:32:15.5 ", Some("2026-01-20T14:32:15.5Z")),
            ("2026-01-20 14:32:15+00", Some("2026-01-20T14:32:15Z")),
            ("2026-01-20", Some("2026-01-20T00:00:00Z")),
            ("1768919535", Some("2026-01-20T14:32:15Z")),
            ("2026-13-20", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(point(text).ok().map(|at| at.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn reads_spans() {
        let cases = [("45m", Some(2_700)), ("12h", Some(43_200)), ("30d", Some(2_592_000)), ("2w", Some(1_209_600))];
        let wrong = ["", "d", "0d", "-1d", "30", "1y", "9999999999999999d", "1é"].map(|text| (text, None));
        for (text, expected) in cases.into_iter().chain(wrong) {
            assert_eq!(span(text).ok(), expected, "{text}");
        }
    }
}
