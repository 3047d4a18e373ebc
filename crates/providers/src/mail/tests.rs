use super::*;

#[test]
fn dates_of_mail() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(time(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
    };
    check("Tue, 20 Jan 2026 14:32:15 +0000 (UTC)", Some("2026-01-20T14:32:15Z"));
    check("20 Jan 2026 16:32:15 +0200", Some("2026-01-20T14:32:15Z"));
    check("Tue, 20 Jan 2026 09:32:15 EST", Some("2026-01-20T14:32:15Z"));
    for none in ["", "yesterday", "Tue, 40 Jan 2026 14:32:15 +0000", "Tue, 20 Jan 1926 14:32:15 +0000"] {
        check(none, None);
    }
}

#[test]
fn systems_and_people() {
    let check = |head: &str, expected: bool| {
        assert_eq!(Mail::read(format!("{head}\n\n").as_bytes()).is_from_a_system(), expected, "{head}");
    };
    check("Return-Path: <>\nFrom: x@example.com", true);
    check("From: Mail Delivery Subsystem <MAILER-DAEMON@example.com>", true);
    check("From: postmaster@example.com", true);
    check("Return-Path: <jane@example.com>\nFrom: jane@example.com", false);
}

#[test]
fn a_body_without_a_header_is_no_mail() {
    let headers = http::HeaderMap::new();
    let reason = |body: &[u8]| {
        elements(&Request { method: "POST", url: "/", headers: &headers, body })
            .map(|_| ())
            .map_err(|error| error.reason)
    };
    assert_eq!(reason(b"\r\n \n"), Err("empty_body".to_owned()));
    assert!(reason(b"\n\nno header\n\nA: b").unwrap_err().starts_with("malformed_mail"));
    assert!(reason(b"\xff\xfe\x00").unwrap_err().starts_with("malformed_mail"));
    assert_eq!(reason(b"\r\nFrom: x\r\n"), Ok(()));
}
