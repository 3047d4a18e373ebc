//! Every provider that a process knows.

use crate::declared::Adapter;
use crate::{PROVIDERS, Provider, by_name};

/// Two adapters of one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two adapters are called {0:?}: give each its own name")]
pub struct NameTaken(pub &'static str);

/// The providers that are built in, and those that the configuration declares. Whoever resolves a provider's name at run time
/// goes by one of these, and every part of a process by the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Providers {
    declared: &'static [&'static dyn Provider],
}

impl Providers {
    /// With these adapters. The list stays in memory until the process ends, as they do.
    pub fn with(adapters: &[&'static Adapter]) -> Result<Self, NameTaken> {
        let mut declared: Vec<&'static dyn Provider> = Vec::with_capacity(adapters.len());
        for adapter in adapters {
            let name = adapter.name();
            if declared.iter().any(|known| known.name() == name) {
                return Err(NameTaken(name));
            }
            declared.push(*adapter);
        }
        Ok(Self { declared: declared.leak() })
    }

    /// The provider of a name, as it stands in paths and configuration.
    pub fn by_name(&self, name: &str) -> Option<&'static dyn Provider> {
        by_name(name).or_else(|| self.declared.iter().copied().find(|provider| provider.name() == name))
    }

    /// Every name, the built-in ones first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        PROVIDERS.iter().chain(self.declared).map(|provider| provider.name())
    }
}
