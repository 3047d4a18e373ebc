//! The HTTP request as it came in: what signatures are over.

/// One webhook request. `url` is what the provider called, as far as the receiver knows it: absolute where the source has
/// a `public_url` or the caller gave one, else path and query.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method in capitals.
    pub method: &'a str,
    /// URL with its query, un-re-encoded.
    pub url: &'a str,
    /// Headers; names are case-insensitive.
    pub headers: &'a http::HeaderMap,
    /// The exact body bytes, after any transfer or content encoding was taken off.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A header's value as text, if it is there exactly once.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}
