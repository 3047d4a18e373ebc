//! A CQL store of a test's own: Apache Cassandra, one node, on the local Java machine.

use super::{
    Kind, ServerError, cache, certificates, clash, free_ports,
    java::{self, JavaServer, Plan},
    probe,
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(180);

/// What a store of a test's own should be like.
#[derive(Debug, Clone)]
pub struct CqlOptions {
    /// Every acknowledged write is on disk, schema included, so that `kill()` loses nothing. Slower: each write waits for
    /// the disk. On by default.
    pub durable: bool,
    /// It is measured: as the server comes, with room and the whole compiler, where tests have something that starts
    /// quickly and stays small.
    pub measured: bool,
}

impl Default for CqlOptions {
    fn default() -> Self {
        Self { durable: true, measured: false }
    }
}

/// A store that only its owner uses, and that its owner may stop, kill, pause and start again on the same port and data.
/// Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct JvmCql {
    address: String,
    security: Option<CqlSecurity>,
    server: JavaServer,
}

/// How to reach a store that takes TLS and a login alone. Its certificate is for `localhost` and 127.0.0.1.
#[derive(Debug, Clone)]
pub struct CqlSecurity {
    /// The certificate authority behind the store's certificate.
    pub ca_pem_path: PathBuf,
    /// One that did not vouch for it.
    pub other_ca_pem_path: PathBuf,
    /// The user that Cassandra makes itself.
    pub user: &'static str,
    pub password: &'static str,
}

impl JvmCql {
    /// Starts a fresh one and waits until it answers. Blocks: 11 to 20 seconds with the jars at hand.
    ///
    /// # Errors
    /// Java or Maven missing, no network for the first fetch, or no answer within 180 seconds.
    pub fn start(options: &CqlOptions) -> Result<Self, ServerError> {
        Self::start_like(options, false)
    }

    /// The same, but it takes TLS and a login alone: [`JvmCql::security`]. Waits until its user may log in.
    ///
    /// # Errors
    /// As [`JvmCql::start`], or no `keytool`.
    pub fn start_secure(options: &CqlOptions) -> Result<Self, ServerError> {
        Self::start_like(options, true)
    }

    fn start_like(options: &CqlOptions, is_secure: bool) -> Result<Self, ServerError> {
        let class_path = java::class_path(&cache::fetch(Kind::Cql)?.join("lib"))?;
        clash::retried(|| Self::start_once(options, is_secure, &class_path))
    }

    fn start_once(options: &CqlOptions, is_secure: bool, class_path: &OsStr) -> Result<Self, ServerError> {
        let ports = free_ports::<3>()?;
        let address = format!("127.0.0.1:{}", ports[0]);
        let dir = TempDir::with_prefix("quell-cql-").map_err(ServerError::io("making a folder for the store"))?;
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).map_err(ServerError::io("writing the store's configuration"))
        };
        let mut settings = configuration(options, ports, dir.path());
        let mut security = None;
        if is_secure {
            let (secure, lines) = secure(dir.path())?;
            settings.push_str(&lines);
            security = Some(secure);
        } else {
            settings.push_str("authenticator: AllowAllAuthenticator\n");
        }
        write("cassandra.yaml", &settings)?;
        write("logback.xml", LOGBACK)?;
        let mut arguments = machine(options, dir.path());
        arguments.extend(["-cp".into(), class_path.into(), "org.apache.cassandra.service.CassandraDaemon".into()]);
        let (probed, log) = (address.clone(), java::first_log(dir.path()));
        let probe: java::Probe = if is_secure {
            Box::new(move || probe::connect(&probed).and_then(|_| has_user(&log)))
        } else {
            Box::new(move || probe::cql(&probed))
        };
        let server = JavaServer::start(Plan { kind: Kind::Cql, dir, arguments, probe, patience: PATIENCE })?;
        Ok(Self { address, security, server })
    }

    /// How to reach it, if it was started so.
    pub fn security(&self) -> Option<&CqlSecurity> {
        self.security.as_ref()
    }

    /// `host:port` of the CQL native protocol.
    pub fn address(&self) -> &str {
        &self.address
    }
}

super::steer!(JvmCql);

/// What makes it take TLS and a login alone, in its configuration.
fn secure(dir: &Path) -> Result<(CqlSecurity, String), ServerError> {
    let other = dir.join("other-authority");
    fs::create_dir_all(&other).map_err(ServerError::io("making a folder for certificates"))?;
    let (own, other) = (certificates::make(dir)?, certificates::make(&other)?);
    let (store, password) = (own.store.display(), certificates::STORE_PASSWORD);
    let lines = format!(
        r#"authenticator: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: false
  keystore: "{store}"
  keystore_password: "{password}"
  store_type: PKCS12
  require_client_auth: false
"#
    );
    let security = CqlSecurity {
        ca_pem_path: own.ca_pem,
        other_ca_pem_path: other.ca_pem,
        user: "cassandra",
        password: "cassandra",
    };
    Ok((security, lines))
}

/// The default user is made beside the start, a little after the port is open; a later start finds it there.
fn has_user(first_log: &Path) -> io::Result<()> {
    let log = fs::read(first_log)?;
    let is_made = String::from_utf8_lossy(&log).contains("Created default superuser role");
    if is_made { Ok(()) } else { Err(io::Error::other("its user is not there yet")) }
}

/// A store that shares a small machine with a test.
const SMALL: &str = "commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 4
file_cache_size: 16MiB
networking_cache_size: 16MiB
key_cache_size: 4MiB
counter_cache_size: 1MiB";

fn configuration(options: &CqlOptions, [port, storage, storage_tls]: [u16; 3], dir: &Path) -> String {
    let sync = if options.durable {
        "commitlog_sync: batch"
    } else {
        "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms"
    };
    // Measured ones have what Cassandra comes with.
    let sizes = if options.measured { "" } else { SMALL };
    let dir = dir.display();
    format!(
        r#"cluster_name: quell-test
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage}"}}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
ssl_storage_port: {storage_tls}
native_transport_port: {port}
start_native_transport: true
data_file_directories: ["{dir}/data"]
commitlog_directory: "{dir}/commitlog"
saved_caches_directory: "{dir}/saved_caches"
hints_directory: "{dir}/hints"
cdc_raw_directory: "{dir}/cdc_raw"
{sync}
memtable_flush_writers: 1
concurrent_compactors: 1
{sizes}
auto_snapshot: false
auto_bootstrap: false
disk_failure_policy: die
commit_failure_policy: die
cas_contention_timeout: 30000ms
authorizer: AllowAllAuthorizer
materialized_views_enabled: false
user_defined_functions_enabled: false
sasi_indexes_enabled: false
"#
    )
}

const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %d{HH:mm:ss.SSS} [%thread] %logger{30} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

/// Doors into the JDK that Cassandra 5.0 walks through on Java 17, as its own `conf/jvm17-server.options` lists them.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
];
const OPENS: &[&str] = &[
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.nio",
];

fn machine(options: &CqlOptions, dir: &Path) -> Vec<OsString> {
    let memory: &[&str] = if options.measured {
        &["-Xms2g", "-Xmx2g", "-XX:MaxDirectMemorySize=1g", "-XX:+UseParallelGC"]
    } else {
        &["-Xms256m", "-Xmx768m", "-XX:MaxDirectMemorySize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    };
    let mut arguments: Vec<OsString> = memory.iter().map(OsString::from).collect();
    arguments.extend(
        [
            "-Xss512k",
            "-XX:+ExitOnOutOfMemoryError",
            "-Xshare:auto",
            // One node has nobody to wait for.
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=100",
            "-Dcassandra.superuser_setup_delay_ms=-1",
            "-Dcassandra.disable_auth_caches_remote_configuration=true",
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Djna.nosys=true",
            "-Djdk.attach.allowAttachSelf=true",
            "-Dcassandra-foreground=yes",
        ]
        .map(OsString::from),
    );
    if !options.durable {
        // Tables of the schema are not flushed at each change: quick, but a replay after a kill would not know them.
        arguments.push("-Dcassandra.unsafesystem=true".into());
    }
    for (option, doors) in [("--add-exports", EXPORTS), ("--add-opens", OPENS)] {
        arguments.extend(doors.iter().flat_map(|door| [option.into(), format!("{door}=ALL-UNNAMED").into()]));
    }
    let dir = dir.display();
    arguments.extend([
        format!("-Dcassandra.config=file://{dir}/cassandra.yaml").into(),
        format!("-Dcassandra.storagedir={dir}").into(),
        format!("-Dcassandra.logdir={dir}").into(),
        format!("-Dlogback.configurationFile={dir}/logback.xml").into(),
    ]);
    arguments
}
