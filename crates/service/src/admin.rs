//! The admin port: `/metrics`, `/livez`, `/readyz`. Never on the public listener.

use crate::Metrics;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
struct Checks {
    checks: BTreeMap<&'static str, Check>,
    shutting_down: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Check {
    ok: bool,
    failing_until: Option<Instant>,
}

/// Whether to send work here: a set of named checks that components flip. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Checks>>);

impl Readiness {
    /// These checks must all hold; none does yet.
    pub fn requiring(names: &[&'static str]) -> Self {
        let readiness = Self::default();
        for name in names {
            readiness.set(name, false);
        }
        readiness
    }

    /// Says whether a check holds now.
    pub fn set(&self, name: &'static str, ok: bool) {
        self.lock().checks.insert(name, Check { ok, failing_until: None });
    }

    /// A check fails for a while and then holds again by itself: for who notices a fault only by serving, and would
    /// otherwise never be sent the request that shows the fault is gone.
    pub fn fail_for(&self, name: &'static str, duration: Duration) {
        let until = Instant::now().checked_add(duration);
        self.lock().checks.entry(name).or_insert(Check { ok: true, failing_until: None }).failing_until = until;
    }

    /// Not ready from now on, whatever the checks say: before draining.
    pub fn shut_down(&self) {
        self.lock().shutting_down = true;
    }

    /// Whether all holds, and each check.
    pub fn report(&self) -> (bool, BTreeMap<&'static str, bool>) {
        let (now, guard) = (Instant::now(), self.lock());
        let holds = |check: &Check| check.ok && check.failing_until.is_none_or(|until| until <= now);
        let mut report: BTreeMap<_, _> = guard.checks.iter().map(|(name, check)| (*name, holds(check))).collect();
        if guard.shutting_down {
            report.insert("not_shutting_down", false);
        }
        (report.values().all(|ok| *ok), report)
    }

    fn lock(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Beats {
    last: Instant,
    age_max: Duration,
}

/// Whether the process still moves: every loop that must never stop beats here. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<BTreeMap<String, Beats>>>);

impl Liveness {
    /// A loop that must beat at least this often.
    pub fn heartbeat(&self, name: impl Into<String>, age_max: Duration) -> Heartbeat {
        let name = name.into();
        self.lock().insert(name.clone(), Beats { last: Instant::now(), age_max });
        Heartbeat { liveness: self.clone(), name }
    }

    /// Whether every loop beats, and each.
    pub fn report(&self) -> (bool, BTreeMap<String, bool>) {
        let report: BTreeMap<_, _> =
            self.lock().iter().map(|(name, beats)| (name.clone(), beats.last.elapsed() <= beats.age_max)).collect();
        (report.values().all(|ok| *ok), report)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Beats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One loop's pulse. Dropped without [`Heartbeat::retire`] (the loop died), it grows old and `/livez` says so.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    name: String,
}

impl Heartbeat {
    /// The loop moved.
    pub fn beat(&self) {
        if let Some(beats) = self.liveness.lock().get_mut(&self.name) {
            beats.last = Instant::now();
        }
    }

    /// The loop ended as it should.
    pub fn retire(self) {
        self.liveness.lock().remove(&self.name);
    }
}

/// What the admin port shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// All metrics.
    pub metrics: Metrics,
    /// Whether to send work here.
    pub readiness: Readiness,
    /// Whether to leave the process alone.
    pub liveness: Liveness,
}

/// The routes of the admin port.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render()).into_response()
}

async fn livez(State(admin): State<Admin>) -> Response {
    let (ok, checks) = admin.liveness.report();
    answer(ok, "live", serde_json::json!(checks))
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let (ok, checks) = admin.readiness.report();
    answer(ok, "ready", serde_json::json!(checks))
}

fn answer(ok: bool, what: &str, checks: serde_json::Value) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({ what: ok, "checks": checks }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn get_text(admin: &Admin, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(admin.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    fn admin(readiness: Readiness) -> Admin {
        Admin { metrics: Metrics::new().unwrap(), readiness, liveness: Liveness::default() }
    }

    #[tokio::test]
    async fn ready_once_every_check_holds_and_never_while_shutting_down() {
        let admin = admin(Readiness::requiring(&["log", "store"]));
        assert_eq!(get_text(&admin, "/readyz").await.0, 503);
        admin.readiness.set("log", true);
        let (status, text) = get_text(&admin, "/readyz").await;
        assert_eq!((status, text.as_str()), (503, r#"{"checks":{"log":true,"store":false},"ready":false}"#));
        admin.readiness.set("store", true);
        assert_eq!(get_text(&admin, "/readyz").await.0, 200);
        admin.readiness.shut_down();
        let (status, text) = get_text(&admin, "/readyz").await;
        assert_eq!(status, 503);
        assert!(text.contains("not_shutting_down"), "{text}");
    }

    #[tokio::test]
    async fn a_check_that_fails_for_a_while_holds_again_by_itself() {
        let admin = admin(Readiness::requiring(&["log"]));
        admin.readiness.set("log", true);
        admin.readiness.fail_for("log", Duration::from_secs(2));
        assert_eq!(get_text(&admin, "/readyz").await.0, 503);
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        assert_eq!(get_text(&admin, "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn live_while_every_loop_beats() {
        let admin = admin(Readiness::default());
        assert_eq!(get_text(&admin, "/livez").await.0, 200);
        let heartbeat = admin.liveness.heartbeat("runner", Duration::from_secs(2));
        assert_eq!(get_text(&admin, "/livez").await.0, 200);
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        assert_eq!(get_text(&admin, "/livez").await.0, 503);
        heartbeat.beat();
        assert_eq!(get_text(&admin, "/livez").await.0, 200);
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        heartbeat.retire();
        assert_eq!(get_text(&admin, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn shows_metrics_as_text() {
        let (status, text) = get_text(&admin(Readiness::default()), "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
