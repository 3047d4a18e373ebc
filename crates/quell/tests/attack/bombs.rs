//! Bodies that are too large, as they are sent or once they are unpacked.

use crate::{
    bed::Bed,
    keys::{self, unix},
    wire::{Raw, exchange},
};
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use std::io::Write as _;

const MIB: usize = 1_024 * 1_024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A request whose body is coded after it was signed, as the signature wants it.
fn coded(raw: &Raw, coding: &str, body: Vec<u8>) -> Raw {
    Raw { body, ..raw.clone() }.set("content-encoding", coding)
}

#[test]
fn a_body_that_is_too_large_is_refused_as_it_comes() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    bed.refused("6 MiB", &Raw { body: vec![b' '; 6 * MIB], ..raw.clone() }, 413, "body_too_large");
    // Refused by what it says, before any of it comes.
    for length in ["5242881", "9999999999", "9223372036854775807"] {
        let says = Raw { body: Vec::new(), ..raw.clone() }.set("content-length", length).add("expect", "100-continue");
        bed.refused(length, &says, 413, "body_too_large");
    }
    // Nothing says how large this will be.
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 65_536], b"\r\n".to_vec()].concat();
    let chunks = [chunk.repeat(96), b"0\r\n\r\n".to_vec()].concat();
    let chunked = Raw { body: chunks, ..raw.clone() }.set("transfer-encoding", "chunked");
    bed.refused("6 MiB in chunks", &chunked, 413, "body_too_large");
    // One byte at a time costs the sender six times what it costs us.
    let crumbs = [b"1\r\n \r\n".repeat(150_000), b"0\r\n\r\n".to_vec()].concat();
    let crumbled = Raw { body: crumbs, ..raw.clone() }.set("transfer-encoding", "chunked");
    bed.refused("150,000 chunks", &crumbled, 401, "wrong_signature");
    bed.refused("5 MiB, forged", &Raw { body: vec![b' '; 5 * MIB], ..raw }, 401, "wrong_signature");
    bed.good("1 MiB", &bed.keys.generic_at(unix(), padded(MIB)));
    bed.finish();
}

/// A good body of so many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let body = keys::body();
    [&body[..], &vec![b' '; bytes - body.len()]].concat()
}

#[test]
fn a_bomb_is_refused_once_it_is_over_the_limit() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    let (large, member) = (vec![0; 64 * MIB], gzip(&vec![0; MIB]));
    for (what, coding, body) in [
        ("64 MiB by gzip", "gzip", gzip(&large)),
        ("by its old name", "x-gzip", gzip(&large)),
        ("64 MiB by zlib", "deflate", zlib(&large)),
        ("64 MiB by bare deflate", "deflate", deflate(&large)),
        ("a gigabyte in a thousand members", "gzip", member.repeat(1_000)),
    ] {
        assert!(body.len() < 5 * MIB, "{what}: {}", body.len());
        bed.refused(what, &coded(&raw, coding, body), 413, "decoded_body_too_large");
    }
    // What is packed in what is packed is not unpacked.
    let nested = gzip(&gzip(&large));
    for coding in ["gzip, gzip", "gzip,deflate", "identity, gzip", "br", "zstd", "gzip;q=1", "compress", "chunked"] {
        bed.refused(coding, &coded(&raw, coding, nested.clone()), 415, "unsupported_content_encoding");
    }
    let list = ["gzip"; 64].join(", ");
    bed.refused("64 codings", &coded(&raw, &list, nested.clone()), 415, "unsupported_content_encoding");
    bed.refused("only the outer one is taken off", &coded(&raw, "gzip", nested), 401, "wrong_signature");
    bed.refused("nothing in 100,000 members", &coded(&raw, "gzip", gzip(b"").repeat(100_000)), 401, "wrong_signature");
    bed.finish();
}

#[test]
fn what_is_not_coded_as_it_says_is_refused() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    let good = gzip(&raw.body);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x55;
    for (what, coding, body) in [
        ("not at all", "gzip", raw.body.clone()),
        ("not at all", "deflate", b"\xff\xff\xff\xff".to_vec()),
        ("cut off", "gzip", good[..good.len() - 6].to_vec()),
        ("a bit flipped", "gzip", flipped),
        ("only a head", "gzip", good[..10].to_vec()),
        ("something behind it", "gzip", [&good[..], b"and more"].concat()),
    ] {
        bed.refused(what, &coded(&raw, coding, body), 400, "miscoded_body");
    }
    bed.good("gzip", &coded(&raw, "gzip", good));
    bed.good("zlib", &coded(&raw, "Deflate", zlib(&raw.body)));
    bed.good("bare deflate", &coded(&raw, "deflate", deflate(&raw.body)));
    bed.finish();
}

#[test]
fn many_bombs_at_a_time_take_no_more_memory_than_is_allowed() {
    let mut bed = Bed::start();
    let bomb = coded(&bed.keys.generic(), "gzip", gzip(&vec![0; 64 * MIB])).bytes();
    let (gateway, rounds) = (bed.gateway, 4);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let attack = || (0..rounds).flat_map(|_| exchange(gateway, &bomb)).map(|answer| answer.status).collect();
        let senders: Vec<_> = (0..16).map(|_| scope.spawn(attack)).collect();
        senders.into_iter().flat_map(|sender| -> Vec<u16> { sender.join().expect("it does not panic") }).collect()
    });
    assert_eq!(statuses, vec![413; 16 * rounds]);
    bed.expect("/webhooks/generic", "413", "decoded_body_too_large", statuses.len() as u64);
    bed.finish();
}
