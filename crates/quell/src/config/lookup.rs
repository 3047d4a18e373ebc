//! Where senders, support and subscribers ask.

use domain::Tenant;
use serde::{Deserialize, Serialize};
use service::{
    Secret,
    serve::{ServerLimits, TlsFiles},
};
use std::net::SocketAddr;

/// `[lookup]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LookupConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Certificate chain and key, as PEM files; without, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// Answer without a token. Only where nobody else can reach the port.
    pub(crate) open: bool,
    /// Bounds of connections.
    pub(crate) server: ServerLimits,
    /// Who may ask.
    #[serde(rename = "token")]
    pub(crate) tokens: Vec<TokenConfig>,
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: None,
            open: false,
            server: ServerLimits::default(),
            tokens: Vec::new(),
        }
    }
}

/// `[[lookup.token]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenConfig {
    /// Who it is; stands in the audit of acts by hand.
    pub(crate) name: String,
    /// The bearer token.
    pub(crate) secret: Secret,
    /// `read` or `write`.
    #[serde(default)]
    pub(crate) role: Role,
    /// Only this tenant's recipients; without, any that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Tenant>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Ask.
    #[default]
    Read,
    /// Ask, suppress, release, replay.
    Write,
}
