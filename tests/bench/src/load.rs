//! Load over HTTP/1.1 with keep-alive, as cheap as it can be: requests are bytes made beforehand, and of an answer only
//! status and length are read. It shares the machine's cores with the server that it measures.

use crate::usage;
use anyhow::{Context as _, bail};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// Not measured, at the start.
const WARM_UP: Duration = Duration::from_millis(700);
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Answers by status within that time.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Microseconds from the first byte sent to the last one read, sorted.
    pub(crate) micros: Vec<u32>,
    /// CPU seconds of the server meanwhile.
    pub(crate) server_cpu: f64,
    /// CPU seconds of this process meanwhile.
    pub(crate) client_cpu: f64,
}

impl Outcome {
    /// Answers that were 2xx.
    pub(crate) fn taken(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| (200..300).contains(*status)).map(|(_, count)| count).sum()
    }

    /// The latency below which this part of the answers lies, in milliseconds.
    pub(crate) fn quantile_ms(&self, part: f64) -> f64 {
        let at = (self.micros.len() as f64 * part) as usize;
        self.micros.get(at.min(self.micros.len().saturating_sub(1))).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    }
}

/// Sends the requests over and over on so many connections. `pid` is the server's.
pub(crate) fn run(
    address: SocketAddr,
    pid: u32,
    requests: &Arc<Vec<Vec<u8>>>,
    connections: usize,
    measured: Duration,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begin = Instant::now() + WARM_UP;
        let end = begin + measured;
        let mut tasks = JoinSet::new();
        for connection in 0..connections {
            let requests = Arc::clone(requests);
            // Connections start far apart in the list, so that no request is sent twice for as long as possible.
            let first = requests.len() / connections.max(1) * connection;
            tasks.spawn(async move { one(address, &requests, first, begin, end).await });
        }
        tokio::time::sleep_until(begin.into()).await;
        let before = (usage::cpu_seconds(pid)?, usage::cpu_seconds(std::process::id())?);
        tokio::time::sleep_until(end.into()).await;
        let after = (usage::cpu_seconds(pid)?, usage::cpu_seconds(std::process::id())?);
        let mut outcome = Outcome {
            seconds: measured.as_secs_f64(),
            server_cpu: after.0 - before.0,
            client_cpu: after.1 - before.1,
            ..Outcome::default()
        };
        while let Some(one) = tasks.join_next().await {
            let (statuses, micros) = one??;
            statuses.into_iter().for_each(|(status, count)| *outcome.statuses.entry(status).or_default() += count);
            outcome.micros.extend(micros);
        }
        outcome.micros.sort_unstable();
        Ok(outcome)
    })
}

type Answers = (BTreeMap<u16, u64>, Vec<u32>);

async fn one(
    address: SocketAddr,
    requests: &[Vec<u8>],
    first: usize,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<Answers> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (mut statuses, mut micros) = (BTreeMap::new(), Vec::with_capacity(32_768));
    let mut buffer = Vec::with_capacity(4_096);
    let mut at = first;
    loop {
        let request = requests.get(at % requests.len()).context("no requests")?;
        at += 1;
        let sent = Instant::now();
        if sent >= end {
            return Ok((statuses, micros));
        }
        stream.write_all(request).await.context("the server closed the connection")?;
        let status = answer(&mut stream, &mut buffer).await?;
        let read = Instant::now();
        if sent >= begin && read < end {
            *statuses.entry(status).or_insert(0) += 1;
            micros.push(u32::try_from((read - sent).as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Reads an answer into the buffer, whole.
pub(crate) async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        if let Some((status, length)) = measure(buffer)? {
            if length == buffer.len() {
                return Ok(status);
            }
            if length < buffer.len() || length > ANSWER_BYTES_MAX {
                bail!("the answer is longer than it says, or too long");
            }
        }
    }
}

/// Status and whole length of an answer, once its head is there.
fn measure(answer: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(answer.get(..head).unwrap_or_default()).context("the head is not text")?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some((status, head + 4 + length.context("the answer has no content-length")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_answers() {
        let check = |answer: &str, expected: Option<(u16, usize)>| {
            assert_eq!(measure(answer.as_bytes()).unwrap(), expected, "{answer:?}");
        };
        check("HTTP/1.1 202 Accepted\r\nContent-Le", None);
        check("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{", Some((202, 46)));
        check("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Some((401, 48)));
        assert!(measure(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn quantiles_come_from_the_sorted_list() {
        let outcome = Outcome { micros: (1..=100).map(|n| n * 1_000).collect(), ..Outcome::default() };
        assert_eq!((outcome.quantile_ms(0.5), outcome.quantile_ms(0.99)), (51.0, 100.0));
        assert_eq!(Outcome::default().quantile_ms(0.5), 0.0);
    }
}
