//! Recipients and the keys that identify them.
//!
//! One normalisation serves writing and reading: an address suppressed as `Jane@EXAMPLE.com` is found as
//! `jane@example.com`. RFC 5321 section 2.4 lets a host tell local parts apart by case; none that matters does, so keys
//! are lower-cased and the address as sent is kept beside them.

use crate::{Tenant, phone, words::words};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization as _;

words!(
    /// How a recipient is reached.
    Channel, "channel", { Email = "email", Sms = "sms", Push = "push" }
);

/// An address that cannot be read as a recipient of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing but white space.
    #[error("empty address")]
    Empty,
    /// Longer than any address can be.
    #[error("address too long")]
    TooLong,
    /// Not of the form local@domain.
    #[error("not an email address")]
    NotEmail,
    /// Not a possible international phone number.
    #[error("not an international phone number (write it as +COUNTRY NUMBER)")]
    NotPhone,
    /// Not a device token.
    #[error("not a device token")]
    NotToken,
}

/// A normalised recipient: the channel and the key that is the same for every spelling of the address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    channel: Channel,
    key: String,
}

/// RFC 5321 4.5.3.1 allows 64 + 1 + 255 octets; internationalised local parts may need more bytes than letters.
const EMAIL_BYTES_MAX: usize = 384;
/// FCM tokens run to some 160 characters, web push endpoints to a few hundred.
const TOKEN_BYTES_MAX: usize = 1_024;

impl Recipient {
    /// Reads an address of a channel.
    pub fn parse(channel: Channel, address: &str) -> Result<Self, AddressError> {
        match channel {
            Channel::Email => Self::email(address),
            Channel::Sms => Self::phone(address),
            Channel::Push => Self::push(address),
        }
    }

    /// Reads an address whose channel is not told: what has an `@` is an email address, all else a phone number.
    pub fn guess(address: &str) -> Result<Self, AddressError> {
        if address.contains('@') { Self::email(address) } else { Self::phone(address) }
    }

    /// An email address, also as `Name <local@domain>`. Trimmed, NFC, domain as lower-case A-label (UTS 46), local part
    /// lower-case; plus-tags and dots are left alone.
    pub fn email(address: &str) -> Result<Self, AddressError> {
        let bare = bare_address(address.trim());
        if bare.is_empty() {
            return Err(AddressError::Empty);
        }
        if bare.len() > EMAIL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let (local, host) = bare.rsplit_once('@').ok_or(AddressError::NotEmail)?;
        let host = host.strip_suffix('.').unwrap_or(host);
        if local.is_empty() || host.is_empty() || !is_local_part(local) {
            return Err(AddressError::NotEmail);
        }
        let mut key = String::with_capacity(bare.len());
        if local.is_ascii() {
            push_lower(&mut key, local);
        } else {
            key.extend(local.nfc().flat_map(char::to_lowercase).nfc());
        }
        key.push('@');
        push_host(&mut key, host)?;
        if key.len() > EMAIL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(Self { channel: Channel::Email, key })
    }

    /// A phone number in international form, as E.164 (`+15551234567`). A possible number is enough: whether it is
    /// assigned is the carrier's business.
    pub fn phone(address: &str) -> Result<Self, AddressError> {
        let trimmed = address.trim();
        if trimmed.is_empty() {
            return Err(AddressError::Empty);
        }
        if trimmed.len() > 64 {
            return Err(AddressError::TooLong);
        }
        // Channel prefixes as Twilio writes them for its other messengers.
        let number = trimmed.strip_prefix("whatsapp:").or_else(|| trimmed.strip_prefix("rcs:")).unwrap_or(trimmed);
        let international = match number.strip_prefix("00") {
            Some(rest) => Cow::Owned(format!("+{rest}")),
            None => Cow::Borrowed(number),
        };
        if !international.starts_with('+') {
            return Err(AddressError::NotPhone);
        }
        let key = phone::key(&international).ok_or(AddressError::NotPhone)?;
        Ok(Self { channel: Channel::Sms, key })
    }

    /// A device token, as it is.
    pub fn push(token: &str) -> Result<Self, AddressError> {
        if token.is_empty() {
            return Err(AddressError::Empty);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if token.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AddressError::NotToken);
        }
        Ok(Self { channel: Channel::Push, key: token.to_owned() })
    }

    /// How the recipient is reached.
    pub const fn channel(&self) -> Channel {
        self.channel
    }

    /// The normalised address.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The domain of an email recipient, as lower-case A-label.
    pub fn domain(&self) -> Option<&str> {
        match self.channel {
            Channel::Email => self.key.rsplit_once('@').map(|(_, host)| host),
            Channel::Sms | Channel::Push => None,
        }
    }

    /// The address with its middle hidden, for logs: `j***@example.com`, `+1555***67`.
    pub fn masked(&self) -> String {
        match self.key.rsplit_once('@') {
            Some((local, host)) if self.channel == Channel::Email => {
                format!("{}***@{host}", local.chars().next().unwrap_or('*'))
            }
            _ => {
                let head: String = self.key.chars().take(5).collect();
                let count = self.key.chars().count();
                let tail: String = self.key.chars().skip(count.saturating_sub(2).max(5)).collect();
                format!("{head}***{tail}")
            }
        }
    }
}

fn bare_address(text: &str) -> &str {
    match (text.rfind('<'), text.ends_with('>')) {
        (Some(open), true) => text[open + 1..text.len() - 1].trim(),
        _ => text,
    }
}

/// Whether nothing stands in a local part that none may hold; in quotes only control characters are out of place.
fn is_local_part(local: &str) -> bool {
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let special =
        |c: u8| matches!(c, b' ' | b'(' | b')' | b'<' | b'>' | b'[' | b']' | b':' | b';' | b',' | b'\\' | b'"' | b'@');
    if local.bytes().any(|c| c.is_ascii_control() || (!quoted && special(c))) {
        return false;
    }
    let odd = |c: char| c.is_control() || (!quoted && c.is_whitespace());
    local.is_ascii() || !local.chars().any(odd)
}

fn push_lower(key: &mut String, ascii: &str) {
    let start = key.len();
    key.push_str(ascii);
    key[start..].make_ascii_lowercase();
}

/// Adds a domain as lower-case A-label, or an address literal.
fn push_host(key: &mut String, host: &str) -> Result<(), AddressError> {
    if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let fine = !literal.is_empty() && literal.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
        push_lower(key, host);
        return if fine { Ok(()) } else { Err(AddressError::NotEmail) };
    }
    let simple = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let punycode = host.as_bytes().windows(4).any(|four| four.eq_ignore_ascii_case(b"xn--"));
    let start = key.len();
    if simple && !punycode {
        push_lower(key, host);
    } else {
        key.push_str(&idna::domain_to_ascii(host).map_err(|_| AddressError::NotEmail)?);
    }
    let ascii = key.as_bytes().get(start..).unwrap_or_default();
    let labels_fine = ascii.split(|b| *b == b'.').all(|label| (1..=63).contains(&label.len()));
    if ascii.len() <= 255 && labels_fine && ascii.iter().all(u8::is_ascii_graphic) {
        Ok(())
    } else {
        Err(AddressError::NotEmail)
    }
}

/// A tenant's recipient: the unit of order, of state and of ownership.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientKey {
    /// Whose recipient.
    pub tenant: Tenant,
    /// Who.
    pub recipient: Recipient,
}

impl RecipientKey {
    /// The key of log records and store rows: `tenant/channel/address`. Unambiguous, as neither of the first two can
    /// hold a slash.
    pub fn to_log_key(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.recipient.channel, self.recipient.key)
    }

    /// The way back from [`Self::to_log_key`]. The address is taken as already normalised.
    pub fn from_log_key(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let tenant = Tenant::new(parts.next()?).ok()?;
        let channel: Channel = parts.next()?.parse().ok()?;
        let key = parts.next().filter(|key| !key.is_empty())?.to_owned();
        Some(Self { tenant, recipient: Recipient { channel, key } })
    }
}

impl Serialize for Recipient {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.key)
    }
}

impl<'de> Deserialize<'de> for RecipientKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(d)?;
        Self::from_log_key(&text).ok_or_else(|| serde::de::Error::custom("not a recipient key"))
    }
}

impl Serialize for RecipientKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_log_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(read: Result<Recipient, AddressError>, expected: Result<&str, AddressError>) {
        assert_eq!(read.as_ref().map(Recipient::as_str).map_err(|e| *e), expected);
    }

    #[test]
    fn email_keys() {
        check(Recipient::email("  Jane.Doe+News@EXAMPLE.Com "), Ok("jane.doe+news@example.com"));
        check(Recipient::email("Jane <Jane@Example.com>"), Ok("jane@example.com"));
        check(Recipient::email("\"Doe, Jane\" <jane@example.com>"), Ok("jane@example.com"));
        check(Recipient::email("jane@example.com."), Ok("jane@example.com"));
        check(Recipient::email("J\u{fc}rgen@B\u{fc}cher.example"), Ok("j\u{fc}rgen@xn--bcher-kva.example"));
        check(Recipient::email("ju\u{308}rgen@xn--bcher-kva.example"), Ok("j\u{fc}rgen@xn--bcher-kva.example"));
        check(Recipient::email("\"a b\"@example.com"), Ok("\"a b\"@example.com"));
        check(Recipient::email("a@[192.0.2.1]"), Ok("a@[192.0.2.1]"));
        check(Recipient::email(" "), Err(AddressError::Empty));
        check(Recipient::email("\"a@b(c)\"@example.com"), Ok("\"a@b(c)\"@example.com"));
        check(Recipient::email("a@B\u{fc}cher.example"), Ok("a@xn--bcher-kva.example"));
        check(Recipient::email("a@XN--BCHER-KVA.example"), Ok("a@xn--bcher-kva.example"));
        for bad in
            ["a\u{a0}b@example.com", "\u{fc}\u{85}@example.com", "\"a\u{7}\"@example.com", "\u{fc}(@x.org", "a@b..c"]
        {
            check(Recipient::email(bad), Err(AddressError::NotEmail));
        }
        for bad in
            ["jane", "@example.com", "jane@", "a b@example.com", "a@b@c.com", "a@ex ample.com", "a@.com", "a\n@b.c"]
        {
            check(Recipient::email(bad), Err(AddressError::NotEmail));
        }
        check(Recipient::email(&format!("{}@example.com", "a".repeat(400))), Err(AddressError::TooLong));
    }

    #[test]
    fn phone_keys() {
        check(Recipient::phone("+1-555-123-4567"), Ok("+15551234567"));
        check(Recipient::phone("+1 (415) 867-5309"), Ok("+14158675309"));
        check(Recipient::phone("0044 20 7946 0958"), Ok("+442079460958"));
        check(Recipient::phone("whatsapp:+14158675309"), Ok("+14158675309"));
        for bad in ["12345", "415-867-5309", "+", "+1", "hello", "+999999999999999999999"] {
            check(Recipient::phone(bad), Err(AddressError::NotPhone));
        }
    }

    #[test]
    fn log_keys_round_trip() {
        for recipient in [Recipient::email("a/b@x.org").unwrap(), Recipient::phone("+15551234567").unwrap()] {
            let key = RecipientKey { tenant: Tenant::default(), recipient };
            assert_eq!(RecipientKey::from_log_key(&key.to_log_key()), Some(key));
        }
        assert_eq!(RecipientKey::from_log_key("default/email/"), None);
    }

    #[test]
    fn logs_never_show_a_whole_address() {
        assert_eq!(Recipient::email("jane@example.com").unwrap().masked(), "j***@example.com");
        assert_eq!(Recipient::phone("+15551234567").unwrap().masked(), "+1555***67");
        assert_eq!(Recipient::push("abc").unwrap().masked(), "abc***");
    }
}
