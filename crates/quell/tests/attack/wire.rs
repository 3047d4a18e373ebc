//! Requests as bytes, with nothing between the test and the wire that would put them right.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use testkit::SignedRequest;

/// For whatever must come: generous, as a test's machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request that is not yet on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn post(target: &str, body: Vec<u8>) -> Self {
        let (method, target) = ("POST".to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body }.add("content-type", "application/json")
    }

    pub(crate) fn of(signed: &SignedRequest) -> Self {
        let headers = signed.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { method: "POST".to_owned(), target: signed.url.clone(), headers, body: signed.body.clone() }
    }

    pub(crate) fn to(self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self }
    }

    /// One more header, whether it is there or not.
    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// This header and no other of its name.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).expect("the header is there")
    }

    /// The head, which says how long the body is unless a header says so already.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: quell.example\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let framed =
            self.headers.iter().any(|(name, _)| matches!(name.as_str(), "content-length" | "transfer-encoding"));
        if !framed {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head
    }

    /// As it goes onto a connection that stays open.
    pub(crate) fn kept(&self) -> Vec<u8> {
        [self.head().as_bytes(), b"\r\n", &self.body].concat()
    }

    /// As it goes onto a connection that ends with it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head().as_bytes(), b"connection: close\r\n\r\n", &self.body].concat()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A connection on which nothing waits for ever.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// No more will be sent.
    pub(crate) fn finish(&self) -> std::io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// The next whole answer; none where the connection ends before. Fails where nothing comes for too long.
    pub(crate) fn answer(&mut self) -> std::io::Result<Option<Answer>> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some((answer, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Ok(Some(answer));
            }
            let mut buffer = [0; 16 * 1_024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if is_end(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
            if Instant::now() > until {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// The connection itself, to be held.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Every answer until the other side ends the connection.
    pub(crate) fn answers(mut self) -> std::io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer()? {
            answers.push(answer);
        }
        Ok(answers)
    }
}

fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe | ConnectionAborted)
}

/// The first answer in what was read, and how long it is.
fn parse(read: &[u8]) -> Option<(Answer, usize)> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = end + 4 + length.unwrap_or(0);
    let body = read.get(end + 4..whole)?;
    Some((Answer { status, head, body: String::from_utf8_lossy(body).into_owned() }, whole))
}

/// Sends all of it on a connection of its own and reads every answer until the end. What cannot be sent any more is no
/// failure: the other side may have refused it before.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<Answer> {
    let mut line = Line::open(address).expect("the gateway is there");
    if let Err(error) = line.send(bytes) {
        assert!(is_end(&error), "it was not read: {error}");
    }
    line.answers().expect("an end in time")
}
