//! What a signature is over, as a text with holes: `{time}.{body}`.

use serde::Deserialize;

const TEMPLATE_BYTES_MAX: usize = 512;

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Text(String),
    /// The raw body.
    Body,
    /// The signed time, as it was sent.
    Time,
    /// The URL that the provider called.
    Url,
    /// The method, in capitals.
    Method,
    /// A header's value.
    Header(String),
}

/// A signed text. A brace itself is written twice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template(pub(super) Vec<Piece>);

impl Template {
    /// The raw body alone.
    pub(super) fn body() -> Self {
        Self(vec![Piece::Body])
    }

    pub(super) fn has(&self, piece: &Piece) -> bool {
        self.0.contains(piece)
    }
}

impl TryFrom<String> for Template {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("what is signed has at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text.as_str());
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let hole = if brace == "{" { rest.split_once('}') } else { None };
            let (name, after) = hole.ok_or("a lone brace: write {body}, or a brace twice for itself")?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece(name)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

fn piece(name: &str) -> Result<Piece, String> {
    match name {
        "body" => Ok(Piece::Body),
        "time" => Ok(Piece::Time),
        "url" => Ok(Piece::Url),
        "method" => Ok(Piece::Method),
        other => match other.strip_prefix("header:").map(http::HeaderName::try_from) {
            Some(Ok(header)) => Ok(Piece::Header(header.as_str().to_owned())),
            _ => Err(format!(
                "{{{name}}} stands for nothing: use {{body}}, {{time}}, {{url}}, {{method}} or {{header:NAME}}"
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_templates() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let check = |given: &str, pieces: &[Piece]| {
            assert_eq!(Template::try_from(given.to_owned()).unwrap().0, pieces, "{given}");
        };
        check("{body}", &[Piece::Body]);
        check("v0:{time}:{body}", &[text("v0:"), Piece::Time, text(":"), Piece::Body]);
        check("{header:X-Id}.{url}{method}", &[Piece::Header("x-id".to_owned()), text("."), Piece::Url, Piece::Method]);
        check("{{{body}}}", &[text("{"), Piece::Body, text("}")]);
        for wrong in ["{", "}", "{body", "{boddy}", "{header:}", "{header:a b}", &"x".repeat(513)] {
            assert!(Template::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
