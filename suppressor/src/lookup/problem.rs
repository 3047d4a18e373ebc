//! Errors of this API as `application/problem+json` (RFC 9457): a stable tag, a title, and what to do.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

/// An error as its caller sees it. Never a secret, never a whole address.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    tag: &'static str,
    title: &'static str,
    detail: String,
    header: Option<(&'static str, &'static str)>,
}

impl Problem {
    fn new(status: StatusCode, tag: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, tag, title, detail: detail.into(), header: None }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// 400.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "the request cannot be understood", detail)
    }

    /// 401, with the challenge RFC 6750 asks for.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid bearer token is needed", detail)
            .header("www-authenticate", "Bearer realm=\"quell\"")
    }

    /// 403.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the token does not allow this", detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "nothing is there", detail)
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        let detail = "see /v1/openapi.json for the methods of each path";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path has no such method", detail)
    }

    /// 408.
    pub(super) fn timeout() -> Self {
        let detail = "send the body without long pauses";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come", detail)
    }

    /// 409.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "idempotency_conflict", "the key was used for another request", detail)
    }

    /// 410.
    pub(super) fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", "the cursor lies outside of what is kept", detail)
    }

    /// 413.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the request is too large", detail)
    }

    /// 415.
    pub(super) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", "the content type is not understood", detail)
    }

    /// 500: a fault of ours.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault in this service", detail)
    }

    /// 501: this instance was not set up for it.
    pub(super) fn not_configured(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_configured", "this instance is not set up for it", detail)
    }

    /// 503: what the answer needs is away. It never means "allowed".
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no answer can be given now", detail)
            .header("retry-after", "1")
    }

    /// 503: too much at once.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much is under way", detail).header("retry-after", "1")
    }
}

impl From<crate::StoreError> for Problem {
    fn from(error: crate::StoreError) -> Self {
        tracing::warn!(%error, "a lookup could not be answered");
        Self::unavailable("the state store cannot answer; this does not mean that anybody may be sent to: try again")
    }
}

impl From<event_log::BrowseError> for Problem {
    fn from(error: event_log::BrowseError) -> Self {
        tracing::warn!(%error, "the log could not be read for a lookup");
        Self::unavailable("the event log cannot be read: try again")
    }
}

impl From<schemas::DecodeError> for Problem {
    fn from(error: schemas::DecodeError) -> Self {
        if error.is_unresolved() {
            tracing::warn!(%error, "a record could not be read for a lookup");
            return Self::unavailable(
                "what another build wrote cannot be read before the schema registry answers: try again",
            );
        }
        Self::internal(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::json!({
            "type": format!("urn:quell:problem:{}", self.tag),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}
