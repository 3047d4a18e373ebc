//! Messages and their parts (RFC 2045, RFC 2046). Depth and number of parts are bounded by how they are walked; attached
//! messages are never entered.

use super::fields::{self, Fields};
use mail_parser::decoders::{
    base64::base64_decode, charsets::map::charset_decoder, quoted_printable::quoted_printable_decode,
};
use mail_parser::{HeaderValue, parsers::MessageStream};
use std::borrow::Cow;

/// Multiparts within multiparts; a report that a list or a scanner wrapped lies two deep.
const DEPTH_MAX: usize = 4;
/// Parts of one message; a report has three.
const PARTS_MAX: usize = 64;

/// A message or a part of one.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// Its header.
    pub(crate) fields: Fields<'a>,
    /// Type and subtype in lower case.
    pub(crate) kind: String,
    /// `report-type` of a `multipart/report` (RFC 6522), in lower case.
    pub(crate) report: Option<String>,
    boundary: Option<String>,
    charset: Option<String>,
    body: &'a [u8],
}

impl<'a> Part<'a> {
    /// Reads header and body.
    pub(crate) fn read(text: &'a [u8]) -> Self {
        let (fields, body) = Fields::read(text);
        let value = fields.get("content-type").map(|value| {
            let text = format!("{value}\n");
            match MessageStream::new(text.as_bytes()).parse_content_type().into_owned() {
                HeaderValue::ContentType(found) => Some(found),
                _ => None,
            }
        });
        let Some(Some(found)) = value else {
            return Self { fields, kind: "text/plain".to_owned(), report: None, boundary: None, charset: None, body };
        };
        let kind = format!("{}/{}", found.ctype(), found.subtype().unwrap_or_default()).to_ascii_lowercase();
        let attribute = |name: &str| found.attribute(name).map(str::to_owned);
        Self {
            fields,
            report: attribute("report-type").map(|report| report.to_ascii_lowercase()),
            boundary: attribute("boundary").filter(|boundary| !boundary.is_empty() && kind.starts_with("multipart/")),
            charset: attribute("charset"),
            kind,
            body,
        }
    }

    /// Every part below this one that holds no others, in order.
    pub(crate) fn leaves(&self) -> Vec<Self> {
        let mut leaves = Vec::new();
        self.collect(DEPTH_MAX, &mut leaves);
        leaves
    }

    fn collect(&self, depth: usize, leaves: &mut Vec<Self>) {
        for text in self.boundary.as_deref().map(|boundary| split(self.body, boundary)).unwrap_or_default() {
            if leaves.len() >= PARTS_MAX {
                return;
            }
            let part = Self::read(text);
            if part.boundary.is_some() && depth > 1 {
                part.collect(depth - 1, leaves);
            } else {
                leaves.push(part);
            }
        }
    }

    /// The body without its transfer encoding.
    pub(crate) fn bytes(&self) -> Cow<'a, [u8]> {
        let encoding = self.fields.get("content-transfer-encoding").unwrap_or_default();
        let decoded = if encoding.eq_ignore_ascii_case("base64") {
            base64_decode(self.body)
        } else if encoding.eq_ignore_ascii_case("quoted-printable") {
            quoted_printable_decode(self.body)
        } else {
            None
        };
        decoded.map_or(Cow::Borrowed(self.body), Cow::Owned)
    }

    /// The body as text, by its charset; what cannot be decoded shows as replacement characters.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        let decoder = |bytes: &[u8]| {
            let charset = self.charset.as_deref().filter(|charset| !charset.eq_ignore_ascii_case("utf-8"))?;
            Some(charset_decoder(charset.as_bytes())?(bytes))
        };
        match self.bytes() {
            Cow::Borrowed(bytes) => decoder(bytes).map_or_else(|| String::from_utf8_lossy(bytes), Cow::Owned),
            Cow::Owned(bytes) => {
                Cow::Owned(decoder(&bytes).unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned()))
            }
        }
    }
}

/// The texts between a multipart's delimiter lines (RFC 2046 5.1.1). One that was cut off ends where the text does.
fn split<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut at, mut begin) = (0, None);
    while at < body.len() {
        let (line, rest) = fields::line(&body[at..]);
        let delimiter = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        let tail = delimiter.map(<[u8]>::trim_ascii_end).filter(|tail| matches!(tail, [] | [b'-', b'-']));
        if let Some(tail) = tail {
            if let Some(begin) = begin.take() {
                parts.push(without_last_break(&body[begin..at]));
            }
            if !tail.is_empty() || parts.len() == PARTS_MAX {
                return parts;
            }
            begin = Some(body.len() - rest.len());
        }
        at = body.len() - rest.len();
    }
    parts.extend(begin.map(|begin| &body[begin..]));
    parts
}

/// The line break before a delimiter belongs to the delimiter.
fn without_last_break(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<String> {
        Part::read(text.as_bytes()).leaves().into_iter().map(|part| part.kind).collect()
    }

    #[test]
    fn parts_are_found_in_parts() {
        let text = "Content-Type: Multipart/Mixed;\r\n boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\r\nplain\r\n\
            --a b \r\nContent-Type: multipart/report; report-type=Delivery-Status; boundary=in\r\n\r\n--in\r\n\
            Content-Type: message/delivery-status\r\n\r\nA: b\r\n--in\r\nContent-Type: message/rfc822\r\n\r\n\
            Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nnever entered\r\n--x--\r\n--in--\r\n--a b--\r\n--a b\r\n";
        assert_eq!(kinds(text), ["text/plain", "message/delivery-status", "message/rfc822"]);
        assert_eq!(kinds(&text.replace("\r\n", "\n")), kinds(text));
        assert_eq!(Part::read(text.as_bytes()).leaves()[0].text(), "plain");
        // Cut off anywhere, what is there is read.
        let cut = text.find("--in--").unwrap();
        assert_eq!(kinds(&text[..cut]).len(), 3);
    }

    #[test]
    fn bodies_are_decoded() {
        let text = |encoding: &str, charset: &str, body: &str| {
            let mail =
                format!("Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n{body}");
            Part::read(mail.as_bytes()).text().into_owned()
        };
        assert_eq!(text("base64", "utf-8", "SsO8cmdl\nbg=="), "J\u{fc}rgen");
        assert_eq!(text("Quoted-Printable", "iso-8859-1", "J=FCrgen"), "J\u{fc}rgen");
        assert_eq!(text("8bit", "nonsense", "J\u{fc}rgen"), "J\u{fc}rgen");
        assert_eq!(text("base64", "utf-8", "%%%"), "%%%");
    }

    #[test]
    fn nesting_and_number_are_bounded() {
        let deep: String =
            (0..100_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
        assert_eq!(kinds(&deep), ["multipart/mixed"]);
        let messages = "Content-Type: message/rfc822\n\n".repeat(100_000);
        assert_eq!(Part::read(messages.as_bytes()).kind, "message/rfc822");
        assert!(kinds(&messages).is_empty());
        let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(100_000));
        assert_eq!(kinds(&many).len(), PARTS_MAX);
        let nested: String =
            (0..3).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect();
        assert!(kinds(&format!("{nested}{}", "--b2\n\n".repeat(100_000))).len() <= PARTS_MAX);
    }
}
