//! Listeners: whether quell runs already, and if not, whether its ports are free.

use super::Findings;
use crate::config::Config;
use bytes::Bytes;
use http::{HeaderMap, Method};
use service::{
    http_client::{HttpAnswer, HttpCall, HttpClient, HttpClientOptions, HttpError},
    serve::{Server, ServerLimits, TlsFiles},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

/// Whether an instance answers on the admin port, and what it says of itself.
pub(super) async fn running(config: &Config, findings: &mut Findings) -> bool {
    let options = HttpClientOptions {
        timeout: Duration::from_secs(3),
        connect_timeout: Duration::from_secs(2),
        allow_private: true,
        ..HttpClientOptions::default()
    };
    let Ok(client) = HttpClient::new(&options) else { return false };
    let admin = reachable(config.admin.listen);
    let Ok(alive) = get(&client, format!("http://{admin}/livez")).await else { return false };
    if alive.status.is_success() {
        findings.ok("running", format!("an instance answers at {admin}"));
    } else {
        findings.fail("running", format!("http://{admin}/livez answers {}: {}", alive.status, first_line(&alive)));
    }
    match get(&client, format!("http://{admin}/readyz")).await {
        Ok(ready) if ready.status.is_success() => {
            findings.ok("ready", format!("http://{admin}/readyz answers {}", ready.status))
        }
        Ok(ready) => {
            let detail =
                format!("http://{admin}/readyz answers {}: {}; its log says why", ready.status, first_line(&ready));
            findings.fail("ready", detail);
        }
        Err(error) => findings.fail("ready", format!("http://{admin}/readyz: {error}")),
    }
    true
}

async fn get(client: &HttpClient, url: String) -> Result<HttpAnswer, HttpError> {
    client.call(HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }).await
}

fn first_line(answer: &HttpAnswer) -> String {
    String::from_utf8_lossy(&answer.body).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

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
