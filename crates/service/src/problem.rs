//! Errors of HTTP APIs as `application/problem+json` (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::borrow::Cow;

/// An error as its caller sees it: a stable tag to act on, a title for the tag, and what to do about this occurrence.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable tag of the problem's type, e.g. `body_too_large`; written as `urn:quell:problem:TAG`.
    pub tag: &'static str,
    /// The type in a few words, the same for every occurrence.
    pub title: &'static str,
    /// What happened here and what to do. Never a secret, never a whole address.
    pub detail: Option<Cow<'static, str>>,
    /// A stable tag that says more about the cause, where there are several.
    pub reason: Option<Cow<'static, str>>,
    /// Headers to send along, e.g. `Retry-After`.
    pub headers: HeaderMap,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Problem {
    /// A problem of a type.
    pub fn new(status: StatusCode, tag: &'static str, title: &'static str) -> Self {
        Self { status, tag, title, detail: None, reason: None, headers: HeaderMap::new() }
    }

    /// Says what happened here.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the cause's tag.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The document itself.
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            r#type: format!("urn:quell:problem:{}", self.tag),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            reason: self.reason.as_deref(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_document_of_rfc_9457() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the request does not prove itself")
            .detail("sign it")
            .reason("wrong_signature")
            .header(header::RETRY_AFTER, HeaderValue::from_static("5"));
        assert_eq!(
            String::from_utf8(problem.to_json()).unwrap(),
            r#"{"type":"urn:quell:problem:unauthorized","title":"the request does not prove itself","status":401,"detail":"sign it","reason":"wrong_signature"}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "5");
    }
}
