//! The harness that finds and starts real servers, against real servers.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::servers::{self, CqlOptions, JvmCql, JvmKafka, JvmRegistry, KafkaOptions, probe};

/// Waits for a condition; fails with its name after the deadline.
fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Whether nobody listens there any more.
fn is_closed(address: &str) -> bool {
    TcpListener::bind(("127.0.0.1", port_of(address))).is_ok()
}

#[test]
fn a_shared_kafka_answers_and_is_the_same_one_each_time() {
    let kafka = servers::kafka().unwrap();
    assert_eq!(probe::kafka(kafka.bootstrap()).unwrap(), 1);
    assert!(std::ptr::eq(kafka, servers::kafka().unwrap()));
}

#[test]
fn a_shared_store_answers() {
    let cql = servers::cql().unwrap();
    probe::cql(cql.address()).unwrap();
}

#[test]
fn a_shared_registry_answers_and_demands_compatibility() {
    let registry = servers::registry().unwrap();
    probe::registry(registry.url()).unwrap();
    let (status, answer) = probe::http("GET", &format!("{}/config", registry.url()), "").unwrap();
    assert_eq!(status, 200);
    assert!(answer.contains("BACKWARD"), "{answer}");
}

#[test]
fn a_kafka_of_ones_own_is_stopped_killed_paused_and_started_again_on_its_port() {
    let kafka = JvmKafka::start(&KafkaOptions::default()).unwrap();
    let address = kafka.bootstrap().to_owned();
    kafka.stop().unwrap();
    assert!(is_closed(&address) && kafka.pid().is_none());
    assert!(kafka.stop().is_err(), "it does not run");
    kafka.start_again().unwrap();
    assert!(kafka.start_again().is_err(), "it runs");
    kafka.kill().unwrap();
    assert!(is_closed(&address));
    kafka.start_again().unwrap();
    assert_eq!(kafka.bootstrap(), address);
    kafka.pause().unwrap();
    assert!(probe::kafka(&address).is_err());
    kafka.resume().unwrap();
    eventually("an answer after the pause", Duration::from_secs(20), || {
        probe::kafka(&address).is_ok_and(|brokers| brokers == 1)
    });
    let log = kafka.log_path();
    assert!(log.is_file());
    drop(kafka);
    assert!(is_closed(&address));
    assert!(!log.exists() && !log.parent().unwrap().exists(), "its data is gone");
}

/// One request of the CQL protocol, version 4, by hand; gives the opcode and the body of the answer.
fn ask_cql(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
    let size = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream.write_all(&[&[4, 0, 0, 0, opcode], size.as_slice(), body].concat()).unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes([head[5], head[6], head[7], head[8]])).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    (head[4], answer)
}

/// Runs statements one after the other at consistency ONE; gives the last answer as text.
fn cql(address: &str, statements: &[&str]) -> String {
    const RESULT: u8 = 8;
    let mut stream = probe::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (started, _) = ask_cql(&mut stream, 1, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    assert_eq!(started, 2, "READY");
    let mut last = String::new();
    for statement in statements {
        let size = u32::try_from(statement.len()).unwrap().to_be_bytes();
        let (opcode, answer) = ask_cql(&mut stream, 7, &[&size, statement.as_bytes(), &[0, 1, 0]].concat());
        last = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(opcode, RESULT, "{statement}: {last}");
    }
    last
}

#[test]
fn a_store_of_ones_own_loses_nothing_by_a_kill() {
    let store = JvmCql::start(&CqlOptions::default()).unwrap();
    cql(
        store.address(),
        &[
            "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE k.t (id int PRIMARY KEY, word text)",
            "INSERT INTO k.t (id, word) VALUES (1, 'kept')",
        ],
    );
    store.kill().unwrap();
    assert!(is_closed(store.address()));
    store.start_again().unwrap();
    let row = cql(store.address(), &["SELECT word FROM k.t WHERE id = 1"]);
    assert!(row.contains("kept"), "{row}");
}

#[test]
fn a_registry_of_ones_own_keeps_its_schemas_over_a_kill() {
    let registry = JvmRegistry::start().unwrap();
    let versions = format!("{}/subjects/kept-value/versions", registry.url());
    let (status, first) = probe::http("POST", &versions, r#"{"schema":"\"string\""}"#).unwrap();
    assert_eq!(status, 200, "{first}");
    registry.kill().unwrap();
    registry.start_again().unwrap();
    let (status, again) = probe::http("GET", &format!("{versions}/latest"), "").unwrap();
    assert_eq!(status, 200, "{again}");
    assert!(again.contains("kept-value"), "{again}");
    let (status, answer) = probe::http("GET", &format!("{}/config", registry.url()), "").unwrap();
    assert!(status == 200 && answer.contains("BACKWARD"), "{answer}");
}

/// A TLS connection that trusts nothing but this authority.
fn connect_tls(address: &str, ca_pem: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca_pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), probe::connect(address).unwrap())
}

/// One step of a login: SaslHandshake 1 with the mechanism, then SaslAuthenticate 0 with its first message. Gives the
/// error code and what follows it.
fn log_in(stream: &mut (impl Read + Write), mechanism: &str, message: &[u8]) -> (i16, String) {
    let name = [&u16::try_from(mechanism.len()).unwrap().to_be_bytes(), mechanism.as_bytes()].concat();
    let handshake = probe::ask_kafka(stream, 17, 1, &name).unwrap();
    assert_eq!(handshake[..2], [0, 0], "{mechanism} is not offered");
    let bytes = [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let answer = probe::ask_kafka(stream, 36, 0, &bytes).unwrap();
    (i16::from_be_bytes([answer[0], answer[1]]), String::from_utf8_lossy(&answer[2..]).into_owned())
}

#[test]
fn a_secure_kafka_takes_tls_and_every_kind_of_login() {
    let kafka = JvmKafka::start(&KafkaOptions { secure: true, ..KafkaOptions::default() }).unwrap();
    let security = kafka.security().unwrap();
    let connect = |address: &str| connect_tls(address, &security.ca_pem_path);
    assert_eq!(probe::kafka_brokers(&mut connect(&security.bootstrap_tls)).unwrap(), 1);
    assert!(probe::kafka(&security.bootstrap_tls).is_err(), "it answers without TLS");
    assert!(probe::kafka_brokers(&mut connect(&security.bootstrap_sasl)).is_err(), "it answers without login");

    let (user, password) = (&security.user, &security.password);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = |claims: &str| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("n,,\u{1}auth=Bearer {}.{}.\u{1}\u{1}", part(r#"{"alg":"none"}"#), part(claims))
    };
    let fresh = token(&format!(r#"{{"sub":"{user}","iat":{now},"exp":{}}}"#, now + 60));
    let stale = token(&format!(r#"{{"sub":"{user}","iat":{},"exp":{}}}"#, now - 600, now - 500));
    // Mechanism, first message, error code (58: SASL_AUTHENTICATION_FAILED), whether a login is complete after it.
    let check = |mechanism: &str, message: String, expected: i16, complete: bool| {
        let mut stream = connect(&security.bootstrap_sasl);
        let (code, rest) = log_in(&mut stream, mechanism, message.as_bytes());
        assert_eq!(code, expected, "{mechanism}: {rest}");
        if complete {
            assert_eq!(probe::kafka_brokers(&mut stream).unwrap(), 1, "{mechanism}");
        }
        rest
    };
    check("PLAIN", format!("\0{user}\0{password}"), 0, true);
    check("PLAIN", format!("\0{user}\0not-{password}"), 58, false);
    check("OAUTHBEARER", fresh, 0, true);
    // An error is said inside the exchange first (RFC 7628, 3.2.2).
    assert!(check("OAUTHBEARER", stale, 0, false).contains("invalid_token"));
    // The broker knows the user: it names salt and rounds (RFC 5802, 5).
    let challenge = check("SCRAM-SHA-512", format!("n,,n={user},r=abcdef"), 0, false);
    assert!(challenge.contains("r=abcdef") && challenge.contains(",s=") && challenge.contains(",i="), "{challenge}");
    check("SCRAM-SHA-512", "n,,n=nobody,r=abcdef".to_owned(), 58, false);
    let log = fs::read_to_string(kafka.log_path()).unwrap();
    assert!(!log.contains(password.as_str()), "the password is in the broker's log");
}

/// The binary beside this test, which starts a server of its own whatever the environment says.
fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_servers"));
    command.env("TMPDIR", folder).env_remove("QUELL_TEST_KAFKA").args(["run", "--only", "kafka", "--"]);
    command
}

#[test]
fn a_server_ends_when_the_process_that_started_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = binary(folder.path())
        .args(["sh", "-c", "echo $QUELL_TEST_KAFKA; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim();
    assert_eq!(probe::kafka(address).unwrap(), 1);
    parent.kill().unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
    eventually("the port is free", Duration::from_secs(20), || is_closed(address));
    eventually("its data is gone", Duration::from_secs(20), || fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn the_binary_hands_over_addresses_and_gives_the_status_of_its_command() {
    let kafka = servers::kafka().unwrap().bootstrap();
    let run = |script: &str| {
        let mut command = binary(Path::new("/tmp"));
        command.env("QUELL_TEST_KAFKA", kafka).args(["sh", "-c", script]).output().unwrap()
    };
    let output = run("echo $QUELL_TEST_KAFKA; exit 3");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), kafka);
    assert_eq!(run("kill -15 $$").status.code(), Some(128 + 15));
    let silent = binary(Path::new("/tmp")).env("QUELL_TEST_KAFKA", "127.0.0.1:1").arg("true").output().unwrap();
    assert_eq!(silent.status.code(), Some(1));
    let said = String::from_utf8(silent.stderr).unwrap();
    assert!(said.contains("nothing answers at 127.0.0.1:1 (QUELL_TEST_KAFKA)"), "{said}");
}
