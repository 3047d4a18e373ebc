//! What was learnt from the registry, in a file of the data directory.

use anyhow::{Context as _, bail};
use ring::digest::{SHA256, digest};
use schemas::{ids::LEARNT_MAX, registry::Subject};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// The largest file that is read; also what is written stays below it.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// An id, and of which text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// SHA-256 of the schema as it is sent, in hexadecimal.
    sha256: String,
    id: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// Which registry said so.
    registry: String,
    /// By subject: what this build, or the last one that ran here, writes.
    subjects: BTreeMap<String, Given>,
    /// By id: the text of every schema seen, ours and other builds'.
    schemas: BTreeMap<u32, String>,
}

/// The file, and what it holds.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    content: Content,
    /// The ids are of the registry in use, and not of one with another URL.
    is_same_registry: bool,
    is_changed: bool,
}

impl Cache {
    /// Reads it; without a file it is empty.
    pub(super) fn read(path: &Path, registry: &str) -> anyhow::Result<Self> {
        let odd = || format!("{} cannot be read: delete it, and the next start asks the registry", path.display());
        let content = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(odd),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => bail!("more than {FILE_BYTES_MAX} bytes: {}", odd()),
            Ok(_) => {
                let bytes = fs::read(path).with_context(odd)?;
                Some(serde_json::from_slice::<Content>(&bytes).with_context(odd)?)
            }
        };
        let is_same_registry = content.as_ref().is_none_or(|content| content.registry == registry);
        let empty = || Content { registry: registry.to_owned(), subjects: BTreeMap::new(), schemas: BTreeMap::new() };
        let mut content = content.unwrap_or_else(empty);
        content.registry = registry.to_owned();
        Ok(Self { path: path.to_owned(), content, is_same_registry, is_changed: !is_same_registry })
    }

    /// The id of a subject's schema, if this registry gave one for this very text.
    pub(super) fn id(&self, subject: &Subject) -> Option<u32> {
        let given = self.content.subjects.get(&subject.name)?;
        (self.is_same_registry && given.sha256 == sha256(subject)).then_some(given.id)
    }

    /// Takes an id in. One text with two ids is an error: the log holds records with the first.
    pub(super) fn set_id(&mut self, subject: &Subject, id: u32) -> anyhow::Result<()> {
        let given = Given { sha256: sha256(subject), id };
        if let Some(before) = self.content.subjects.get(&subject.name)
            && before.sha256 == given.sha256
            && before.id != id
        {
            bail!(
                "the registry gives {} the id {id}, but {} before: it is not the registry that this log was written with. \
                 Restore that one with its ids. If no record with the former ids is kept any more, delete {}",
                subject.name,
                before.id,
                self.path.display()
            );
        }
        if let Some(text) = self.content.schemas.get(&id)
            && *text != subject.schema_text()
            && !is_name(text, &subject.codec.full_name())
        {
            bail!("the registry gives {} the id {id}, which stood for another record before", subject.name);
        }
        // The next build reads what this one wrote, also while the registry is away.
        if !self.content.schemas.contains_key(&id) {
            self.set_schema(id, &subject.schema_text());
        }
        let before = self.content.subjects.insert(subject.name.clone(), given.clone());
        self.is_changed |= before.as_ref() != Some(&given);
        Ok(())
    }

    /// Every schema seen, by id.
    pub(super) fn schemas(&self) -> impl Iterator<Item = (u32, &str)> {
        self.content.schemas.iter().map(|(id, text)| (*id, text.as_str()))
    }

    /// The schema behind an id.
    pub(super) fn schema(&self, id: u32) -> Option<&str> {
        self.content.schemas.get(&id).map(String::as_str)
    }

    /// Takes a schema in, while there is room.
    pub(super) fn set_schema(&mut self, id: u32, text: &str) {
        let bytes: usize = self.content.schemas.values().map(String::len).sum();
        // Text grows when it is written into JSON, at most to twice its size here.
        let has_room = (bytes + text.len()) as u64 * 2 < FILE_BYTES_MAX / 2;
        if self.content.schemas.len() < LEARNT_MAX && has_room {
            self.content.schemas.insert(id, text.to_owned());
            self.is_changed = true;
        }
    }

    /// Writes the file, if there is news: whole or not at all.
    pub(super) fn write(&mut self) -> anyhow::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let failed = || format!("cannot write {}", self.path.display());
        let fresh = self.path.with_extension("json.new");
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).with_context(failed)?;
        }
        let mut file = fs::File::create(&fresh).with_context(failed)?;
        file.write_all(&serde_json::to_vec_pretty(&self.content)?).with_context(failed)?;
        file.sync_all().with_context(failed)?;
        fs::rename(&fresh, &self.path).with_context(failed)?;
        self.is_changed = false;
        Ok(())
    }
}

fn sha256(subject: &Subject) -> String {
    digest(&SHA256, subject.schema_text().as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a schema's text is one of a record with this full name.
fn is_name(text: &str, full_name: &str) -> bool {
    let Ok(schema) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    let (namespace, name) = (schema["namespace"].as_str(), schema["name"].as_str().unwrap_or_default());
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}")) == full_name
}
