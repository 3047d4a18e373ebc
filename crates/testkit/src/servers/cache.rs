//! Servers fetched from Maven Central, once a machine.

use super::{Kind, ServerError, java};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const LOG_BYTES: usize = 4_000;

/// Where fetched files stay: `QUELL_CACHE_DIR`, else `$XDG_CACHE_HOME/quell`, else `~/.cache/quell`.
pub(crate) fn folder(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, ServerError> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("QUELL_CACHE_DIR")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("quell")))
        .or_else(|| Some(set("HOME")?.join(".cache/quell")))
        .ok_or(ServerError::NoCache)
}

enum Fetched {
    /// Jars with all that they depend on: group, artifact, version.
    Jars(&'static [[&'static str; 3]]),
    /// One archive that holds all it needs, in Maven's notation.
    Archive(&'static str),
}

/// What to fetch for a server.
struct Parts {
    /// Names the folder: it changes with every version.
    name: &'static str,
    /// Each into a folder below it.
    fetched: &'static [(&'static str, Fetched)],
    about_megabytes: u32,
}

/// Jars of the folder itself.
const HERE: &str = ".";

const fn parts(kind: Kind) -> Parts {
    match kind {
        Kind::Kafka => Parts {
            name: "kafka-4.3.1",
            fetched: &[(
                HERE,
                Fetched::Jars(&[
                    ["org.apache.kafka", "kafka_2.13", "4.3.1"],
                    // Kafka brings the logging interface, but nothing behind it.
                    ["org.slf4j", "slf4j-simple", "1.7.36"],
                ]),
            )],
            about_megabytes: 44,
        },
        Kind::Cql => Parts {
            name: "cassandra-5.0.9",
            fetched: &[(HERE, Fetched::Jars(&[["org.apache.cassandra", "cassandra-all", "5.0.9"]]))],
            about_megabytes: 67,
        },
        Kind::Registry => Parts {
            name: "apicurio-registry-3.0.9",
            // Its parent is not in Maven Central, so it cannot be asked for as a dependency.
            fetched: &[(HERE, Fetched::Archive("io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all"))],
            about_megabytes: 109,
        },
        Kind::Connect => Parts {
            // The worker, and the plugins at the versions that deploy/connect names.
            name: "connect-4.3.1-1",
            fetched: &[
                (
                    HERE,
                    Fetched::Jars(&[
                        ["org.apache.kafka", "connect-runtime", "4.3.1"],
                        ["org.apache.kafka", "connect-json", "4.3.1"],
                        ["org.slf4j", "slf4j-simple", "1.7.36"],
                    ]),
                ),
                ("plugins/debezium", Fetched::Archive("io.debezium:debezium-connector-jdbc:3.6.0.Final:tar.gz:plugin")),
                (
                    "plugins/apicurio",
                    Fetched::Jars(&[["io.apicurio", "apicurio-registry-utils-converter", "2.6.13.Final"]]),
                ),
            ],
            about_megabytes: 120,
        },
        // From Debian: nothing to fetch.
        Kind::Postgres => Parts { name: "postgres", fetched: &[], about_megabytes: 0 },
    }
}

/// The folder with this server's files (`lib/` holds the jars), fetched if it is not there yet. Test processes that
/// want it at the same time wait for the one that fetches it; one that dies in between leaves nothing half done.
pub(crate) fn fetch(kind: Kind) -> Result<PathBuf, ServerError> {
    let servers = folder(|name| std::env::var(name).ok())?.join("servers");
    let parts = parts(kind);
    let done = servers.join(parts.name);
    if done.is_dir() {
        return Ok(done);
    }
    fs::create_dir_all(&servers).map_err(ServerError::io("making the cache folder"))?;
    let _lock = lock(&servers.join("lock"))?;
    if done.is_dir() {
        return Ok(done);
    }
    // Before a hundred megabytes come for nothing.
    java::program("java")?;
    let started = std::time::Instant::now();
    eprintln!("servers: fetching {kind} from Maven Central (about {} MB, once)", parts.about_megabytes);
    // The lock is ours: what others began, they did not live to end.
    let fresh = servers.join(format!(".fetching-{}", parts.name));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(ServerError::io("making the cache folder"))?;
    for (folder, fetched) in parts.fetched {
        let into = fresh.join(folder);
        fs::create_dir_all(&into).map_err(ServerError::io("making the cache folder"))?;
        download(kind, parts.name, fetched, &into)?;
    }
    fs::rename(&fresh, &done).map_err(ServerError::io("moving fetched files into place"))?;
    eprintln!("servers: fetched {kind} in {:.1} s", started.elapsed().as_secs_f32());
    Ok(done)
}

/// Holds an exclusive lock on this file as long as it is open; the kernel frees it with the process.
pub(crate) fn lock(path: &Path) -> Result<File, ServerError> {
    let file =
        File::options().create(true).append(true).open(path).map_err(ServerError::io("opening the cache's lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| ServerError::io("locking the cache")(error.into()))?;
    Ok(file)
}

fn download(kind: Kind, name: &str, fetched: &Fetched, into: &Path) -> Result<(), ServerError> {
    match fetched {
        Fetched::Jars(jars) => {
            fs::write(into.join("pom.xml"), pom(name, jars)).map_err(ServerError::io("writing a pom"))?;
            maven(kind, into, &["dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"])
        }
        Fetched::Archive(artifact) => {
            maven(kind, into, &["dependency:copy", &format!("-Dartifact={artifact}"), "-DoutputDirectory=archive"])?;
            let unpack = "set -e; tar xzf archive/*.tar.gz; rm -r archive";
            run("unpacking what was fetched", Command::new("sh").args(["-c", unpack]).current_dir(into))
        }
    }
}

fn maven(kind: Kind, dir: &Path, arguments: &[&str]) -> Result<(), ServerError> {
    let output = Command::new("mvn")
        // In batch mode, without colours and without the progress of downloads: what it says goes into an error.
        .args(["-B", "-q", "-ntp", "-Dstyle.color=never"])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| ServerError::Program { program: "mvn", package: "maven", detail: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ServerError::Fetch { kind, log: tail(&[output.stdout, output.stderr].concat()) })
}

/// Runs a short command to its end and keeps what it said for the error.
pub(crate) fn run(doing: &'static str, command: &mut Command) -> Result<(), ServerError> {
    let output = command.stdin(Stdio::null()).output().map_err(ServerError::io(doing))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ServerError::Command { doing, log: tail(&[output.stdout, output.stderr].concat()) })
}

fn pom(name: &str, jars: &[[&str; 3]]) -> String {
    let dependencies: String = jars
        .iter()
        .map(|[group, artifact, version]| {
            format!(
                "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>quell.test</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}  </dependencies>
</project>
"#
    )
}

/// The end of a log, cut at a line.
pub(crate) fn tail(log: &[u8]) -> String {
    let from = log.len().saturating_sub(LOG_BYTES);
    let text = String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned();
    match text.split_once('\n') {
        Some((_, whole)) if from > 0 => whole.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_cache_folder_is_found_in_the_environment() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let variables: HashMap<_, _> = variables.iter().copied().collect();
            let found = folder(|name| variables.get(name).map(|value| (*value).to_owned()));
            assert_eq!(found.ok(), expected.map(PathBuf::from), "{variables:?}");
        };
        check(&[("QUELL_CACHE_DIR", "/q"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/q"));
        check(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/quell"));
        check(&[("QUELL_CACHE_DIR", ""), ("XDG_CACHE_HOME", ""), ("HOME", "/h")], Some("/h/.cache/quell"));
        check(&[], None);
    }

    #[test]
    fn a_pom_names_what_to_fetch() {
        let text = pom("x-1", &[["a.b", "c", "1"], ["d", "e", "2"]]);
        let dependency =
            "<dependency><groupId>a.b</groupId><artifactId>c</artifactId><version>1</version></dependency>";
        assert!(text.contains(dependency) && text.contains("<artifactId>e</artifactId><version>2</version>"), "{text}");
    }

    #[test]
    fn a_log_is_cut_at_a_line() {
        assert_eq!(tail(b"one\ntwo\n"), "one\ntwo\n");
        let long = "a line of a log\n".repeat(1_000);
        let end = tail(long.as_bytes());
        assert!(end.len() <= LOG_BYTES && end.starts_with("a line"), "{end}");
    }
}
