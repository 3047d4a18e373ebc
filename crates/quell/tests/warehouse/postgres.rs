//! A database of a test's own in the PostgreSQL that tests share, asked by `psql`.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::servers;

/// Far more than anything takes; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A database; dropped with its rows.
pub(crate) struct Database {
    server: &'static str,
    name: String,
    /// `postgresql://user:password@host:port/name`
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn make() -> Self {
        let server = servers::postgres().unwrap_or_else(|error| panic!("{error}")).url();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let name = format!("quell_{}_{}", std::process::id(), since.as_nanos() % 1_000_000_000_000);
        psql(server, &["-c", &format!("CREATE DATABASE {name}")]);
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        Self { server, url: format!("{base}/{name}"), name }
    }

    /// `jdbc:postgresql://host:port/name`, user and password.
    pub(crate) fn jdbc(&self) -> [String; 3] {
        let rest = self.url.split_once("://").expect("a URL").1;
        let (login, place) = rest.rsplit_once('@').expect("a URL with a login");
        let (user, password) = login.split_once(':').expect("a login with a password");
        [format!("jdbc:postgresql://{place}"), user.to_owned(), password.to_owned()]
    }

    /// Runs a file of statements.
    #[track_caller]
    pub(crate) fn run(&self, file: &Path) {
        psql(&self.url, &["-f", &file.display().to_string()]);
    }

    /// Rows of a query, their columns between bars.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        psql(&self.url, &["-c", sql]).lines().map(str::to_owned).collect()
    }

    /// The result of a file's query as CSV, with names.
    #[track_caller]
    pub(crate) fn csv(&self, file: &Path) -> String {
        psql(&self.url, &["-P", "tuples_only=off", "--csv", "-f", &file.display().to_string()])
    }

    /// A query's one value as a number.
    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> u64 {
        let rows = self.rows(sql);
        rows.first().and_then(|row| row.parse().ok()).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }

    /// Asks until the rows are these.
    #[track_caller]
    pub(crate) fn until(&self, sql: &str, expected: &[&str], why: &dyn Fn() -> String) {
        let began = Instant::now();
        loop {
            let rows = self.rows(sql);
            if rows == expected {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{sql}\n{rows:#?}\nnot {expected:#?}\n{}", why());
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of the tests' own goes anyway.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = command(self.server, &["-c", &drop]).output();
    }
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).args(arguments).arg(url);
    // Rows must not depend on where the session is.
    command.env("PGTZ", "UTC").env("PGCONNECT_TIMEOUT", "10").env("PGOPTIONS", "-c search_path=quell,public");
    command
}

#[track_caller]
fn psql(url: &str, arguments: &[&str]) -> String {
    let run = command(url, arguments).output();
    let Output { status, stdout, stderr } = run.expect("psql runs: `apt-get install postgresql`");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    assert!(status.success(), "{arguments:?}: {}", text(stderr));
    text(stdout)
}
