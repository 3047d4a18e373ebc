//! Lenient reading of JSON objects whose fields are anyone's guess.
//!
//! An object is read as a list of names and raw values; each value is then asked for what it is needed as. A field of the
//! wrong type is a field that is not there, never a lost event. Numbers are taken from their text, so that 64-bit ids and
//! fractions of seconds stay exact. Of a name given twice the last value counts.

mod split;

use crate::{Element, Malformed};
use domain::Timestamp;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object's fields as they stand in the text.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// One raw value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Object<'a> {
    /// Reads an element. The error is safe to show.
    pub(crate) fn read(element: &Element<'a>) -> Result<Self, String> {
        let text = std::str::from_utf8(element.bytes).map_err(|_| "not_utf8".to_owned())?;
        if !text.trim_start().starts_with('{') {
            return Err("not_an_object".to_owned());
        }
        serde_json::from_str(text).map_err(|error| malformed(&error))
    }

    /// A field, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// A field as text.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// A field as an object.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        self.get(name)?.object()
    }

    /// Every field in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'a> Value<'a> {
    /// JSON that stands inside a text, as some providers send what they were given.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&'a RawValue>(text).ok().map(|value| Self(value.get()))
    }

    /// The value as it stands in the text it was read from.
    pub(crate) const fn raw(self) -> &'a str {
        self.0
    }

    /// Text that says something, or a number or boolean as written. Never `null`, a list or an object.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => self.string(),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }

    /// Text that says something, given as text.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        let text = if inner.contains('\\') {
            Cow::Owned(serde_json::from_str::<String>(self.0).ok()?)
        } else {
            Cow::Borrowed(inner)
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// `true`, also as text or 1.
    pub(crate) fn is_true(self) -> bool {
        matches!(self.0, "true" | "\"true\"" | "1" | "\"1\"")
    }

    /// A boolean as such.
    pub(crate) fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" | "\"true\"" => Some(true),
            "false" | "\"false\"" => Some(false),
            _ => None,
        }
    }

    /// A whole number, also as text.
    pub(crate) fn integer<N: std::str::FromStr>(self) -> Option<N> {
        self.text()?.trim().parse().ok()
    }

    /// Seconds since the epoch, with or without a fraction, also as text.
    pub(crate) fn seconds(self) -> Option<Timestamp> {
        Timestamp::parse_decimal_seconds(self.text()?.trim()).ok()
    }

    /// RFC 3339.
    pub(crate) fn rfc3339(self) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&self.string()?).ok()
    }

    /// RFC 3339, or the same without a zone or with a space for the `T`; without a zone it is taken as UTC.
    pub(crate) fn utc(self) -> Option<Timestamp> {
        let text = self.string()?;
        let text = text.trim();
        Timestamp::parse_rfc3339(text).ok().or_else(|| {
            let (date, time) = text.split_once([' ', 'T'])?;
            Timestamp::parse_rfc3339(&format!("{date}T{time}Z")).ok()
        })
    }

    /// An object.
    pub(crate) fn object(self) -> Option<Object<'a>> {
        if self.0.starts_with('{') { serde_json::from_str(self.0).ok() } else { None }
    }

    /// A list's elements, as those of a body; `None` for what is no list.
    pub(crate) fn elements(self) -> Option<Result<Vec<Element<'a>>, Malformed>> {
        self.0.starts_with('[').then(|| elements(self.0.as_bytes()))
    }

    /// A list's values; a value alone counts as a list of one.
    pub(crate) fn list(self) -> Vec<Value<'a>> {
        match self.0.as_bytes().first() {
            Some(b'[') => serde_json::from_str::<Vec<&'a RawValue>>(self.0)
                .map(|values| values.into_iter().map(|value| Value(value.get())).collect())
                .unwrap_or_default(),
            Some(b'n') | None => Vec::new(),
            Some(_) => vec![self],
        }
    }

    /// Text as it reads, all else as written: for metadata.
    pub(crate) fn shown(self) -> Option<Cow<'a, str>> {
        match self.0.as_bytes().first()? {
            b'"' => self.string(),
            b'n' => None,
            _ => Some(Cow::Borrowed(self.0)),
        }
    }
}

/// More than any provider sends at once. Each element may become a dead letter that is larger than itself: without a bound
/// a small body of nothing but commas would fill the log.
const ELEMENTS_MAX: usize = 10_000;
const TOO_MANY: &str = "too_many_elements: a webhook holds at most 10000";

/// Splits a body into elements: the values of an array, or a single object.
pub(crate) fn elements(body: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    if let Some(values) = split::values(body, ELEMENTS_MAX) {
        return Ok(values.into_iter().enumerate().map(|(index, bytes)| Element { index, bytes }).collect());
    }
    let refuse = |reason: &str| Malformed { reason: reason.to_owned() };
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            let values: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| Malformed { reason: malformed(&error) })?;
            numbered(values)
        }
        Some(b'{') => {
            let value: &RawValue =
                serde_json::from_slice(body).map_err(|error| Malformed { reason: malformed(&error) })?;
            Ok(vec![Element { index: 0, bytes: value.get().as_bytes() }])
        }
        Some(_) => Err(refuse("malformed_json: neither an object nor an array")),
        None => Err(refuse("empty_body")),
    }
}

/// Splits the `events` of an object into elements; `None` where the body is no object with such a list. Each byte is looked
/// at once, where reading the object first and its list then would be twice.
pub(crate) fn events(body: &[u8]) -> Option<Result<Vec<Element<'_>>, Malformed>> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    // A list would be read as well: its first value as the events.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let envelope = is_object.then(|| serde_json::from_slice::<Envelope<'_>>(body).ok()).flatten()?;
    Some(numbered(envelope.events))
}

fn numbered(values: Vec<&RawValue>) -> Result<Vec<Element<'_>>, Malformed> {
    if values.len() > ELEMENTS_MAX {
        return Err(Malformed { reason: TOO_MANY.to_owned() });
    }
    let numbered = values.into_iter().enumerate();
    Ok(numbered.map(|(index, value)| Element { index, bytes: value.get().as_bytes() }).collect())
}

/// Splits a body into elements: a JSON document each line. A line that is none becomes an element that cannot be read.
pub(crate) fn lines(body: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let elements: Vec<Element<'_>> =
        lines.take(ELEMENTS_MAX + 1).enumerate().map(|(index, bytes)| Element { index, bytes }).collect();
    match elements.len() {
        0 => Err(Malformed { reason: "empty_body".to_owned() }),
        1..=ELEMENTS_MAX => Ok(elements),
        _ => Err(Malformed { reason: TOO_MANY.to_owned() }),
    }
}

/// Syntax errors say where, never what stood there.
fn malformed(error: &serde_json::Error) -> String {
    format!("malformed_json: line {} column {}", error.line(), error.column())
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(16);
                while let Some(Name(name)) = map.next_key()? {
                    let value: &'de RawValue = map.next_value()?;
                    fields.push((name, Value(value.get())));
                }
                Ok(Object { fields })
            }
        }
        d.deserialize_map(Fields)
    }
}

/// A field's name, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_holds_only_so_many_elements() {
        let body = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert_eq!(elements(body(ELEMENTS_MAX).as_bytes()).unwrap().len(), ELEMENTS_MAX);
        assert!(elements(body(ELEMENTS_MAX + 1).as_bytes()).unwrap_err().reason.starts_with("too_many_elements"));
    }
}
