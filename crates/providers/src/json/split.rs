//! A quick look over a body: splits what is plainly well-formed JSON, and says nothing of all else.
//!
//! The gateway looks over every byte of every webhook before it answers, which is most of what a batch costs it beyond its
//! proof. This may only ever say yes, and where it does, `serde_json` says the same: what it does not take (an error,
//! deep nesting, text that is not UTF-8) is `serde_json`'s to judge, whose word is the last. Grammar: RFC 8259.

/// Deeper values are left to `serde_json`.
const DEPTH_MAX: u8 = 32;

/// The values of an array, at most so many, or an object alone, each as it stands in the body without white space around it.
pub(super) fn values(body: &[u8], max: usize) -> Option<Vec<&[u8]>> {
    // Once for all: no value is cut within a character, as what ends it is ASCII.
    std::str::from_utf8(body).ok()?;
    let text = Text(body);
    let start = text.space(0);
    let mut values = Vec::new();
    let end = match text.at(start)? {
        b'{' => {
            let end = text.value(start, DEPTH_MAX)?;
            values.push(body.get(start..end)?);
            end
        }
        b'[' => {
            let mut at = text.space(start + 1);
            if text.at(at)? == b']' {
                at + 1
            } else {
                values.reserve(body.len() / 256);
                loop {
                    let end = text.value(at, DEPTH_MAX)?;
                    // A body of nothing but commas is not to be held in pieces.
                    if values.len() == max {
                        return None;
                    }
                    values.push(body.get(at..end)?);
                    match text.next(end)? {
                        (b',', after) => at = after,
                        (b']', after) => break after,
                        _ => return None,
                    }
                }
            }
        }
        _ => return None,
    };
    (text.space(end) == body.len()).then_some(values)
}

/// JSON text; each of these reads something at a place and says where it ended.
#[derive(Debug, Clone, Copy)]
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    #[inline(always)]
    fn at(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    #[inline(always)]
    fn space(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.at(at) {
            at += 1;
        }
        at
    }

    /// What comes after white space, and where the white space behind it ends.
    #[inline(always)]
    fn next(self, mut at: usize) -> Option<(u8, usize)> {
        let mut byte = self.at(at)?;
        if byte <= b' ' {
            at = self.space(at);
            byte = self.at(at)?;
        }
        // The end of the text stays where it is: nothing but white space may follow it.
        Some((byte, if byte == b',' || byte == b':' { self.space(at + 1) } else { at + 1 }))
    }

    fn value(self, at: usize, depth: u8) -> Option<usize> {
        match self.at(at)? {
            b'"' => self.string(at + 1),
            b'{' => self.object(at + 1, depth.checked_sub(1)?),
            b'[' => self.array(at + 1, depth.checked_sub(1)?),
            b't' => self.word(at, b"true"),
            b'f' => self.word(at, b"false"),
            b'n' => self.word(at, b"null"),
            _ => self.number(at),
        }
    }

    fn word(self, at: usize, word: &[u8]) -> Option<usize> {
        self.0.get(at..)?.starts_with(word).then_some(at + word.len())
    }

    fn object(self, at: usize, depth: u8) -> Option<usize> {
        let mut at = self.space(at);
        if self.at(at)? == b'}' {
            return Some(at + 1);
        }
        loop {
            if self.at(at)? != b'"' {
                return None;
            }
            let (b':', value) = self.next(self.string(at + 1)?)? else { return None };
            // Most values are texts.
            let end = if self.at(value)? == b'"' { self.string(value + 1)? } else { self.value(value, depth)? };
            match self.next(end)? {
                (b',', after) => at = after,
                (b'}', after) => return Some(after),
                _ => return None,
            }
        }
    }

    fn array(self, at: usize, depth: u8) -> Option<usize> {
        let mut at = self.space(at);
        if self.at(at)? == b']' {
            return Some(at + 1);
        }
        loop {
            match self.next(self.value(at, depth)?)? {
                (b',', after) => at = after,
                (b']', after) => return Some(after),
                _ => return None,
            }
        }
    }

    /// From behind the opening quote.
    #[inline(always)]
    fn string(self, mut at: usize) -> Option<usize> {
        loop {
            at = self.plain(at);
            match self.at(at)? {
                b'"' => return Some(at + 1),
                b'\\' => match self.at(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' if self.0.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                    _ => return None,
                },
                // A control character.
                _ => return None,
            }
        }
    }

    /// Past everything that stands in a string for itself: eight bytes at a time, the last few one by one.
    #[inline(always)]
    fn plain(self, at: usize) -> usize {
        let Some(mut rest) = self.0.get(at..) else { return at };
        while let Some((eight, after)) = rest.split_first_chunk() {
            let odd = odd(u64::from_le_bytes(*eight));
            if odd != 0 {
                return self.0.len() - rest.len() + odd.trailing_zeros() as usize / 8;
            }
            rest = after;
        }
        let last = rest.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
        self.0.len() - rest.len() + last.unwrap_or(rest.len())
    }

    fn number(self, mut at: usize) -> Option<usize> {
        if self.at(at)? == b'-' {
            at += 1;
        }
        at = if self.at(at)? == b'0' { at + 1 } else { self.digits(at)? };
        if self.at(at) == Some(b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.at(at) {
            let signed = matches!(self.at(at + 1), Some(b'+' | b'-'));
            at = self.digits(at + 1 + usize::from(signed))?;
        }
        Some(at)
    }

    /// One at least.
    fn digits(self, at: usize) -> Option<usize> {
        let count = self.0.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(at + count)
    }
}

/// Of eight bytes the first quote, backslash or control character, as the lowest bit that is set; 0 where there is none.
///
/// A byte that is smaller than the one it is subtracted by borrows from the next, so that bits above the lowest may be wrong:
/// only that one counts.
const fn odd(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn below(eight: u64, bound: u8) -> u64 {
        eight.wrapping_sub(ONES * bound as u64) & !eight & HIGHS
    }
    // Turning one bit over puts the quote behind the control characters, and the blank and `!` out of the way.
    below(eight ^ (ONES * 2), b'"' - 1) | below(eight ^ (ONES * b'\\' as u64), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    /// What it says, which `serde_json` must say too.
    fn checked(body: &[u8]) -> Option<Vec<&[u8]>> {
        let quick = values(body, 100)?;
        let is_array = body.trim_ascii_start().starts_with(b"[");
        let slow: Vec<&RawValue> = match is_array {
            true => serde_json::from_slice(body).unwrap(),
            false => vec![serde_json::from_slice(body).unwrap()],
        };
        let slow: Vec<&[u8]> = slow.into_iter().map(|value| value.get().as_bytes()).collect();
        assert_eq!(quick, slow, "{}", String::from_utf8_lossy(body));
        Some(quick)
    }

    #[test]
    fn takes_what_is_well_formed() {
        let check = |body: &str, expected: &[&str]| {
            let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(checked(body.as_bytes()), Some(expected), "{body}");
        };
        check("[]", &[]);
        check(" [ ] \n", &[]);
        check(r#" {"a" : [1, {} , []]} "#, &[r#"{"a" : [1, {} , []]}"#]);
        check("[1,-0.5e+10 , true,false,null,\"\"]", &["1", "-0.5e+10", "true", "false", "null", "\"\""]);
        check(
            r#"["\"\\\/\b\f\n\r\t\u00fF","12345678\"","1234567"]"#,
            &[r#""\"\\\/\b\f\n\r\t\u00fF""#, r#""12345678\"""#, r#""1234567""#],
        );
        check("[\"\u{fc}\u{1f600}\u{7f}\u{85}\"]", &["\"\u{fc}\u{1f600}\u{7f}\u{85}\""]);
    }

    #[test]
    fn leaves_the_rest_alone() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(values(deep(usize::from(DEPTH_MAX) + 1).as_bytes(), 100).is_some());
        assert!(values(deep(usize::from(DEPTH_MAX) + 2).as_bytes(), 100).is_none());
        for body in [
            "",
            " ",
            "1",
            "\"a\"",
            "[",
            "]",
            "{",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1]]",
            "[1] x",
            "{}{}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "[01]",
            "[1.]",
            "[.1]",
            "[-]",
            "[1e]",
            "[1e+]",
            "[+1]",
            "[tru]",
            "[nul",
            "[\"a]",
            "[\"\\x\"]",
            "[\"\\u12g4\"]",
            "[\"\\u123",
            "[\"a\nb\"]",
            "[\"1234567\u{1f}\"]",
            "[NaN]",
            "[1//\n]",
            "[\u{a0}1]",
        ] {
            assert!(values(body.as_bytes(), 100).is_none(), "{body}");
        }
        assert!(values(b"[\"\xff\"]", 100).is_none());
        assert!(values(b"[1,2,3]", 3).is_some() && values(b"[1,2,3]", 2).is_none());
    }

    #[test]
    fn takes_what_providers_send() {
        for provider in crate::samples::everyone() {
            for sample in crate::samples::of(provider) {
                let value = serde_json::from_str::<serde_json::Value>(&sample.body);
                let is_json = value.is_ok_and(|value| value.is_array() || value.is_object());
                assert!(!is_json || checked(sample.body.as_bytes()).is_some(), "{}", sample.body);
            }
        }
    }

    #[test]
    fn finds_the_first_odd_byte_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for (place, filler) in
                (0..8).flat_map(|place| [b'a', b' ', b'!', b'#', b'[', b']', 0xff].map(|f| (place, f)))
            {
                let mut eight = [filler; 8];
                eight[place] = byte;
                let expected = eight.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
                let odd = odd(u64::from_le_bytes(eight));
                assert_eq!((odd != 0).then(|| odd.trailing_zeros() as usize / 8), expected, "{eight:?}");
            }
        }
    }

    const SEED: &str = r#"[{"a":"b\u00e9c","d":[1,-2.5e3,true,null],"e":{"f":"\\"}}, "12345678\"x",{},[],0]"#;

    proptest! {
        /// Whatever is done to a body, it never says yes alone.
        #[test]
        fn never_says_yes_where_serde_json_says_no(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, prop::sample::select(
                b"[]{}\",:\\ \n\t0123456789eE.+-truefalsn/u\x00\x1f\x7f\xc3\xa9\xff".to_vec())), 0..6)
        ) {
            let mut body = SEED.as_bytes().to_vec();
            for (index, what, byte) in edits {
                let at = index.index(body.len().max(1));
                match what {
                    0 if at < body.len() => { body.remove(at); }
                    1 if at < body.len() => body[at] = byte,
                    2 => body.truncate(at),
                    _ => body.insert(at.min(body.len()), byte),
                }
            }
            checked(&body);
        }
    }
}
