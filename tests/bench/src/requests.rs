//! Signed webhooks as bytes on the wire, made before anything is measured.

use crate::events::{Event, array};
use anyhow::Context as _;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use testkit::{SignedRequest, payloads, sign};

/// Environment variables through which secrets reach the server that is measured.
pub(crate) const GENERIC: &str = "BENCH_GENERIC";
/// See [`GENERIC`].
pub(crate) const SENDGRID: &str = "BENCH_SENDGRID";
/// See [`GENERIC`].
pub(crate) const MAILGUN: &str = "BENCH_MAILGUN";

/// What generic webhooks are signed with.
pub(crate) const GENERIC_SECRET: &str = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=";
const MAILGUN_KEY: &str = "key-bench";
/// Memory for requests of one form; past the last the first is sent again.
const BYTES_MAX: usize = 100_000_000;
const REQUESTS_MAX: usize = 100_000;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// In the results.
    pub(crate) name: &'static str,
    /// Events of one body.
    pub(crate) events: u64,
    sign: fn(&Keys, u64, u64, i64) -> anyhow::Result<SignedRequest>,
}

/// One event, Standard Webhooks.
pub(crate) const GENERIC_1: Form = Form { name: "generic_1", events: 1, sign: generic };
/// A hundred events, Standard Webhooks.
pub(crate) const GENERIC_100: Form = Form { name: "generic_100", events: 100, sign: generic };
/// Ten events, Standard Webhooks.
pub(crate) const GENERIC_10: Form = Form { name: "generic_10", events: 10, sign: generic };
/// One event, HMAC over a token that is bound to the body.
pub(crate) const MAILGUN_1: Form = Form { name: "mailgun_1", events: 1, sign: mailgun };
/// A hundred events, ECDSA.
pub(crate) const SENDGRID_100: Form = Form { name: "sendgrid_100", events: 100, sign: sendgrid };

/// What webhooks are signed with.
#[derive(Debug)]
pub(crate) struct Keys {
    sendgrid: sign::SendGridKey,
}

impl Keys {
    /// New ones.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { sendgrid: sign::SendGridKey::generate()? })
    }

    /// Environment for the server.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        [(GENERIC, GENERIC_SECRET.to_owned()), (SENDGRID, self.sendgrid.public()), (MAILGUN, MAILGUN_KEY.to_owned())]
    }

    /// As many different requests as are kept.
    pub(crate) fn requests(&self, form: Form) -> anyhow::Result<Arc<Vec<Vec<u8>>>> {
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while requests.len() < REQUESTS_MAX && bytes < BYTES_MAX {
            let request = self.request(form, requests.len() as u64 * form.events)?;
            bytes += request.len();
            requests.push(request);
        }
        Ok(Arc::new(requests))
    }

    /// One request, signed now, whose events are numbered from `first` on.
    pub(crate) fn request(&self, form: Form, first: u64) -> anyhow::Result<Vec<u8>> {
        let unix = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        wire(&(form.sign)(self, first, form.events, unix)?)
    }
}

fn generic(_: &Keys, first: u64, count: u64, unix: i64) -> anyhow::Result<SignedRequest> {
    let body =
        if count == 1 { Event::numbered(first).generic().into_bytes() } else { array(first, count, Event::generic) };
    Ok(sign::standard_webhooks(
        "http://bench/webhooks/email/events",
        GENERIC_SECRET,
        &format!("msg_{first}"),
        unix,
        body,
    )?)
}

fn sendgrid(keys: &Keys, first: u64, count: u64, unix: i64) -> anyhow::Result<SignedRequest> {
    Ok(keys.sendgrid.sign_body("http://bench/webhooks/sendgrid", array(first, count, Event::sendgrid), unix)?)
}

fn mailgun(_: &Keys, first: u64, _: u64, unix: i64) -> anyhow::Result<SignedRequest> {
    let event = Event::numbered(first);
    let data = payloads::mailgun(&event.told(&event.recipient()));
    Ok(sign::mailgun("http://bench/webhooks/mailgun", MAILGUN_KEY, &data, unix, &sign::mailgun_token(first)))
}

fn wire(request: &SignedRequest) -> anyhow::Result<Vec<u8>> {
    let path = request.url.strip_prefix("http://bench").context("the URL is ours")?;
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", request.body.len());
    for (name, value) in &request.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    Ok([head.as_bytes(), &request.body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use providers::{Request, Source, SourceSpec};

    /// What is sent must be what the providers' own code accepts.
    #[test]
    fn every_form_is_accepted() {
        let keys = Keys::new().unwrap();
        for form in [GENERIC_1, GENERIC_10, GENERIC_100, MAILGUN_1, SENDGRID_100] {
            let request = (form.sign)(&keys, 7, form.events, 1_768_867_200).unwrap();
            let provider = match form.name.split('_').next().unwrap() {
                "generic" => providers::by_name("generic").unwrap(),
                other => providers::by_name(other).unwrap(),
            };
            let secrets = keys.environment().map(|(_, secret)| secret);
            let secret = match provider.name() {
                "generic" => secrets[0].clone(),
                "sendgrid" => secrets[1].clone(),
                _ => secrets[2].clone(),
            };
            let spec = SourceSpec { secrets: vec![secret], ..SourceSpec::default() };
            let source =
                Source { provider: provider.name(), name: "default".into(), tenant: domain::Tenant::default(), spec };
            let headers = request.headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
            let parsed = Request { method: "POST", url: &request.url, headers: &headers, body: &request.body };
            let now = Timestamp::from_seconds(1_768_867_210).unwrap();
            let verdict = provider.authenticate(&parsed, &source, now);
            assert!(verdict.ok, "{}: {}", form.name, verdict.reason);
            assert_eq!(provider.elements(&parsed).unwrap().len() as u64, form.events, "{}", form.name);
        }
    }
}
