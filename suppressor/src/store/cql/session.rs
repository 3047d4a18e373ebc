//! The driver's session: made once, on the process's main runtime, and used from any.

use super::config::{Consistency, CqlConfig, CqlConfigError, CqlTls, SerialConsistency};
use crate::StoreError;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
        NewSessionError, RequestAttemptError,
    },
    policies::{
        load_balancing::DefaultPolicy, retry::DefaultRetryPolicy, timestamp_generator::MonotonicTimestampGenerator,
    },
    statement,
};
use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] super::CqlConfigError),
    /// A file of the TLS settings cannot be used.
    #[error("cannot use {file} for TLS to the store: {problem}")]
    Tls {
        /// Which.
        file: String,
        /// Why.
        problem: String,
    },
    /// The keyspace is of another version than this program.
    #[error("{0}")]
    Schema(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Connects; finds the other nodes through the contact points.
pub(super) async fn connect(config: &CqlConfig) -> Result<Session, ConnectError> {
    config.validate()?;
    let mut balancing = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(data_center) = &config.data_center {
        balancing = balancing.prefer_datacenter(data_center.clone());
    }
    let profile = ExecutionProfile::builder()
        .consistency(reading(config.consistency))
        .serial_consistency(Some(match config.serial_consistency {
            SerialConsistency::LocalSerial => statement::SerialConsistency::LocalSerial,
            SerialConsistency::Serial => statement::SerialConsistency::Serial,
        }))
        .request_timeout(Some(config.request_timeout()))
        .load_balancing_policy(balancing.build())
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .speculative_execution_policy(None)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .connection_timeout(Duration::from_millis(config.connect_timeout_ms))
        .keyspaces_to_fetch([config.keyspace.clone()])
        .default_execution_profile_handle(profile.into_handle())
        // What is not written at a position is written in this order by this process.
        .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()));
    if let (Some(user), Some(password)) = (&config.username, &config.password) {
        builder = builder.user(user, password.expose());
    }
    if let Some(tls) = &config.tls {
        builder = builder.tls_context(Some(client_config(tls)?));
    }
    let session = builder.build().await.map_err(|error| StoreError::Unavailable(refusal(&error)))?;
    let state = session.get_cluster_state();
    let found = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    one_data_center(config.data_center.as_deref(), &found)?;
    Ok(session)
}

/// Refuses to guess between data centres, and one that the cluster does not have: every request would fail.
fn one_data_center(asked: Option<&str>, found: &BTreeSet<&str>) -> Result<(), CqlConfigError> {
    let names = || found.iter().copied().collect::<Vec<_>>().join(", ");
    let problem = match asked {
        None if found.len() > 1 => {
            format!(
                "the cluster has several data centres ({}): name the one to work in, in every process the same",
                names()
            )
        }
        Some(asked) if !found.is_empty() && !found.contains(asked) => {
            format!("the cluster has no data centre {asked}: name one that it has ({})", names())
        }
        _ => return Ok(()),
    };
    Err(CqlConfigError { field: "data_center", problem })
}

/// Why a first connection failed, and what to do where that is known. Tried again all the same: users are made, passwords
/// changed and certificates replaced while processes run.
fn refusal(error: &NewSessionError) -> String {
    let detail = told(error);
    match last_of(error).and_then(way_out) {
        Some(way_out) => format!("{way_out} ({detail})"),
        None => detail,
    }
}

fn last_of(error: &NewSessionError) -> Option<&ConnectionError> {
    match error {
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
            last_connection_error,
        })) => Some(last_connection_error),
        _ => None,
    }
}

fn way_out(error: &ConnectionError) -> Option<&'static str> {
    use ConnectionSetupRequestErrorKind as Setup;
    match error {
        ConnectionError::IoError(error) => {
            let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
            Some(match tls {
                rustls::Error::InvalidCertificate(_) => {
                    "the store's certificate is not one that store.tls.ca vouches for by this address"
                }
                rustls::Error::InvalidMessage(_) => {
                    "the store speaks no TLS there: is its port another, or [store.tls] to go?"
                }
                _ => "TLS with the store failed: look at [store.tls]",
            })
        }
        ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
            Setup::DbError(DbError::AuthenticationError, _) => {
                Some("the store refuses store.username and store.password")
            }
            Setup::MissingAuthentication => Some("the store asks for a login: set store.username and store.password"),
            Setup::BrokenConnection(_) => {
                Some("the store ends connections before the first answer: does it want [store.tls]?")
            }
            _ => None,
        },
        _ => None,
    }
}

/// A quorum of every data centre is a level for writes only.
fn reading(consistency: Consistency) -> statement::Consistency {
    match consistency {
        Consistency::LocalQuorum | Consistency::EachQuorum => statement::Consistency::LocalQuorum,
        Consistency::Quorum => statement::Consistency::Quorum,
        Consistency::All => statement::Consistency::All,
    }
}

pub(super) fn writing(consistency: Consistency) -> statement::Consistency {
    match consistency {
        Consistency::EachQuorum => statement::Consistency::EachQuorum,
        other => reading(other),
    }
}

fn client_config(tls: &CqlTls) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots.add(certificate).map_err(|error| unusable(&tls.ca, error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&tls.ca, error))?
        .with_root_certificates(roots);
    let config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(certificate, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| unusable(file, error))?.collect();
    let found = found.map_err(|error| unusable(file, error))?;
    if found.is_empty() { Err(unusable(file, "it holds no certificate")) } else { Ok(found) }
}

fn unusable(file: &Path, problem: impl std::fmt::Display) -> ConnectError {
    ConnectError::Tls { file: file.display().to_string(), problem: problem.to_string() }
}

/// What failed, with its causes. The driver's errors hold statements, never bound values.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// A request that failed: whatever the reason, nothing is known of its outcome.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: ExecutionError) -> StoreError {
    match &error {
        ExecutionError::LastAttemptError(
            RequestAttemptError::CqlResultParseError(_) | RequestAttemptError::BodyExtensionsParseError(_),
        ) => StoreError::Corrupt(told(&error)),
        _ => StoreError::Unavailable(told(&error)),
    }
}

/// An answer that is not what was asked for.
pub(super) fn unreadable(error: impl std::error::Error) -> StoreError {
    StoreError::Corrupt(told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_guesses_between_data_centres() {
        let check = |asked: Option<&str>, found: &[&str], refused: Option<&str>| {
            let found: BTreeSet<_> = found.iter().copied().collect();
            let error = one_data_center(asked, &found).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{asked:?} {found:?}: {error:?}");
            let error = error.unwrap_or_default();
            assert!(error.contains(refused.unwrap_or_default()), "{error}");
            assert!(error.is_empty() || error.starts_with("store.data_center: "), "{error}");
        };
        check(None, &["dc1"], None);
        check(None, &["dc1", "dc1"], None);
        check(None, &["dc2", "dc1"], Some("several data centres (dc1, dc2): name the one"));
        check(Some("dc1"), &["dc1"], None);
        check(Some("dc1"), &["dc1", "dc2"], None);
        check(Some("dc3"), &["dc1", "dc2"], Some("no data centre dc3: name one that it has (dc1, dc2)"));
        check(Some("DC1"), &["dc1"], Some("no data centre DC1"));
        // A cluster that does not say where its nodes stand.
        check(None, &[], None);
        check(Some("dc1"), &[], None);
    }
}
