//! Tokens of providers whose signature leaves the body out (Mailgun): each is bound to the first body it came with, so
//! that a retry passes and a replay with another body does not.

mod embedded;
mod memory;

pub use embedded::EmbeddedTokens;
pub use memory::MemoryTokens;

use async_trait::async_trait;

/// A token's key in a store: SHA-256 over its provider and itself, so that stores hold no tokens. Sources of one provider
/// share their tokens: who took a token to one may not use it at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key of a provider's token.
    pub fn of(provider: &str, token: &str) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(provider.as_bytes());
        context.update(&[0]);
        context.update(token.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Never seen, or long ago: bound to this body now.
    First,
    /// To this very body.
    Same,
    /// To another body.
    Other,
}

/// The store cannot answer; nothing is known about the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token store cannot answer: {0}")]
pub struct TokenStoreError(pub String);

/// Remembers tokens. A binding that was answered survives whatever is appended after it.
#[async_trait]
pub trait TokenStore: Send + Sync + std::fmt::Debug {
    /// Binds a token to the SHA-256 of a body, unless it is bound already; one of several at once is first. A binding ends
    /// `ttl_ms` after it was made; times are milliseconds since the epoch.
    async fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError>;
}

/// A binding's end.
fn ends_at(now_ms: i64, ttl_ms: u64) -> i64 {
    now_ms.saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
