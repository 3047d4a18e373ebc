//! What holds of every provider, whatever it is sent: [`run`] checks it for one input. Fuzzing calls it, and so do the tests,
//! with the corpus and with mutated samples. Built with the feature `testing` alone.
//!
//! For an input of `n` bytes:
//!
//! - nothing panics, and no proof holds that was not given;
//! - the elements are at most 10,000, and together no longer than the body;
//! - there are at most `1 + n` fates: each takes an element, a recipient or the like, and something between them;
//! - one event holds at most 20,000 bytes of text, and at most `4,096 + 8 n`; a reason at most 256;
//! - all of them together hold at most `4,096 + 256 n` bytes of text: what stands once in a body may come back with each of
//!   the recipients that it is about, of which there are at most some 200 to an element.

use crate::samples::{self, Sample};
use crate::{Certificate, Context, Element, Fate, Provider, Request, Source, SourceSpec};
use domain::{CanonicalEvent, Tenant, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Elements of one webhook.
pub const ELEMENTS_MAX: usize = 10_000;
/// Bytes of text in one event.
pub const EVENT_BYTES_MAX: usize = 20_000;
const REASON_BYTES_MAX: usize = 256;
const HEADERS_MAX: usize = 64;

/// A request as a text: the URL on the first line, a header on each of the next, and after an empty line the body as it is.
/// Every sequence of bytes is one: a line that is no header is passed over.
#[derive(Debug)]
pub struct Input<'a> {
    url: String,
    headers: HeaderMap,
    body: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads a text.
    pub fn read(text: &'a [u8]) -> Self {
        let (url, mut rest) = line(text);
        let mut headers = HeaderMap::new();
        while headers.len() < HEADERS_MAX && !rest.is_empty() {
            let (header, after) = line(rest);
            rest = after;
            if header.is_empty() {
                break;
            }
            let Some(colon) = header.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&header[..colon], header[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Self { url: String::from_utf8_lossy(url).into_owned(), headers, body: rest }
    }

    /// A request of these parts.
    #[cfg(test)]
    pub(crate) fn of(url: &str, headers: HeaderMap, body: &'a [u8]) -> Self {
        Self { url: url.to_owned(), headers, body }
    }

    /// Writes a sample as such a text, with the headers that it would have.
    pub fn write(provider: &dyn Provider, sample: &Sample) -> Vec<u8> {
        let mut text = format!("{}\ncontent-type: {}\n", sample.url, sample.content_type);
        for (name, value) in samples::headers(provider.name()) {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&sample.body);
        text.into_bytes()
    }
}

fn line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// Sends one input to everything a provider has.
///
/// # Panics
///
/// Where something does not hold.
pub fn run(provider: &dyn Provider, spec: &SourceSpec, input: &Input<'_>) {
    let Input { url, headers, body } = input;
    let request = Request { method: "POST", url, headers, body };
    let Ok(now) = Timestamp::from_seconds(1_768_919_600) else { return };
    let source = |spec: SourceSpec| Source {
        provider: provider.name(),
        name: "default".to_owned(),
        tenant: Tenant::default(),
        spec,
    };
    prove(provider, &request, &source(spec.clone()), now);
    let open = source(SourceSpec { unauthenticated: true, ..SourceSpec::default() });
    let context = Context { source: &open, received_at: now, receipt_id: Some("receipt") };
    read(provider, &request, &context);
}

/// Nobody who fuzzes can sign: no proof may hold, and nothing may be confirmed.
fn prove(provider: &dyn Provider, request: &Request<'_>, source: &Source, now: Timestamp) {
    let verdict = provider.authenticate(request, source, now);
    assert!(!verdict.ok && verdict.reason != "ok", "{verdict:?}");
    assert_eq!(provider.confirmation(request, source, &verdict), None);
    if verdict.wanted.is_some()
        && let Ok(certificate) = Certificate::read_pem(include_str!("sns/fixtures/signer.pem"))
    {
        let verdict = provider.authenticate_by(request, source, now, &certificate);
        assert!(!verdict.ok, "{verdict:?}");
    }
}

fn read(provider: &dyn Provider, request: &Request<'_>, context: &Context<'_>) {
    let bytes = request.body.len();
    let size = bytes + request.url.len() + request.headers.values().map(HeaderValue::len).sum::<usize>();
    let early = Context { receipt_id: None, ..*context };
    assert_eq!(provider.triage(request, &early), provider.triage(request, context));
    let elements = match provider.elements(request) {
        Ok(elements) => elements,
        Err(malformed) => return assert!(malformed.reason.len() <= REASON_BYTES_MAX, "{malformed}"),
    };
    assert!(
        elements.len() <= ELEMENTS_MAX && elements.iter().map(|element| element.bytes.len()).sum::<usize>() <= bytes
    );
    let (mut count, mut text) = (0, 0);
    for (place, element) in elements.iter().enumerate() {
        assert_eq!(element.index, place);
        let fates = provider.parse(request, element, context);
        count += fates.len();
        text += fates.iter().map(|fate| check(fate, size)).sum::<usize>();
        let found = provider.parse(request, element, &early);
        let agree = |(early, fate): (&Fate, &Fate)| match (early, fate) {
            (Fate::Found, Fate::Event(_)) => true,
            (Fate::Event(_) | Fate::Found, _) => false,
            (early, fate) => early == fate,
        };
        assert!(
            found.len() == fates.len() && found.iter().zip(&fates).all(agree),
            "{found:?} before the receipt: {fates:?}"
        );
        if elements.len() == 1 {
            assert_eq!(fates, provider.parse(request, &Element { ..*element }, context), "the same again");
        }
    }
    assert!(count <= 1 + bytes, "{count} fates of {bytes} bytes");
    assert!(text <= 4_096 + 256 * size, "{text} bytes of text of {size}");
}

/// Checks what must hold of a fate of an input of so many bytes; how much text it holds.
///
/// # Panics
///
/// Where it does not hold.
pub fn check(fate: &Fate, input: usize) -> usize {
    match fate {
        Fate::Ignored(tag) => {
            assert!(!tag.is_empty() && tag.len() <= REASON_BYTES_MAX);
            tag.len()
        }
        Fate::Dead(reason) => {
            assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX, "{reason}");
            reason.len()
        }
        Fate::Found => 0,
        Fate::Event(event) => {
            let bytes = text_bytes(event);
            assert!(bytes <= EVENT_BYTES_MAX.min(4_096 + 8 * input), "{bytes} bytes of {input}: {event:?}");
            check_fields(event);
            bytes
        }
    }
}

fn check_fields(event: &CanonicalEvent) {
    assert!(event.address.len() <= 2_100 && event.provider_kind.len() <= 64);
    assert!(event.categories.len() <= 32 && event.categories.iter().all(|category| category.len() <= 256));
    assert!(event.metadata.len() <= 32 && metadata_bytes(event) <= 4_096);
    assert!([&event.message_id, &event.campaign].into_iter().flatten().all(|name| name.len() <= 256));
    if let Some(failure) = &event.failure {
        assert!(failure.diagnostic.as_ref().is_none_or(|text| text.len() <= 1_024));
        assert!(failure.provider_code.as_ref().is_none_or(|code| code.len() <= 64));
        assert!(failure.enhanced_status.as_ref().is_none_or(|status| status.len() <= 64));
        assert!(failure.rule.len() <= 64);
    }
}

fn metadata_bytes(event: &CanonicalEvent) -> usize {
    event.metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Bytes of all text in an event.
pub fn text_bytes(event: &CanonicalEvent) -> usize {
    let failure = event.failure.as_ref().map_or(0, |failure| {
        let texts = [&failure.enhanced_status, &failure.provider_code, &failure.diagnostic];
        failure.rule.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    });
    let scope = event.scope.as_ref().map_or(0, |scope| scope.to_string().len());
    let names = [&event.message_id, &event.campaign].into_iter().flatten();
    let texts = [&event.address, &event.provider_kind, &event.provider, &event.source, &event.receipt_id];
    event.recipient.as_str().len()
        + event.tenant.as_str().len()
        + texts.into_iter().chain(names).chain(&event.categories).map(String::len).sum::<usize>()
        + metadata_bytes(event)
        + failure
        + scope
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_request() {
        let input = Input::read(b"/a?b\nContent-Type: x\r\nno header\n: y\nx-a: 1\nX-A: 2\n\nbody\n\n");
        assert_eq!((input.url.as_str(), input.body), ("/a?b", &b"body\n\n"[..]));
        assert_eq!(input.headers.get("content-type").map(HeaderValue::as_bytes), Some(&b"x"[..]));
        assert_eq!((input.headers.len(), input.headers.get_all("x-a").iter().count()), (3, 2));
        assert!(Input::read(b"").body.is_empty() && Input::read(b"\xff").url == "\u{fffd}");
        let provider = crate::by_name("sendgrid").unwrap();
        let sample = Sample { url: "/u".to_owned(), content_type: "application/json", body: "[\n\n]".to_owned() };
        let text = Input::write(provider, &sample);
        let input = Input::read(&text);
        assert_eq!((input.url.as_str(), input.body, input.headers.len()), ("/u", &b"[\n\n]"[..], 3));
    }
}
