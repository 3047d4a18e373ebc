//! Unsubscribing by one click (RFC 8058): what is behind `POST /unsubscribe/{token}`.
//!
//! The token in the path holds who leaves what, sealed by the sender (see [`token`]); it is the request's proof. The gateway
//! opens it and stores what it says as a webhook of this provider, so that nobody behind the gateway needs the keys.
//!
//! A request is therefore read in two forms: as it comes, with the token in its path and `List-Unsubscribe=One-Click` as
//! its body (a form, urlencoded or multipart), and as it is stored, with [`STORED_PATH`] for a path and the claims as JSON.
//!
//! Identity: everything the token says. A link that is posted again is the same event, said again at a later time: it changes
//! nothing, unless somebody came back in between, who then leaves again.

pub mod token;

use crate::draft::{self, Draft};
use crate::form::Form;
use crate::{Authentication, Context, Element, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec};
use domain::{Kind, Timestamp};
use http::StatusCode;
pub use token::{Claims, Key, KeyError, TokenError};

/// The provider's word.
pub const NAME: &str = "one-click";
/// What stands before the token in a path.
pub const PATH: &str = "/unsubscribe/";
/// The path of a stored request: its token was opened.
pub const STORED_PATH: &str = "/unsubscribe";
/// The value of `List-Unsubscribe-Post`, and the body of the request (RFC 8058 3.1, 3.2).
pub const ONE_CLICK: &str = "List-Unsubscribe=One-Click";

/// How a token proves itself.
pub const SCHEME: &str = "aes-256-gcm";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct OneClick;

impl Provider for OneClick {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The token is the only proof; `tolerance` is how long it holds, and without one it holds for good.
    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        let opened = match token_of(request.url) {
            Some(token) => open(token, &source.spec, now).map(|_| ()),
            None => Err(TokenError::Missing),
        };
        match opened {
            Ok(()) => Authentication::passed(SCHEME),
            Err(error) => Authentication::refused(SCHEME, error.tag()),
        }
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        if token_of(request.url).is_some() && !is_one_click(request) {
            return Err(Malformed { reason: format!("not_one_click: the body is not {ONE_CLICK}") });
        }
        Ok(vec![Element { index: 0, bytes: request.body }])
    }

    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        let claims = match token_of(request.url) {
            Some(token) => {
                open(token, &context.source.spec, context.received_at).map_err(|error| error.tag().to_owned())
            }
            None => Claims::from_json(element.bytes).ok_or_else(|| "unreadable_claims".to_owned()),
        };
        match claims {
            Ok(claims) => vec![event(&claims, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    /// A GET shows a page and changes nothing: mail scanners follow every link.
    fn set_up_methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn accepted(&self) -> StatusCode {
        StatusCode::OK
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        let error = |text: String| Err(SourceError(text));
        if spec.secrets.is_empty() {
            return error("there is no key: add a [[unsubscribe.key]]".to_owned());
        }
        let mut ids = std::collections::BTreeSet::new();
        for secret in &spec.secrets {
            match Key::read(secret) {
                Ok(key) if ids.insert(key.id()) => {}
                Ok(key) => return error(format!("two keys are called {:?}: give each its own id", key.id())),
                Err(wrong) => return error(wrong.to_string()),
            }
        }
        Ok(())
    }
}

/// The token in a path or URL, if it has one.
pub fn token_of(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let at = path.find(PATH)?;
    let before = &path[..at];
    let is_path = before.is_empty() || before.split_once("://").is_some_and(|(_, host)| !host.contains('/'));
    let token = &path[at + PATH.len()..];
    (is_path && !token.is_empty() && !token.contains('/')).then_some(token)
}

/// What a token says, if a key of the source sealed it and it still holds.
pub fn open(token: &str, spec: &SourceSpec, now: Timestamp) -> Result<Claims, TokenError> {
    let claims = token::open(token, &spec.secrets)?;
    match spec.tolerance {
        Some(seconds)
            if now.as_seconds().saturating_sub(claims.issued_at) > i64::try_from(seconds).unwrap_or(i64::MAX) =>
        {
            Err(TokenError::Expired)
        }
        _ => Ok(claims),
    }
}

/// Whether a request is the one that RFC 8058 describes, which no scanner sends by following a link.
pub fn is_one_click(request: &Request<'_>) -> bool {
    let Ok(form) = Form::read(request) else { return false };
    form.texts().any(|(name, value)| {
        name.eq_ignore_ascii_case("List-Unsubscribe") && value.trim().eq_ignore_ascii_case("One-Click")
    })
}

fn event(claims: &Claims, context: &Context<'_>) -> crate::Fate {
    // Whose recipient it is stands in the token, whatever endpoint it came to.
    let source = Source { tenant: claims.tenant.clone(), ..context.source.clone() };
    let context = Context { source: &source, ..*context };
    let mut draft = Draft::new(Kind::Unsubscribed, NAME.into());
    draft.channel = None;
    draft.address = Some(claims.recipient.as_str().into());
    draft.scope = Some(claims.scope.clone());
    draft.message_id = claims.message_id.as_deref().map(Into::into);
    draft.campaign = claims.campaign.as_deref().map(Into::into);
    draft.identity = vec![
        claims.issued_at.to_string().into(),
        claims.scope.to_string().into(),
        claims.campaign.as_deref().unwrap_or_default().into(),
    ];
    draft.finish(&context)
}

#[cfg(test)]
mod tests;
