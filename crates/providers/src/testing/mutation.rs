//! Changes of a body that know how bodies are built.

use proptest::prelude::*;
use serde_json::Value;

/// Where: the remainder by how many places there are.
type At = u32;

fn index(at: At, places: usize) -> usize {
    usize::try_from(at).unwrap() % places
}

/// One change of a body.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A byte becomes another.
    Flip(At, u8),
    /// The end is cut off.
    Truncate(At),
    /// A stretch is taken out.
    Cut(At, At),
    /// A stretch stands twice.
    Repeat(At, At),
    /// Bytes that are no UTF-8, control characters, and the like, are put in.
    Insert(At, &'static [u8]),
    /// Two of the pieces between separators (lines, pairs of a form, members of a list) change places.
    SwapPieces(u8, At, At),
    /// A piece comes many times.
    RepeatPiece(u8, At, usize),
    /// Two values of a JSON text change places.
    SwapValues(At, At),
    /// A value of a JSON text becomes this.
    Replace(At, &'static str),
    /// A value of a JSON text is put into so many lists or objects.
    Nest(At, bool, usize),
    /// A name of a JSON object stands for another's value too.
    Alias(At, At),
}

const SEPARATORS: &[u8] = b"\n&,;=";
const STRANGE: &[&[u8]] = &[
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0",
    b"\r\n\r\n",
    b"\n\n",
    b"%",
    b"%00%ff",
    b"\"",
    b"\\ud800",
    b"\x1b[0m",
    b"--",
    b"=?utf-8?B?/w==?=",
    b"<@>",
    "\u{202e}\u{fdfa}".as_bytes(),
];
const WRONG: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "-0.0",
    "9223372036854775808",
    "123456789012345678901234567890",
    "1e-400",
    "253402300800",
    "-62135596801",
    r#""""#,
    r#""\ud800""#,
    r#""\u0000""#,
    "[]",
    "{}",
    "[[]]",
    r#"{"a":{}}"#,
    r#""a@b""#,
    r#""@""#,
    r#""\"a b\"@xn--a.example""#,
    r#""+1""#,
    r#""9999-12-31T23:59:60Z""#,
    r#"["a@b",7,null,{"email":"c@d"}]"#,
];

pub(super) fn change() -> impl Strategy<Value = Change> {
    let at = any::<At>;
    let separator = prop::sample::select(SEPARATORS);
    prop_oneof![
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        1 => at().prop_map(Change::Truncate),
        1 => (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        2 => (at(), prop::sample::select(STRANGE)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (separator.clone(), at(), at()).prop_map(|(by, a, b)| Change::SwapPieces(by, a, b)),
        1 => (separator, at(), 2..300_usize).prop_map(|(by, at, times)| Change::RepeatPiece(by, at, times)),
        3 => (at(), at()).prop_map(|(a, b)| Change::SwapValues(a, b)),
        3 => (at(), prop::sample::select(WRONG)).prop_map(|(at, value)| Change::Replace(at, value)),
        1 => (at(), any::<bool>(), 1..400_usize).prop_map(|(at, list, depth)| Change::Nest(at, list, depth)),
        1 => (at(), at()).prop_map(|(a, b)| Change::Alias(a, b)),
    ]
}

/// Stands in a JSON text where something is to be put that no value can hold.
const MARK: &str = "@the one that is replaced@";

impl Change {
    /// The changed body. One that is not what the change is for stays as it is.
    pub(super) fn make(&self, body: Vec<u8>) -> Vec<u8> {
        if body.is_empty() {
            return body;
        }
        match self {
            Self::SwapValues(..) | Self::Replace(..) | Self::Nest(..) | Self::Alias(..) => {
                self.in_json(&body).unwrap_or(body)
            }
            Self::SwapPieces(by, ..) | Self::RepeatPiece(by, ..) => self.in_pieces(&body, *by),
            _ => self.in_bytes(body),
        }
    }

    fn goes_deeper(&self) -> bool {
        match self {
            Self::SwapValues(at, _) | Self::Replace(at, _) | Self::Nest(at, ..) | Self::Alias(at, _) => {
                (at >> 16) % 2 == 1
            }
            _ => false,
        }
    }

    fn in_bytes(&self, mut body: Vec<u8>) -> Vec<u8> {
        let length = body.len();
        let stretch = |a: &At, b: &At| {
            let (a, b) = (index(*a, length), index(*b, length));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Flip(at, byte) => body[index(*at, length)] = *byte,
            Self::Truncate(at) => body.truncate(index(*at, length)),
            Self::Cut(from, to) => drop(body.drain(stretch(from, to))),
            Self::Repeat(from, to) => {
                let range = stretch(from, to);
                let part = body[range.clone()].to_vec();
                body.splice(range.end..range.end, part);
            }
            Self::Insert(at, bytes) => {
                let at = index(*at, length);
                body.splice(at..at, bytes.iter().copied());
            }
            _ => {}
        }
        body
    }

    fn in_pieces(&self, body: &[u8], by: u8) -> Vec<u8> {
        let mut pieces: Vec<&[u8]> = body.split(|byte| *byte == by).collect();
        let count = pieces.len();
        match self {
            Self::SwapPieces(_, a, b) => pieces.swap(index(*a, count), index(*b, count)),
            Self::RepeatPiece(_, at, times) => {
                let at = index(*at, count);
                pieces.splice(at..at, std::iter::repeat_n(pieces[at], *times).collect::<Vec<_>>());
            }
            _ => {}
        }
        pieces.join(&by)
    }

    /// In the JSON that a body is, or every other time in the JSON that stands as text in it, as in an SNS notification.
    fn in_json(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut json: Value = serde_json::from_slice(body).ok()?;
        if self.goes_deeper()
            && let Some(text) = json.as_object_mut().and_then(|fields| fields.values_mut().find_map(inner))
        {
            *text = String::from_utf8_lossy(&self.in_json(text.as_bytes())?).into_owned();
            return Some(json.to_string().into_bytes());
        }
        let places = places(&json);
        let pick = |at: &At| &places[index(*at, places.len())];
        let (at, text) = match self {
            Self::SwapValues(a, b) | Self::Alias(a, b) => {
                let (a, b) = (pick(a), pick(b));
                let (first, second) = (json.pointer(a)?.clone(), json.pointer(b)?.clone());
                *json.pointer_mut(a)? = second;
                if let (Self::SwapValues(..), Some(other)) = (self, json.pointer_mut(b)) {
                    *other = first;
                }
                return Some(json.to_string().into_bytes());
            }
            Self::Replace(at, value) => (pick(at), (*value).to_owned()),
            Self::Nest(at, list, depth) => {
                let (open, close) = if *list { ("[", "]") } else { ("{\"a\":", "}") };
                let inner = json.pointer(pick(at))?.to_string();
                (pick(at), format!("{}{inner}{}", open.repeat(*depth), close.repeat(*depth)))
            }
            _ => return None,
        };
        *json.pointer_mut(at)? = Value::String(MARK.to_owned());
        Some(json.to_string().replacen(&format!("\"{MARK}\""), &text, 1).into_bytes())
    }
}

/// A text that is JSON itself.
fn inner(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) if text.starts_with('{') => Some(text),
        _ => None,
    }
}

/// A pointer (RFC 6901) to each value.
fn places(json: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut at = 0;
    while let Some(place) = places.get(at).cloned() {
        at += 1;
        match json.pointer(&place) {
            Some(Value::Array(values)) => places.extend((0..values.len()).map(|index| format!("{place}/{index}"))),
            Some(Value::Object(fields)) => {
                places.extend(
                    fields.keys().map(|name| format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))),
                );
            }
            _ => {}
        }
    }
    places
}

#[test]
fn changes_change_what_they_say() {
    let check = |change: Change, body: &str, expected: &str| {
        assert_eq!(String::from_utf8_lossy(&change.make(body.into())), expected, "{change:?}");
    };
    check(Change::Replace(0, "1e400"), "{}", "1e400");
    check(Change::Nest(0, true, 2), "7", "[[7]]");
    check(Change::Nest(0, false, 2), "7", r#"{"a":{"a":7}}"#);
    check(Change::Replace(1 << 16, "-1"), r#"{"Message":"{}","Type":"x"}"#, r#"{"Message":"-1","Type":"x"}"#);
    check(Change::Truncate(0), "abc", "");
    check(Change::Insert(0, b"--"), "abc", "--abc");
    check(Change::RepeatPiece(b'&', 0, 2), "a=1&b=2", "a=1&a=1&a=1&b=2");
    check(Change::SwapValues(0, 0), "no JSON", "no JSON");
    assert_eq!(places(&serde_json::json!({"a": [1, {"b/c": 2}]})).len(), 5);
}
