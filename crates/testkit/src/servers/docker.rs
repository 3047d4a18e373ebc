//! Whether Docker answers here, found out without ever hanging.

use super::{ServerError, cache, probe};
use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(2);
const DEFAULT: &str = "/var/run/docker.sock";
const PING: &[u8] = b"GET /_ping HTTP/1.1\r\nhost: docker\r\nconnection: close\r\n\r\n";

/// Removes until something was there to remove, which Docker tells by its name: whoever is killed while the daemon still
/// makes the container leaves it to be made a little later.
const REMOVAL: &str = r#"
for pause in 0 1 3; do
  sleep "$pause"
  [ -n "$("$@")" ] && exit
done
"#;

/// Where the daemon listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    Socket(PathBuf),
    Tcp(String),
}

impl Daemon {
    /// Reads `DOCKER_HOST`; without it, the usual socket.
    pub(crate) fn parse(host: Option<&str>) -> Result<Self, ServerError> {
        let Some(host) = host.map(str::trim).filter(|host| !host.is_empty()) else {
            return Ok(Self::Socket(PathBuf::from(DEFAULT)));
        };
        match host.split_once("://") {
            Some(("unix", path)) => Ok(Self::Socket(PathBuf::from(path))),
            Some(("tcp" | "http", address)) => Ok(Self::Tcp(address.trim_end_matches('/').to_owned())),
            _ => Err(ServerError::NoDocker("DOCKER_HOST is neither a unix:// nor a tcp:// address".to_owned())),
        }
    }

    /// The host under which the ports of its containers are found.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "127.0.0.1",
            Self::Tcp(address) => address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host),
        }
    }

    /// Where the ports of its containers are opened: to this machine alone, unless the daemon is another machine's.
    pub(crate) fn published_at(&self) -> Option<&'static str> {
        match self {
            Self::Socket(_) => Some("127.0.0.1"),
            Self::Tcp(_) => None,
        }
    }

    /// The command `docker` for this very daemon, whatever context is set; it does not take `http://` as we do.
    fn client(&self) -> [OsString; 3] {
        let mut address = OsString::from(match self {
            Self::Socket(_) => "unix://",
            Self::Tcp(_) => "tcp://",
        });
        address.push(match self {
            Self::Socket(path) => path.as_os_str(),
            Self::Tcp(address) => OsStr::new(address),
        });
        ["docker".into(), "--host".into(), address]
    }

    /// What removes a container with its data, for a watchdog.
    pub(crate) fn removal(&self, container: &str) -> Vec<OsString> {
        let first = ["sh", "-c", REMOVAL, "quell-test-removal"].map(OsString::from);
        let rest = ["rm", "--force", "--volumes", container].map(OsString::from);
        first.into_iter().chain(self.client()).chain(rest).collect()
    }

    /// Whether it is known that nothing runs in a container any more.
    pub(crate) fn has_ended(&self, container: &str) -> bool {
        self.ask(&["container", "inspect", "--format", "{{.State.Running}}", container])
            .is_ok_and(|answer| answer.trim_ascii() == b"false")
    }

    /// The end of what a container wrote.
    pub(crate) fn log(&self, container: &str) -> String {
        match self.ask(&["logs", "--tail", "50", container]) {
            Ok(log) => cache::tail(&log),
            Err(error) => format!("(unknown: {error})"),
        }
    }

    fn ask(&self, arguments: &[&str]) -> io::Result<Vec<u8>> {
        let [program, rest @ ..] = self.client();
        let output = Command::new(program).args(rest).args(arguments).stdin(Stdio::null()).output()?;
        Ok([output.stdout, output.stderr].concat())
    }

    /// Asks for a sign of life; at most two seconds for each step.
    pub(crate) fn ping(&self) -> Result<(), ServerError> {
        let answer = match self {
            Self::Socket(path) => socket(path).and_then(ping),
            Self::Tcp(address) => probe::connect(address).and_then(ping),
        };
        answer.map_err(|error| ServerError::NoDocker(error.to_string()))
    }
}

fn socket(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ping(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(PING)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.starts_with(b"HTTP/1.") && status.ends_with(b" 200") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "what listens there is not Docker"))
}

/// Looks for a daemon that answers, and for the command that removes containers after our end.
pub(crate) fn find() -> Result<Daemon, ServerError> {
    let daemon = Daemon::parse(std::env::var("DOCKER_HOST").ok().as_deref())?;
    daemon.ping()?;
    let client = Command::new("docker").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match client {
        Ok(status) if status.success() => Ok(daemon),
        _ => Err(ServerError::NoDocker("the daemon answers, but the command `docker` is missing".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};

    #[test]
    fn the_daemon_is_found_in_docker_host() {
        let check = |host, expected: Option<(Daemon, &str)>| {
            let daemon = Daemon::parse(host).ok();
            assert_eq!(daemon.as_ref().map(|daemon| (daemon, daemon.host())), expected.as_ref().map(|(d, h)| (d, *h)));
        };
        let socket = |path: &str| Daemon::Socket(PathBuf::from(path));
        check(None, Some((socket(DEFAULT), "127.0.0.1")));
        check(Some(""), Some((socket(DEFAULT), "127.0.0.1")));
        check(Some("unix:///run/x.sock"), Some((socket("/run/x.sock"), "127.0.0.1")));
        check(Some("tcp://10.0.0.1:2375"), Some((Daemon::Tcp("10.0.0.1:2375".to_owned()), "10.0.0.1")));
        check(Some("ssh://somebody@somewhere"), None);
        check(Some("/run/x.sock"), None);
    }

    #[test]
    fn a_container_is_removed_by_the_daemon_that_started_it() {
        let check = |host, expected: &str, published: Option<&str>| {
            let daemon = Daemon::parse(host).unwrap();
            let expected = ["docker", "--host", expected, "rm", "--force", "--volumes", "x"];
            assert!(daemon.removal("x").ends_with(&expected.map(OsString::from)), "{host:?}");
            assert_eq!(daemon.published_at(), published);
        };
        check(None, "unix:///var/run/docker.sock", Some("127.0.0.1"));
        check(Some("unix:///run/x.sock"), "unix:///run/x.sock", Some("127.0.0.1"));
        check(Some("tcp://10.0.0.1:2375/"), "tcp://10.0.0.1:2375", None);
        check(Some("http://10.0.0.1:2375"), "tcp://10.0.0.1:2375", None);
    }

    #[test]
    fn a_container_that_is_made_after_its_owner_was_killed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        // Finds nothing the first time, then something.
        let docker = r#"echo x >> "$0"; [ "$(wc -l < "$0")" -lt 2 ] || echo name"#;
        let status =
            Command::new("sh").args(["-c", REMOVAL, "quell-test-removal", "sh", "-c", docker]).arg(&count).status();
        assert!(status.unwrap().success());
        assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\n");
    }

    #[test]
    fn a_ping_tells_docker_from_others_and_never_hangs() {
        let check = |answer: Option<&'static [u8]>, expected: bool| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("docker.sock");
            let listener = UnixListener::bind(&path).unwrap();
            let peer = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let read = stream.read(&mut request).unwrap();
                assert_eq!(&request[..read], PING);
                match answer {
                    Some(answer) => stream.write_all(answer).unwrap(),
                    // Says nothing until the other side has had enough.
                    None => assert_eq!(stream.read(&mut request).unwrap(), 0),
                }
            });
            assert_eq!(Daemon::Socket(path).ping().is_ok(), expected, "{answer:?}");
            peer.join().unwrap();
        };
        check(Some(b"HTTP/1.1 200 OK\r\n\r\nOK"), true);
        check(Some(b"HTTP/1.1 500 Internal Server Error\r\n\r\n"), false);
        check(Some(b"220 smtp.example ready\r\n"), false);
        check(Some(b""), false);
        check(None, false);
        assert!(Daemon::Socket(PathBuf::from("/nowhere/docker.sock")).ping().is_err());
    }
}
