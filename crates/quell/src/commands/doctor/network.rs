//! Listeners: whether their ports are free, and their certificates fit their keys.

use super::Findings;
use crate::config::Config;
use service::serve::{Server, ServerLimits, TlsFiles};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
};

/// Whether each listener's port is free.
pub(super) fn ports(config: &Config, findings: &mut Findings) {
    let listeners = [
        ("gateway.listen", config.gateway.listen),
        ("lookup.listen", config.lookup.listen),
        ("admin.listen", config.admin.listen),
    ];
    for (name, address) in listeners {
        match TcpListener::bind(address) {
            Ok(_) => findings.ok(name, format!("{address} is free")),
            Err(error) => {
                let next = match error.kind() {
                    std::io::ErrorKind::AddrInUse => "end what holds it (`ss -ltnp` tells), or take another port",
                    std::io::ErrorKind::PermissionDenied => {
                        "take a port from 1024 on, or give the capability net_bind_service"
                    }
                    _ => "take an address of this machine",
                };
                findings.fail(name, format!("{address} cannot be taken ({error}): {next}"));
            }
        }
    }
}

/// Whether certificate and key can be used, by taking them for a listener on a port of the system's choice.
pub(super) async fn tls(name: &str, files: &TlsFiles, findings: &mut Findings) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if let Err(error) = Server::bind("doctor", any, Some(files), ServerLimits::default()).await {
        findings.fail(name, format!("{error}: name a PEM certificate chain and its key"));
        return;
    }
    let mode = std::fs::metadata(&files.key).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o004 == 0 {
        findings.ok(name, format!("{} and its key fit", files.certificate.display()));
    } else {
        let key = files.key.display();
        findings.warn(name, format!("everybody on this machine can read the key {key}: `chmod o-r {key}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Health;

    #[tokio::test]
    async fn a_port_that_is_taken_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[gateway]\nlisten = \"{}\"\n[lookup]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
            taken.local_addr().unwrap()
        );
        let config: Config = service::config::parse("test", &text, []).unwrap();
        let mut findings = Findings::default();
        ports(&config, &mut findings);
        let healths: Vec<Health> = findings.0.iter().map(|finding| finding.health).collect();
        assert_eq!(healths, [Health::Fail, Health::Ok, Health::Ok]);
        assert!(findings.0[0].detail.contains("ss -ltnp"));
    }

    #[tokio::test]
    async fn a_certificate_that_is_none_is_told() {
        let mut findings = Findings::default();
        let files = TlsFiles { certificate: "/nowhere/c.pem".into(), key: "/nowhere/k.pem".into() };
        tls("gateway.tls", &files, &mut findings).await;
        assert_eq!(findings.0[0].health, Health::Fail);
        assert!(findings.0[0].detail.contains("/nowhere/c.pem"), "{findings:?}");
    }
}
