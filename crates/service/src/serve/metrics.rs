//! What happens to connections before and between requests, where no handler sees it.

use crate::{Metrics, telemetry::TelemetryError};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Connections of every listener of a process. Clones count together.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    open: IntGaugeVec,
    ended: IntCounterVec,
}

impl ServerMetrics {
    /// Registers them, once for all listeners.
    pub fn register(metrics: &Metrics) -> Result<Self, TelemetryError> {
        Ok(Self {
            open: metrics.gauges("quell_http_connections", "Connections that are open.", &["listener"])?,
            ended: metrics.counters(
                "quell_http_connections_ended_total",
                "Connections that ended, and why.",
                &["listener", "cause"],
            )?,
        })
    }

    pub(super) fn open(&self, listener: &str) -> IntGauge {
        self.open.with_label_values(&[listener])
    }

    pub(super) fn ended(&self, listener: &str, end: End) -> IntCounter {
        self.ended.with_label_values(&[listener, end.tag()])
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Either side was done with it.
    Closed,
    /// It lay without a request for too long.
    Idle,
    /// It gave way to another, as there were too many.
    MadeRoom,
    /// A request's head, or TLS, did not come in time.
    SlowHead,
    /// What came is no request (answered 400).
    MalformedHead,
    /// A request's head is too large (answered 431 or 414).
    HeadTooLarge,
    /// No TLS.
    Handshake,
    /// It broke off, or the client stopped reading.
    Broken,
    /// The process ends.
    Stopped,
}

impl End {
    const fn tag(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::MadeRoom => "made_room",
            Self::SlowHead => "slow_head",
            Self::MalformedHead => "malformed_head",
            Self::HeadTooLarge => "head_too_large",
            Self::Handshake => "handshake",
            Self::Broken => "broken",
            Self::Stopped => "stopped",
        }
    }

    /// What an error of the connection says.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return Self::Broken };
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::MalformedHead
        } else if error.is_timeout() {
            Self::SlowHead
        } else {
            Self::Broken
        }
    }
}
