//! URLs as they are signed: the one that the provider called, which a proxy may have changed on its way here.

use std::borrow::Cow;

/// The URL that the provider called: `public_url` with the request's own query, and with its path where `public_url` names
/// only an origin. Without a `public_url` the request's own URL must be absolute.
pub(crate) fn signed_url<'a>(url: &'a str, public_url: Option<&str>) -> Option<Cow<'a, str>> {
    let absolute = Parts::of(url);
    let Some(public) = public_url else {
        return absolute.map(|_| Cow::Borrowed(url));
    };
    let public = Parts::of(public)?;
    let rest = absolute.map_or(url, |parts| parts.rest);
    let (path, query) = split_query(rest);
    let (base, _) = split_query(public.rest.split('#').next().unwrap_or_default());
    let base = if matches!(base, "" | "/") { path } else { base };
    Some(Cow::Owned(format!("{}://{}{base}{query}", public.scheme, public.authority)))
}

/// Path, and query with its question mark.
pub(crate) fn split_query(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find('?').unwrap_or(rest.len()))
}

/// Scheme, authority and what follows of an absolute URL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) rest: &'a str,
}

impl<'a> Parts<'a> {
    /// Of an absolute URL, `http` or `https`.
    pub(crate) fn of(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        (!authority.is_empty()).then_some(Self { scheme, authority, rest })
    }

    /// The authority without its port.
    pub(crate) fn without_port(self) -> &'a str {
        let host_at = self.authority.rfind('@').map_or(0, |at| at + 1);
        let end = match self.authority.rfind(':') {
            Some(colon) if colon > host_at && !self.authority[colon..].contains(']') => colon,
            _ => self.authority.len(),
        };
        &self.authority[..end]
    }
}
