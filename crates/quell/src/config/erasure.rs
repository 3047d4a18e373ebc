//! The key under which erased recipients stay suppressed.

use anyhow::Context as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use service::Secret;
use std::{
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};
use suppressor::erasure::ErasureKey;

/// Where `quell up` keeps a key that it made, below `data_dir`.
const FILE: &str = "erasure.key";
const KEY_BYTES: usize = 32;

/// `[erasure]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErasureConfig {
    /// At least 16 random bytes. It must never change: who was erased is found again by it alone.
    pub(crate) key: Secret,
}

impl ErasureConfig {
    /// The key, ready to be used.
    pub(crate) fn key(&self) -> anyhow::Result<ErasureKey> {
        ErasureKey::new(self.key.expose().as_bytes()).context("erasure.key")
    }
}

/// The key of an embedded instance: the configured one, else one of its own, made where there is none.
pub(crate) fn own_key(config: Option<&ErasureConfig>, data_dir: &Path) -> anyhow::Result<Arc<ErasureKey>> {
    if let Some(config) = config {
        return config.key().map(Arc::new);
    }
    let path = data_dir.join(FILE);
    let known = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path),
        known => known.map_err(Into::into),
    };
    let text = known.with_context(|| format!("the erasure key {}", path.display()))?;
    ErasureKey::new(text.trim().as_bytes()).map(Arc::new).with_context(|| path.display().to_string())
}

/// Makes a key, on disk before anything is kept under it.
fn make(path: &Path) -> anyhow::Result<String> {
    let mut secret = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    std::fs::File::open(parent)?.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_instance_makes_its_key_once_and_shows_it_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let first = own_key(None, folder.path()).unwrap().fingerprint();
        assert_eq!(own_key(None, folder.path()).unwrap().fingerprint(), first);
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let configured = ErasureConfig { key: Secret::new("0123456789abcdef") };
        assert_ne!(own_key(Some(&configured), folder.path()).unwrap().fingerprint(), first);
        std::fs::write(&path, "short").unwrap();
        assert!(own_key(None, folder.path()).is_err(), "a damaged key is no reason to make another");
    }
}
