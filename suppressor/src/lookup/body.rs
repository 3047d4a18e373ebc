//! Request bodies: whole ones with a bound, and streams cut into blocks of whole rows.

use super::problem::Problem;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Takes a body whole.
pub(super) async fn collect(body: Body, bytes_max: usize, idle: Duration) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = next(&mut stream, idle).await? {
        if whole.len() + piece.len() > bytes_max {
            return Err(Problem::too_large(format!("a body has at most {bytes_max} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Takes a body whole, as JSON.
pub(super) async fn json<T: DeserializeOwned>(body: Body, bytes_max: usize, idle: Duration) -> Result<T, Problem> {
    let bytes = collect(body, bytes_max, idle).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

async fn next(stream: &mut BodyDataStream, idle: Duration) -> Result<Option<Bytes>, Problem> {
    match tokio::time::timeout(idle, stream.next()).await {
        Err(_) => Err(Problem::timeout()),
        Ok(None) => Ok(None),
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(_))) => Err(Problem::bad_request("the body broke off")),
    }
}

/// Where rows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// At every line feed.
    Lines,
    /// At line feeds outside of quotes, as RFC 4180 has it.
    Csv(Csv),
}

/// Where in a CSV row we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Csv {
    /// At the start of a field: only here a quote opens a quoted one.
    #[default]
    Start,
    /// In a field without quotes.
    Plain,
    /// Within quotes.
    Quoted,
    /// After a quote within quotes: the end of them, or half of an escaped quote.
    Quote,
}

impl Rows {
    /// Whether a row ends with this byte.
    fn ends(&mut self, byte: u8) -> bool {
        let Self::Csv(state) = self else { return byte == b'\n' };
        let (next, ends) = match (*state, byte) {
            (Csv::Quoted, b'"') => (Csv::Quote, false),
            (Csv::Quoted, _) | (Csv::Start | Csv::Quote, b'"') => (Csv::Quoted, false),
            (_, b'\n') => (Csv::Start, true),
            (_, b',' | b'\r') => (Csv::Start, false),
            _ => (Csv::Plain, false),
        };
        *state = next;
        ends
    }
}

/// A body in blocks of whole rows.
#[derive(Debug)]
pub(super) struct Blocks {
    stream: BodyDataStream,
    rows: Rows,
    block_bytes: usize,
    row_bytes_max: usize,
    idle: Duration,
    buffer: BytesMut,
    /// How far the buffer was looked through, and up to where it holds whole rows.
    seen: usize,
    whole: usize,
}

impl Blocks {
    /// Over a body, in blocks of about `block_bytes`.
    pub(super) fn new(body: Body, rows: Rows, limits: &super::LookupLimits) -> Self {
        Self {
            stream: body.into_data_stream(),
            rows,
            block_bytes: limits.block_bytes,
            row_bytes_max: limits.row_bytes_max,
            idle: limits.idle,
            buffer: BytesMut::new(),
            seen: 0,
            whole: 0,
        }
    }

    /// The next block; the last row needs no line feed. `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            self.look();
            if self.whole >= self.block_bytes {
                return Ok(Some(self.cut(self.whole)));
            }
            if self.seen - self.whole > self.row_bytes_max {
                return Err(Problem::too_large(format!("a row has at most {} bytes", self.row_bytes_max)));
            }
            match next(&mut self.stream, self.idle).await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(self.cut(self.buffer.len()))),
            }
        }
    }

    /// Looks through what is new, up to the end of a block.
    fn look(&mut self) {
        while self.seen < self.buffer.len() && self.whole < self.block_bytes {
            let ends = self.rows.ends(self.buffer[self.seen]);
            self.seen += 1;
            if ends {
                self.whole = self.seen;
            }
        }
    }

    fn cut(&mut self, at: usize) -> Bytes {
        self.seen = self.seen.saturating_sub(at);
        self.whole = 0;
        self.buffer.split_to(at).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::LookupLimits;

    /// Fed one byte at a time, in blocks of at least one byte: every row is a block.
    async fn split(rows: Rows, text: &str) -> Vec<String> {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            text.bytes().map(|byte| Ok(Bytes::copy_from_slice(&[byte]))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let limits = LookupLimits { block_bytes: 1, row_bytes_max: 64, ..LookupLimits::default() };
        let mut blocks = Blocks::new(body, rows, &limits);
        let mut found = Vec::new();
        while let Some(block) = blocks.next().await.unwrap() {
            found.push(String::from_utf8(block.to_vec()).unwrap());
        }
        found
    }

    #[tokio::test]
    async fn rows_end_where_they_should() {
        assert_eq!(split(Rows::Lines, "a\n\"b\nc").await, ["a\n", "\"b\n", "c"]);
        let csv = Rows::Csv(Csv::default());
        assert_eq!(split(csv, "a,b\r\n1,2\n").await, ["a,b\r\n", "1,2\n"]);
        assert_eq!(split(csv, "\"x\ny\",2\n3,\"4\n").await, ["\"x\ny\",2\n", "3,\"4\n"]);
        assert_eq!(split(csv, "\"say \"\"hi\n\"\"\",2\n3\n").await, ["\"say \"\"hi\n\"\"\",2\n", "3\n"]);
        // A quote within a plain field is a letter.
        assert_eq!(split(csv, "5\" pipe,2\n3\n").await, ["5\" pipe,2\n", "3\n"]);
    }

    #[tokio::test]
    async fn a_row_has_a_bound() {
        let limits = LookupLimits { row_bytes_max: 64, ..LookupLimits::default() };
        let mut blocks = Blocks::new(Body::from(format!("\"{}", "x".repeat(100))), Rows::Csv(Csv::Start), &limits);
        assert!(blocks.next().await.is_err());
        assert!(collect(Body::from(vec![0; 65]), 64, Duration::from_secs(1)).await.is_err());
    }
}
