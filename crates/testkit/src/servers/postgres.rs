//! PostgreSQL on this machine, from Debian's package and without Debian's own cluster.

use super::{
    Kind, ServerError, cache, clash, free_ports,
    java::{JavaServer, Plan},
    probe,
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian puts one folder a major version.
const DEBIAN: &str = "/usr/lib/postgresql";
pub(crate) const USER: &str = "quell";
/// The database that every server has.
pub(crate) const DATABASE: &str = "postgres";
/// `nobody` and `nogroup`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// A PostgreSQL that only its owner uses, and that its owner may stop, kill, pause and start again on the same port and data.
/// Its one user owns everything and logs in with a password. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct LocalPostgres {
    url: String,
    server: JavaServer,
}

impl LocalPostgres {
    /// Starts a fresh one and waits until it answers. Blocks: about two seconds.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or no answer within 60 seconds.
    pub fn start() -> Result<Self, ServerError> {
        let bin = bin(Path::new(DEBIAN))?;
        clash::retried(|| Self::start_once(&bin))
    }

    fn start_once(bin: &Path) -> Result<Self, ServerError> {
        let failed = ServerError::io;
        let [port] = free_ports()?;
        let dir = TempDir::with_prefix("quell-postgres-").map_err(failed("making a folder for PostgreSQL"))?;
        let (data, word) = (dir.path().join("data"), dir.path().join("password"));
        let password = password();
        fs::write(&word, &password).map_err(failed("writing a password"))?;
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            for path in [dir.path(), word.as_path()] {
                chown(path, Some(NOBODY), Some(NOBODY)).map_err(failed("giving a folder to nobody"))?;
            }
        }
        let (program, mut initdb) = unprivileged(is_root, &bin.join("initdb"));
        initdb.extend(["--username", USER, "--auth=scram-sha-256", "--locale=C", "--encoding=UTF8"].map(Into::into));
        initdb.extend(["--no-sync".into(), "--pwfile".into(), word.into(), "--pgdata".into(), data.clone().into()]);
        let making = "making a PostgreSQL cluster";
        cache::run(making, Command::new(program).args(initdb).current_dir(dir.path()))?;
        let (program, mut arguments) = unprivileged(is_root, &bin.join("postgres"));
        arguments.extend(["-D".into(), data.into(), "-p".into(), port.to_string().into()]);
        arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c".into(), (*setting).into()]));
        let url = url(&password, &format!("127.0.0.1:{port}"));
        let address = format!("127.0.0.1:{port}");
        let probe = Box::new(move || answers(&address));
        let plan = Plan { kind: Kind::Postgres, dir, arguments, probe, patience: PATIENCE };
        Ok(Self { url, server: JavaServer::start_program(plan, program)? })
    }

    /// `postgresql://user:password@host:port/database`, as `psql` takes it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

super::steer!(LocalPostgres);

/// Quick rather than durable: a killed process loses nothing, a machine that loses power would.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "shared_buffers=32MB",
    "max_connections=100",
    "log_min_messages=warning",
];

/// The program and what goes before its arguments, so that it never runs as root.
fn unprivileged(is_root: bool, program: &Path) -> (PathBuf, Vec<OsString>) {
    if !is_root {
        return (program.to_owned(), Vec::new());
    }
    let id = NOBODY.to_string();
    let arguments = [format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned(), "--".to_owned()];
    (PathBuf::from("setpriv"), arguments.into_iter().map(Into::into).chain([program.into()]).collect())
}

/// The programs of the newest version that is installed.
fn bin(versions: &Path) -> Result<PathBuf, ServerError> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = fs::read_dir(versions).map(|entries| {
        let mut found: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        found.retain(|path| version(path).is_some() && path.join("bin/initdb").is_file());
        found.into_iter().max_by_key(|path| version(path))
    });
    match found {
        Ok(Some(newest)) => Ok(newest.join("bin")),
        found => Err(ServerError::Program {
            program: "initdb",
            package: "postgresql",
            detail: found.err().map_or_else(|| format!("not in {}", versions.display()), |error| error.to_string()),
        }),
    }
}

pub(crate) fn url(password: &str, place: &str) -> String {
    format!("postgresql://{USER}:{password}@{place}/{DATABASE}")
}

/// `host:port` of such a URL.
pub(crate) fn place(url: &str) -> Option<String> {
    let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"))?;
    let rest = rest.split(['/', '?']).next()?;
    let place = rest.rsplit('@').next()?;
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "5432"));
    (!host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| format!("{host}:{port}"))
}

/// New for each server, so that a test can look for it where it must not be.
fn password() -> String {
    let mut bytes = [0; 12];
    // Only uniqueness matters here.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    format!("word-{}", hex::encode(bytes))
}

/// Whether it asks whoever connects to log in; while it starts it answers with an error instead
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
pub(crate) fn answers(address: &str) -> io::Result<()> {
    const VERSION: u32 = 196_608;
    const AUTHENTICATION: u8 = b'R';
    let body = format!("user\0{USER}\0database\0{DATABASE}\0\0");
    let size = u32::try_from(body.len() + 8).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut stream = probe::connect(address)?;
    stream.write_all(&[&size.to_be_bytes(), &VERSION.to_be_bytes(), body.as_bytes()].concat())?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind == [AUTHENTICATION] { Ok(()) } else { Err(io::Error::other("it does not take connections yet")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_urls() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(place(url).as_deref(), expected, "{url}");
        check("postgresql://quell:a@b@127.0.0.1:5433/postgres", Some("127.0.0.1:5433"));
        check("postgres://db/x?sslmode=require", Some("db:5432"));
        check(&url("word", "h:1"), Some("h:1"));
        check("127.0.0.1:5432", None);
        check("postgresql://u@:5432/x", None);
        check("postgresql://h:0/x", None);
    }

    #[test]
    fn the_newest_version_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        let missing = bin(versions.path()).unwrap_err().to_string();
        assert!(missing.contains("apt-get install postgresql"), "{missing}");
        for version in ["9", "15", "17", "common"] {
            fs::create_dir_all(versions.path().join(version).join("bin")).unwrap();
        }
        for version in ["9", "15"] {
            fs::write(versions.path().join(version).join("bin/initdb"), "").unwrap();
        }
        assert_eq!(bin(versions.path()).unwrap(), versions.path().join("15/bin"));
    }

    #[test]
    fn nothing_runs_as_root() {
        let initdb = Path::new("/x/initdb");
        assert_eq!(unprivileged(false, initdb), (initdb.to_owned(), vec![]));
        let (program, arguments) = unprivileged(true, initdb);
        assert_eq!(program, Path::new("setpriv"));
        assert_eq!(arguments.first().unwrap(), "--reuid=65534");
        assert_eq!(arguments.last().unwrap(), "/x/initdb");
    }
}
