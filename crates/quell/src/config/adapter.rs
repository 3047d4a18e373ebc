//! Adapters: providers that files declare instead of code. `docs/adapters.md` is their manual.

use super::Refused;
use anyhow::{Context as _, bail};
use providers::{
    Provider as _, Providers,
    declared::{Adapter, AdapterFile, Fixture},
};
use serde::Deserialize;
use service::config;
use std::path::{Path, PathBuf};

const ADAPTERS_MAX: usize = 64;
/// With its fixtures, which hold whole requests.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Every provider that the configuration knows, and the requests that its adapters are tried with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Adapters {
    /// Built in and declared.
    pub(crate) providers: Providers,
    /// In the order of the configuration.
    pub(crate) declared: Vec<Declared>,
}

/// One adapter's file.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// As the configuration names it.
    pub(crate) file: PathBuf,
    /// The provider's word.
    pub(crate) name: &'static str,
    /// Requests, and what must become of them.
    pub(crate) fixtures: Vec<Fixture>,
}

impl Adapters {
    /// Reads the files; those that are relative lie beside the configuration file.
    pub(crate) fn load(files: &[PathBuf], configuration: Option<&Path>) -> anyhow::Result<Self> {
        if files.len() > ADAPTERS_MAX {
            bail!("adapters names {} files: at most {ADAPTERS_MAX} can be declared", files.len());
        }
        let folder = configuration.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let (mut adapters, mut declared) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
        for file in files {
            let read = read(file, &folder.join(file)).context("adapters")?;
            let fixtures = read.fixtures.clone();
            let adapter = Adapter::declare(read).with_context(|| file.display().to_string()).context("adapters")?;
            adapters.push(adapter);
            declared.push(Declared { file: file.clone(), name: adapter.name(), fixtures });
        }
        Ok(Self { providers: Providers::with(&adapters).context("adapters")?, declared })
    }

    /// The providers that a configuration file knows, whatever else it says: for what needs neither its secrets nor its
    /// sources.
    pub(crate) fn of_configuration(file: Option<&Path>) -> anyhow::Result<Self> {
        Refused::unless(Self::named_in(file))
    }

    fn named_in(file: Option<&Path>) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            adapters: Vec<PathBuf>,
        }
        let named: Named = config::load(file)?;
        Self::load(&named.adapters, file)
    }
}

/// Reads a file, called as the configuration calls it.
fn read(file: &Path, path: &Path) -> anyhow::Result<AdapterFile> {
    let bytes = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{} has {bytes} bytes: an adapter's file has at most {FILE_BYTES_MAX}", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(config::parse(&file.display().to_string(), &text, [])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARKPOST: &str = include_str!("../../../../deploy/adapters/larkpost.toml");

    fn load(folder: &Path, files: &[&str]) -> Result<Adapters, String> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        Adapters::load(&files, Some(&folder.join("quell.toml"))).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn files_lie_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("adapters")).unwrap();
        std::fs::write(folder.path().join("adapters/larkpost.toml"), LARKPOST).unwrap();
        let adapters = load(folder.path(), &["adapters/larkpost.toml"]).unwrap();
        assert!(adapters.providers.by_name("larkpost").is_some());
        assert_eq!((adapters.declared[0].name, adapters.declared[0].fixtures.len()), ("larkpost", 7));
        // Whatever else a configuration says, and cannot keep.
        let text = "adapters = [\"adapters/larkpost.toml\"]\n[[source]]\nprovider = \"larkpost\"\nsecrets = [\"env:NOWHERE\"]\n";
        let file = folder.path().join("quell.toml");
        std::fs::write(&file, text).unwrap();
        assert!(Adapters::of_configuration(Some(&file)).unwrap().providers.by_name("larkpost").is_some());
    }

    #[test]
    fn what_cannot_work_is_told_with_file_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, files: &[&str], says: &[&str]| {
            std::fs::write(folder.path().join("a.toml"), text).unwrap();
            let error = load(folder.path(), files).unwrap_err();
            assert!(says.iter().all(|part| error.contains(part)), "{error}");
        };
        check("", &["missing.toml"], &["missing.toml", "cannot read"]);
        let typo = LARKPOST.replacen("time_header", "time_hedaer", 1);
        check(&typo, &["a.toml"], &["adapters: a.toml:16: unknown key `time_hedaer`, did you mean `time_header`?"]);
        let path = LARKPOST.replacen("\"to.email\"", "\"to..email\"", 1);
        check(&path, &["a.toml"], &["adapters: a.toml:27: ", "has an empty step"]);
        let name = LARKPOST.replacen("\"larkpost\"", "\"sendgrid\"", 1);
        check(&name, &["a.toml"], &["adapters: a.toml: name: ", "is built in"]);
        let scope = LARKPOST.replacen("scope = \"list\"", "scope = \"lists\"", 1);
        check(&scope, &["a.toml"], &["adapters: a.toml: map 9: unknown scope"]);
        check(LARKPOST, &["a.toml", "a.toml"], &["two adapters are called \"larkpost\""]);
        check(LARKPOST, &["a.toml"; 65], &["at most 64"]);
    }

    /// A path that the gateway keeps for itself is no adapter's.
    #[test]
    fn words_of_fixed_paths_are_no_names() {
        let folder = tempfile::tempdir().unwrap();
        for fixed in ingest_gateway::FIXED_PATHS {
            let word = fixed.path.trim_start_matches("/webhooks/").split('/').next().unwrap();
            let text = LARKPOST.replacen("\"larkpost\"", &format!("{word:?}"), 1);
            std::fs::write(folder.path().join("a.toml"), text).unwrap();
            let error = load(folder.path(), &["a.toml"]).unwrap_err();
            assert!(error.contains("give the adapter another name"), "{word}: {error}");
        }
    }
}
