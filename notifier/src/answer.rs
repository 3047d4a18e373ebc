//! What an answer means. Pure.
//!
//! Standard Webhooks: 2xx is taken, 410 means never again, all else (redirects too) is to be repeated; 429 and 503 may say
//! when.

use crate::post::{Answer, PostError};
use std::time::Duration;

/// A receiver that asks for more is asked again after this.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What an answer, or its absence, means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Received.
    Taken,
    /// The receiver wants no webhook any more.
    Gone,
    /// To be repeated.
    Failed {
        /// A stable tag, for metrics.
        outcome: &'static str,
        /// What was said; safe to log.
        why: String,
        /// Not before this long has passed.
        after: Option<Duration>,
    },
}

impl Judged {
    /// A stable tag, for metrics.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Taken => "delivered",
            Self::Gone => "gone",
            Self::Failed { outcome, .. } => outcome,
        }
    }
}

/// Reads an answer that came at this time, in seconds since the epoch.
pub fn judge(sent: &Result<Answer, PostError>, now_seconds: i64) -> Judged {
    let failed = |outcome, why: String, after| Judged::Failed { outcome, why, after };
    let answer = match sent {
        Ok(answer) => answer,
        Err(PostError::NotSent(why)) => return failed("not_sent", why.clone(), None),
        Err(PostError::NoAnswer(why)) => return failed("no_answer", why.clone(), None),
        Err(PostError::Unusable(why)) => return failed("unusable", why.clone(), None),
    };
    let outcome = match answer.status {
        200..=299 => return Judged::Taken,
        410 => return Judged::Gone,
        429 => "rate_limited",
        300..=399 => "redirected",
        400..=499 => "refused",
        _ => "server_error",
    };
    let after = answer.retry_after.as_deref().and_then(|text| retry_after(text, now_seconds));
    failed(outcome, format!("the endpoint answers {}", answer.status), after)
}

/// Seconds, or a date as HTTP writes it (RFC 9110 10.2.3).
fn retry_after(text: &str, now_seconds: i64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            u64::try_from(date.timestamp().as_second().saturating_sub(now_seconds)).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: Option<&str>) -> Judged {
        judge(&Ok(Answer { status, retry_after: retry_after.map(str::to_owned) }), 784_111_770)
    }

    #[test]
    fn statuses_mean_what_the_specification_says() {
        for (status, outcome) in [
            (200, "delivered"),
            (204, "delivered"),
            (302, "redirected"),
            (400, "refused"),
            (404, "refused"),
            (410, "gone"),
            (429, "rate_limited"),
            (500, "server_error"),
            (503, "server_error"),
        ] {
            assert_eq!(answered(status, None).outcome(), outcome, "{status}");
        }
        let outcome = |error| judge(&Err(error), 0).outcome();
        assert_eq!(outcome(PostError::NotSent(String::new())), "not_sent");
        assert_eq!(outcome(PostError::NoAnswer(String::new())), "no_answer");
        assert_eq!(outcome(PostError::Unusable(String::new())), "unusable");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let after = |text| match answered(503, Some(text)) {
            Judged::Failed { after, .. } => after.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7), "784111777");
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "it is past");
        assert_eq!(after("99999999"), Some(86_400));
        assert_eq!(after("soon"), None);
    }
}
