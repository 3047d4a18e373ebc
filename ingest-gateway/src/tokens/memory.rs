//! Tokens in memory: for tests and simulations.

use super::{Bound, TokenKey, TokenStore, TokenStoreError, ends_at};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// A bounded store that forgets with the process.
#[derive(Debug)]
pub struct MemoryTokens {
    bindings: Mutex<HashMap<TokenKey, Binding>>,
    tokens_max: usize,
}

#[derive(Debug)]
struct Binding {
    body: [u8; 32],
    ends_ms: i64,
}

impl MemoryTokens {
    /// Holds so many tokens at most; beyond, it cannot answer.
    pub fn new(tokens_max: usize) -> Self {
        Self { bindings: Mutex::new(HashMap::new()), tokens_max }
    }
}

#[async_trait]
impl TokenStore for MemoryTokens {
    async fn bind(&self, key: TokenKey, body: [u8; 32], now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        let mut bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(binding) = bindings.get(&key).filter(|binding| binding.ends_ms > now_ms) {
            return Ok(if binding.body == body { Bound::Same } else { Bound::Other });
        }
        if bindings.len() >= self.tokens_max {
            bindings.retain(|_, binding| binding.ends_ms > now_ms);
            if bindings.len() >= self.tokens_max {
                return Err(TokenStoreError("full".into()));
            }
        }
        bindings.insert(key, Binding { body, ends_ms: ends_at(now_ms, ttl_ms) });
        Ok(Bound::First)
    }
}
