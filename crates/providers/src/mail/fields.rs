//! Header fields (RFC 5322 2.2), of messages, of their parts and of reports, which are written the same way.

use std::borrow::Cow;

/// Fields read of one block; a message that went through many hosts has a hundred.
const FIELDS_MAX: usize = 1_000;

/// A block of fields in order, unfolded. Names may repeat.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Fields<'a> {
    /// Reads up to the first empty line; returns what follows it. Lines that are no fields are passed over.
    pub(crate) fn read(text: &'a [u8]) -> (Self, &'a [u8]) {
        let (mut fields, mut rest): (Vec<(&str, Cow<'_, str>)>, _) = (Vec::new(), text);
        // Whether the last line belonged to a field, so that the next one may go on with it.
        let mut open = false;
        while !rest.is_empty() {
            let (line, after) = line(rest);
            rest = after;
            if line.trim_ascii().is_empty() {
                break;
            }
            if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                if let Some((_, value)) = fields.last_mut().filter(|_| open) {
                    let value = value.to_mut();
                    value.push(' ');
                    value.push_str(&String::from_utf8_lossy(line.trim_ascii()));
                }
                continue;
            }
            let field = field(line);
            open = field.is_some() && fields.len() < FIELDS_MAX;
            fields.extend(field.filter(|_| open));
        }
        (Self { fields }, rest)
    }

    /// The first field of a name that says something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every field of a name that says something.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
            .filter(|value| !value.is_empty())
    }

    /// Whether any field's name begins so.
    pub(crate) fn any_named(&self, begin: &str) -> bool {
        self.fields.iter().any(|(name, _)| name.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The first line, without its end, and what follows it.
pub(crate) fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn field(line: &[u8]) -> Option<(&str, Cow<'_, str>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?.trim_end();
    let fine = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    fine.then(|| (name, String::from_utf8_lossy(line[colon + 1..].trim_ascii())))
}

/// `<id@host>` as `id@host`; what stands around the brackets is left out.
pub(crate) fn message_id(value: &str) -> Option<&str> {
    let inner = match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next()?,
        None => value.split_whitespace().next()?,
    };
    let inner = inner.trim();
    (!inner.is_empty()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unfolded_and_end_at_an_empty_line() {
        let text =
            b"From bounce Tue Jan 20\r\nSubject: one\r\n\ttwo\r\n three\r\nX-Empty:\r\nsubject: again\r\n\r\nbody: no";
        let (fields, rest) = Fields::read(text);
        assert_eq!(fields.all("SUBJECT").collect::<Vec<_>>(), ["one two three", "again"]);
        assert_eq!((fields.get("x-empty"), fields.get("body")), (None, None));
        assert!(fields.any_named("x-") && !fields.any_named("x-f"));
        assert_eq!(rest, b"body: no");
    }

    #[test]
    fn what_is_no_field_is_passed_over() {
        let (fields, rest) = Fields::read(b" folded into nothing\n: no name\nwith space: x\n\xff: y\nA :b\xff\n");
        assert_eq!(fields.get("a"), Some("b\u{fffd}"));
        assert!(!fields.any_named("with") && rest.is_empty());
        assert!(Fields::read(b"").0.is_empty());
        let many = "A: b\n".repeat(FIELDS_MAX + 5);
        assert_eq!(Fields::read(many.as_bytes()).0.all("a").count(), FIELDS_MAX);
    }

    #[test]
    fn message_ids_come_in_and_without_brackets() {
        assert_eq!(message_id(" <1@example.com> (a comment)"), Some("1@example.com"));
        assert_eq!(message_id("1@example.com 2@example.com"), Some("1@example.com"));
        assert_eq!((message_id("<>"), message_id(" ")), (None, None));
    }
}
