//! Programs in another language that read what the servers hold, as a stranger would.

use super::{
    Kind, ServerError, cache,
    java::{class_path, program},
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The registry brings it among its own files.
const AVRO: &str = "org.apache.avro.avro-";

/// A command that runs this Java source file: a program of one file, given Kafka's clients, Avro and Jackson, which came
/// with the servers. Its arguments are to be added.
///
/// # Errors
/// Java or Maven missing, or no network for the first fetch of the servers' files.
pub fn java_client(source: &Path) -> Result<Command, ServerError> {
    let mut command = Command::new(program("java")?);
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".as_ref(), OsStr::new("-cp")]);
    command.arg(client_class_path()?).arg(source);
    Ok(command)
}

fn client_class_path() -> Result<OsString, ServerError> {
    let kafka = class_path(&cache::fetch(Kind::Kafka)?.join("lib"))?;
    let avro = avro(&cache::fetch(Kind::Registry)?.join("lib"))?;
    let joined = std::env::join_paths(std::env::split_paths(&kafka).chain([avro]));
    joined.map_err(|error| ServerError::io("joining the class path")(io::Error::other(error)))
}

fn avro(lib: &Path) -> Result<PathBuf, ServerError> {
    let failed = || ServerError::io("looking for Avro among the registry's files");
    let jars: Vec<_> = fs::read_dir(lib).map_err(failed())?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let is_avro = |jar: &&PathBuf| jar.file_name().is_some_and(|name| name.to_string_lossy().starts_with(AVRO));
    jars.iter().find(is_avro).cloned().ok_or_else(|| failed()(io::ErrorKind::NotFound.into()))
}
