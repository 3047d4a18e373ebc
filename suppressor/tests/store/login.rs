//! A store that takes TLS and a login alone.

use crate::bed::{cql_config, key, own_keyspace, row, write};
use service::Secret;
use suppressor::{
    Store as _,
    store::cql::{ConnectError, CqlConfig, CqlStore, CqlTls, migrate},
};
use testkit::servers::{CqlOptions, JvmCql};

/// As an operator writes it.
fn config(server: &JvmCql, dir: &std::path::Path) -> CqlConfig {
    let secure = server.security().unwrap();
    std::fs::write(dir.join("password"), secure.password).unwrap();
    let file = format!(
        "contact_points = ['{}']\nkeyspace = '{}'\ndata_center = 'datacenter1'\nusername = '{}'\npassword = 'file:{}'\n\
         connect_timeout_ms = 30000\nrequest_timeout_ms = 30000\n\
         [replication]\nfactor = 1\n[tls]\nca = '{}'\n",
        server.address(),
        own_keyspace(server.address()).keyspace,
        secure.user,
        dir.join("password").display(),
        secure.ca_pem_path.display(),
    );
    toml::from_str(&file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_tls_and_a_login() {
    let start = || JvmCql::start_secure(&CqlOptions { durable: false, measured: false });
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sound = config(&server, dir.path());
    migrate(&sound).await.unwrap();
    let store = CqlStore::connect(&sound).await.unwrap();
    store.apply(vec![write(key("a"), vec![row("e", 1, 1)])], &[(0, 1)]).await.unwrap();
    assert_eq!(store.load(&[key("a")]).await.unwrap()[0].rows.len(), 1);
    assert_eq!(store.applied(0).await.unwrap(), Some(1));

    let refused = async |change: &dyn Fn(&mut CqlConfig), says: &str| {
        let mut config = sound.clone();
        change(&mut config);
        let error = CqlStore::connect(&config).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says), "{says}: {text}");
        for shown in [text, format!("{error:?} {config:?}")] {
            assert!(!shown.contains("guessed-word"), "{shown}");
        }
        // What is mended outside is waited for; what this configuration says wrong is not.
        error
    };
    let waits = |error: ConnectError| assert!(matches!(error, ConnectError::Store(_)), "{error}");
    waits(
        refused(
            &|config| config.password = Some(Secret::new("guessed-word")),
            "refuses store.username and store.password",
        )
        .await,
    );
    let nobody = |config: &mut CqlConfig| (config.username, config.password) = (None, None);
    waits(refused(&nobody, "set store.username and store.password").await);
    let other = server.security().unwrap().other_ca_pem_path.clone();
    let stranger = |config: &mut CqlConfig| {
        config.tls = Some(CqlTls { ca: other.clone(), certificate: None, key: None });
    };
    waits(refused(&stranger, "store.tls.ca vouches for").await);
    waits(refused(&|config| config.tls = None, "does it want [store.tls]?").await);
    let elsewhere = |config: &mut CqlConfig| config.data_center = Some("dc9".to_owned());
    let error = refused(&elsewhere, "no data centre dc9: name one that it has (datacenter1)").await;
    assert!(matches!(error, ConnectError::Config(_)), "{error}");
    // The right ones go on working beside.
    assert_eq!(store.applied(0).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_store_without_tls_is_told_from_one_with() {
    let plain = cql_config().await;
    let refused = async |ca: std::path::PathBuf| {
        let config = CqlConfig { tls: Some(CqlTls { ca, certificate: None, key: None }), ..plain.clone() };
        CqlStore::connect(&config).await.unwrap_err()
    };
    let some = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/service/tests/fixtures/ca.pem");
    let error = refused(some.into()).await;
    assert!(matches!(error, ConnectError::Store(_)), "{error}");
    assert!(error.to_string().contains("speaks no TLS there"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
    let error = refused(dir.path().join("ca.pem")).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("it holds no certificate"), "{error}");
}
