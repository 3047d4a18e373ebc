//! Signs of life, spoken by hand in each server's own protocol: a listening port alone does not mean a serving server.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 4 * 1_024 * 1_024;

/// Connects to `host:port`, with timeouts of two seconds for connecting, reading and writing.
pub fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One request of the Kafka protocol with request header 1 and its answer without size and correlation id
/// (<https://kafka.apache.org/protocol>).
pub fn ask_kafka(stream: &mut (impl Read + Write), api_key: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    const CORRELATION: i32 = 7;
    const CLIENT: &[u8] = b"\x00\x05quell";
    let mut request = Vec::with_capacity(64 + body.len());
    request.extend_from_slice(&api_key.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&CORRELATION.to_be_bytes());
    request.extend_from_slice(CLIENT);
    request.extend_from_slice(body);
    let size = u32::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&size.to_be_bytes(), request.as_slice()].concat())?;
    stream.flush()?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let [s0, s1, s2, s3, c0, c1, c2, c3] = head;
    let size = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    if i32::from_be_bytes([c0, c1, c2, c3]) != CORRELATION || !(4..=ANSWER_BYTES_MAX).contains(&size) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer of the Kafka protocol"));
    }
    let mut answer = vec![0; usize::try_from(size - 4).map_err(|_| io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// How many brokers a Kafka at this address knows (Metadata, version 1, no topics).
pub fn kafka(address: &str) -> io::Result<u32> {
    kafka_brokers(&mut connect(address)?)
}

/// As [`kafka`], over a connection that already stands.
pub fn kafka_brokers(stream: &mut (impl Read + Write)) -> io::Result<u32> {
    const METADATA: i16 = 3;
    let answer = ask_kafka(stream, METADATA, 1, &0_i32.to_be_bytes())?;
    let count = answer.first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(u32::from_be_bytes(*count))
}

/// Asks a CQL server for its options (frame version 4) and takes nothing but SUPPORTED for an answer.
pub fn cql(address: &str) -> io::Result<()> {
    const OPTIONS: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
    const SUPPORTED: u8 = 6;
    let mut stream = connect(address)?;
    stream.write_all(&OPTIONS)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    if head[0] == 0x84 && head[4] == SUPPORTED {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer of the CQL protocol"))
}

/// One request of HTTP/1.1 without TLS: method, `http://host[:port]/path`, JSON body (none if empty). Gives the status and
/// the whole answer as text.
pub fn http(method: &str, url: &str, body: &str) -> io::Result<(u16, String)> {
    let (address, path) = split_url(url).ok_or(io::ErrorKind::InvalidInput)?;
    let mut stream = connect(&address)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, answer))
}

/// Whether a schema registry lists its subjects at this URL.
pub fn registry(url: &str) -> io::Result<()> {
    match http("GET", &format!("{}/subjects", url.trim_end_matches('/')), "")? {
        (200, _) => Ok(()),
        (status, _) => Err(io::Error::other(format!("it answers {status}"))),
    }
}

/// `host:port` and path of an `http` or `https` URL; the scheme's own port where none is given.
pub(crate) fn split_url(url: &str) -> Option<(String, &str)> {
    let (rest, port) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (_, Some(rest)) => (rest, 443),
        _ => return None,
    };
    let cut = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(cut);
    // Credentials before an @ are no part of the address.
    let host = host.rsplit('@').next().unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    Some((address, if path.is_empty() { "/" } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        let check = |url, expected: Option<(&str, &str)>| {
            let split = split_url(url);
            assert_eq!(split.as_ref().map(|(address, path)| (address.as_str(), *path)), expected, "{url}");
        };
        check("http://127.0.0.1:8081/apis/ccompat/v7", Some(("127.0.0.1:8081", "/apis/ccompat/v7")));
        check("http://registry:8081", Some(("registry:8081", "/")));
        check("https://registry.example", Some(("registry.example:443", "/")));
        check("http://user:word@registry/x", Some(("registry:80", "/x")));
        check("http://[::1]/", Some(("[::1]:80", "/")));
        check("http:///x", None);
        check("127.0.0.1:8081", None);
    }

    /// A peer that answers every request with these bytes.
    struct Peer(io::Cursor<Vec<u8>>);

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Peer {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_of_kafka_are_read_and_others_refused() {
        let check = |bytes: &[u8], expected: Option<u32>| {
            let answer = kafka_brokers(&mut Peer(io::Cursor::new(bytes.to_vec())));
            assert_eq!(answer.ok(), expected, "{bytes:?}");
        };
        check(&[0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 1], Some(1));
        check(&[0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 1], None);
        check(&[0xff, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 1], None);
        check(b"HTTP/1.1 400 Bad Request", None);
        check(&[0, 0, 0, 5, 0, 0, 0, 7, 0], None);
        check(&[], None);
    }
}
