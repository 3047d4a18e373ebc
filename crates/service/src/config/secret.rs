//! Secrets: followed from a reference when the configuration is read, and never shown.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// The largest file that a secret may be read from.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret. In a configuration it is written as a reference, `env:NAME` or `file:PATH`, which is followed when the
/// configuration is read; the secret itself in its place is refused, as such files end up in repositories. A final line
/// break of a file is left off. Printing one in any way gives `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From the secret itself.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Follows a reference. Errors never hold what a wrong reference said, as that may be the secret.
    pub fn follow(reference: &str) -> Result<Self, String> {
        let secret = if let Some(name) = reference.strip_prefix("env:") {
            std::env::var(name).map_err(|_| format!("the environment variable {name} is not set, or is not text"))?
        } else if let Some(path) = reference.strip_prefix("file:") {
            read(path)?
        } else {
            return Err("a secret must not stand here itself: write a reference, \"env:NAME\" or \"file:PATH\"".into());
        };
        if secret.is_empty() { Err(format!("{reference} is empty")) } else { Ok(Self(secret)) }
    }
}

fn read(path: &str) -> Result<String, String> {
    let bytes =
        std::fs::metadata(path).map_err(|error| format!("cannot read the secret's file {path}: {error}"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("the secret's file {path} has more than {FILE_BYTES_MAX} bytes"));
    }
    let mut text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read the secret's file {path}: {error}"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reference = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::follow(&reference).map_err(D::Error::custom)
    }
}
