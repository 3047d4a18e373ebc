//! The traces that a lane's posts belong to.

use crate::{Judged, Post, Subscriber, Way, courier::Offer, post::Answer, post::PostError};
use domain::EventId;
use event_log::Consumed;
use schemas::headers::{TRACEPARENT, TRACESTATE};
use service::traces::{Calls, Carried, OpenCall, Traces};

/// What a delta's record says of its trace, and where it lies.
pub(crate) type Traced = (Carried, u32, u64);

/// The posts of one lane. One tells of as many deltas as fit, and belongs to the trace of each.
#[derive(Debug)]
pub(crate) struct LaneCalls {
    calls: Calls<EventId>,
    stage: String,
    tells_subscriber: bool,
}

impl LaneCalls {
    pub(crate) fn new(traces: Traces, subscriber: &Subscriber, way: Way) -> Self {
        let stage = subscriber.group(way);
        Self { calls: Calls::new(traces, &stage), stage, tells_subscriber: subscriber.traceparent }
    }

    /// What is to be known of a record, where traces are made.
    pub(crate) fn traced(&self, consumed: &Consumed) -> Option<Traced> {
        let record = self.calls.is_on().then_some(&consumed.record)?;
        let carried = Carried::read(record.header(TRACEPARENT), record.header(TRACESTATE))?;
        Some((carried, consumed.position.partition, consumed.position.number()))
    }

    /// These are posted from now on.
    pub(crate) fn batch(&mut self, offers: &[Offer]) {
        let traced = |offer: &Offer| {
            let (carried, partition, number) = offer.traced.clone()?;
            Some((offer.delta.delta_id, carried, partition, number))
        };
        self.calls.batch(offers.iter().filter_map(traced));
    }

    /// A post of these deltas begins. Its URL and body hold addresses and tokens: of them only the host is told.
    pub(crate) fn begin(&mut self, subscriber: &Subscriber, ids: &[EventId], post: &mut Post) -> Option<OpenCall> {
        self.calls.next_for(ids);
        let mut call = self.calls.begin(&format!("POST {}", subscriber.name))?;
        let url: Option<http::Uri> = subscriber.url.parse().ok();
        let span = call.span();
        span.note("http.request.method", "POST");
        if let Some(host) = url.as_ref().and_then(http::Uri::host) {
            span.note("server.address", host);
        }
        if let Some(port) = url.as_ref().and_then(http::Uri::port_u16) {
            span.note("server.port", port);
        }
        span.note("quell.stage", self.stage.as_str());
        span.note("quell.subscriber", subscriber.name.as_str());
        span.note("quell.deltas", ids.len());
        if self.tells_subscriber {
            post.headers.push((TRACEPARENT, call.context().to_string()));
            post.headers.extend(call.state().map(|state| (TRACESTATE, state.as_str().to_owned())));
        }
        Some(call)
    }

    /// A post is over. What the endpoint says may hold anything: only a tag is told.
    pub(crate) fn end(call: Option<OpenCall>, sent: &Result<Answer, PostError>, judged: &Judged) {
        let Some(mut call) = call else { return };
        let mut error = (*judged != Judged::Taken).then(|| judged.outcome().to_owned());
        if let Ok(answer) = sent {
            call.span().note("http.response.status_code", answer.status);
            error = error.map(|_| answer.status.to_string());
        }
        if let Some(error) = &error {
            call.span().note("error.type", error.as_str());
        }
        call.end(error);
    }
}
