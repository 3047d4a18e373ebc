//! TLS by rustls with ring.

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};
use tokio_rustls::TlsAcceptor;

/// Certificate and key of a listener, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, and after it those that lead to a root.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read as what it should be.
    #[error("cannot read {what} from {path}: {detail}", path = path.display())]
    File {
        /// `the certificate` or `the private key`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        detail: String,
    },
    /// They do not fit together, or rustls does not take them.
    #[error("cannot use certificate and key: {0}")]
    Refused(#[from] rustls::Error),
}

/// A ready acceptor.
#[derive(Clone)]
pub(super) struct Tls(pub(super) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Makes ring the process's cryptography, once; later calls change nothing.
pub fn install_crypto() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(super) fn acceptor(files: &TlsFiles) -> Result<Tls, TlsError> {
    install_crypto();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| file("the certificate", &files.certificate, &error))?;
    if chain.is_empty() {
        let path = files.certificate.clone();
        return Err(TlsError::File { what: "the certificate", path, detail: "it holds none".into() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| file("the private key", &files.key, &error))?;
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls(TlsAcceptor::from(Arc::new(config))))
}

fn file(what: &'static str, path: &std::path::Path, error: &rustls_pki_types::pem::Error) -> TlsError {
    TlsError::File { what, path: path.to_owned(), detail: error.to_string() }
}
