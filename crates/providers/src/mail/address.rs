//! Addresses as reports write them.

use domain::Recipient;
use std::borrow::Cow;

/// The address of a `type; address` field (RFC 3464 2.1.2), if its type is one of mail's: `rfc822` or `utf-8` (RFC 6533),
/// or if it has none and is an address all the same.
pub(crate) fn typed(value: &str) -> Option<Cow<'_, str>> {
    let (kind, text) = match value.split_once(';') {
        Some((kind, text)) => (kind.trim(), text),
        None => ("rfc822", value),
    };
    let text = bare(text);
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(unescaped(text));
    }
    let is_mail = ["rfc822", "smtp", "rfc-822", "rfc2822"].iter().any(|known| kind.eq_ignore_ascii_case(known));
    (is_mail && !text.is_empty()).then_some(Cow::Borrowed(text))
}

/// The address itself: what stands in brackets, or up to the first space that is not quoted.
pub(crate) fn bare(text: &str) -> &str {
    let text = text.trim();
    if let Some((_, inner)) = text.split_once('<') {
        return inner.split('>').next().unwrap_or_default().trim();
    }
    if text.starts_with('"') { text } else { text.split_whitespace().next().unwrap_or_default() }
}

/// A `type; name` field (RFC 3464 2.1.2) without its type.
pub(crate) fn untyped(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, name)| name).trim()
}

/// The recipient that the sender named. `Original-Recipient` comes from the sender's `ORCPT`, which is written as xtext
/// (RFC 3461 4); reporting hosts should decode it, and some do not. `jane+2Btag@` is read as `jane+tag@` only where the
/// final recipient says the same, or where it is no address otherwise.
pub(crate) fn original<'a>(value: &'a str, last: Option<&str>) -> Option<Cow<'a, str>> {
    let text = typed(value)?;
    if let Some(decoded) = xtext(&text) {
        let same = last.is_some_and(|last| decoded.eq_ignore_ascii_case(last));
        if same || (Recipient::email(&text).is_err() && Recipient::email(&decoded).is_ok()) {
            return Some(Cow::Owned(decoded));
        }
    }
    Some(text)
}

/// Decodes xtext: `+HH` with two hex digits in capitals stands for a byte. None where there is nothing to decode.
pub(crate) fn xtext(text: &str) -> Option<String> {
    if !text.contains('+') {
        return None;
    }
    let (mut bytes, mut rest, mut found) = (Vec::with_capacity(text.len()), text.as_bytes(), false);
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|two| two.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b)));
        let coded = hex.filter(|_| *byte == b'+').and_then(|two| std::str::from_utf8(two).ok());
        match coded.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(coded) => {
                bytes.push(coded);
                rest = &after[2..];
                found = true;
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    if found { String::from_utf8(bytes).ok() } else { None }
}

/// Decodes `\x{HEX}`, as RFC 6533 3 embeds characters in addresses of type `utf-8`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("\\x{") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let coded = after.split_once('}').and_then(|(hex, after)| {
            let fine = (2..=6).contains(&hex.len()) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| fine)?;
            Some((char::from_u32(code)?, after))
        });
        match coded {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The recipient in a return path of its own (VERP), as Postfix writes it: `bounces+jane=example.com@sender.example`. Only
/// where it can be nothing else: one `+`-part with one `=`, and a domain after it.
pub(crate) fn verp(address: &str) -> Option<String> {
    let (local, _) = bare(address).rsplit_once('@')?;
    let (_, inner) = local.split_once('+')?;
    let (name, host) = inner.rsplit_once('=')?;
    let top = host.rsplit_once('.').map(|(_, top)| top)?;
    let is_domain = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let found = format!("{name}@{host}");
    (is_domain && !name.contains('=') && Recipient::email(&found).is_ok()).then_some(found)
}

/// Whether a report hides who it is about (RFC 6590): the local part says so, or is a digest in base64 or hex.
pub(crate) fn is_redacted(address: &str) -> bool {
    let Some((local, _)) = bare(address).rsplit_once('@') else { return false };
    let lower = local.to_ascii_lowercase();
    let base64 = local.len() >= 20
        && local.ends_with('=')
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte));
    let hex = local.len() >= 32 && local.bytes().all(|byte| byte.is_ascii_hexdigit());
    let named = lower.contains("redact") || ["undisclosed", "anonymous", "hidden", "xxx"].contains(&lower.as_str());
    named || base64 || hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_addresses() {
        let check = |value: &str, expected: Option<&str>| assert_eq!(typed(value).as_deref(), expected, "{value}");
        check("rfc822; jane@example.com", Some("jane@example.com"));
        check("RFC822;<jane@example.com>", Some("jane@example.com"));
        check("rfc822; jane@example.com (unknown)", Some("jane@example.com"));
        check("rfc822; \"jane doe\"@example.com", Some("\"jane doe\"@example.com"));
        check("jane@example.com", Some("jane@example.com"));
        check("utf-8; j\\x{FC}rgen\\x{2B}a@example.com", Some("j\u{fc}rgen+a@example.com"));
        check("utf-8; \\x{110000}\\x{zz}\\x{41", Some("\\x{110000}\\x{zz}\\x{41"));
        check("x400; /C=DE/", None);
        check("unknown; jane", None);
        check("rfc822;", None);
        check("", None);
    }

    #[test]
    fn xtext_is_decoded_only_where_that_is_sure() {
        let check = |value: &str, last: Option<&str>, expected: &str| {
            assert_eq!(original(value, last).as_deref(), Some(expected), "{value}");
        };
        check("rfc822;jane+2Btag@example.com", Some("jane+tag@example.com"), "jane+tag@example.com");
        check("rfc822;jane+2Btag@example.com", Some("jane@example.com"), "jane+2Btag@example.com");
        check("rfc822;jane+2Btag@example.com", None, "jane+2Btag@example.com");
        check("rfc822;jane+40example.com", None, "jane@example.com");
        check("rfc822;jane+tag@example.com", None, "jane+tag@example.com");
        assert_eq!(xtext("+2+G1+"), None);
        assert_eq!(xtext("+FF"), None);
        assert_eq!(xtext("+C3+BC+2b").as_deref(), Some("\u{fc}+2b"));
    }

    #[test]
    fn verp_is_read_only_where_it_can_be_nothing_else() {
        let check = |address: &str, expected: Option<&str>| assert_eq!(verp(address).as_deref(), expected, "{address}");
        check("<bounces+jane=example.com@news.example>", Some("jane@example.com"));
        check("bounces+jane+tag=example.com@news.example", Some("jane+tag@example.com"));
        check("bounces@news.example", None);
        check("bounces+jane@news.example", None);
        check("bounces+campaign=spring@news.example", None);
        check("bounces+c=v1.2@news.example", None);
        check("bounces+SRS0=abc=de=jane@news.example", None);
        check("prvs=1234=jane@news.example", None);
        check("b-jane=example.com@news.example", None);
    }

    #[test]
    fn hidden_addresses() {
        for hidden in ["redacted@example.com", "<[REDACTED]@example.com>", "rZ8cqXWGiKHzhz1MsFRGTysHia4=@example.com"] {
            assert!(is_redacted(hidden), "{hidden}");
        }
        assert!(is_redacted(&format!("{}@example.com", "0a".repeat(20))));
        for open in ["jane@example.com", "jane=@example.com", "deadbeef@example.com", "nobody"] {
            assert!(!is_redacted(open), "{open}");
        }
    }
}
