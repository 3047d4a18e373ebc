//! A request as a fake provider sees it, and its answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

/// One request as the provider sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path, still encoded.
    pub path: String,
    /// Query without the question mark; may be empty.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn has_json(&self) -> bool {
        self.header("content-type").split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The values of a parameter of the form that the body is.
    pub(super) fn form(&self, name: &str) -> Vec<String> {
        let body = String::from_utf8_lossy(&self.body);
        let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).collect()
    }

    /// Whether this pair came by basic authentication.
    pub(super) fn has_basic(&self, user: &str, password: &str) -> bool {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.header("authorization") == format!("Basic {pair}")
    }

    /// The path's segments, decoded.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect()
    }

    /// A parameter of the query, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| decoded(v))
    }

    /// Every address named in the path, the query or the body.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut found: Vec<String> = self.segments().into_iter().filter(|segment| segment.contains('@')).collect();
        collect_addresses(&self.json().unwrap_or_default(), &mut found);
        for address in &mut found {
            address.make_ascii_lowercase();
        }
        found.sort();
        found.dedup();
        found
    }
}

/// The id of an entry, in which the list and the address can be read.
pub(super) fn id_of(list: &str, address: &str) -> String {
    hex::encode(format!("{list}\n{}", address.to_ascii_lowercase()))
}

/// The list and the address of an id.
pub(super) fn of_id(id: &str) -> Option<(String, String)> {
    let text = String::from_utf8(hex::decode(id).ok()?).ok()?;
    let (list, address) = text.split_once('\n')?;
    Some((list.to_owned(), address.to_owned()))
}

fn collect_addresses(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains('@') => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_addresses(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect_addresses(field, found)),
        _ => {}
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: u64) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        self
    }
}

/// Whether a provider would take this for an address: ASCII, one `@`, a dotted domain, nothing odd.
pub(super) fn is_plausible(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let labels = domain.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && label.len() <= 63
    });
    (1..=64).contains(&local.len()) && local.bytes().all(fine) && domain.contains('.') && labels
}

/// Percent-decoding; what is no escape stays as it is. `+` is a plus: these are paths, not forms.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape =
            text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
