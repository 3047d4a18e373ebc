//! Ports for servers of a test's own.

use super::ServerError;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below what kernels hand out to outgoing connections (Linux: 32768 and up). A port from there could be given to a client
/// while its server is stopped, and a client that keeps knocking on it can even connect to itself.
const RANGE: Range<u16> = 12_000..30_000;
const TRIES_MAX: u32 = 3;

/// Free ports of loopback, all different. Free now: another process may take one before the server does.
pub fn free<const N: usize>() -> Result<[u16; N], ServerError> {
    let random = RandomState::new().build_hasher().finish();
    let span = u64::from(RANGE.end - RANGE.start);
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for step in 0..span {
        let Some(place) = ports.get_mut(held.len()) else { return Ok(ports) };
        let port = RANGE.start + u16::try_from((random % span + step) % span).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            *place = port;
            held.push(listener);
        }
    }
    Err(ServerError::io("finding a free port")(io::ErrorKind::AddrInUse.into()))
}

/// Starts with fresh ports as long as somebody else was faster, at most three times.
pub(crate) fn with_retry<T>(mut start: impl FnMut() -> Result<T, ServerError>) -> Result<T, ServerError> {
    let mut tries = 1;
    loop {
        match start() {
            Err(error) if error.is_port_clash() && tries < TRIES_MAX => tries += 1,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Kind;

    #[test]
    fn ports_are_free_and_differ() {
        let ports = free::<8>().unwrap();
        let held: Vec<_> = ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap()).collect();
        assert_eq!(held.len(), 8);
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }

    #[test]
    fn only_a_clash_is_tried_again_and_not_for_ever() {
        let died = |log: &str| ServerError::Died { kind: Kind::Kafka, log: log.into() };
        let check = |log: &str, expected: u32| {
            let mut starts = 0;
            let result = with_retry(|| -> Result<(), _> {
                starts += 1;
                Err(died(log))
            });
            assert!(result.is_err());
            assert_eq!(starts, expected, "{log}");
        };
        check("java.net.BindException: Address already in use", 3);
        check("out of memory", 1);
        let mut starts = 0;
        with_retry(|| {
            starts += 1;
            if starts == 1 { Err(died("Address already in use")) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(starts, 2);
    }
}
