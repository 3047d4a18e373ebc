//! Query parameters, read strictly: an unknown name is refused, as a filter that is misspelt must not be ignored.

use super::problem::Problem;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use std::{fmt::Display, str::FromStr};

/// The query, in the order given.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::bad_request(format!("the query cannot be read: {error}")))?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// Refuses names beyond these.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(Problem::bad_request(format!("unknown parameter {name:?}; there are {}", known.join(", "))))
            }
        }
    }

    /// A parameter's text, if it is there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, text)| known == name && !text.is_empty()).map(|(_, text)| text.as_str())
    }

    /// Every value of a parameter, repeated or separated by commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let texts = self.0.iter().filter(|(known, _)| known == name).flat_map(|(_, text)| text.split(','));
        texts.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    /// A parameter read as a type of ours.
    pub(super) fn read<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| text.parse().map_err(|error| Problem::bad_request(format!("{name}: {error}")));
        self.text(name).map(read).transpose()
    }

    /// A number from 0 to `max`; what is larger is refused, not cut.
    pub(super) fn number(&self, name: &str, default: u64, max: u64) -> Result<u64, Problem> {
        let number = self.read(name)?.unwrap_or(default);
        if number <= max { Ok(number) } else { Err(Problem::bad_request(format!("{name}: at most {max}"))) }
    }
}
