//! Requests whose end, or whose meaning, another server on the way might see elsewhere. Behind each stands a good signed
//! webhook: what is smuggled in must not be taken.

use crate::{
    bed::Bed,
    keys::unix,
    wire::{Answer, Line, Raw, exchange},
};

/// A request with this head, and behind it a good webhook.
fn with_rider(bed: &Bed, head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body, &bed.keys.generic().bytes()].concat()
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_length_beside_a_coding_ends_the_connection() {
    let mut bed = Bed::start();
    for framing in
        ["content-length: 6\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 6"]
    {
        let head = format!("POST /webhooks/generic HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        let answers = exchange(bed.gateway, &with_rider(&bed, &head, b"0\r\n\r\nX"));
        assert_eq!(statuses(&answers), [401], "{framing}: {answers:?}");
        bed.expect("/webhooks/generic", "401", "missing_signature", 1);
    }
    bed.finish();
}

#[test]
fn a_coding_that_is_not_plainly_chunked_is_refused() {
    let mut bed = Bed::start();
    for framing in [
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity\r\nTransfer-Encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: chu nked",
        "transfer-encoding: chunked,",
        "transfer-encoding:",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding:\u{b}chunked",
        "transfer-encoding: \u{0}chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "content-length : 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
    ] {
        let head = format!("POST /webhooks/generic HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        bed.malformed(framing, &with_rider(&bed, &head, b"0\r\n\r\n"), 400);
    }
    let old = "POST /webhooks/generic HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    bed.malformed("chunks in HTTP/1.0", &with_rider(&bed, old, b"0\r\n\r\n"), 400);
    bed.finish();
}

#[test]
fn chunks_that_are_none_end_the_connection() {
    let mut bed = Bed::start();
    let head = "POST /webhooks/generic HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(64 * 1_024));
    let cases: [&str; 12] = [
        "FFFFFFFFFFFFFFFFF\r\n",
        "10000000000000000\r\n",
        "-1\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "g\r\n",
        "\r\n",
        "1\nx\n0\n\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1\rx\r\n0\r\n\r\n",
        "2\r\nx\r\n\r\n0\r\n\r\n\u{0}",
        &long,
    ];
    for body in cases {
        let answers = exchange(bed.gateway, &with_rider(&bed, head, body.as_bytes()));
        assert!(answers.len() <= 1 && answers.iter().all(|answer| answer.status == 400), "{body:?}: {answers:?}");
    }
    bed.any_of(&["broken_body", "client_gone"]);
    bed.until("all of them", |bed| bed.counted_as(&["broken_body", "client_gone"]) == cases.len() as u64);
    // The largest chunk that a number can say: it never comes.
    let huge = exchange(
        bed.gateway,
        &with_rider(&bed, head, format!("7fffffffffffffff\r\n{}", "x".repeat(6_000_000)).as_bytes()),
    );
    assert_eq!(statuses(&huge), [413]);
    bed.expect("/webhooks/generic", "413", "body_too_large", 1);
    bed.finish();
}

#[test]
fn chunks_mean_what_they_say() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    let (one, two) = raw.body.split_at(7);
    let chunks = |extension: &str, trailers: &str| {
        let part = |part: &[u8]| [format!("{:x}{extension}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        let body = [part(one), part(two), format!("0\r\n{trailers}\r\n").into_bytes()].concat();
        Raw { body, ..raw.clone() }.set("transfer-encoding", "chunked")
    };
    bed.good("plain", &chunks("", ""));
    bed.good("extensions", &chunks(";name=\"value\"", ""));
    // A trailer is no header: it neither proves anything nor takes a proof away.
    bed.good("a forged trailer", &chunks("", "webhook-signature: v1,AAAA\r\ncontent-length: 1\r\n"));
    let signature = format!("webhook-signature: {}\r\n", raw.header("webhook-signature"));
    let trailed = chunks("", &signature).without("webhook-signature");
    bed.refused("a signature in a trailer", &trailed, 401, "missing_signature");
    bed.finish();
}

#[test]
fn a_request_line_is_read_strictly() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    for line in [
        "POST /webhooks/generic",
        "POST /webhooks/generic HTTP/0.9",
        "POST /webhooks/generic HTTP/3.0",
        "POST /webhooks/generic HTTP/1.10",
        "POST /webhooks/generic HTTP/1.1 x",
        "POST  /webhooks/generic HTTP/1.1",
        "POST /webhooks/generic\tHTTP/1.1",
        "POST /webhooks/gen eric HTTP/1.1",
        "POST webhooks/generic HTTP/1.1",
        "POST /webhooks/generic http/1.1",
        "PO\u{0}ST /webhooks/generic HTTP/1.1",
        "POST /webhooks/generic\u{0} HTTP/1.1",
        "(POST) /webhooks/generic HTTP/1.1",
    ] {
        let head = raw.head().replacen("POST /webhooks/generic HTTP/1.1", line, 1);
        bed.malformed(line, &[head.as_bytes(), b"\r\n", &raw.body].concat(), 400);
    }
    for (what, header) in [
        ("no colon", "no colon"),
        ("no name", ": value"),
        ("a name of two words", "two words: value"),
        ("a zero", "x: \u{0}"),
        ("a name that is none", "x(y): z"),
    ] {
        let head = raw.head().replacen("host: quell.example", header, 1);
        bed.malformed(what, &[head.as_bytes(), b"\r\n", &raw.body].concat(), 400);
    }
    let many = (0..200).fold(raw.clone(), |raw, number| raw.add(&format!("x-{number}"), "1"));
    bed.malformed("200 headers", &many.bytes(), 431);
    bed.malformed("a head of 64 KiB", &raw.clone().add("x", &"x".repeat(64 * 1_024)).bytes(), 431);
    bed.finish();
}

#[test]
fn forms_that_are_allowed_change_nothing() {
    let mut bed = Bed::start();
    let raw = bed.keys.generic();
    // The signature is over the body, and the path is the same.
    for target in ["http://elsewhere.example/webhooks/generic", "https://u:p@127.0.0.1:1/webhooks/generic?x=1"] {
        bed.good(target, &raw.clone().to(target));
    }
    for target in ["http://elsewhere.example", "http://elsewhere.example/", "*"] {
        let answers = exchange(bed.gateway, &raw.clone().to(target).bytes());
        assert!(matches!(statuses(&answers)[..], [400 | 404]), "{target}: {answers:?}");
    }
    bed.any_of(&["not_found"]);
    let lines = String::from_utf8(raw.bytes()).expect("text").replace("\r\n", "\n");
    let answers = exchange(bed.gateway, lines.as_bytes());
    assert_eq!(statuses(&answers), [202], "line feeds alone end lines (RFC 9112, 2.2)");
    let old = String::from_utf8(raw.kept()).expect("text").replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_eq!(statuses(&exchange(bed.gateway, old.as_bytes())), [202], "HTTP/1.0 ends with its answer");
    let upgrade = raw.clone().add("upgrade", "h2c").add("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA");
    let upgraded = upgrade.head() + "connection: upgrade, close\r\n\r\n";
    assert_eq!(
        statuses(&exchange(bed.gateway, &[upgraded.as_bytes(), &raw.body].concat())),
        [202],
        "h2c is not spoken"
    );
    let waits = raw.clone().add("expect", "100-continue");
    let answers = exchange(bed.gateway, &waits.bytes());
    assert!(matches!(statuses(&answers)[..], [202] | [100, 202]), "{answers:?}");
    bed.taken(4);
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        // What answers HEAD has no body, so its length is not read.
        if method != "HEAD" {
            let other = Raw { method: method.to_owned(), ..raw.clone() };
            bed.refused(method, &other, 405, "method_not_allowed");
        }
    }
    for name in ["x-http-method-override", "x-original-url", "x-rewrite-url", "x-forwarded-host"] {
        bed.refused(name, &raw.clone().to("/webhooks/nobody").add(name, "/webhooks/generic"), 404, "not_found");
    }
    bed.finish();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    let forged = Raw { body: b"{}".to_vec(), ..keys.generic() };
    let all = [keys.generic().kept(), forged.kept(), keys.sendgrid().kept(), keys.drip().bytes()].concat();
    assert_eq!(statuses(&exchange(bed.gateway, &all)), [202, 401, 202, 202]);
    bed.expect("/webhooks/generic", "401", "wrong_signature", 1);
    bed.taken(3);
    // The first is answered though the second is none, and nothing behind that is read.
    let broken = [&keys.generic().kept()[..], b"no request\r\n\r\n", &keys.generic().bytes()].concat();
    let answers = exchange(bed.gateway, &broken);
    assert_eq!(statuses(&answers), [202, 400], "{answers:?}");
    // And though the second never ends.
    let mut line = Line::open(bed.gateway).expect("the gateway is there");
    line.send(&[&keys.generic_at(unix(), crate::keys::body()).kept()[..], b"POST /webh"].concat()).expect("it is open");
    assert_eq!(line.answer().expect("in time").map(|answer| answer.status), Some(202));
    line.finish().expect("it is open");
    assert_eq!(statuses(&line.answers().expect("an end in time")), Vec::<u16>::new());
    bed.taken(2);
    bed.malformed_elsewhere(1);
    bed.finish();
}
