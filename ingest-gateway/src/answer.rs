//! Everything the gateway answers.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use providers::{Overload, Provider, Source};
use schemas::Receipt;
use service::Problem;
use std::{borrow::Cow, fmt::Write as _};

/// Where receipts are looked up.
const RECEIPTS: &str = "/v1/receipts/";
/// Room for a receipt of a usual length there.
const RECEIPT_ROOM: usize = 80;

/// A webhook that was dealt with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Durable, and the status that tells its provider so.
    Accepted(StatusCode, Receipt),
    /// Concerns nobody, and why.
    Ignored(&'static str),
}

/// A webhook that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such provider, or no such source of it.
    NotFound,
    /// Not a POST.
    Method,
    /// The body came too slowly.
    Slow,
    /// The body is too large as sent.
    TooLarge,
    /// The body is too large once decoded.
    DecodedTooLarge,
    /// The log does not take a record of this size.
    RecordTooLarge,
    /// A content coding that is not known here.
    Coding,
    /// A content type that no provider sends.
    Type,
    /// The body broke off.
    Broken,
    /// The body is not coded as it says.
    Miscoded,
    /// The body says nothing that can be understood; the reason is safe to show.
    Malformed(String),
    /// A proof is missing or wrong.
    Unauthorized {
        /// Why, as a tag.
        reason: &'static str,
        /// What to ask for, where the source takes HTTP authentication.
        challenge: Option<&'static str>,
    },
    /// No room, no log: try again later.
    Overload {
        /// The status that makes this provider try again.
        answer: Overload,
        /// What is short.
        cause: &'static str,
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
}

impl Taken {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Accepted(status, _) => *status,
            Self::Ignored(_) => StatusCode::OK,
        }
    }

    /// The label in metrics.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            Self::Accepted(..) => "accepted",
            Self::Ignored(reason) => reason,
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let status = self.status();
        let (text, location) = match self {
            Self::Accepted(_, receipt) => {
                let mut location = String::with_capacity(RECEIPT_ROOM);
                location.push_str(RECEIPTS);
                // To a string, which takes all.
                let _ = write!(location, "{receipt}");
                let receipt = location.get(RECEIPTS.len()..).unwrap_or_default();
                let text = [r#"{"status":"accepted","receipt_id":""#, receipt, r#""}"#].concat();
                (text, HeaderValue::try_from(location).ok())
            }
            // Reasons are plain tags of ours.
            Self::Ignored(reason) => (format!(r#"{{"status":"ignored","reason":"{reason}"}}"#), None),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl Refusal {
    /// 401 with what HTTP authentication to use, where the source takes it: Amazon SNS, among others, sends its
    /// credentials only after being asked.
    pub(crate) fn unauthorized(source: &Source, reason: &'static str) -> Self {
        let challenge = match (source.spec.basic_auth.is_empty(), source.spec.bearer.is_empty()) {
            (false, _) => Some("Basic realm=\"webhooks\", charset=\"UTF-8\""),
            (true, false) => Some("Bearer realm=\"webhooks\""),
            (true, true) => None,
        };
        Self::Unauthorized { reason, challenge }
    }

    /// The answer to what may be right and cannot be judged now: that this provider tries again.
    pub(crate) fn wanting(provider: &dyn Provider, cause: &'static str, retry_after_s: u32) -> Self {
        Self::Overload { answer: provider.overload(), cause, retry_after_s }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge | Self::DecodedTooLarge | Self::RecordTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Coding | Self::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Broken | Self::Miscoded | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Overload { answer: Overload::TooManyRequests, .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overload { answer: Overload::ServiceUnavailable, .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The label in metrics: one of a bounded set.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::Slow => "slow_body",
            Self::TooLarge => "body_too_large",
            Self::DecodedTooLarge => "decoded_body_too_large",
            Self::RecordTooLarge => "record_too_large",
            Self::Coding => "unsupported_content_encoding",
            Self::Type => "unsupported_content_type",
            Self::Broken => "broken_body",
            Self::Miscoded => "miscoded_body",
            Self::Malformed(_) => "malformed",
            Self::Unauthorized { reason, .. } => reason,
            Self::Overload { cause, .. } => cause,
        }
    }

    const fn tag(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "unauthorized",
            Self::Overload { .. } => "overload",
            other => other.cause(),
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::NotFound => "no such webhook endpoint",
            Self::Method => "webhooks are sent by POST",
            Self::Slow => "the body came too slowly",
            Self::TooLarge | Self::DecodedTooLarge | Self::RecordTooLarge => "the body is too large",
            Self::Coding => "the content coding is not supported",
            Self::Type => "the content type is not supported",
            Self::Broken | Self::Miscoded | Self::Malformed(_) => "the body cannot be read",
            Self::Unauthorized { .. } => "the request does not prove where it comes from",
            Self::Overload { .. } => "not now",
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "check the provider and the source in the path against the configuration".into(),
            Self::Method => "send the webhook by POST".into(),
            Self::Slow => "send the body without pauses".into(),
            Self::TooLarge => "send fewer events in one request".into(),
            Self::DecodedTooLarge => "send fewer events in one request: decoded, the body exceeds the limit".into(),
            Self::RecordTooLarge => {
                "send fewer events in one request: the log does not take a record of this size".into()
            }
            Self::Coding => "use one of gzip, deflate, identity".into(),
            Self::Type => "send JSON, or a form where the provider sends forms".into(),
            Self::Broken => "the body ended before it was whole".into(),
            Self::Miscoded => "the body is not coded as its Content-Encoding says".into(),
            Self::Malformed(reason) => reason.clone().into(),
            Self::Unauthorized { .. } => {
                "check the source's secrets and options against the provider's settings".into()
            }
            Self::Overload { .. } => "try again later".into(),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut problem = Problem::new(self.status(), self.tag(), self.title()).detail(self.detail());
        match &self {
            Self::Method => problem = problem.header(header::ALLOW, HeaderValue::from_static("POST")),
            // The rest of the body is not waited for, so the connection cannot be used again.
            Self::Slow => problem = problem.header(header::CONNECTION, HeaderValue::from_static("close")),
            Self::Coding => {
                // RFC 9110, 12.5.3: says what would have been taken.
                let known = HeaderValue::from_static("gzip, deflate, identity");
                problem = problem.header(header::ACCEPT_ENCODING, known);
            }
            Self::Unauthorized { reason, challenge } => {
                problem = problem.reason(*reason);
                if let Some(challenge) = challenge {
                    problem = problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            Self::Overload { cause, retry_after_s, .. } => {
                problem = problem.reason(*cause).header(header::RETRY_AFTER, HeaderValue::from(*retry_after_s));
            }
            _ => {}
        }
        problem.into_response()
    }
}
