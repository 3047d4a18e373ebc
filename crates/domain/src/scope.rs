//! How far a suppression reaches, and what kind of message is about to be sent.

use crate::words::words;
use serde::{Deserialize, Serialize};

words!(
    /// The class of a send that is being checked.
    MessageClass, "message class", {
        /// Security notices and what law demands.
        Critical = "critical",
        /// Receipts, password resets.
        Transactional = "transactional",
        /// All else; may carry categories.
        Marketing = "marketing",
    }
);

/// How far a suppression reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything: the address is dead.
    All,
    /// Everything that is not critical: the recipient complained.
    NonCritical,
    /// Marketing: a global unsubscribe, or nobody reads it.
    Marketing,
    /// One category, list, group or campaign of the provider.
    Category(String),
    /// On sms: one sender number or messaging service that was told STOP.
    Sender(String),
}

/// A scope that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: use all, non_critical, marketing, category:NAME or sender:NUMBER")]
pub struct ScopeError;

const NAME_BYTES_MAX: usize = 256;

impl Scope {
    /// A category's scope; names are cut to 256 bytes.
    pub fn category(name: &str) -> Self {
        Self::Category(cut(name))
    }

    /// A sender's scope; names are cut to 256 bytes.
    pub fn sender(name: &str) -> Self {
        Self::Sender(cut(name))
    }
}

fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::NonCritical => f.write_str("non_critical"),
            Self::Marketing => f.write_str("marketing"),
            Self::Category(name) => write!(f, "category:{name}"),
            Self::Sender(name) => write!(f, "sender:{name}"),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text {
            "all" => Ok(Self::All),
            "non_critical" => Ok(Self::NonCritical),
            "marketing" => Ok(Self::Marketing),
            other => match other.split_once(':') {
                Some(("category", name)) if !name.is_empty() => Ok(Self::category(name)),
                Some(("sender", name)) if !name.is_empty() => Ok(Self::sender(name)),
                _ => Err(ScopeError),
            },
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
