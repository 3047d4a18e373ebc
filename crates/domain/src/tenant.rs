//! The customer whose recipients an event or a suppression is about.

use serde::{Deserialize, Serialize};

/// A tenant's name: 1 to 63 of `a-z 0-9 . _ -`, first a letter or digit. Safe in keys, paths and labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Tenant(String);

/// A name that no tenant can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tenant's name: use 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit")]
pub struct TenantError;

impl Tenant {
    /// The name, checked.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if first && rest && name.len() <= 63 { Ok(Self(name.to_owned())) } else { Err(TenantError) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Tenant {
    type Err = TenantError;
    fn from_str(name: &str) -> Result<Self, TenantError> {
        Self::new(name)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}
