//! A certificate authority and a server's certificate, made for one run by the JDK's `keytool`.

use super::{ServerError, cache, java};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// For the files of one test server, gone with it.
pub(crate) const STORE_PASSWORD: &str = "for-one-test-run";

/// What was made.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// PKCS#12 with the server's key and its chain.
    pub store: PathBuf,
    /// The authority's certificate, as clients want it.
    pub ca_pem: PathBuf,
}

/// Makes a certificate for `localhost` and 127.0.0.1 and the authority behind it, in this folder.
pub(crate) fn make(dir: &Path) -> Result<Certificates, ServerError> {
    let certificates = Certificates { store: dir.join("server.p12"), ca_pem: dir.join("ca.pem") };
    let keytool = java::program("keytool")?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&keytool);
        command.args(arguments).arg("-keystore").arg(&certificates.store).args(["-storepass", STORE_PASSWORD]);
        cache::run("making certificates", &mut command)
    };
    let key = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"];
    run(&[
        &[
            "-genkeypair",
            "-alias",
            "ca",
            "-dname",
            "CN=Quell test authority",
            "-ext",
            "bc:critical=ca:true",
            "-ext",
            "ku:critical=keyCertSign,cRLSign",
        ],
        key.as_slice(),
    ]
    .concat())?;
    run(&[
        &[
            "-genkeypair",
            "-alias",
            "server",
            "-signer",
            "ca",
            "-dname",
            "CN=localhost",
            "-ext",
            "san=dns:localhost,ip:127.0.0.1",
            "-ext",
            "eku=serverAuth",
        ],
        key.as_slice(),
    ]
    .concat())?;
    let ca = certificates.ca_pem.display().to_string();
    run(&["-exportcert", "-rfc", "-alias", "ca", "-file", &ca])?;
    // With the authority's key still there a server may show that certificate instead of its own.
    run(&["-delete", "-alias", "ca"])?;
    Ok(certificates)
}
