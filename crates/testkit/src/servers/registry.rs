//! A schema registry of a test's own: Apicurio Registry behind its Confluent-compatible API, on the local Java machine.

use super::{
    Kind, ServerError, cache, clash, free_ports,
    java::{JavaServer, Plan},
    probe,
};
use std::{ffi::OsString, io, path::Path, time::Duration};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Where Apicurio serves the Confluent API.
pub(crate) const API: &str = "/apis/ccompat/v7";
const JAR: &str = "apicurio-registry-app-3.0.9-runner.jar";

/// A registry that only its owner uses, and that its owner may stop, kill, pause and start again on the same port and
/// data. Dropping it kills it and removes its data. New schema versions must be backward compatible, as in production.
#[derive(Debug)]
pub struct JvmRegistry {
    url: String,
    server: JavaServer,
}

impl JvmRegistry {
    /// Starts a fresh one and waits until it answers. Blocks: 12 to 15 seconds with the files at hand.
    ///
    /// # Errors
    /// Java or Maven missing, no network for the first fetch, or no answer within 120 seconds.
    pub fn start() -> Result<Self, ServerError> {
        let app = cache::fetch(Kind::Registry)?;
        clash::retried(|| Self::start_once(&app))
    }

    fn start_once(app: &Path) -> Result<Self, ServerError> {
        let [port, management] = free_ports()?;
        let url = format!("http://127.0.0.1:{port}{API}");
        let dir =
            TempDir::with_prefix("quell-registry-").map_err(ServerError::io("making a folder for the registry"))?;
        let mut arguments = machine(port, management, dir.path());
        arguments.extend(["-jar".into(), app.join(JAR).into()]);
        let probed = url.clone();
        let probe = Box::new(move || probe::registry(&probed).and_then(|()| set_backward(&probed)));
        let server = JavaServer::start(Plan { kind: Kind::Registry, dir, arguments, probe, patience: PATIENCE })?;
        Ok(Self { url, server })
    }

    /// The base URL of the Confluent API: `{url}/subjects` lists the subjects.
    pub fn url(&self) -> &str {
        &self.url
    }
}

super::steer!(JvmRegistry);

fn machine(port: u16, management: u16, dir: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dquarkus.http.host=127.0.0.1"]
            .map(OsString::from)
            .to_vec();
    arguments.extend([
        format!("-Dquarkus.http.port={port}").into(),
        "-Dquarkus.management.host=127.0.0.1".into(),
        format!("-Dquarkus.management.port={management}").into(),
        "-Dquarkus.log.console.level=INFO".into(),
        // In a file instead of in memory, and written at once, so that schemas and their ids live through a kill.
        format!("-Dapicurio.datasource.url=jdbc:h2:file:{}/registry;WRITE_DELAY=0", dir.display()).into(),
    ]);
    arguments
}

/// Apicurio accepts any new version until told otherwise.
pub(crate) fn set_backward(url: &str) -> io::Result<()> {
    match probe::http("PUT", &format!("{url}/config"), r#"{"compatibility":"BACKWARD"}"#)? {
        (200, _) => Ok(()),
        (_, answer) => Err(io::Error::other(answer)),
    }
}
