//! Where a trace begins: the span of a webhook, and that of its append.
//!
//! Only what is taken, or would be but for want of room, makes a trace: what is refused costs nothing here, and nobody
//! without a proof can ask for one.

use crate::record::Verified;
use http::{HeaderMap, HeaderName};
use schemas::{headers as names, topics};
use service::traces::{Kind, Span, TraceContext, TraceId, TraceState, Traces};
use std::time::Duration;

const TRACEPARENT: HeaderName = HeaderName::from_static(names::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(names::TRACESTATE);

/// What a record carries on, and the spans to end once it is appended.
#[derive(Debug, Default)]
pub(crate) struct WebhookTrace {
    traceparent: Option<String>,
    tracestate: Option<TraceState>,
    spans: Option<Spans>,
}

#[derive(Debug)]
struct Spans {
    webhook: Span,
    append: Span,
}

impl WebhookTrace {
    /// Decides whether the webhook is recorded. A caller's trace goes on unchanged where nothing here makes traces, and as
    /// one that is not recorded where the caller asked for more of them than it may; what others say of it goes with it.
    pub(crate) fn begin(
        traces: &Traces,
        verified: &Verified<'_>,
        headers: &HeaderMap,
        elapsed: impl FnOnce() -> Duration,
    ) -> Self {
        let caller = caller(headers);
        let tracestate = caller.and_then(|_| state(headers));
        let passed_on = caller.map(|(text, _)| text.to_owned());
        if !traces.is_on() {
            return Self { traceparent: passed_on, tracestate, spans: None };
        }
        let own = TraceId::derive(&[verified.inner_id.as_bytes()]);
        let caller = caller.map(|(_, context)| context);
        if !traces.samples(own, caller.as_ref()) {
            let unsampled = |caller: TraceContext| TraceContext { is_sampled: false, ..caller }.to_string();
            let traceparent =
                if caller.is_some_and(|caller| caller.is_sampled) { caller.map(unsampled) } else { passed_on };
            return Self { traceparent, tracestate, spans: None };
        }
        let spans = Spans::begin(traces, verified, own, caller, elapsed());
        Self { traceparent: Some(spans.append.context.to_string()), tracestate, spans: Some(spans) }
    }

    /// What the record's header says.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What its other header says.
    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_ref().map(TraceState::as_str)
    }

    /// The record lies in the log or the spool, or nowhere; `receipt` is what its sender is told.
    pub(crate) fn end(self, traces: &Traces, receipt: Result<&schemas::Receipt, &'static str>) {
        let Some(Spans { mut webhook, mut append }) = self.spans else { return };
        let now = traces.now_micros();
        for span in [&mut webhook, &mut append] {
            span.time.1 = now;
            match receipt {
                Ok(receipt) => span.note("quell.receipt_id", receipt.to_string()),
                Err(cause) => span.error = Some(cause.to_owned()),
            }
        }
        if let Ok(schemas::Receipt::Spooled(_)) = receipt {
            append.note("quell.spooled", "true");
        }
        traces.record(append);
        traces.record(webhook);
    }
}

impl Spans {
    fn begin(
        traces: &Traces,
        verified: &Verified<'_>,
        own: TraceId,
        caller: Option<TraceContext>,
        elapsed: Duration,
    ) -> Self {
        let (now, inner_id) = (traces.now_micros(), verified.inner_id.as_bytes());
        let trace = caller.map_or(own, |caller| caller.trace);
        // Any span of the trace will do: a child's id is of the trace and its own parts.
        let of_trace = TraceContext { trace, span: service::traces::SpanId::derive(&[inner_id]), is_sampled: true };
        let (webhook, append) = (of_trace.child(&[b"gateway", inner_id]), of_trace.child(&[b"append", inner_id]));
        let begun = now.saturating_sub(i64::try_from(elapsed.as_micros()).unwrap_or(0));
        let (provider, source) = (verified.source.provider, verified.source.name.as_str());
        let name = format!("webhook {provider}");
        let mut webhook = Span::new(webhook, caller.map(|caller| caller.span), Kind::Server, name, (begun, now));
        webhook.note("http.request.method", "POST");
        webhook.note("quell.verified", verified.scheme);
        let name = format!("send {}", topics::RAW);
        let mut append = Span::new(append, Some(webhook.context.span), Kind::Producer, name, (now, now));
        append.note("messaging.system", traces.system());
        append.note("messaging.operation.type", "send");
        append.note("messaging.operation.name", "send");
        append.note("messaging.destination.name", topics::RAW);
        for span in [&mut webhook, &mut append] {
            span.note("quell.stage", "gateway");
            span.note("quell.provider", provider);
            span.note("quell.source", source);
            span.note("quell.tenant", verified.source.tenant.as_str());
        }
        Self { webhook, append }
    }
}

/// The caller's trace, if its `traceparent` is well-formed, as it stands and as it is read.
fn caller(headers: &HeaderMap) -> Option<(&str, TraceContext)> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    Some((text, TraceContext::parse(text)?))
}

/// What others say of the caller's trace, if all of it is well-formed.
fn state(headers: &HeaderMap) -> Option<TraceState> {
    let values = headers.get_all(TRACESTATE);
    let values: Vec<&str> = values.iter().map(|value| value.to_str().ok()).collect::<Option<_>>()?;
    TraceState::parse(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn verified(source: &providers::Source) -> Verified<'_> {
        Verified {
            provider: providers::by_name("drip").unwrap(),
            source,
            inner_id: "01jd5xg6z5",
            received_at: domain::Timestamp::EPOCH,
            url: "/",
            scheme: "hmac",
            shadow: false,
        }
    }

    fn begun(traces: &Traces, traceparent: Option<&'static str>) -> WebhookTrace {
        let headers =
            traceparent.map(|text| (http::HeaderName::from_static("traceparent"), HeaderValue::from_static(text)));
        traced(traces, &headers.into_iter().collect())
    }

    fn traced(traces: &Traces, headers: &HeaderMap) -> WebhookTrace {
        let source = providers::Source {
            provider: "drip",
            name: "default".into(),
            tenant: domain::Tenant::default(),
            spec: providers::SourceSpec::default(),
        };
        WebhookTrace::begin(traces, &verified(&source), headers, || Duration::from_millis(5))
    }

    fn on(sample: f64, callers_per_s: u32) -> Traces {
        let settings = service::traces::TraceSettings {
            url: "http://127.0.0.1:9/".to_owned(),
            sample,
            callers_per_s,
            headers: Vec::new(),
            resource: Vec::new(),
        };
        Traces::start(Some(settings), &service::Metrics::new().unwrap()).unwrap()
    }

    #[test]
    fn without_traces_a_callers_goes_on_if_it_is_well_formed() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        for (given, kept) in [(Some(GOOD), Some(GOOD)), (Some(later), Some(later)), (Some("00-zz"), None), (None, None)]
        {
            let trace = begun(&Traces::off(), given);
            assert_eq!((trace.traceparent(), trace.spans.is_some()), (kept, false));
        }
    }

    #[tokio::test]
    async fn what_others_say_of_a_trace_goes_with_it_if_it_is_well_formed() {
        let told = |traces: &Traces, parent: Option<&'static str>, states: &[&'static [u8]]| {
            let parent = parent.map(|text| ("traceparent", text.as_bytes()));
            let headers = parent.into_iter().chain(states.iter().map(|state| ("tracestate", *state)));
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let trace = traced(traces, &map);
            trace.tracestate().map(str::to_owned)
        };
        let kept = || Some("a=1,b=2".to_owned());
        for traces in [Traces::off(), on(0.0, 0), on(0.0, 1)] {
            assert_eq!(told(&traces, Some(GOOD), &[b"a=1", b"b=2"]), kept());
            assert_eq!(told(&traces, Some("00-zz"), &[b"a=1"]), None, "of no trace");
            assert_eq!(told(&traces, None, &[b"a=1"]), None, "of no trace");
            assert_eq!(told(&traces, Some(GOOD), &[b"a=1", b"b"]), None);
            assert_eq!(told(&traces, Some(GOOD), &[b"a=\xff"]), None);
            assert_eq!(told(&traces, Some(GOOD), &[]), None);
        }
    }

    #[tokio::test]
    async fn a_sampled_webhook_goes_on_below_its_append() {
        let traces = on(0.0, 1);
        let trace = begun(&traces, Some(GOOD));
        let spans = trace.spans.as_ref().unwrap();
        let caller = TraceContext::parse(GOOD).unwrap();
        assert_eq!((spans.webhook.context.trace, spans.webhook.parent), (caller.trace, Some(caller.span)));
        assert_eq!((spans.append.context.trace, spans.append.parent), (caller.trace, Some(spans.webhook.context.span)));
        assert_eq!(trace.traceparent(), Some(spans.append.context.to_string().as_str()));
        assert_eq!(spans.webhook.time.1 - spans.webhook.time.0, 5_000);
        // The second asks for more than it may.
        let second = begun(&traces, Some(GOOD));
        assert!(second.spans.is_none());
        assert_eq!(second.traceparent(), Some(GOOD.replace("-01", "-00").as_str()));
    }

    #[tokio::test]
    async fn what_is_not_sampled_carries_no_more_than_it_brought() {
        let silent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let none = begun(&on(0.0, 0), None);
        assert_eq!((none.traceparent(), none.spans.is_some()), (None, false));
        let silent_trace = begun(&on(1.0, 9), Some(silent));
        assert_eq!((silent_trace.traceparent(), silent_trace.spans.is_some()), (Some(silent), false));
        let all = begun(&on(1.0, 0), None);
        assert!(all.spans.as_ref().unwrap().webhook.parent.is_none());
        // The same webhook makes the same trace again.
        assert_eq!(all.traceparent(), begun(&on(1.0, 0), None).traceparent());
    }
}
