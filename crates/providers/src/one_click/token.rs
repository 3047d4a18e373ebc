//! Tokens of unsubscribe links, version 1.
//!
//! ```text
//! token  = "1." key-id "." base64url( salt ‖ sealed )         without padding
//! salt   = 16 random bytes, others for each token
//! key    = HMAC-SHA256( secret, "quell-unsubscribe-1" ‖ salt )
//! sealed = AES-256-GCM( key, nonce = 12 zero bytes, data = "1." key-id, text = claims as JSON ), ciphertext then tag
//! ```
//!
//! The claims: `recipient`, `issued_at` (seconds since the epoch), and, where they are not the defaults, `tenant`
//! (`default`), `scope` (`marketing`), `message_id`, `campaign`. Whoever holds a link can tell nothing from it and can make no
//! other. Each token has a key of its own, so that the zero nonce never meets a key twice and there is no bound on how many
//! tokens one secret may seal.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Recipient, Scope, Tenant};
use ring::{aead, hmac};
use serde::{Deserialize, Serialize};

const VERSION: &str = "1";
const CONTEXT: &[u8] = b"quell-unsubscribe-1";
/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Least bytes of a secret; `openssl rand -base64 32` gives 44.
const SECRET_BYTES_MIN: usize = 32;
const ID_BYTES_MAX: usize = 16;
/// A link stands in a header line of at most 998 characters (RFC 5322 2.1.1).
const TOKEN_BYTES_MAX: usize = 900;
const NAME_BYTES_MAX: usize = 256;

/// Who leaves what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose recipient.
    #[serde(default)]
    pub tenant: Tenant,
    /// An email address, or a phone number as `+COUNTRY NUMBER`.
    pub recipient: String,
    /// What the recipient leaves.
    #[serde(default = "marketing")]
    pub scope: Scope,
    /// When the link was made, in seconds since the epoch.
    pub issued_at: i64,
    /// The message that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The campaign that the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
}

fn marketing() -> Scope {
    Scope::Marketing
}

impl Claims {
    /// Reads claims. None where they are none, or name nobody who could be a recipient.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let claims: Self = serde_json::from_slice(text).ok()?;
        let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= NAME_BYTES_MAX);
        let fine = Recipient::guess(&claims.recipient).is_ok() && short(&claims.message_id) && short(&claims.campaign);
        fine.then_some(claims)
    }

    /// As they are sealed and stored.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// No token of a version that is known here.
    #[error("it is no token of an unsubscribe link; the link may have been cut off")]
    Malformed,
    /// Its key is not known, or no longer.
    #[error("no key of that id is configured")]
    UnknownKey,
    /// It was not sealed by the key that it names, or was changed since.
    #[error("it was changed, or sealed with another secret")]
    Forged,
    /// It was sealed by that key, but what it says cannot be read.
    #[error("its claims cannot be read: recipient and issued_at are needed")]
    Unreadable,
    /// It is older than links are taken.
    #[error("it is too old")]
    Expired,
}

impl TokenError {
    /// A stable tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Missing => "missing_token",
            Self::Malformed => "malformed_token",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged_token",
            Self::Unreadable => "unreadable_claims",
            Self::Expired => "expired_token",
        }
    }
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its id cannot stand in a token.
    #[error("a key's id must be 1 to {ID_BYTES_MAX} of a-z 0-9 _ -")]
    Id,
    /// It could be guessed.
    #[error(
        "the secret of key {0:?} is too short: use at least {SECRET_BYTES_MIN} characters, e.g. of openssl rand -base64 32"
    )]
    Short(String),
}

/// A named secret, as a source holds it: `id:secret`.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    id: &'a str,
    secret: &'a [u8],
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> Key<'a> {
    /// Reads `id:secret`. The secret's bytes are taken as they are.
    pub fn read(text: &'a str) -> Result<Self, KeyError> {
        let (id, secret) = text.split_once(':').ok_or(KeyError::Id)?;
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(fine) {
            return Err(KeyError::Id);
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Short(id.to_owned()));
        }
        Ok(Self { id, secret: secret.as_bytes() })
    }

    /// Its id, which stands in every token in the clear.
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// A token. The salt must be random, and another for each token. None where the claims are too long for a link.
    pub fn seal(&self, claims: &Claims, salt: [u8; SALT_BYTES]) -> Option<String> {
        let head = format!("{VERSION}.{}", self.id);
        let mut text = claims.to_json();
        let cipher = self.cipher(&salt)?;
        cipher.seal_in_place_append_tag(nonce(), aead::Aad::from(head.as_bytes()), &mut text).ok()?;
        let token = format!("{head}.{}", URL_SAFE_NO_PAD.encode([&salt[..], &text].concat()));
        (token.len() <= TOKEN_BYTES_MAX).then_some(token)
    }

    fn cipher(&self, salt: &[u8]) -> Option<aead::LessSafeKey> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.secret));
        context.update(CONTEXT);
        context.update(salt);
        aead::UnboundKey::new(&aead::AES_256_GCM, context.sign().as_ref()).ok().map(aead::LessSafeKey::new)
    }
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// What a token says, if one of these keys (`id:secret`) sealed it.
pub fn open(token: &str, keys: &[String]) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let (head, coded) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let id = head.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Malformed)?;
    let bytes = URL_SAFE_NO_PAD.decode(coded).map_err(|_| TokenError::Malformed)?;
    let (salt, sealed) = bytes.split_at_checked(SALT_BYTES).ok_or(TokenError::Malformed)?;
    let key =
        keys.iter().filter_map(|key| Key::read(key).ok()).find(|key| key.id == id).ok_or(TokenError::UnknownKey)?;
    let cipher = key.cipher(salt).ok_or(TokenError::Forged)?;
    let mut text = sealed.to_vec();
    let claims =
        cipher.open_in_place(nonce(), aead::Aad::from(head.as_bytes()), &mut text).map_err(|_| TokenError::Forged)?;
    Claims::from_json(claims).ok_or(TokenError::Unreadable)
}
