//! Paths and what surrounds every handler.

use super::{
    Api, LookupDeps, check, counted, dead_letters, deltas, erasures, export, incidents, manual, messages, operations,
    problem::Problem, receipts, recipients,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};
use futures_util::FutureExt as _;
use http::header;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

/// The description of this API, OpenAPI 3.1.
pub(super) const OPENAPI: &str = include_str!("../../openapi.json");

/// The API as a service.
pub fn router(deps: LookupDeps) -> Router {
    let metrics = deps.metrics.clone();
    let mut router = Router::new();
    for (path, _, methods) in routes() {
        let methods = methods.fallback(|| async { Problem::method_not_allowed() });
        let methods = methods.layer(middleware::from_fn(catch_panic));
        router = router.route(path, counted::counted(methods, path, metrics.as_ref()));
    }
    router
        .fallback(move || async move {
            let problem = Problem::not_found("no such path; see /v1/openapi.json").into_response();
            if let Some(metrics) = metrics {
                metrics.answered(counted::OTHER, problem.status().as_u16(), Duration::ZERO);
            }
            problem
        })
        // Bodies have bounds of their own, by path.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(Api::new(deps)))
}

type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<Api>>);

/// Every path with its methods, which a test compares with `openapi.json`.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/v1/check", &["post"], post(check::check)),
        ("/v1/recipients/{address}", &["get"], get(recipients::why)),
        ("/v1/messages/{id}", &["get"], get(messages::message)),
        ("/v1/suppressions", &["post", "delete"], post(manual::suppress).delete(manual::release)),
        ("/v1/suppressions/{address}", &["delete"], delete(manual::release_one)),
        ("/v1/erasures", &["post"], post(erasures::erase)),
        ("/v1/erasures/{address}", &["get"], get(erasures::erasure)),
        ("/v1/deltas", &["get"], get(deltas::deltas)),
        ("/v1/export", &["get"], get(export::export)),
        ("/v1/receipts/{id}", &["get"], get(receipts::receipt)),
        ("/v1/dead-letters", &["get"], get(dead_letters::list)),
        ("/v1/dead-letters/replay", &["post"], post(dead_letters::replay)),
        ("/v1/policy", &["get", "post"], get(operations::policy).post(operations::apply_policy)),
        ("/v1/unengaged", &["get", "post"], get(operations::unengaged_status).post(operations::begin_unengaged)),
        ("/v1/incidents", &["get"], get(incidents::list)),
        ("/v1/incidents/{id}", &["post"], post(incidents::rule)),
        ("/v1/openapi.json", &["get"], get(openapi)),
    ]
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// A handler that panics is a 500, and the connection lives on.
async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::internal("the handler failed; the log of this service says more").into_response(),
    }
}
