//! Errors that say where, and what would be right.

use super::overlay::Override;
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not readable.
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It says something that cannot be.
    #[error("{place}: {message}")]
    Invalid {
        /// File and line, or environment variable.
        place: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Where things stand: spans below the text's length are in the file, those above number the overrides.
pub(super) struct Places<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) overrides: &'a [Override],
}

impl Places<'_> {
    pub(super) fn variable(&self, number: usize) -> String {
        match self.overrides.get(number) {
            Some(over) => format!("environment variable {}", over.name()),
            None => self.name.to_owned(),
        }
    }

    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let place = match error.span() {
            Some(span) if span.start >= self.text.len() && !self.overrides.is_empty() => {
                self.variable(span.start - self.text.len())
            }
            Some(span) => {
                let before = self.text.get(..span.start).unwrap_or(self.text);
                format!("{}:{}", self.name, before.bytes().filter(|byte| *byte == b'\n').count() + 1)
            }
            None => self.name.to_owned(),
        };
        ConfigError::Invalid { place, message: say(error.message()) }
    }
}

/// Serde's sentence in ours: keys instead of fields, the nearest one named, and no value quoted.
fn say(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut words = rest.split('`').skip(1).step_by(2);
        let unknown = words.next().unwrap_or_default();
        let known: Vec<&str> = words.collect();
        return match nearest(unknown, &known) {
            Some(near) => format!("unknown key `{unknown}`, did you mean `{near}`?"),
            None if known.is_empty() => format!("unknown key `{unknown}`: nothing can stand here"),
            None => format!("unknown key `{unknown}`, expected one of: {}", known.join(", ")),
        };
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("missing key {rest}");
    }
    // `invalid type: string "s3cret", expected a sequence`: what stood there may be a secret.
    for kind in ["invalid type: string ", "invalid value: string "] {
        if message.starts_with(kind) {
            return match message.rfind("\", expected ") {
                Some(at) => format!("found text, {}", &message[at + 3..]),
                None => "found text where none can stand".to_owned(),
            };
        }
    }
    message.to_owned()
}

/// The known word that is the fewest edits away, if that is near enough to be meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|candidate| (edits(word, candidate), *candidate)).min()?;
    (near.0 <= 1 + word.chars().count() / 4).then_some(near.1)
}

/// How many letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(128).collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (a, b, expected) in
            [("", "", 0), ("lisen", "listen", 1), ("lsiten", "listen", 1), ("abc", "", 3), ("a", "b", 1)]
        {
            assert_eq!(edits(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn names_the_nearest_only_if_it_is_near() {
        assert_eq!(nearest("lisen", &["port", "listen"]), Some("listen"));
        assert_eq!(nearest("xyz", &["port", "listen"]), None);
    }
}
