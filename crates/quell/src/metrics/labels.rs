//! Labels from bounded sets: whatever is not configured or built in is `other` or `unknown`.

use crate::config::Config;
use domain::Kind;
use providers::Providers;
use std::collections::{BTreeSet, HashMap};

/// The label of every tenant that is not configured.
pub(crate) const OTHER: &str = "other";

/// Tenants that have a label of their own: those of sources, accounts and tokens.
#[derive(Debug)]
pub(crate) struct Tenants {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
}

impl Tenants {
    pub(crate) fn of(config: &Config) -> Self {
        let sources = config.sources.iter().map(|source| &source.tenant);
        let accounts = config.accounts.iter().map(|account| &account.tenant);
        let tokens = config.lookup.tokens.iter().filter_map(|token| token.tenant.as_ref());
        Self::new(sources.chain(accounts).chain(tokens).map(|tenant| tenant.as_str().to_owned()))
    }

    fn new(names: impl Iterator<Item = String>) -> Self {
        let distinct: BTreeSet<String> = names.filter(|name| name != OTHER).take(usize::from(u16::MAX)).collect();
        let names: Vec<String> = std::iter::once(OTHER.to_owned()).chain(distinct).collect();
        let numbers = (0..=u16::MAX).zip(&names).map(|(number, name)| (name.clone(), number)).collect();
        Self { names, numbers }
    }

    /// The number of a tenant's label.
    pub(crate) fn number(&self, tenant: &str) -> u16 {
        self.numbers.get(tenant).copied().unwrap_or(0)
    }

    /// The label of a number.
    pub(crate) fn name(&self, number: u16) -> &str {
        self.names.get(usize::from(number)).map_or(OTHER, String::as_str)
    }
}

/// Providers that have a label of their own: built in, declared, and the two of inner events.
#[derive(Debug)]
pub(crate) struct ProviderNames(HashMap<&'static str, &'static str>);

impl ProviderNames {
    pub(crate) fn of(providers: Providers) -> Self {
        Self(providers.names().chain(["manual", "quell"]).map(|name| (name, name)).collect())
    }

    /// A provider's word, if it is one; anything else would let labels grow.
    pub(crate) fn known(&self, provider: &str) -> &'static str {
        self.0.get(provider).copied().unwrap_or("unknown")
    }
}

/// Tags from code that no list bounds: so many distinct ones, then `other`.
#[derive(Debug)]
pub(crate) struct Tags {
    known: std::sync::Mutex<BTreeSet<String>>,
    max: usize,
}

impl Tags {
    pub(crate) fn new(max: usize) -> Self {
        Self { known: std::sync::Mutex::default(), max }
    }

    pub(crate) fn label<'a>(&self, tag: &'a str) -> &'a str {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.contains(tag) || (known.len() < self.max && known.insert(tag.to_owned())) { tag } else { OTHER }
    }
}

/// The kinds that providers tell.
pub(crate) fn outer_kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| !suppressor::stage::is_inner(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_configured_is_another() {
        let tenants = Tenants::new(["acme", "beta", "acme", "other"].map(str::to_owned).into_iter());
        for name in ["acme", "beta"] {
            assert_eq!(tenants.name(tenants.number(name)), name);
        }
        assert_eq!((tenants.name(tenants.number("nobody")), tenants.name(9)), (OTHER, OTHER));
        assert_eq!(tenants.name(tenants.number("other")), OTHER);
    }

    #[test]
    fn providers_are_a_closed_set() {
        let names = ProviderNames::of(Providers::default());
        assert_eq!(["sendgrid", "quell", "manual"].map(|name| names.known(name)), ["sendgrid", "quell", "manual"]);
        assert_eq!(names.known("jane@example.com"), "unknown");
    }

    #[test]
    fn tags_are_bounded() {
        let tags = Tags::new(2);
        assert_eq!(["a", "b", "c", "a"].map(|tag| tags.label(tag)), ["a", "b", OTHER, "a"]);
    }
}
