//! Phone numbers as E.164: `+`, the calling code and the national number, 7 to 15 digits in all.
//!
//! A number of nothing but digits and what people put between them, with no national prefix in it (`+44 (0)20…`), is its
//! own key, and telling so is cheap. All others are read by `phonenumber`, which looks for the region among all that share the calling code: some
//! thousand times the work, and for a number that exists nowhere ten times that again.

use phonenumber::metadata::DATABASE;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Calling codes have one to three digits.
const CODES: usize = 1_000;

/// The key of a number in international form, or none where it is no possible number. A possible number is enough:
/// whether it is assigned is the carrier's business.
pub(crate) fn key(international: &str) -> Option<String> {
    plain(international).or_else(|| read(international))
}

fn read(international: &str) -> Option<String> {
    let number = phonenumber::parse(None, international).ok()?;
    let key = format!("+{}{}", number.country().code(), number.national());
    // ITU-T E.164: at most 15 digits; fewer than 7 reach no subscriber.
    (8..=16).contains(&key.len()).then_some(key)
}

/// The key of a number of nothing but digits and what people put between them, where [`read`] would give the same.
fn plain(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    let mut key = String::with_capacity(16);
    key.push('+');
    for byte in rest.bytes() {
        match byte {
            b'0'..=b'9' if key.len() <= 15 => key.push(char::from(byte)),
            b' ' | b'-' | b'.' | b'(' | b')' => {}
            _ => return None,
        }
    }
    let digits = key.get(1..)?;
    let first = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_framed = first > 0 && rest.ends_with(|last: char| last.is_ascii_digit());
    if digits.len() < 7 || !is_framed || digits.starts_with('0') {
        return None;
    }
    // Set off by anything but a space, what stands first is the calling code (RFC 3966); else the shortest that there is.
    let lengths = if first == digits.len() || rest.contains(' ') { 1..=3 } else { first..=first };
    let (trunk, national) = lengths.take_while(|length| *length <= 3).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        Some((trunk(code.parse().ok()?)?, national))
    })?;
    if trunk.may_begin(national) { None } else { Some(key) }
}

/// What may stand before a national number where it is dialled from within the country.
#[derive(Debug, Default)]
struct Trunk {
    prefixes: Vec<String>,
    /// Of all regions in one.
    pattern: Option<Regex>,
    /// Of one that cannot be read nothing can be told.
    unreadable: bool,
}

impl Trunk {
    fn may_begin(&self, national: &str) -> bool {
        self.unreadable
            || self.prefixes.iter().any(|prefix| national.starts_with(prefix.as_str()))
            || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(national))
    }
}

/// Of every region with this calling code; none where no region has it.
fn trunk(code: u16) -> Option<&'static Trunk> {
    static TRUNKS: [OnceLock<Option<Trunk>>; CODES] = [const { OnceLock::new() }; CODES];
    TRUNKS.get(usize::from(code))?.get_or_init(|| load(code)).as_ref()
}

fn load(code: u16) -> Option<Trunk> {
    let regions = DATABASE.by_code(&code)?;
    let prefixes: BTreeSet<&str> = regions.iter().filter_map(|region| region.national_prefix()).collect();
    let patterns: BTreeSet<&str> =
        regions.iter().filter_map(|region| Some(region.national_prefix_for_parsing()?.as_str())).collect();
    let all: Vec<&str> = patterns.into_iter().collect();
    let pattern = RegexBuilder::new(&format!("^(?:{})", all.join(")|^(?:"))).ignore_whitespace(true).build();
    Some(Trunk {
        prefixes: prefixes.into_iter().map(str::to_owned).collect(),
        unreadable: pattern.is_err(),
        pattern: pattern.ok().filter(|_| !all.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_as_providers_write_them_are_plain() {
        for number in [
            "+15551234567",
            "+14158675309",
            "+447700900123",
            "+4915112345678",
            "+33612345678",
            "+919876543210",
            "+61412345678",
        ] {
            assert_eq!(plain(number).as_deref(), Some(number));
        }
        for number in ["+1-555-123-4567", "+1 (555) 123-4567", "+1.555.123.4567", "+1(555)1234567", "+15551 234567"] {
            assert_eq!(plain(number).as_deref(), Some("+15551234567"), "{number}");
        }
        for other in [
            "",
            "+",
            "+1",
            "15551234567",
            "+1555-1234567",
            "+330631966543",
            "+78001234567",
            "+999123456789",
            "+0123456789",
            "+1234567890123456",
            "+155512345\u{0666}7",
            "+(1)5551234567",
            "+1 555 123 4567 x8",
            "+1 555/1234567",
            "+15551234567(",
        ] {
            assert_eq!(plain(other), None, "{other}");
        }
        assert_eq!(key("+330631966543").as_deref(), Some("+33631966543"), "a national prefix is no part of a key");
        assert_eq!(key("+999123456789"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

        #[test]
        fn a_plain_number_is_what_is_read(
            code in prop::sample::select(vec!["1", "7", "44", "49", "33", "39", "55", "52", "54", "86", "91", "81", "36", "375", "225", ""]),
            national in prop_oneof!["[0-9]{4,13}", "[-. ()]{0,2}[1-9]{2,4}[-. ()]{0,2}[0-9]{2,5}[-. ()]{0,2}[0-9]{2,4}[-. ()]?"],
        ) {
            let text = format!("+{code}{national}");
            if let Some(key) = plain(&text) {
                prop_assert_eq!(read(&text), Some(key));
            }
        }
    }
}
