//! `/unsubscribe/{token}`: leaving by one click (RFC 8058).
//!
//! A POST is taken like any webhook: durable before it is answered. A GET shows a page with a button and changes nothing,
//! as scanners follow every link in a mail. The token is the proof, so there is nothing else to ask for: what it does not open
//! is answered as if the page did not exist.

use super::{Gateway, page};
use crate::{
    answer::{Refusal, Taken},
    metrics::Tally,
    record::Verified,
    sources::Configured,
};
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use domain::Timestamp;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use providers::{
    Request, Source,
    one_click::{self, TokenError},
};
use service::Problem;

/// What is answered where nobody was unsubscribed.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The token opens nothing.
    Link(TokenError),
    /// Neither GET, HEAD nor POST.
    Method,
    /// A POST that is not the one of RFC 8058.
    NotOneClick,
    /// What every endpoint of the gateway may answer.
    Refused(Refusal),
}

impl Denied {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Link(TokenError::Expired) | Self::NotOneClick => StatusCode::BAD_REQUEST,
            Self::Link(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(refusal) => refusal.status(),
        }
    }

    const fn cause(&self) -> &'static str {
        match self {
            Self::Link(error) => error.tag(),
            Self::Method => "method_not_allowed",
            Self::NotOneClick => "not_one_click",
            Self::Refused(refusal) => refusal.cause(),
        }
    }

    /// What to tell a person.
    const fn text(&self) -> &'static str {
        match self {
            Self::Link(TokenError::Expired) => "This link is too old. Please use the one in a newer message.",
            Self::Link(_) => "This link is not complete or not one of ours. Please open it again from the message.",
            Self::Method | Self::NotOneClick => "This request was not understood. Please use the button on the page.",
            Self::Refused(_) => "This did not work just now. Please try again in a few minutes.",
        }
    }

    fn into_problem(self) -> Response {
        let status = self.status();
        let (problem, detail) = match self {
            Self::Refused(refusal) => return refusal.into_response(),
            Self::Link(error @ TokenError::Expired) => (
                Problem::new(status, "expired_link", "the link is too old").reason(error.tag()),
                "use the link of a newer message",
            ),
            Self::Link(error) => (
                Problem::new(status, "no_such_link", "there is no such unsubscribe link").reason(error.tag()),
                "check that the link is whole, and that its key is configured",
            ),
            Self::Method => (
                Problem::new(status, "method_not_allowed", "an unsubscribe link takes GET and POST")
                    .header(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST")),
                "send POST with the body List-Unsubscribe=One-Click, or GET for a page",
            ),
            Self::NotOneClick => (
                Problem::new(status, "not_one_click", "the body is not that of one-click unsubscribing"),
                "send List-Unsubscribe=One-Click, as a form (RFC 8058)",
            ),
        };
        problem.detail(detail).into_response()
    }
}

impl Gateway {
    /// Answers a request for a link.
    pub(super) async fn unsubscribe(&self, parts: &Parts, body: &mut Body) -> Response {
        let is_person = parts.method == Method::GET || parts.method == Method::HEAD || wants_page(parts);
        let Some(configured) = self.sources.get(one_click::NAME, crate::route::DEFAULT_SOURCE) else {
            self.metrics.begin(None).finish(StatusCode::NOT_FOUND, Refusal::NotFound.cause());
            return Refusal::NotFound.into_response();
        };
        let tally = self.metrics.begin(Some(configured));
        match self.click(configured, parts, body, &tally).await {
            Ok(Clicked::Page(page)) => {
                tally.finish(StatusCode::OK, "page");
                page::respond(StatusCode::OK, page)
            }
            Ok(Clicked::Taken(taken)) => {
                tally.finish(taken.status(), taken.cause());
                if is_person { page::respond(taken.status(), page::done()) } else { taken.into_response() }
            }
            Err(denied) => {
                tracing::debug!(status = denied.status().as_u16(), cause = denied.cause(), "nobody was unsubscribed");
                tally.finish(denied.status(), denied.cause());
                let slow = matches!(denied, Denied::Refused(Refusal::Slow));
                if !slow && !parts.headers.contains_key(header::EXPECT) {
                    crate::body::discard(body).await;
                }
                let text = denied.text();
                let answer = denied.into_problem();
                if is_person { page::instead_of(answer, page::failed(text)) } else { answer }
            }
        }
    }

    async fn click(
        &self,
        configured: &Configured,
        parts: &Parts,
        body: &mut Body,
        tally: &Tally<'_>,
    ) -> Result<Clicked, Denied> {
        let received_at = Timestamp::from_micros(self.clock.now_micros()).unwrap_or(Timestamp::EPOCH);
        let token = one_click::token_of(parts.uri.path()).ok_or(Denied::Link(TokenError::Missing))?;
        let claims = one_click::open(token, &configured.source.spec, received_at).map_err(Denied::Link)?;
        if parts.method == Method::GET || parts.method == Method::HEAD {
            return Ok(Clicked::Page(page::ask(&claims)));
        }
        if parts.method != Method::POST {
            return Err(Denied::Method);
        }
        let (body, _place) = self.bound(configured, parts, body).await.map_err(Denied::Refused)?;
        tally.body(body.len());
        let url = parts.uri.path();
        let request = Request { method: parts.method.as_str(), url, headers: &parts.headers, body: &body };
        if !one_click::is_one_click(&request) {
            return Err(Denied::NotOneClick);
        }
        // What is stored is what the token says: nobody behind needs the keys, and no working link is kept.
        let source = Source { tenant: claims.tenant.clone(), ..configured.source.clone() };
        let inner_id = self.receipts.next(received_at.as_millis());
        let verified = Verified {
            provider: configured.provider,
            source: &source,
            inner_id: &inner_id,
            received_at,
            url: one_click::STORED_PATH,
            scheme: one_click::SCHEME,
            shadow: false,
        };
        let mut stored = parts.clone();
        stored.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let taken = self.append(configured, &verified, &stored, Bytes::from(claims.to_json()), tally).await;
        taken.map(Clicked::Taken).map_err(Denied::Refused)
    }
}

enum Clicked {
    Page(String),
    Taken(Taken),
}

/// Whether a POST came from a browser rather than from a mail provider.
fn wants_page(parts: &Parts) -> bool {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.to_ascii_lowercase().contains("text/html")
}

/// What would be answered, for whoever only asks.
pub(crate) fn status(request: &Request<'_>, source: &Source, now: Timestamp) -> StatusCode {
    let opened = match one_click::token_of(request.url) {
        Some(token) => one_click::open(token, &source.spec, now).map(|_| ()),
        None => Err(TokenError::Missing),
    };
    let denied = match (opened, request.method) {
        (Err(error), _) => Denied::Link(error),
        (Ok(()), "GET" | "HEAD") => return StatusCode::OK,
        (Ok(()), "POST") if crate::body::is_foreign(request.headers, false) => Denied::Refused(Refusal::Type),
        (Ok(()), "POST") if one_click::is_one_click(request) => return StatusCode::OK,
        (Ok(()), "POST") => Denied::NotOneClick,
        (Ok(()), _) => Denied::Method,
    };
    denied.status()
}
