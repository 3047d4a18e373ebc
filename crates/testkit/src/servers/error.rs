//! Why there is no server to test against, and what to do about it.

use super::Kind;
use std::{fmt, io, sync::Arc, time::Duration};

/// Why a server could not be found, started or steered. Cheap to clone: a shared server that failed to start tells every
/// test that asks for it.
#[derive(Clone, thiserror::Error)]
pub enum ServerError {
    /// An address from the environment cannot be one.
    #[error("{variable} is not an address: give {expected}, or unset it to let the tests start their own {kind}")]
    Address { kind: Kind, variable: &'static str, expected: &'static str },
    /// An address from the environment leads nowhere.
    #[error(
        "nothing answers at {address} ({variable}): start that {kind}, or unset {variable} to let the tests start their own ({source})"
    )]
    Silent { kind: Kind, variable: &'static str, address: String, source: Arc<io::Error> },
    /// Neither environment nor Docker nor a Java machine gave a server.
    #[error(
        "no {kind} to test against: set {variable} to the address of one, or start Docker ({docker}), or let a Java machine run it \
         (`apt-get install openjdk-17-jdk-headless maven`, then try again; that way failed with: {java})"
    )]
    NoWay { kind: Kind, variable: &'static str, docker: Box<ServerError>, java: Box<ServerError> },
    /// No Docker answers here.
    #[error("no Docker here: {0}")]
    NoDocker(String),
    /// Docker answers, but the container did not come up.
    #[error("the {kind} container did not start: {detail}")]
    Container { kind: Kind, detail: String },
    /// A program is missing or too old.
    #[error("{program} is missing or of no use: {detail}; install it with `apt-get install {package}`")]
    Program { program: &'static str, package: &'static str, detail: String },
    /// Maven could not fetch a server's files.
    #[error(
        "fetching {kind} from Maven Central failed: check the network or the mirror in ~/.m2/settings.xml, then try again\n{log}"
    )]
    Fetch { kind: Kind, log: String },
    /// No folder to keep fetched files in.
    #[error("no cache folder: set QUELL_CACHE_DIR to a folder that can be written")]
    NoCache,
    /// The process ended instead of serving.
    #[error("{kind} ended while starting; its log ends with\n{log}")]
    Died { kind: Kind, log: String },
    /// The process runs but does not answer in time.
    #[error("{kind} did not answer within {after:?}: the machine may be too busy; its log ends with\n{log}")]
    NotReady { kind: Kind, after: Duration, log: String },
    /// Steering a server that does not run.
    #[error("{kind} does not run: call start_again() first")]
    NotRunning { kind: Kind },
    /// Starting a server that runs.
    #[error("{kind} already runs: call stop() or kill() first")]
    Running { kind: Kind },
    /// A helper command failed.
    #[error("{doing} failed\n{log}")]
    Command { doing: &'static str, log: String },
    /// The operating system refused.
    #[error("{doing} failed: {source}")]
    Io { doing: &'static str, source: Arc<io::Error> },
}

/// As for people: `unwrap()` in a test then says what to do.
impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerError {
    /// Wraps what the operating system said while `doing` something.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source: Arc::new(source) }
    }
}
