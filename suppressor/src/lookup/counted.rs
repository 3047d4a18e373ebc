//! Counts what is asked and how it is answered.

use super::answer::Told;
use axum::{
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::MethodRouter,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Hears of every answer.
pub trait LookupMetrics: Send + Sync + std::fmt::Debug {
    /// A call was answered. `route` is the pattern of its path, or `other` where there is none; `took` ends with the head of
    /// the answer, though a stream goes on after it.
    fn answered(&self, route: &'static str, status: u16, took: Duration);

    /// A part of a check was answered.
    fn checked(&self, checked: Checked);
}

/// Recipients of a check, by what was said of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// May be sent to.
    pub free: u64,
    /// Must not be sent to.
    pub stopped: u64,
    /// Are no addresses.
    pub unreadable: u64,
}

impl Checked {
    /// Counts an answer, and hands it on.
    pub(super) fn note<'a>(&mut self, told: Told<'a>) -> Told<'a> {
        *match told {
            Told::Free => &mut self.free,
            Told::Stopped(_) => &mut self.stopped,
            Told::Unreadable(_) => &mut self.unreadable,
        } += 1;
        told
    }
}

/// Where no path fits.
pub(super) const OTHER: &str = "other";

/// The same methods, counted.
pub(super) fn counted<S: Clone + Send + Sync + 'static>(
    methods: MethodRouter<S>,
    route: &'static str,
    metrics: Option<&Arc<dyn LookupMetrics>>,
) -> MethodRouter<S> {
    let Some(metrics) = metrics.map(Arc::clone) else { return methods };
    methods.layer(middleware::from_fn(move |request: Request, next: Next| {
        let metrics = Arc::clone(&metrics);
        async move {
            let began = Instant::now();
            let response: Response = next.run(request).await;
            metrics.answered(route, response.status().as_u16(), began.elapsed());
            response
        }
    }))
}
