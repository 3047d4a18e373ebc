//! `POST /v1/check`: may these be sent to? JSON here; NDJSON and CSV in `check_stream`.

use super::{
    Api, answer::Question, auth::Caller, body, check_stream, counted::Checked, find::Ask, off_runtime, params::Params,
    problem::Problem,
};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{Channel, MessageClass};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, header};
use serde::Deserialize;
use std::{borrow::Cow, io, sync::Arc};

/// Recipients looked up in one go; a large check has two such pieces under way.
const PIECE: usize = 2_500;
const PIECES_AT_ONCE: usize = 2;
/// So many pieces are answered before the first byte goes out: a store that is away then is a 503, not a broken answer.
const PIECES_FIRST: usize = 4;

/// Answers by the content type of the body.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = params.only(&["class", "categories", "sources", "sender", "tenant", "channel"])?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => json(&api, &caller, &params, &headers, body).await,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            check_stream::ndjson(&api, ask_of(&api, &caller, &params)?, body).await
        }
        "text/csv" => check_stream::csv(&api, ask_of(&api, &caller, &params)?, body).await,
        _ => Err(Problem::unsupported_media_type(
            "send application/json, application/x-ndjson or text/csv as the content type",
        )),
    }
}

/// A recipient as it stands in the body, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted<'a> {
    tenant: Option<String>,
    channel: Option<Channel>,
    class: Option<MessageClass>,
    categories: Option<Vec<String>>,
    sources: Option<Vec<String>>,
    sender: Option<String>,
    #[serde(borrow)]
    recipients: Vec<Text<'a>>,
}

/// Where a recipient's text lies.
enum Place {
    /// In the body, from and to.
    Body(u32, u32),
    /// It had escapes.
    Own(Box<str>),
}

/// The body and its recipients, shared by the pieces; holds its share of the room for bodies until the last is done.
struct Recipients {
    body: Bytes,
    places: Vec<Place>,
    _room: tokio::sync::OwnedSemaphorePermit,
}

impl Recipients {
    fn text(&self, at: usize) -> &str {
        match &self.places[at] {
            // Both ends were those of a string in the body.
            Place::Body(from, to) => std::str::from_utf8(&self.body[*from as usize..*to as usize]).unwrap_or_default(),
            Place::Own(text) => text,
        }
    }
}

async fn json(
    api: &Arc<Api>,
    caller: &Caller,
    params: &Params,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let limits = api.deps.limits;
    let told: Option<usize> = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let bytes_max = told.unwrap_or(limits.check_bytes_max).min(limits.check_bytes_max);
    if told.is_some_and(|told| told > limits.check_bytes_max) {
        let detail = format!("a JSON body has at most {} bytes: send NDJSON or CSV instead", limits.check_bytes_max);
        return Err(Problem::too_large(detail));
    }
    let room = u32::try_from(bytes_max / 1_024 + 1).unwrap_or(u32::MAX);
    let room = Arc::clone(&api.check_room).try_acquire_many_owned(room);
    let room = room.map_err(|_| Problem::busy("checks under way fill the room there is: come again"))?;
    let body = body::collect(body, bytes_max, limits.idle).await?;
    let (ask, places) = read_wanted(api, caller, params, &body)?;
    let recipients = Arc::new(Recipients { body, places, _room: room });
    answer_json(Arc::new(ask), recipients).await
}

fn read_wanted(api: &Api, caller: &Caller, params: &Params, body: &Bytes) -> Result<(Ask, Vec<Place>), Problem> {
    let wanted: Wanted<'_> =
        serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
    let max = api.deps.limits.check_recipients_max;
    if wanted.recipients.len() > max {
        let detail = format!("a JSON check has at most {max} recipients: send NDJSON or CSV instead");
        return Err(Problem::too_large(detail));
    }
    // What the body does not say, the query may.
    let mut ask = ask_of(api, caller, params)?;
    if let Some(tenant) = &wanted.tenant {
        ask.tenant = caller.tenant(Some(tenant))?;
    }
    ask.channel = wanted.channel.or(ask.channel);
    let question = ask.question;
    ask.question = Question {
        class: wanted.class.unwrap_or(question.class),
        categories: wanted.categories.unwrap_or(question.categories),
        sources: wanted.sources.unwrap_or(question.sources),
        sender: question.sender,
    };
    if wanted.sender.is_some() {
        ask.question = ask.question.from_sender(wanted.sender.as_deref());
    }
    let start = body.as_ptr() as usize;
    let place = |Text(text): Text<'_>| match text {
        Cow::Borrowed(text) => {
            let from = (text.as_ptr() as usize).saturating_sub(start);
            match (u32::try_from(from), u32::try_from(from + text.len())) {
                (Ok(from), Ok(to)) => Place::Body(from, to),
                _ => Place::Own(text.into()),
            }
        }
        Cow::Owned(text) => Place::Own(text.into()),
    };
    Ok((ask, wanted.recipients.into_iter().map(place).collect()))
}

/// The check that the query asks for.
fn ask_of(api: &Api, caller: &Caller, params: &Params) -> Result<Ask, Problem> {
    let question = Question {
        class: params.read("class")?.unwrap_or(MessageClass::Marketing),
        categories: params.list("categories"),
        sources: params.list("sources"),
        sender: None,
    };
    Ok(Ask {
        store: Arc::clone(&api.deps.store),
        tenant: caller.tenant(params.text("tenant"))?,
        channel: params.read("channel")?,
        question: question.from_sender(params.text("sender")),
        policy: Arc::clone(api.deps.policy.get().newest()),
        now: api.now(),
        metrics: api.deps.metrics.clone(),
    })
}

async fn answer_json(ask: Arc<Ask>, recipients: Arc<Recipients>) -> Result<Response, Problem> {
    let count = recipients.places.len();
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(format!("{{\"as_of\":\"{}\",\"results\":[", ask.now).as_bytes());
    let mut pieces = stream::iter((0..count).step_by(PIECE))
        .map(move |from| {
            let (ask, recipients) = (Arc::clone(&ask), Arc::clone(&recipients));
            off_runtime(move || piece(ask, recipients, from))
        })
        .buffered(PIECES_AT_ONCE);
    let mut first = vec![Bytes::from(head)];
    while first.len() <= PIECES_FIRST {
        match pieces.next().await {
            Some(piece) => first.push(piece?),
            None => break,
        }
    }
    // Later on a store that fails breaks the connection: the client is left with half a document.
    let rest = pieces.map(|piece| piece.map_err(io::Error::other));
    let tail = stream::iter([Ok(Bytes::from_static(b"]}\n"))]);
    let whole = stream::iter(first.into_iter().map(Ok)).chain(rest).chain(tail);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(whole)).into_response())
}

async fn piece(ask: Arc<Ask>, recipients: Arc<Recipients>, from: usize) -> Result<Bytes, crate::StoreError> {
    let to = recipients.places.len().min(from + PIECE);
    let addresses: Vec<&str> = (from..to).map(|at| recipients.text(at)).collect();
    let found = ask.find(ask.channel, &addresses).await?;
    let (mut out, mut checked) = (Vec::with_capacity(addresses.len() * 160), Checked::default());
    for (at, (address, found)) in addresses.iter().zip(&found).enumerate() {
        if from + at > 0 {
            out.push(b',');
        }
        checked.note(ask.told(found)).write_json(&mut out, address);
    }
    ask.checked(checked);
    Ok(out.into())
}
