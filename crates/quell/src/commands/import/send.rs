//! Imported events on their way: signed, as any webhook of the generic format, to the gateway.

use super::super::api::retry_after;
use crate::config::{Config, SourceConfig};
use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use domain::EventId;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ring::hmac;
use serde_json::Value;
use service::http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::{net::IpAddr, time::Duration};

const ATTEMPTS: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Sends events to one source of the generic provider.
#[derive(Debug)]
pub(super) struct Sender {
    client: HttpClient,
    url: String,
    source: SourceConfig,
}

impl Sender {
    /// For a source in the configuration; the gateway is where the configuration has it, or where it is said to be.
    pub(super) fn new(
        config: &Config,
        source: &str,
        tenant: Option<&str>,
        gateway: Option<&str>,
    ) -> anyhow::Result<Self> {
        let found = config.sources.iter().find(|known| known.provider == "generic" && known.name == source);
        let Some(found) = found else {
            bail!(
                "the configuration has no source generic/{source}, which rows are imported through, so that their reasons \
                 and times survive: add [[source]] with provider = \"generic\", name = \"{source}\" and secrets, and start \
                 quell anew; or say --by-hand to take every row as an act by hand"
            );
        };
        if let Some(tenant) = tenant.filter(|tenant| *tenant != found.tenant.as_str()) {
            bail!(
                "the source generic/{source} is tenant {}'s, not {tenant}'s: name another --source",
                found.tenant.as_str()
            );
        }
        let base = gateway.map_or_else(|| own_gateway(config), |url| url.trim_end_matches('/').to_owned());
        let options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
        let url = format!("{base}/webhooks/generic/{source}");
        Ok(Self { client: HttpClient::new(&options)?, url, source: found.clone() })
    }

    /// Sends a batch until it is taken: what is sent twice is one event.
    pub(super) async fn send(&self, events: &[Value]) -> anyhow::Result<()> {
        let body = Bytes::from(serde_json::to_vec(events)?);
        let id = EventId::derive(&[&String::from_utf8_lossy(&body)]).to_string();
        let mut wait = FIRST_WAIT;
        let mut failed = String::new();
        for _ in 0..ATTEMPTS {
            let seconds = super::super::moment::now()?.as_seconds();
            let headers = proofs(&self.source, &format!("import_{id}"), seconds, &body)?;
            let call = HttpCall { method: Method::POST, url: self.url.clone(), headers, body: body.clone() };
            let told = match self.client.call(call).await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) if is_busy(answer.status) => {
                    failed = format!("the gateway answers {}", answer.status);
                    retry_after(&answer.headers)
                }
                Ok(answer) => bail!(
                    "the gateway at {} refused the events with {}: {}",
                    self.url,
                    answer.status,
                    String::from_utf8_lossy(&answer.body).chars().take(500).collect::<String>()
                ),
                Err(HttpError::Connect(detail)) => bail!(
                    "no gateway answers at {} ({detail}): is `quell up` running? Start it, or say where it is with --gateway URL",
                    self.url
                ),
                Err(error) => {
                    failed = error.to_string();
                    None
                }
            };
            tokio::time::sleep(told.unwrap_or(wait).min(WAIT_MAX)).await;
            wait *= 2;
        }
        bail!("gave up after {ATTEMPTS} attempts: {failed}; run the import again, what was taken is not taken twice")
    }
}

fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// The gateway of this configuration, from this machine.
fn own_gateway(config: &Config) -> String {
    let mut address = config.gateway.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let scheme = if config.gateway.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// Everything that the source asks for, made from what it is configured with. Standard Webhooks signs `id.timestamp.body`.
fn proofs(source: &SourceConfig, id: &str, seconds: i64, body: &[u8]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: String| -> anyhow::Result<()> {
        let mut value =
            HeaderValue::try_from(value).with_context(|| format!("the value of the header {name} cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name)?, value);
        Ok(())
    };
    set(header::CONTENT_TYPE.as_str(), "application/json".to_owned())?;
    if let Some(secret) = source.secrets.first() {
        let text = secret.expose().trim();
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        let key = STANDARD.decode(&padded).or_else(|_| STANDARD.decode(text));
        let key =
            key.context("the source's secret is no Standard Webhooks secret: it is base64, with or without whsec_")?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        let time = seconds.to_string();
        [id.as_bytes(), b".", time.as_bytes(), b".", body].iter().for_each(|part| context.update(part));
        set("webhook-id", id.to_owned())?;
        set("webhook-timestamp", time)?;
        set("webhook-signature", format!("v1,{}", STANDARD.encode(context.sign())))?;
    }
    if let Some(pair) = source.basic_auth.first() {
        set(header::AUTHORIZATION.as_str(), format!("Basic {}", STANDARD.encode(pair.expose())))?;
    } else if let Some(token) = source.bearer.first() {
        set(header::AUTHORIZATION.as_str(), format!("Bearer {}", token.expose()))?;
    }
    for (name, value) in &source.headers {
        set(name, value.expose().to_owned())?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Tenant, Timestamp};
    use providers::{Request, Source};

    #[test]
    fn what_is_sent_proves_itself() {
        let empty: Config = service::config::parse("test", "", []).unwrap();
        let refused = Sender::new(&empty, "default", None, None).unwrap_err().to_string();
        assert!(refused.contains("generic/default") && refused.contains("--by-hand"), "{refused}");

        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        // Without its padding, as secrets are passed around.
        std::fs::write(&secret, "whsec_c2VjcmV0IHNlY3JldA").unwrap();
        let text = format!(
            "[[source]]\nprovider = \"generic\"\nname = \"lists\"\nsecrets = [\"file:{}\"]\n",
            secret.display()
        );
        let config: Config = service::config::parse("test", &text, []).unwrap();
        assert!(Sender::new(&config, "lists", Some("acme"), None).is_err());
        let sender = Sender::new(&config, "lists", Some("default"), None).unwrap();
        assert_eq!(sender.url, "http://127.0.0.1:8080/webhooks/generic/lists");
        let body = br#"[{"kind":"complaint"}]"#;
        let headers = proofs(&sender.source, "import_1", 1_700_000_000, body).unwrap();
        let generic = providers::by_name("generic").unwrap();
        let source = Source {
            provider: "generic",
            name: "lists".to_owned(),
            tenant: Tenant::default(),
            spec: sender.source.spec(),
        };
        let verdict = |body: &[u8]| {
            let request = Request { method: "POST", url: "/webhooks/generic/lists", headers: &headers, body };
            generic.authenticate(&request, &source, Timestamp::from_seconds(1_700_000_100).unwrap()).reason
        };
        assert_eq!(verdict(body), "ok");
        assert_eq!(verdict(b"[]"), "wrong_signature");
    }
}
