//! Servers in a process of their own: a bare axum handler, to compare with, and the gateway without the stages that
//! otherwise work on the same cores.

use crate::requests;
use anyhow::Context as _;
use axum::{Router, body::Bytes, http::StatusCode, response::IntoResponse, routing::post};
use event_log::{
    TopicSpec,
    embedded::{EmbeddedLog, Limits, OpenError, SegmentOptions, open_database},
};
use ingest_gateway::{Configured, EmbeddedTokens, Gateway, GatewayDeps, NoFetch, Sources};
use providers::{Source, SourceSpec};
use service::{
    Metrics, SystemClock,
    admin::Readiness,
    serve::{Server, ServerLimits},
};
use std::{io::Write as _, net::SocketAddr, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// As `quell up` has it by default.
pub(crate) const CACHE_BYTES: u64 = 64 << 20;
/// As `quell up` has it by default.
pub(crate) const PARTITIONS: u32 = 4;

/// A port that the kernel chooses.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// As `quell` has it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

/// Prints where it listens.
pub(crate) fn tell(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{address}")?;
    Ok(out.flush()?)
}

/// Reads the body and answers 202 with a little JSON. Ends when it is killed.
pub(crate) fn bare_axum() -> anyhow::Result<()> {
    async fn take(body: Bytes) -> impl IntoResponse {
        let text = format!(r#"{{"status":"accepted","bytes":{}}}"#, body.len());
        (StatusCode::ACCEPTED, [("content-type", "application/json")], text)
    }
    runtime()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(any_port()).await?;
        tell(listener.local_addr()?)?;
        let router =
            Router::new().route("/webhooks/{provider}", post(take)).route("/webhooks/email/events", post(take));
        Ok(axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), router)
            .await?)
    })
}

/// Topics as `quell up` makes them by default.
pub(crate) fn topics() -> Vec<TopicSpec> {
    let spec = |topic: schemas::topics::Topic| TopicSpec {
        name: topic.name.into(),
        partitions: PARTITIONS,
        retention_ms: topic.retention_ms,
    };
    schemas::topics::all().into_iter().map(spec).collect()
}

/// The log as `quell up` opens it.
pub(crate) fn open_log(directory: &Path, db: fjall::Database) -> Result<EmbeddedLog, OpenError> {
    let segments = SegmentOptions::new(directory.join("segments"), &[schemas::topics::RAW]);
    EmbeddedLog::open_with_segments(db, &topics(), Limits::default(), &segments)
}

/// The gateway over an embedded log. Ends when it is killed.
pub(crate) fn gateway_only(directory: &Path) -> anyhow::Result<()> {
    let db = open_database(directory, CACHE_BYTES)?;
    let log = open_log(directory, db)?;
    let tokens = EmbeddedTokens::open(&log)?;
    let source = |(name, variable): (&str, &str)| {
        let provider = providers::by_name(name).context("no such provider")?;
        let secrets = vec![std::env::var(variable).with_context(|| format!("{variable} is not set"))?];
        let spec = SourceSpec { secrets, tolerance: Some(86_400), ..SourceSpec::default() };
        let name = "default".to_owned();
        let source = Source { provider: provider.name(), name, tenant: domain::Tenant::default(), spec };
        Ok(Configured { provider, source, shadow: false })
    };
    let sources =
        [("generic", requests::GENERIC), ("sendgrid", requests::SENDGRID), ("mailgun", requests::MAILGUN)].map(source);
    let gateway = Gateway::new(GatewayDeps {
        append: ingest_gateway::Way::Log(Arc::new(log)),
        clock: Arc::new(SystemClock),
        sources: Sources::new(sources.into_iter().collect::<anyhow::Result<Vec<_>>>()?)?,
        tokens: Arc::new(tokens),
        fetch: Arc::new(NoFetch),
        readiness: Readiness::requiring(&[]),
        metrics: Metrics::new()?,
        traces: service::traces::Traces::off(),
        limits: ingest_gateway::Limits::default(),
    })?;
    runtime()?.block_on(async {
        let server = Server::bind("gateway", any_port(), None, ServerLimits::default()).await?.short_answers();
        tell(server.local_addr()?)?;
        server.run(gateway.service(), CancellationToken::new()).await;
        Ok(())
    })
}
