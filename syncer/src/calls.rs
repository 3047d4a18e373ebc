//! The traces that a lane's calls belong to.

use crate::{Account, ApiError, caller::Item};
use domain::{Delta, EventId};
use event_log::Consumed;
use providers::suppression_api::{Action, ApiAnswer, ApiRequest};
use schemas::headers::{TRACEPARENT, TRACESTATE};
use service::traces::{Calls, Carried, OpenCall, Traces};

/// The calls of one lane. A call tells of as many recipients as fit, and belongs to the trace of each.
#[derive(Debug)]
pub(crate) struct LaneCalls {
    calls: Calls<EventId>,
    /// How many recipients the next call is for.
    n_items: usize,
    tells_provider: bool,
}

impl LaneCalls {
    /// Traces nothing.
    pub(crate) fn none(account: &Account) -> Self {
        Self::new(Traces::off(), account, false)
    }

    pub(crate) fn new(traces: Traces, account: &Account, tells_provider: bool) -> Self {
        Self { calls: Calls::new(traces, &account.group()), n_items: 0, tells_provider }
    }

    /// A batch is worked on.
    pub(crate) fn batch<'a>(&mut self, deltas: impl Iterator<Item = (&'a &'a Consumed, &'a Result<Delta, String>)>) {
        if !self.calls.is_on() {
            return;
        }
        self.calls.batch(deltas.filter_map(|(consumed, delta)| {
            let record = &consumed.record;
            let carried = Carried::read(record.header(TRACEPARENT), record.header(TRACESTATE))?;
            Some((delta.as_ref().ok()?.delta_id, carried, consumed.position.partition, consumed.position.number()))
        }));
    }

    /// Whom the calls that follow are for.
    pub(crate) fn are_for(&mut self, items: &[Item<'_>]) {
        self.n_items = items.len();
        self.calls.next_for(items.iter().map(|item| &item.delta_id));
    }

    /// A call begins. Its URL and body hold addresses: of them only the host is told.
    pub(crate) fn begin(&mut self, account: &Account, action: Action, request: &mut ApiRequest) -> Option<OpenCall> {
        let provider = account.lists.provider();
        let mut call = self.calls.begin(&format!("{} {provider}", request.method))?;
        let url: Option<http::Uri> = account.settings.base_url.parse().ok();
        let span = call.span();
        span.note("http.request.method", request.method.as_str());
        if let Some(host) = url.as_ref().and_then(http::Uri::host) {
            span.note("server.address", host);
        }
        if let Some(port) = url.as_ref().and_then(http::Uri::port_u16) {
            span.note("server.port", port);
        }
        span.note("quell.stage", account.group());
        span.note("quell.account", account.name.as_str());
        span.note("quell.provider", provider);
        span.note("quell.action", if action == Action::Add { "add" } else { "remove" });
        span.note("quell.recipients", self.n_items);
        if self.tells_provider {
            request.headers.push((TRACEPARENT, call.context().to_string()));
            request.headers.extend(call.state().map(|state| (TRACESTATE, state.as_str().to_owned())));
        }
        Some(call)
    }

    /// A call is over. What the provider says may hold addresses: only a tag is told.
    pub(crate) fn end(call: Option<OpenCall>, sent: &Result<ApiAnswer, ApiError>) {
        let Some(mut call) = call else { return };
        let error = match sent {
            Ok(answer) => {
                call.span().note("http.response.status_code", answer.status);
                (answer.status >= 400).then(|| answer.status.to_string())
            }
            Err(ApiError::NotSent(_)) => Some("not_sent".to_owned()),
            Err(ApiError::Unclear(_)) => Some("no_answer".to_owned()),
            Err(ApiError::Unusable(_)) => Some("unusable".to_owned()),
        };
        if let Some(error) = &error {
            call.span().note("error.type", error.as_str());
        }
        call.end(error);
    }
}
