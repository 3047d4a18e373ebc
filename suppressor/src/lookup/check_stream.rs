//! Checks of any length: blocks of rows in, blocks of answers out, a bounded number of them in between.
//!
//! The answer begins before the body has ended, so a client has to read while it sends; what it does not read at once
//! waits here up to a bound, which is enough for some ten thousands of rows.

use super::{
    Api,
    answer::{COLUMNS, Told, write_text},
    body::{Blocks, Csv, Rows},
    counted::Checked,
    find::Ask,
    off_runtime,
    problem::Problem,
};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::Channel;
use futures_util::{StreamExt as _, stream};
use http::header;
use serde::Deserialize;
use std::{borrow::Cow, io, sync::Arc};
use tokio::sync::mpsc;

const BLOCKS_AT_ONCE: usize = 2;

/// Why a stream could not go on.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The store.
    #[error("the state store cannot answer")]
    Store(#[from] crate::StoreError),
    /// The body.
    #[error("the body cannot be read: {0}")]
    Rows(String),
}

/// How one form of a check reads and answers its rows.
enum Form {
    Ndjson,
    Csv(Columns),
}

/// Where a CSV file keeps its recipients.
#[derive(Debug, Clone, Copy)]
struct Columns {
    recipient: usize,
    channel: Option<Channel>,
    count: usize,
}

/// NDJSON: a recipient a line, as a JSON string, as an object with `recipient`, or bare.
pub(super) async fn ndjson(api: &Arc<Api>, ask: Ask, body: Body) -> Result<Response, Problem> {
    let mut blocks = Blocks::new(body, Rows::Lines, &api.deps.limits);
    let first = blocks.next().await?.unwrap_or_default();
    answer(api, ask, Form::Ndjson, Vec::new(), first, blocks, "application/x-ndjson").await
}

/// CSV: any columns, one of them named `recipient`, `email` or `phone`; the answer's columns are appended.
pub(super) async fn csv(api: &Arc<Api>, ask: Ask, body: Body) -> Result<Response, Problem> {
    let mut blocks = Blocks::new(body, Rows::Csv(Csv::default()), &api.deps.limits);
    let Some(mut first) = blocks.next().await? else {
        return Err(Problem::bad_request("the body is empty: its first row names the columns"));
    };
    if first.starts_with(b"\xef\xbb\xbf") {
        // A byte order mark, as spreadsheets write it.
        first = first.slice(3..);
    }
    let (header, rest) = csv_header(&first)?;
    let columns = csv_columns(&header, ask.channel)?;
    let mut writer = csv_writer(Vec::new());
    let names = header.iter().chain(COLUMNS.iter().map(|name| name.as_bytes()));
    writer.write_record(names).map_err(|error| Problem::internal(error.to_string()))?;
    let head = writer.into_inner().map_err(|error| Problem::internal(error.to_string()))?;
    answer(api, ask, Form::Csv(columns), head, first.slice(rest..), blocks, "text/csv; charset=utf-8; header=present")
        .await
}

fn csv_header(block: &[u8]) -> Result<(csv::ByteRecord, usize), Problem> {
    let mut reader = csv_reader(block);
    let mut header = csv::ByteRecord::new();
    reader.read_byte_record(&mut header).map_err(|error| Problem::bad_request(format!("the first row: {error}")))?;
    let rest = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
    Ok((header, rest.min(block.len())))
}

fn csv_columns(header: &csv::ByteRecord, channel: Option<Channel>) -> Result<Columns, Problem> {
    let named = |wanted: &str| header.iter().position(|name| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()));
    let count = header.len();
    let found = [("recipient", channel), ("email", Some(Channel::Email)), ("phone", Some(Channel::Sms))];
    let found = found.into_iter().find_map(|(name, channel)| Some((named(name)?, channel)));
    let Some((recipient, channel)) = found else {
        return Err(Problem::bad_request(
            "no column is named recipient, email or phone: the first row, separated by commas, has to name one",
        ));
    };
    Ok(Columns { recipient, channel, count })
}

fn csv_reader(block: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(block)
}

fn csv_writer(out: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().flexible(true).from_writer(out)
}

/// Answers the first block before anything goes out, so that what fails at once is a clear error; then the rest.
async fn answer(
    api: &Arc<Api>,
    ask: Ask,
    form: Form,
    head: Vec<u8>,
    first: Bytes,
    blocks: Blocks,
    content_type: &'static str,
) -> Result<Response, Problem> {
    let permit = api.stream_permit()?;
    let (ask, form) = (Arc::new(ask), Arc::new(form));
    let answered = block(Arc::clone(&ask), Arc::clone(&form), first).await;
    let answered = answered.map_err(|error| match error {
        Failed::Store(error) => Problem::from(error),
        Failed::Rows(detail) => Problem::bad_request(detail),
    })?;
    let (sender, mut receiver) = mpsc::channel::<Option<io::Result<Bytes>>>(api.deps.limits.blocks_ahead.max(1));
    tokio::spawn(async move {
        pump(ask, form, blocks, sender).await;
        drop(permit);
    });
    let mut is_done = false;
    let rest = stream::poll_fn(move |context| {
        if is_done {
            return std::task::Poll::Ready(None);
        }
        receiver.poll_recv(context).map(|item| match item {
            Some(Some(block)) => Some(block),
            Some(None) => {
                is_done = true;
                None
            }
            // Nobody said that it was the end: it must not look like one.
            None => {
                is_done = true;
                Some(Err(io::Error::other("the check was interrupted")))
            }
        })
    });
    let whole = stream::iter([Ok(Bytes::from(head)), Ok(answered)]).chain(rest);
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(whole)).into_response())
}

/// Reads on, answers two blocks at a time in order, and waits while the client does not read. Ends with `None` only
/// where every row was answered.
async fn pump(ask: Arc<Ask>, form: Arc<Form>, blocks: Blocks, sender: mpsc::Sender<Option<io::Result<Bytes>>>) {
    let form_of_errors = Arc::clone(&form);
    let input = stream::unfold(Some(blocks), |blocks| async move {
        let mut blocks = blocks?;
        match blocks.next().await {
            Ok(None) => None,
            Ok(Some(block)) => Some((Ok(block), Some(blocks))),
            Err(_) => {
                Some((Err(Failed::Rows("it broke off, paused for too long or has too long a row".to_owned())), None))
            }
        }
    });
    let answers = input
        .map(|input| {
            let (ask, form) = (Arc::clone(&ask), Arc::clone(&form));
            async move { block(ask, form, input?).await }
        })
        .buffered(BLOCKS_AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = answers.next().await {
        let failed = match answer {
            Ok(block) => {
                if sender.send(Some(Ok(block))).await.is_err() {
                    return;
                }
                continue;
            }
            Err(failed) => failed,
        };
        tracing::warn!(error = %failed, "a check ended before its last row");
        if matches!(*form_of_errors, Form::Ndjson) {
            let mut line = b"{\"error\":".to_vec();
            write_text(&mut line, &format!("{failed}; what follows was not checked and must not be sent to"));
            line.extend_from_slice(b"}\n");
            let _ = sender.send(Some(Ok(line.into()))).await;
        }
        // The connection breaks: half an answer must never pass for a whole one.
        let _ = sender.send(Some(Err(io::Error::other(failed)))).await;
        return;
    }
    let _ = sender.send(None).await;
}

async fn block(ask: Arc<Ask>, form: Arc<Form>, rows: Bytes) -> Result<Bytes, Failed> {
    if rows.is_empty() {
        return Ok(rows);
    }
    // What fails of the rows is no failure of the store, so it travels inside.
    let answered = off_runtime(move || async move {
        match &*form {
            Form::Ndjson => ndjson_block(&ask, &rows).await,
            Form::Csv(columns) => csv_block(&ask, *columns, &rows).await,
        }
    });
    answered.await?
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, alias = "email", alias = "phone")]
    recipient: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A line's recipient. A line that is no JSON is taken as the address itself; if it is none, it is answered as such.
fn line_recipient(line: &[u8]) -> Cow<'_, str> {
    let read = match line.first() {
        Some(b'"') => serde_json::from_slice::<Text<'_>>(line).map(|text| text.0).ok(),
        Some(b'{') => serde_json::from_slice::<Line<'_>>(line).map(|line| line.recipient).ok(),
        _ => None,
    };
    read.unwrap_or_else(|| String::from_utf8_lossy(line))
}

type Answered = Result<Result<Bytes, Failed>, crate::StoreError>;

async fn ndjson_block(ask: &Ask, rows: &[u8]) -> Answered {
    let lines = rows.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let recipients: Vec<Cow<'_, str>> = lines.map(line_recipient).collect();
    let addresses: Vec<&str> = recipients.iter().map(AsRef::as_ref).collect();
    let found = ask.find(ask.channel, &addresses).await?;
    let (mut out, mut checked) = (Vec::with_capacity(addresses.len() * 160), Checked::default());
    for (address, found) in addresses.iter().zip(&found) {
        checked.note(ask.told(found)).write_json(&mut out, address);
        out.push(b'\n');
    }
    ask.checked(checked);
    Ok(Ok(out.into()))
}

async fn csv_block(ask: &Ask, columns: Columns, rows: &[u8]) -> Answered {
    let records: Result<Vec<csv::ByteRecord>, csv::Error> = csv_reader(rows).into_byte_records().collect();
    let records = match records {
        Ok(records) => records,
        Err(error) => return Ok(Err(Failed::Rows(error.to_string()))),
    };
    // What is no UTF-8 is no address.
    let address = |record: &'_ csv::ByteRecord| {
        let field = record.get(columns.recipient).unwrap_or_default();
        std::str::from_utf8(field).unwrap_or_default().to_owned()
    };
    let owned: Vec<String> = records.iter().map(address).collect();
    let addresses: Vec<&str> = owned.iter().map(String::as_str).collect();
    let found = ask.find(columns.channel, &addresses).await?;
    let (mut writer, mut checked) = (csv_writer(Vec::with_capacity(rows.len() * 2)), Checked::default());
    for (record, found) in records.iter().zip(&found) {
        if let Err(error) = write_row(&mut writer, record, columns, checked.note(ask.told(found))) {
            return Ok(Err(Failed::Rows(error.to_string())));
        }
    }
    ask.checked(checked);
    Ok(writer.into_inner().map(Bytes::from).map_err(|error| Failed::Rows(error.to_string())))
}

/// A row that is shorter than the header is filled up, so that the answer stands in its columns; of one that is longer
/// what is empty is left out, and anything else is an error, as its columns cannot be told apart.
fn write_row(
    writer: &mut csv::Writer<Vec<u8>>,
    record: &csv::ByteRecord,
    columns: Columns,
    told: Told<'_>,
) -> Result<(), csv::Error> {
    for (at, field) in record.iter().enumerate() {
        if at < columns.count {
            writer.write_field(field)?;
        } else if !field.is_empty() {
            return Err(io::Error::other("a row has more columns than the first one names").into());
        }
    }
    for _ in record.len()..columns.count {
        writer.write_field("")?;
    }
    for column in told.columns() {
        writer.write_field(column)?;
    }
    writer.write_record(None::<&[u8]>)
}
