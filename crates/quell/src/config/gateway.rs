//! Where webhooks come in.

use ingest_gateway::SpoolConfig;
use serde::{Deserialize, Serialize};
use service::serve::{ServerLimits, TlsFiles};
use std::net::SocketAddr;

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Certificate chain and key, as PEM files; without, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// Bounds of bodies and of work in flight.
    pub(crate) limits: ingest_gateway::Limits,
    /// Bounds of connections.
    pub(crate) server: ServerLimits,
    /// What keeps webhooks of `quell serve` while the log is away.
    pub(crate) spool: SpoolConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            limits: ingest_gateway::Limits::default(),
            server: ServerLimits::default(),
            spool: SpoolConfig::default(),
        }
    }
}
