//! The key of pseudonyms, and the pseudonyms.

use domain::RecipientKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Fewest bytes of a key.
pub const KEY_BYTES_MIN: usize = 16;

/// Text that is too short to be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the erasure key has {0} bytes: give it at least {KEY_BYTES_MIN} random ones, as `openssl rand -hex 32` makes")]
pub struct KeyError(pub usize);

/// A recipient under the key: 128 bits of HMAC-SHA256 (RFC 2104) over tenant, channel and recipient. Without the key nobody can
/// tell whose it is, nor whether it is somebody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pseudonym([u8; 16]);

impl Pseudonym {
    /// Its 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The key. Whoever has it and the store can find out which of the recipients that he guesses were erased; whoever loses it
/// loses their suppressions.
#[derive(Clone)]
pub struct ErasureKey(Hmac<Sha256>);

impl std::fmt::Debug for ErasureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ErasureKey(..)")
    }
}

impl ErasureKey {
    /// From secret bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(KeyError(secret.len()));
        }
        // HMAC takes a key of any length.
        Hmac::new_from_slice(secret).map(Self).map_err(|_| KeyError(secret.len()))
    }

    /// A recipient's pseudonym.
    pub fn pseudonym(&self, key: &RecipientKey) -> Pseudonym {
        Pseudonym(self.mac("recipient", &key.to_log_key()))
    }

    /// Tells this key from another, and nothing of either.
    pub fn fingerprint(&self) -> String {
        Pseudonym(self.mac("fingerprint", "")).to_string()
    }

    fn mac(&self, purpose: &str, text: &str) -> [u8; 16] {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        let whole = mac.finalize().into_bytes();
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Recipient, Tenant};

    fn key(tenant: &str, email: &str) -> RecipientKey {
        RecipientKey { tenant: tenant.parse::<Tenant>().unwrap(), recipient: Recipient::email(email).unwrap() }
    }

    #[test]
    fn a_pseudonym_is_of_one_recipient_of_one_tenant_under_one_key() {
        let (one, other) = (ErasureKey::new(&[1; 32]).unwrap(), ErasureKey::new(&[2; 32]).unwrap());
        let jane = key("default", "jane@example.com");
        assert_eq!(one.pseudonym(&jane), one.pseudonym(&key("default", "Jane@Example.com")));
        for others in [
            one.pseudonym(&key("acme", "jane@example.com")),
            one.pseudonym(&key("default", "joe@example.com")),
            other.pseudonym(&jane),
        ] {
            assert_ne!(others, one.pseudonym(&jane));
        }
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.pseudonym(&jane).to_string().len(), 32);
    }

    #[test]
    fn a_pseudonym_never_changes() {
        // Kept suppressions are found again by it: computed with Python's hmac module.
        let pseudonym = ErasureKey::new(b"0123456789abcdef").unwrap().pseudonym(&key("default", "jane@example.com"));
        assert_eq!(pseudonym.to_string(), "ea15cf8190715277bf5ef76b12658956");
    }

    #[test]
    fn a_short_key_is_refused_and_none_is_shown() {
        assert_eq!(ErasureKey::new(b"short").unwrap_err(), KeyError(5));
        assert_eq!(format!("{:?}", ErasureKey::new(&[7; 16]).unwrap()), "ErasureKey(..)");
    }
}
