//! What a provider's answer means.

use super::{Action, Edit};
use domain::Timestamp;
use std::time::Duration;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body, bounded by the client.
    pub body: Vec<u8>,
}

impl ApiAnswer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }
}

/// What became of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemResult {
    /// The list is as wanted.
    Done,
    /// The provider will not take it; said without any address.
    Refused(String),
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// One result an address, in the order of the call.
    Items(Vec<ItemResult>),
    /// Refused as a whole because of something in it: halve it and try both.
    Split(String),
    /// Not now.
    Retry {
        /// Not before so long, if the provider says so.
        after: Option<Duration>,
        /// Whether it may have had its effect (a 5xx); a 429 had none.
        unclear: bool,
        /// What was said.
        detail: String,
    },
    /// No call can succeed until the account is mended: wrong credentials, no such domain or stream.
    Blocked(String),
}

/// What is left of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Calls left in the window.
    pub left: u64,
    /// When the window ends, from now.
    pub reset: Option<Duration>,
}

/// Longest wait taken from a header; anything above is a mistake.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const DETAIL_CHARS_MAX: usize = 200;

/// Judges an answer by its status; `success` reads a 2xx.
///
/// What no item can be blamed for never refuses one: an unexpected status blocks the account, so that nothing is lost.
pub(crate) fn judge(
    edit: &Edit,
    addresses: &[&str],
    answer: &ApiAnswer,
    now: Timestamp,
    success: impl FnOnce() -> Answered,
) -> Answered {
    let all = |result: &ItemResult| Answered::Items(vec![result.clone(); addresses.len()]);
    let said = || format!("status {}: {}", answer.status, body_text(answer));
    match answer.status {
        200..=299 => success(),
        // Gone already is as good as removed.
        404 | 410 if edit.action == Action::Remove => all(&ItemResult::Done),
        400 | 413 | 422 if addresses.len() > 1 => Answered::Split(said()),
        400 | 413 | 422 => all(&ItemResult::Refused(said())),
        429 => Answered::Retry { after: wait(answer, now), unclear: false, detail: said() },
        408 | 425 | 500..=599 => Answered::Retry { after: retry_after(answer, now), unclear: true, detail: said() },
        _ => Answered::Blocked(said()),
    }
}

/// How providers call the headers of their rate limit: SendGrid and most others, Brevo, and those that follow the IETF's
/// draft (Resend).
/// <https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits>
/// <https://developers.brevo.com/docs/limit-headers>
const LIMIT_HEADERS: [(&str, &str); 3] = [
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-sib-ratelimit-remaining", "x-sib-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
];

/// The rate limit's state, where the answer tells it.
pub fn budget(answer: &ApiAnswer, now: Timestamp) -> Option<Budget> {
    let left = LIMIT_HEADERS.iter().find_map(|(remaining, _)| answer.header(remaining)?.parse().ok())?;
    Some(Budget { left, reset: reset(answer, now) })
}

fn wait(answer: &ApiAnswer, now: Timestamp) -> Option<Duration> {
    retry_after(answer, now).or_else(|| reset(answer, now))
}

/// `Retry-After` (RFC 9110 10.2.3): seconds, or a date.
fn retry_after(answer: &ApiAnswer, now: Timestamp) -> Option<Duration> {
    let text = answer.header("retry-after")?;
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => until(http_date(text)?, now),
    };
    Some(wait.min(WAIT_MAX))
}

/// The end of the rate limit's window: seconds since the epoch with SendGrid, milliseconds elsewhere; what is too small
/// for a date is a number of seconds.
fn reset(answer: &ApiAnswer, now: Timestamp) -> Option<Duration> {
    let number: i64 = LIMIT_HEADERS.iter().find_map(|(_, reset)| answer.header(reset)?.parse().ok())?;
    let wait = match number {
        ..0 => return None,
        0..=86_400 => Duration::from_secs(number.unsigned_abs()),
        86_401..=99_999_999_999 => until(Timestamp::from_seconds(number).ok()?, now),
        _ => until(Timestamp::from_millis(number).ok()?, now),
    };
    Some(wait.min(WAIT_MAX))
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(then.as_micros().saturating_sub(now.as_micros())).unwrap_or(0))
}

/// An HTTP date in the form that servers must send (RFC 9110 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    (words.next()? == "GMT").then_some(())?;
    Timestamp::parse_rfc3339(&format!("{year}-{month:02}-{day:0>2}T{time}Z")).ok()
}

/// The body as JSON.
pub(crate) fn json_body<T: serde::de::DeserializeOwned>(answer: &ApiAnswer) -> Option<T> {
    serde_json::from_slice(&answer.body).ok()
}

/// What an error's body says: its message under one of its usual names, or that of `errors[]`, else its beginning.
pub(crate) fn body_text(answer: &ApiAnswer) -> String {
    let json: Option<serde_json::Value> = json_body(answer);
    let told = json.as_ref().and_then(|body| {
        let message = |value: &serde_json::Value| {
            const NAMES: [&str; 5] = ["message", "Message", "ErrorMessage", "error", "errors"];
            NAMES.iter().find_map(|name| value.get(name)?.as_str().map(str::to_owned))
        };
        message(body).or_else(|| body.get("errors")?.as_array()?.first().and_then(message))
    });
    without_addresses(&told.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned()))
}

/// Whether it is a phone number in E.164, with whatever stands around it.
fn is_phone(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_digit() && c != '+');
    word.strip_prefix('+').is_some_and(|digits| digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A provider's words with every address and phone number taken out, cut to 200 characters: fit for logs and outcomes.
pub fn without_addresses(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .take(DETAIL_CHARS_MAX)
        .map(|word| match word {
            _ if word.contains('@') || word.contains("%40") => "(address)",
            _ if is_phone(word) => "(number)",
            _ => word,
        })
        .collect();
    words.join(" ").chars().take(DETAIL_CHARS_MAX).collect()
}
