//! One request at a time over HTTP/1.1, blocking.

use anyhow::{Context as _, bail};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(120);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status.
    pub(crate) status: u16,
    /// Body, its transfer coding taken off.
    pub(crate) body: Vec<u8>,
}

/// GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    Connection::open(address)?.send("GET", path, "text/plain", &[])
}

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Opens it.
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(TIMEOUT))?;
        let reader = BufReader::with_capacity(256 * 1_024, writer.try_clone()?);
        Ok(Self { writer, reader })
    }

    /// Sends a request and reads the whole answer; reads while it sends, as an answer may begin before the body's end.
    pub(crate) fn send(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        let Self { writer, reader } = self;
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body)));
            let answer = read(reader);
            // A refusal may come before all was sent: the answer says more than the broken pipe.
            match (sent.join(), answer) {
                (_, Ok(answer)) => Ok(answer),
                (Ok(Err(error)), Err(_)) => Err(error).context("cannot send"),
                (_, Err(error)) => Err(error),
            }
        })
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let (mut length, mut is_chunked) = (None, false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the answer ended within its head");
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>()?),
            "transfer-encoding" => is_chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        None if is_chunked => while chunk(reader, &mut body)? {},
        None => bail!("the answer does not say how long it is"),
    }
    Ok(Answer { status, body })
}

/// Reads a chunk; `false` after the last one.
fn chunk(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> anyhow::Result<bool> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let size = line.trim_end().split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(size, 16).context("the answer broke off")?;
    let from = body.len();
    body.resize(from + size, 0);
    reader.read_exact(body.get_mut(from..).unwrap_or_default())?;
    line.clear();
    reader.read_line(&mut line)?;
    Ok(size > 0)
}
