//! The spool's settings.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Less than this is no spool.
const BYTES_MIN: u64 = 1_024 * 1_024;
const WAIT_MS_RANGE: std::ops::RangeInclusive<u64> = 10..=30_000;

/// The spool for the time that the log is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Whether webhooks are taken while the log is away. Where not, they are refused in the provider's way; what an
    /// earlier start left in the directory is drained all the same.
    pub enabled: bool,
    /// Where the spool lies: a directory of its own on a disk that outlives the process. One process at a time.
    pub directory: PathBuf,
    /// The most its files may take on that disk, in bytes. Beyond it webhooks are refused.
    pub bytes_max: u64,
    /// How long to wait for the log's delivery report before the spool is used, in milliseconds.
    pub wait_ms: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { enabled: true, directory: "quell-spool".into(), bytes_max: 1_024 * 1_024 * 1_024, wait_ms: 1_000 }
    }
}

impl SpoolConfig {
    /// Says what cannot be used, and what to do about it.
    pub fn validate(&self) -> Result<(), SpoolConfigError> {
        if self.enabled && self.directory.as_os_str().is_empty() {
            return Err(SpoolConfigError::Directory);
        }
        if self.enabled && self.bytes_max < BYTES_MIN {
            return Err(SpoolConfigError::Bytes(self.bytes_max));
        }
        if !WAIT_MS_RANGE.contains(&self.wait_ms) {
            return Err(SpoolConfigError::Wait(self.wait_ms));
        }
        Ok(())
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpoolConfigError {
    /// No directory.
    #[error("the spool has no directory: name one on a disk that outlives the process, or set enabled = false")]
    Directory,
    /// Too small.
    #[error("a spool of {0} bytes is too small: give bytes_max at least {BYTES_MIN}, or set enabled = false")]
    Bytes(u64),
    /// No sensible wait.
    #[error("a wait of {0} ms for the log is not sensible: set wait_ms to 10 to 30000")]
    Wait(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_cannot_be_used() {
        let check = |edit: fn(&mut SpoolConfig), expected| {
            let mut config = SpoolConfig::default();
            edit(&mut config);
            assert_eq!(config.validate(), expected);
        };
        check(|_| {}, Ok(()));
        check(|config| config.directory = PathBuf::new(), Err(SpoolConfigError::Directory));
        check(|config| config.bytes_max = 1, Err(SpoolConfigError::Bytes(1)));
        check(|config| config.wait_ms = 0, Err(SpoolConfigError::Wait(0)));
        check(|config| config.wait_ms = 60_000, Err(SpoolConfigError::Wait(60_000)));
        check(|config| (config.enabled, config.bytes_max) = (false, 0), Ok(()));
    }

    #[test]
    fn refuses_unknown_keys() {
        let read = |text| serde_json::from_str::<SpoolConfig>(text);
        assert_eq!(read(r#"{"wait_ms":500}"#).unwrap().wait_ms, 500);
        assert!(read(r#"{"wait":500}"#).is_err());
    }
}
