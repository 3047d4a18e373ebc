//! Reading the codes of an SMTP reply out of its text.

/// An enhanced mail system status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced {
    /// 4 for what may pass, 5 for what lasts.
    pub class: u16,
    /// What it is about: addressing, mailbox, system, network, protocol, content, policy.
    pub subject: u16,
    /// The detail.
    pub detail: u16,
}

impl Enhanced {
    /// Reads exactly `C.S.D` with class 4 or 5; surrounding white space is fine.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let class = match class {
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        Some(Self { class, subject: digits(subject)?, detail: digits(detail)? })
    }

    /// The first one in a text, never a piece of an IP address or a version number.
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.')
            .map(|token| token.trim_end_matches('.'))
            .filter(|token| (5..=9).contains(&token.len()))
            .find_map(Self::read)
    }

    /// Whether it says nothing beyond its class.
    pub const fn is_generic(self) -> bool {
        self.subject == 0 && self.detail == 0
    }
}

impl std::fmt::Display for Enhanced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// RFC 3463 section 2: one to three digits, without a sign.
fn digits(text: &str) -> Option<u16> {
    let fine = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fine { text.parse().ok() } else { None }
}

/// The basic reply code (RFC 5321 4.2): where the text begins with it (after `smtp;` as RFC 3464 writes it), or where a
/// host is quoted as having `said:` it, or right before an enhanced code.
pub(super) fn basic_code(text: &str) -> Option<u16> {
    let start = text.trim_start();
    let start = start.strip_prefix("smtp;").or_else(|| start.strip_prefix("SMTP;")).unwrap_or(start);
    let quoted = text.find("said:").and_then(|at| text.get(at + 5..));
    leading_code(start).or_else(|| quoted.and_then(leading_code)).or_else(|| {
        let mut before = None;
        for token in text.split([' ', '-', ';', ':', '(', '\n']) {
            if Enhanced::read(token).is_some() {
                return before;
            }
            before = if token.is_empty() { before } else { leading_code(token) };
        }
        None
    })
}

fn leading_code(text: &str) -> Option<u16> {
    let text = text.trim_start_matches([' ', '"', '\'', '(']);
    let (code, rest) = (text.get(..3)?, text.get(3..)?);
    let ends = rest.chars().next().is_none_or(|c| matches!(c, ' ' | '-' | ',' | ':' | ';' | '\n' | '\r'));
    let code: u16 = code.parse().ok()?;
    if ends && (400..600).contains(&code) { Some(code) } else { None }
}
