//! Loading configuration: one TOML file, overridden by environment variables, into a type that refuses unknown keys.
//!
//! `QUELL__section__key=value` overrides `key` in `[section]`; names are read in lower case, so
//! `QUELL__GATEWAY__LISTEN` is `listen` in `[gateway]`, and a number picks an element of a list. The value is read as
//! TOML where it is TOML (`8080`, `true`, `["a", "b"]`, `"8080"`), else as text.
//!
//! Errors name the file and line (or the variable) and, for an unknown key, the nearest right one. They never quote a
//! value, which may be a secret in the wrong place.

mod error;
mod overlay;
mod secret;

pub use error::ConfigError;
pub use secret::Secret;

use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;
use toml::de::DeTable;

/// Prefix of overriding environment variables.
pub const ENV_PREFIX: &str = "QUELL__";

/// Reads the file, if one is given, and the process's environment over it.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    load_with(file, variables)
}

/// Reads the file, if one is given, and these variables over it; those without the prefix are passed over.
pub fn load_with<T: DeserializeOwned>(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let (name, text) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
            (path.display().to_string(), text)
        }
        None => ("the configuration".to_owned(), String::new()),
    };
    parse(&name, &text, variables)
}

/// Reads a configuration's text, called `name` in errors, and these variables over it.
pub fn parse<T: DeserializeOwned>(
    name: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    variables.sort();
    let overrides: Vec<overlay::Override> =
        variables.into_iter().map(|(name, value)| overlay::Override::new(name, value)).collect();
    let place = error::Places { name, text, overrides: &overrides };
    let mut root = DeTable::parse(text).map_err(|error| place.explain(&error))?;
    for (number, over) in overrides.iter().enumerate() {
        over.apply(root.get_mut(), text.len() + number)
            .map_err(|message| ConfigError::Invalid { place: place.variable(number), message })?;
    }
    T::deserialize(toml::Deserializer::from(root)).map_err(|error| place.explain(&error))
}

/// The effective configuration as TOML; secrets are masked by their own type.
pub fn print<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    toml::to_string_pretty(config)
        .map_err(|error| ConfigError::Invalid { place: "printing".to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests;
