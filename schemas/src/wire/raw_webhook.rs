//! `quell.raw.v1`.

use crate::{Ids, Wire as _, codec};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One verified HTTP request, exactly as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawWebhook {
    /// Its receipt.
    pub receipt_id: String,
    /// Which provider.
    pub provider: String,
    /// Which source.
    pub source: String,
    /// Whose.
    pub tenant: String,
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// HTTP method.
    pub method: String,
    /// URL as the provider called it, as far as known.
    pub url: String,
    /// Allow-listed headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Exact body bytes.
    #[serde(with = "apache_avro::serde::bytes")]
    pub body: Vec<u8>,
    /// The scheme that proved it, or `none`.
    pub verified: String,
    /// Taken although a proof failed, as the source only reports.
    pub shadow: bool,
}

super::wire!(RawWebhook, "RawWebhook", 1, "raw_webhook.avsc");

/// The same record while it is only borrowed. The gateway writes one a webhook, so this writes the bytes itself; they are
/// those of [`RawWebhook`], which a test holds it to.
#[derive(Debug, Clone, Copy)]
pub struct RawWebhookRef<'a> {
    /// Its receipt.
    pub receipt_id: &'a str,
    /// Which provider.
    pub provider: &'a str,
    /// Which source.
    pub source: &'a str,
    /// Whose.
    pub tenant: &'a str,
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// HTTP method.
    pub method: &'a str,
    /// URL.
    pub url: &'a str,
    /// Headers, each name once, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// Exact body bytes.
    pub body: &'a [u8],
    /// The scheme that proved it.
    pub verified: &'a str,
    /// Taken although a proof failed.
    pub shadow: bool,
}

/// Room for what is not counted: lengths, ids, short words.
const ROOM: usize = 256;

impl RawWebhookRef<'_> {
    /// Writes it with its prefix, by the ids of this process.
    pub fn encode(&self) -> Bytes {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(ROOM + self.url.len() + headers + self.body.len());
        out.extend_from_slice(&codec::prefix(Ids::process().id(RawWebhook::codec())));
        for text in [self.receipt_id, self.provider, self.source, self.tenant] {
            put_bytes(&mut out, text.as_bytes());
        }
        put_long(&mut out, self.received_at);
        put_bytes(&mut out, self.method.as_bytes());
        put_bytes(&mut out, self.url.as_bytes());
        // A map is one block of entries and an empty one that ends it (Avro 1.12, "Maps").
        if !self.headers.is_empty() {
            put_length(&mut out, self.headers.len());
            for (name, value) in self.headers {
                put_bytes(&mut out, name.as_bytes());
                put_bytes(&mut out, value.as_bytes());
            }
        }
        put_length(&mut out, 0);
        put_bytes(&mut out, self.body);
        put_bytes(&mut out, self.verified.as_bytes());
        out.push(u8::from(self.shadow));
        out.into()
    }
}

/// Strings and bytes alike: a length, and what it counts.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Zig-zag, then seven bits a byte, lowest first (Avro 1.12, "Primitive Types").
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).unwrap_or(0) | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn borrowed_and_owned_are_the_same_bytes(
            texts in prop::collection::vec(".{0,300}", 7),
            received_at in any::<i64>(),
            headers in prop::collection::btree_map(".{0,20}", ".{0,200}", 0..6),
            body in prop::collection::vec(any::<u8>(), 0..20_000),
            shadow in any::<bool>(),
        ) {
            let [receipt_id, provider, source, tenant, method, url, verified] = texts.try_into().unwrap();
            let pairs: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let borrowed = RawWebhookRef {
                receipt_id: &receipt_id,
                provider: &provider,
                source: &source,
                tenant: &tenant,
                received_at,
                method: &method,
                url: &url,
                headers: &pairs,
                body: &body,
                verified: &verified,
                shadow,
            }
            .encode();
            let owned = RawWebhook {
                receipt_id, provider, source, tenant, received_at, method, url, headers, body, verified, shadow,
            };
            prop_assert_eq!(borrowed, crate::encode(&owned).unwrap());
        }
    }
}
