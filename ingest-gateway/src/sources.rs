//! The configured endpoints.

use crate::route;
use providers::{Provider, Source};
use std::{collections::BTreeMap, sync::Arc};

/// One endpoint, ready to take requests.
#[derive(Debug)]
pub struct Configured {
    /// The provider's knowledge.
    pub provider: &'static dyn Provider,
    /// Tenant, secrets, options.
    pub source: Source,
    /// Only report what fails authentication, and take it all the same: for bringing a source into service.
    pub shadow: bool,
}

/// A list of sources that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourcesError {
    /// The same provider and name twice.
    #[error("two sources of {provider} are called {name:?}: give each its own name")]
    Duplicate {
        /// Provider.
        provider: &'static str,
        /// Name.
        name: String,
    },
    /// A name that a fixed path uses.
    #[error("a source of {provider} cannot be called {name:?}: the word is part of a fixed path")]
    Reserved {
        /// Provider.
        provider: &'static str,
        /// Name.
        name: String,
    },
    /// A name that cannot stand in a path.
    #[error(
        "a source of {provider} cannot be called {name:?}: use 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit"
    )]
    Name {
        /// Provider.
        provider: &'static str,
        /// Name.
        name: String,
    },
    /// Provider and source do not belong together.
    #[error("a source of {source_of} was given to {provider}")]
    OtherProvider {
        /// Whose folder it was given to.
        provider: &'static str,
        /// Whose it is.
        source_of: &'static str,
    },
}

/// Every configured endpoint, by provider and name.
#[derive(Debug, Default)]
pub struct Sources {
    by_provider: BTreeMap<&'static str, BTreeMap<String, Arc<Configured>>>,
}

impl Sources {
    /// Checks names and takes the list.
    pub fn new(list: impl IntoIterator<Item = Configured>) -> Result<Self, SourcesError> {
        let mut by_provider: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for configured in list {
            let (provider, name) = (configured.provider.name(), configured.source.name.clone());
            if configured.source.provider != provider {
                return Err(SourcesError::OtherProvider { provider, source_of: configured.source.provider });
            }
            if route::is_reserved(&name) {
                return Err(SourcesError::Reserved { provider, name });
            }
            if domain::Tenant::new(&name).is_err() {
                return Err(SourcesError::Name { provider, name });
            }
            let of_provider = by_provider.entry(provider).or_default();
            if of_provider.insert(name.clone(), Arc::new(configured)).is_some() {
                return Err(SourcesError::Duplicate { provider, name });
            }
        }
        Ok(Self { by_provider })
    }

    /// The endpoint of a provider and name.
    pub fn get(&self, provider: &str, name: &str) -> Option<&Arc<Configured>> {
        self.by_provider.get(provider)?.get(name)
    }

    /// Every endpoint, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Configured>> {
        self.by_provider.values().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(name: &str) -> Configured {
        let provider = providers::by_name("drip").unwrap();
        let source = Source {
            provider: provider.name(),
            name: name.to_owned(),
            tenant: domain::Tenant::default(),
            spec: providers::SourceSpec::default(),
        };
        Configured { provider, source, shadow: false }
    }

    #[test]
    fn finds_what_was_configured() {
        let sources = Sources::new([configured("default"), configured("acme")]).unwrap();
        assert_eq!(sources.get("drip", "acme").unwrap().source.name, "acme");
        assert!(sources.get("drip", "other").is_none());
        assert!(sources.get("sendgrid", "acme").is_none());
        assert_eq!(sources.iter().count(), 2);
    }

    #[test]
    fn refuses_names_that_cannot_be_served() {
        let check = |names: &[&str], expected: &str| {
            let error = Sources::new(names.iter().map(|name| configured(name))).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["default", "default"], "two sources of drip are called \"default\"");
        check(&["bounce"], "part of a fixed path");
        check(&["status"], "part of a fixed path");
        check(&["a/b"], "use 1 to 63");
        check(&[""], "use 1 to 63");
        check(&["Acme"], "use 1 to 63");
    }

    #[test]
    fn refuses_a_source_of_another_provider() {
        let mut wrong = configured("default");
        wrong.source.provider = "twilio";
        assert!(matches!(Sources::new([wrong]), Err(SourcesError::OtherProvider { .. })));
    }
}
