//! Ports for processes that a test starts and that must be told where to listen.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Below what kernels hand out to outgoing connections and to listeners that name no port (Linux: 32768 and up). A port
/// from there could be given away while its server is not yet up, or is stopped; a client that keeps knocking on it can
/// even connect to itself.
const RANGE: Range<u16> = 12_000..30_000;

/// Where this process looks next: begun anywhere, then always onwards, so that it is told no port twice.
static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish() >> 1));

/// Free ports of loopback, never the same twice in a process. Free now: another process that names its ports could still
/// take one before the server does.
pub fn free<const N: usize>() -> io::Result<[u16; N]> {
    let span = u64::from(RANGE.end - RANGE.start);
    let mut ports = [0; N];
    let mut found = 0;
    for _ in 0..span {
        let Some(place) = ports.get_mut(found) else { return Ok(ports) };
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = RANGE.start + u16::try_from(step).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            *place = port;
            found += 1;
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, thread};

    #[test]
    fn ports_are_free_and_lie_where_no_kernel_hands_out() {
        let ports = free::<8>().unwrap();
        let held: Vec<_> = ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap()).collect();
        assert_eq!(held.len(), 8);
        assert!(ports.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }

    #[test]
    fn nobody_is_told_a_port_that_another_thread_was_told() {
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(|| free::<50>().unwrap())).collect();
        let told: Vec<u16> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(told.iter().collect::<HashSet<_>>().len(), 400);
    }
}
