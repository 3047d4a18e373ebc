//! The real binary, with the configuration and the environment that a deployment gives it.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use testkit::sign::SendGridKey;

const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, out of reach of what the environment says to it.
pub(crate) fn quell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The binary with a configuration as a deployment has it, in a folder of the test's own.
pub(crate) struct Deployed {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

impl Deployed {
    /// With this text as its configuration file, and this environment. Secrets that the file names get values.
    pub(crate) fn new(config: &str, environment: BTreeMap<String, String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("quell.toml"), config).expect("a file");
        let mut deployed = Self { folder, environment: BTreeMap::new() };
        for part in config.split("\"env:").skip(1) {
            let name = part.split('"').next().expect("a name");
            let value = match name {
                "SENDGRID_WEBHOOK_KEY" => SendGridKey::generate().expect("a key").public(),
                "REGISTRY_BASIC_AUTH" => "user:password".to_owned(),
                name if name.contains("EVENTS_SECRET") => "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz".to_owned(),
                _ => "a-secret-of-a-test-with-many-letters".to_owned(),
            };
            deployed.environment.insert(name.to_owned(), value);
        }
        deployed.environment.extend(environment);
        deployed.set("QUELL_CONFIG", &deployed.path("quell.toml"));
        deployed
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A command with all of it.
    pub(crate) fn command(&self) -> Command {
        let mut command = quell();
        command.envs(&self.environment).current_dir(self.folder.path());
        command
    }

    /// `quell config check` takes it.
    #[track_caller]
    pub(crate) fn is_sound(&self) {
        let checked = super::tools::said(self.command().args(["config", "check"]));
        assert!(checked.as_ref().is_ok_and(|out| out.starts_with("ok: ")), "{checked:?}");
    }

    /// As [`Self::starts`], for the process that needs nobody.
    #[track_caller]
    pub(crate) fn starts_alone(&mut self, args: &[String]) {
        self.run(args, false);
    }

    /// The binary takes these arguments as a deployment gives them; what it is to reach is away, and what it writes goes
    /// into a folder of the test's own. Waits until its admin port says that it is alive.
    #[track_caller]
    pub(crate) fn starts(&mut self, args: &[String]) {
        self.run(args, true);
    }

    #[track_caller]
    fn run(&mut self, args: &[String], is_cluster: bool) {
        let [gateway, lookup, admin] = testkit::ports::free().expect("loopback has ports");
        let away = "127.0.0.1:1";
        let (data, spool) = (self.path("data"), self.path("spool"));
        for (name, value) in [
            ("QUELL__gateway__listen", format!("127.0.0.1:{gateway}")),
            ("QUELL__lookup__listen", format!("127.0.0.1:{lookup}")),
            ("QUELL__admin__listen", format!("127.0.0.1:{admin}")),
            ("QUELL__data_dir", data),
            ("QUELL__gateway__spool__directory", spool),
        ] {
            self.set(name, &value);
        }
        if is_cluster {
            self.set("QUELL__kafka__brokers", away);
            self.set("QUELL__store__contact_points", &format!("[{away:?}]"));
        }
        if std::fs::read_to_string(self.path("quell.toml")).expect("it").contains("[registry]") {
            self.set("QUELL__registry__url", &format!("http://{away}"));
        }
        let log = Path::new(&self.path("log")).to_owned();
        let written = std::fs::File::create(&log).expect("a file");
        let mut command = self.command();
        command.args(args).stdout(Stdio::null()).stderr(written);
        let mut running = Running(command.spawn().expect("the binary runs"));
        let began = Instant::now();
        while !is_alive(admin) {
            let ended = running.0.try_wait().expect("it can be asked");
            let told = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{args:?} ended {ended:?}:\n{}", told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn is_alive(admin: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)) else { return false };
    let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}
