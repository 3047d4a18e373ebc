//! The pages behind an unsubscribe link: whole in themselves, without scripts, and nothing in them comes from elsewhere.

use axum::{body::Body, response::Response};
use domain::{Recipient, Scope};
use http::{HeaderValue, StatusCode, header};
use providers::one_click::Claims;

/// Nothing but its own styles and its own form; never in a frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";
const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}\
    button{font:inherit;padding:.6rem 1.4rem;cursor:pointer}";

/// A page with a button that posts what RFC 8058 describes to the very URL it was shown under.
pub(super) fn ask(claims: &Claims) -> String {
    let who = Recipient::guess(&claims.recipient).map(|recipient| recipient.masked()).unwrap_or_default();
    let what = match &claims.scope {
        Scope::Category(name) => format!("\u{201c}{}\u{201d}", escaped(name)),
        Scope::Marketing => "marketing messages".to_owned(),
        Scope::All | Scope::NonCritical | Scope::Sender(_) => "these messages".to_owned(),
    };
    page(
        "Unsubscribe",
        &format!(
            "<p>Stop sending {what} to <b>{}</b>?</p>\n<form method=\"post\">\n\
             <input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\n\
             <button type=\"submit\">Unsubscribe</button>\n</form>",
            escaped(&who)
        ),
    )
}

/// It is done.
pub(super) fn done() -> String {
    page("Unsubscribed", "<p>You are unsubscribed. You can close this page.</p>")
}

/// It is not, and why.
pub(super) fn failed(text: &str) -> String {
    page("Not unsubscribed", &format!("<p>{}</p>", escaped(text)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
}

/// As an answer.
pub(super) fn respond(status: StatusCode, page: String) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    instead_of(response, page)
}

/// An answer with a page for its body.
pub(super) fn instead_of(mut response: Response, page: String) -> Response {
    *response.body_mut() = Body::from(page);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // The URL is a capability: it is told to nobody and kept nowhere.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Text that can be nothing but text, in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_link_becomes_markup() {
        let claims = Claims {
            tenant: domain::Tenant::default(),
            recipient: "<b>&\"'@example.com".to_owned(),
            scope: Scope::category("<script>alert('1')</script>\" onload=\"x"),
            issued_at: 0,
            message_id: None,
            campaign: None,
        };
        let page = ask(&claims);
        assert!(!page.contains("<script") && !page.contains("onload=\"") && page.contains("&lt;script&gt;"), "{page}");
        let claims = Claims { recipient: "o'neil&co@example.com".to_owned(), ..claims };
        assert!(ask(&claims).contains("<b>o***@example.com</b>"));
        // Nothing is loaded from anywhere.
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
    }
}
