//! The last hand on every line: what looks like an address is masked, whoever wrote it there. Code masks what it knows to be
//! an address; what a provider, a broker or a library says in an error is not known. Pure.

use std::{borrow::Cow, ops::Range};

/// An international number has so many digits (E.164: up to 15; shorter ones than these are no subscriber's).
const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// How far back the beginning of a quoted part is looked for. It has 64 bytes at most (RFC 5321), and more where it is escaped.
const QUOTED_BYTES_MAX: usize = 256;

/// A line in which mail addresses read `j***@example.com` and phone numbers `+1555***67`. Masked again, it stays.
pub(super) fn mask(line: &str) -> Cow<'_, str> {
    // Nearly every line has neither.
    if !line.bytes().any(|byte| matches!(byte, b'@' | b'+' | b'%')) {
        return Cow::Borrowed(line);
    }
    let (mut masked, mut from) = (String::new(), 0);
    let mut place = 0;
    while place < line.len() {
        let rest = &line[place..];
        let step = rest.chars().next().map_or(1, char::len_utf8);
        if let Some(sign) = sign(rest, b'@', "%40") {
            let before = &line[from..place];
            let local = quoted_before(before).or_else(|| local_before(before));
            if let Some(local) = local.filter(|_| has_host(&rest[sign..])) {
                masked.push_str(&before[..local.start]);
                // Of a quoted one it may be part of an escape.
                let is_whole = |first: &char| local.end == before.len() || first.is_alphanumeric();
                masked.extend(before[local.clone()].chars().next().filter(is_whole));
                masked.push_str("***");
                from += local.end;
            }
            place += sign;
        } else if let Some(sign) = sign(rest, b'+', "%2B") {
            let n_digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
            let is_apart = !line[..place].ends_with(|c: char| c.is_alphanumeric());
            if DIGITS.contains(&n_digits) && is_apart {
                masked.push_str(&line[from..place + sign + 4]);
                masked.push_str("***");
                from = place + sign + n_digits - 2;
            }
            place += sign + n_digits;
        } else {
            place += step;
        }
    }
    if from == 0 {
        return Cow::Borrowed(line);
    }
    masked.push_str(&line[from..]);
    Cow::Owned(masked)
}

/// How many bytes the sign takes that `text` begins with, plain or as it stands in a URL.
fn sign(text: &str, plain: u8, encoded: &str) -> Option<usize> {
    match text.as_bytes() {
        [first, ..] if *first == plain => Some(1),
        [b'%', ..] if text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(encoded)) => Some(3),
        _ => None,
    }
}

/// The end of the text that can be the part of an address before its sign. Encoded as in a URL it holds `%`.
fn local_before(text: &str) -> Option<Range<usize>> {
    let is_local = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let start = text.char_indices().rev().take_while(|(_, c)| is_local(*c)).last().map_or(text.len(), |(at, _)| at);
    // What stands around an address in URLs, forms and fields is none of it.
    let inner = text[start..].rfind(['/', '=', '?', '&', '\'', '`', '|', '{', '}']).map_or(start, |at| start + at + 1);
    let inner = inner + escape_at(&text[..inner], &text[inner..]);
    (inner < text.len()).then_some(inner..text.len())
}

/// How many bytes belong to an escape of JSON that begins before: of `\n` one, of `\u001b` five.
fn escape_at(before: &str, text: &str) -> usize {
    let is_code = |code: &[u8]| code.first() == Some(&b'u') && code[1..].iter().all(u8::is_ascii_hexdigit);
    match (before.ends_with('\\'), text.as_bytes().get(..5)) {
        (true, Some(code)) if is_code(code) => 5,
        (true, _) => text.chars().next().filter(char::is_ascii).map_or(0, char::len_utf8),
        (false, _) => 0,
    }
}

/// The same between quotes: what `"jane doe"` holds. In a string of JSON both quotes are escaped, and in one within it more so.
fn quoted_before(text: &str) -> Option<Range<usize>> {
    let escapes = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let closed = text.strip_suffix('"')?;
    let escaped = escapes(closed);
    let end = closed.len() - escaped;
    // Behind these a quote begins a string, which begins with the sign.
    let is_end = |last: char| !last.is_whitespace() && !":,[{(=<\"".contains(last);
    closed[..end].chars().next_back().filter(|last| is_end(*last))?;
    let earliest = (end.saturating_sub(QUOTED_BYTES_MAX)..end).find(|at| text.is_char_boundary(*at))?;
    let near = &text[earliest..end];
    // What the part ends with may be escapes itself: they come in pairs, and the others are the quote's.
    (0..=escaped).rev().step_by(2).find_map(|level| {
        let (quote, _) = near.rmatch_indices('"').find(|(quote, _)| escapes(&near[..*quote]) == level)?;
        Some(earliest + quote + 1..closed.len() - level)
    })
}

fn has_host(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '[')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_masked_wherever_they_stand() {
        for (line, masked) in [
            ("nothing here", "nothing here"),
            ("to jane@example.com", "to j***@example.com"),
            ("to <jane.doe+tag@mail.example.com>, x", "to <j***@mail.example.com>, x"),
            ("a@b.de,c.d@e.fr", "a***@b.de,c***@e.fr"),
            (r#"{"why":"no such user: jane@example.com"}"#, r#"{"why":"no such user: j***@example.com"}"#),
            ("GET /v3/suppression/jane%40example.com 404", "GET /v3/suppression/j***%40example.com 404"),
            ("/x?email=jane@example.com&y=1", "/x?email=j***@example.com&y=1"),
            ("müller@exämple.com", "m***@exämple.com"),
            ("to=+15551234567", "to=+1555***67"),
            ("To=%2B15551234567&x", "To=%2B1555***67&x"),
            ("(+442071838750)", "(+4420***50)"),
            ("already j***@example.com and +1555***67", "already j***@example.com and +1555***67"),
            ("2026-11-22T18:00:00+00:00 a+b=+1 1+15551234567", "2026-11-22T18:00:00+00:00 a+b=+1 1+15551234567"),
            ("@example.com, jane@ and @", "@example.com, jane@ and @"),
            ("100 % sure", "100 % sure"),
            ("%", "%"),
            ("é@é %é", "é***@é %é"),
            (r#"to "jane doe"@example.com"#, r#"to "j***"@example.com"#),
            (r#"to="jane.doe"@example.com "x y"@[::1]"#, r#"to="j***"@example.com "x***"@[::1]"#),
            (r#"{"why":"no \"jane doe\"@example.com"}"#, r#"{"why":"no \"j***\"@example.com"}"#),
            (r#"why="{\"to\":\"\\\"jane \\\\\\\"x y\\\"@a.de\"}""#, r#"why="{\"to\":\"\\\"j***\\\"@a.de\"}""#),
            (r#""a "b\" c"@example.com"#, r#""a "b***"@example.com"#),
            (r#"to "jane\\"@example.com"#, r#"to "j***"@example.com"#),
            (r#"{"why":"no \"jane\\\\\"@example.com"}"#, r#"{"why":"no \"j***\"@example.com"}"#),
            (r#"<"Ünal é"@exämple.com>"#, r#"<"Ü***"@exämple.com>"#),
            (
                r#"{"@type":"a","@id":"@b","to": "@c"} ["@d","e"] Some("@f") x="@g" ""@h"#,
                r#"{"@type":"a","@id":"@b","to": "@c"} ["@d","e"] Some("@f") x="@g" ""@h"#,
            ),
            (
                r#"{"why":"\u0000@a.de \u001bjane@a.de \njane@a.de \\u001b@a.de"}"#,
                r#"{"why":"\u0000@a.de \u001bj***@a.de \nj***@a.de \\u001b@a.de"}"#,
            ),
            (r#"{\"a\":\"@b\",\"@c\":1}"#, r#"{\"a\":\"@b\",\"@c\":1}"#),
        ] {
            assert_eq!(mask(line), masked, "{line}");
            assert_eq!(mask(masked), masked, "again: {line}");
        }
    }

    proptest! {
        #[test]
        fn no_address_gets_through_and_nothing_breaks(
            before in ".{0,10}", local in "[a-z][a-z0-9.+_-]{1,20}", after in "[ ,;>\"].{0,10}",
        ) {
            let line = format!("{before} {local}@example.com{after}");
            let masked = mask(&line);
            let whole = format!("{local}@example.com");
            prop_assert!(!masked.contains(&whole), "{masked}");
        }

        #[test]
        fn no_quoted_address_gets_through_and_strings_stay_strings(
            before in ".{0,10}", local in "zq[a-z .,;:<>()@']{0,20}qz", after in "[ ,;>].{0,10}", depth in 0..3,
        ) {
            let mut line = format!("{before} \"{local}\"@example.com{after}");
            for _ in 0..depth {
                line = serde_json::to_string(&line).unwrap();
            }
            let masked = mask(&line).into_owned();
            prop_assert!(!masked.contains(&local), "{masked}");
            prop_assert_eq!(&mask(&masked), &masked);
            let mut text = masked;
            for _ in 0..depth {
                text = serde_json::from_str(&text).unwrap();
            }
            prop_assert!(text.contains("***"), "{text}");
        }

        #[test]
        fn any_text_is_taken(line in ".{0,80}") {
            prop_assert!(mask(&line).len() <= line.len() + 3 * line.len());
        }
    }
}
