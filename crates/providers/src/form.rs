//! Bodies in `application/x-www-form-urlencoded` (WHATWG URL 5.1) and `multipart/form-data` (RFC 7578).

pub(crate) mod field;

use crate::{Malformed, Request};
use std::borrow::Cow;

/// Fields in one form; providers send a few dozen.
const FIELDS_MAX: usize = 1_000;

/// A name and a value.
type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A form's fields, decoded, in the order they were sent. Names may repeat.
#[derive(Debug, Default)]
pub(crate) struct Form<'a> {
    fields: Vec<Field<'a>>,
}

impl<'a> Form<'a> {
    /// Reads a body as the content type says, or as urlencoded where it says nothing.
    pub(crate) fn read(request: &Request<'a>) -> Result<Self, Malformed> {
        let content_type = request.header("content-type").unwrap_or_default();
        let fields = match boundary(content_type) {
            Some(boundary) => multipart(request.body, boundary),
            None => urlencoded(request.body),
        };
        fields.map(|fields| Self { fields })
    }

    /// Says whether [`Self::read`] can read a body, without decoding it.
    pub(crate) fn check(request: &Request<'_>) -> Result<(), Malformed> {
        match boundary(request.header("content-type").unwrap_or_default()) {
            Some(boundary) => multipart(request.body, boundary).map(drop),
            None => match pairs(request.body).take(FIELDS_MAX + 1).count() {
                0 => Err(empty()),
                1..=FIELDS_MAX => Ok(()),
                _ => Err(too_many()),
            },
        }
    }

    /// Reads a body as urlencoded, whatever the content type says.
    pub(crate) fn urlencoded(body: &'a [u8]) -> Result<Self, Malformed> {
        urlencoded(body).map(|fields| Self { fields })
    }

    /// Names and values as bytes: what is signed.
    pub(crate) fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The last value of a name that says something, as text.
    pub(crate) fn last(&self, name: &str) -> Option<Cow<'_, str>> {
        let value =
            self.fields.iter().rev().find(|(field, _)| field.as_ref() == name.as_bytes()).map(|(_, value)| value)?;
        let text = String::from_utf8_lossy(value);
        (!text.trim().is_empty()).then_some(text)
    }

    /// Names and values as text, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.fields.iter().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
    }
}

/// Whether a request's body is a form: by its content type, or, where it has none, by not beginning as JSON.
pub(crate) fn is_form(request: &Request<'_>) -> bool {
    match request.header("content-type") {
        Some(content_type) => {
            let essence = content_type.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
                || essence.eq_ignore_ascii_case("multipart/form-data")
        }
        None => !matches!(request.body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'[')),
    }
}

fn urlencoded(body: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
    let mut fields = Vec::with_capacity(24);
    for pair in pairs(body) {
        if fields.len() == FIELDS_MAX {
            return Err(too_many());
        }
        let split = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = split.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        fields.push((decode(name), decode(value)));
    }
    if fields.is_empty() { Err(empty()) } else { Ok(fields) }
}

fn pairs(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty())
}

fn empty() -> Malformed {
    Malformed { reason: "empty_body".to_owned() }
}

fn too_many() -> Malformed {
    Malformed { reason: format!("malformed_form: more than {FIELDS_MAX} fields") }
}

/// Percent-decoding; `+` is a space, and a `%` without two hex digits stands for itself.
pub(crate) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let hex =
        |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                at += 3;
                continue;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(decoded)
}

fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';');
    if !parts.next()?.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    // RFC 2046 5.1.1: 1 to 70 characters.
    (1..=70).contains(&value.len()).then_some(value)
}

fn multipart<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Field<'a>>, Malformed> {
    let malformed = |what: &str| Malformed { reason: format!("malformed_form: {what}") };
    let delimiter = format!("--{boundary}");
    let delimiter = delimiter.as_bytes();
    let mut rest =
        &body[find(body, delimiter).ok_or_else(|| malformed("no boundary in the body"))? + delimiter.len()..];
    let inner = format!("\r\n--{boundary}");
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        if fields.len() == FIELDS_MAX {
            return Err(malformed("too many fields"));
        }
        let part = rest.strip_prefix(b"\r\n").ok_or_else(|| malformed("no line after a boundary"))?;
        let head = find(part, b"\r\n\r\n").ok_or_else(|| malformed("a part without a body"))?;
        let end = find(&part[head..], inner.as_bytes()).ok_or_else(|| malformed("an unended part"))? + head;
        let value = part.get(head + 4..end).unwrap_or_default();
        // A part with a file name is an attachment, not a field.
        if let Some(name) = part_name(&part[..head]) {
            fields.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
        rest = &part[end + inner.len()..];
    }
    Ok(fields)
}

fn part_name(head: &[u8]) -> Option<&[u8]> {
    let at = find(head, b"form-data;")?;
    let line = head[at..].split(|byte| *byte == b'\r').next()?;
    if find(line, b"filename").is_some() {
        return None;
    }
    let start = find(line, b" name=\"")? + 7;
    let length = line[start..].iter().position(|byte| *byte == b'"')?;
    Some(&line[start..start + length])
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
