//! The elements of the JSON in a form's field, as they stand in the form: still percent-encoded, so that they are parts of
//! the body like any other provider's elements.

use super::decode;
use crate::{Element, Malformed, json};
use std::ops::Range;

/// Splits the JSON in a form's field into elements. A body that is no form but an element of one, as a replayed dead letter
/// is, is that element.
pub(crate) fn elements<'a>(body: &'a [u8], name: &[u8]) -> Result<Vec<Element<'a>>, Malformed> {
    if body.trim_ascii().is_empty() {
        return Err(Malformed { reason: "empty_body".to_owned() });
    }
    let raw = if is_element(body) {
        body
    } else {
        field(body, name).ok_or_else(|| Malformed {
            reason: format!("missing_events: the form has no `{}`", String::from_utf8_lossy(name)),
        })?
    };
    let decoded = decode(raw);
    // Elements lie in the decoded text in order and apart from each other.
    let start = decoded.as_ptr().addr();
    let ranges = json::elements(&decoded)?.into_iter().map(|element| {
        let from = element.bytes.as_ptr().addr().saturating_sub(start);
        from..from + element.bytes.len()
    });
    let mut walk = Walk { raw, at: 0, decoded: 0 };
    ranges
        .enumerate()
        .map(|(index, range)| {
            let bytes = walk.bytes(&range).ok_or_else(|| Malformed { reason: "malformed_form".to_owned() })?;
            Ok(Element { index, bytes })
        })
        .collect()
}

fn is_element(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    body.starts_with(b"{") || body.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case(b"%7b"))
}

/// The last value of the field, encoded.
fn field<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    body.split(|byte| *byte == b'&').rev().find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (decode(&pair[..at]).as_ref() == name).then(|| &pair[at + 1..])
    })
}

/// Goes once along an encoded text, counting the bytes it stands for.
struct Walk<'a> {
    raw: &'a [u8],
    at: usize,
    decoded: usize,
}

impl<'a> Walk<'a> {
    /// The encoded bytes of a range of the decoded text that lies after those asked for before.
    fn bytes(&mut self, range: &Range<usize>) -> Option<&'a [u8]> {
        let from = self.to(range.start);
        let end = self.to(range.end);
        self.raw.get(from..end)
    }

    fn to(&mut self, decoded: usize) -> usize {
        while self.decoded < decoded && self.at < self.raw.len() {
            self.at += if is_escape(self.raw, self.at) { 3 } else { 1 };
            self.decoded += 1;
        }
        self.at
    }
}

/// Whether an escape stands here, as [`decode`] sees it.
fn is_escape(raw: &[u8], at: usize) -> bool {
    let hex = |at: usize| raw.get(at).is_some_and(u8::is_ascii_hexdigit);
    raw.get(at) == Some(&b'%') && hex(at + 1) && hex(at + 2)
}
