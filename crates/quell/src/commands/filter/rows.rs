//! A campaign file in blocks of whole rows, each row byte for byte as it stood there.

use anyhow::{Context as _, bail};
use domain::{Channel, Recipient};
use std::{borrow::Cow, io::BufRead};

/// The longest row that is taken for one.
const ROW_BYTES_MAX: usize = 1 << 20;
const BLOCK_ROWS_MAX: usize = 10_000;
const BLOCK_BYTES_MAX: usize = 2 << 20;
const DELIMITERS: [u8; 3] = *b",;\t";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Columns that hold recipients, the first that is there counts, and what kind of address it holds.
const NAMES: [(&str, Option<Channel>); 5] = [
    ("recipient", None),
    ("email", Some(Channel::Email)),
    ("email_address", Some(Channel::Email)),
    ("phone", Some(Channel::Sms)),
    ("phone_number", Some(Channel::Sms)),
];

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// An address a line.
    Lines,
    /// Columns, one of them of recipients.
    Csv {
        /// What separates them.
        delimiter: u8,
        /// Where the recipients are.
        column: usize,
        /// How many there are.
        count: usize,
        /// What kind of address the column's name says.
        channel: Option<Channel>,
    },
}

/// Rows one after the other, in one piece of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    /// One row.
    pub(super) fn of(row: Vec<u8>) -> Self {
        Self { ends: vec![row.len()], bytes: row }
    }

    /// The rows, line ends included.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// The recipient of each row. What is no UTF-8 is no address: it is asked for as an empty one, and so held back.
    pub(super) fn recipients(&self, layout: Layout) -> Vec<Cow<'_, str>> {
        self.rows().map(|row| layout.recipient(row)).collect()
    }

    /// Its size.
    pub(super) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A row without its line end.
pub(super) fn content(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

impl Layout {
    /// What the first row says: the layout, and whether the row is a header.
    pub(super) fn of(first: &[u8], column: Option<&str>, is_list: bool) -> anyhow::Result<(Self, bool)> {
        let first = content(first.strip_prefix(BOM).unwrap_or(first));
        if is_list {
            return Ok((Self::Lines, false));
        }
        for delimiter in DELIMITERS {
            let names: Vec<String> = Fields { rest: Some(first), delimiter }
                .map(|name| String::from_utf8_lossy(&name).trim().to_lowercase())
                .collect();
            let find = |wanted: &str| names.iter().position(|name| *name == wanted.trim().to_lowercase());
            let found = match column {
                Some(wanted) => find(wanted).map(|at| (at, channel_of(wanted))),
                None => NAMES.iter().find_map(|(name, channel)| Some((find(name)?, *channel))),
            };
            if let Some((column, channel)) = found {
                return Ok((Self::Csv { delimiter, column, count: names.len(), channel }, true));
            }
        }
        if let Some(column) = column {
            bail!("the first row names no column {column:?}: see its names, separated by comma, semicolon or tab");
        }
        match std::str::from_utf8(first).map(Recipient::guess) {
            Ok(Ok(_)) => Ok((Self::Lines, false)),
            _ => bail!(
                "the first row neither names a column recipient, email or phone, nor is an address: name the column with \
                 --column NAME, or say --list if it is an address a line"
            ),
        }
    }

    /// Adds to a row the fields told of it, for the file of the suppressed.
    pub(super) fn append(self, row: &[u8], told: &[&str], out: &mut Vec<u8>) {
        let row = content(row);
        let (delimiter, missing) = match self {
            Self::Lines => (b',', 0),
            Self::Csv { delimiter, count, .. } => {
                (delimiter, count.saturating_sub(Fields { rest: Some(row), delimiter }.count()))
            }
        };
        match self {
            Self::Lines => write_field(std::str::from_utf8(row.trim_ascii()).unwrap_or_default(), delimiter, out),
            Self::Csv { .. } => out.extend_from_slice(row),
        }
        out.extend(std::iter::repeat_n(delimiter, missing));
        for field in told {
            out.push(delimiter);
            write_field(field, delimiter, out);
        }
        out.push(b'\n');
    }

    fn recipient(self, row: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Lines => {
                let row = row.strip_prefix(BOM).unwrap_or(row);
                std::str::from_utf8(row.trim_ascii()).unwrap_or_default().into()
            }
            Self::Csv { delimiter, column, .. } => {
                let field = Fields { rest: Some(content(row)), delimiter }.nth(column).unwrap_or_default();
                match field {
                    Cow::Borrowed(bytes) => std::str::from_utf8(bytes).unwrap_or_default().trim().into(),
                    Cow::Owned(bytes) => String::from_utf8(bytes).unwrap_or_default().trim().to_owned().into(),
                }
            }
        }
    }
}

fn channel_of(column: &str) -> Option<Channel> {
    let wanted = column.trim().to_lowercase();
    NAMES.iter().find(|(name, _)| *name == wanted).and_then(|(_, channel)| *channel)
}

/// Writes a field, in quotes where RFC 4180 asks for them.
fn write_field(field: &str, delimiter: u8, out: &mut Vec<u8>) {
    if field.bytes().any(|byte| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) {
        out.push(b'"');
        out.extend_from_slice(field.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(field.as_bytes());
    }
}

/// The fields of a row (RFC 4180); quotes open only at a field's start.
#[derive(Debug)]
struct Fields<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rest.take()?;
        if row.first() != Some(&b'"') {
            let end = row.iter().position(|byte| *byte == self.delimiter);
            self.rest = end.map(|end| &row[end + 1..]);
            return Some(Cow::Borrowed(&row[..end.unwrap_or(row.len())]));
        }
        let (mut field, mut at, mut is_quoted) = (Vec::new(), 1, true);
        while at < row.len() {
            match row[at] {
                b'"' if is_quoted && row.get(at + 1) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                b'"' if is_quoted => is_quoted = false,
                byte if byte == self.delimiter && !is_quoted => {
                    self.rest = Some(&row[at + 1..]);
                    break;
                }
                byte => field.push(byte),
            }
            at += 1;
        }
        Some(Cow::Owned(field))
    }
}

/// Where in a row we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    Plain,
    Quoted,
    /// After a quote within quotes: their end, or half of an escaped quote.
    Quote,
}

/// Reads rows.
#[derive(Debug)]
pub(super) struct Rows<R> {
    input: R,
    place: Place,
    /// Line numbers of the row under way and of what is read next, for errors.
    row_line: u64,
    line: u64,
}

impl<R: BufRead> Rows<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, place: Place::Start, row_line: 1, line: 1 }
    }

    /// The first row that is not blank, whatever the layout is; `None` of an empty file.
    pub(super) fn first(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let block = self.block(&DELIMITERS, 1)?;
        Ok((!block.ends.is_empty()).then_some(block.bytes))
    }

    /// The next block; `None` at the end. Blank rows are passed over.
    pub(super) fn next(&mut self, layout: Layout) -> anyhow::Result<Option<Block>> {
        let block = match layout {
            Layout::Lines => self.block(&[], BLOCK_ROWS_MAX),
            Layout::Csv { delimiter, .. } => self.block(&[delimiter], BLOCK_ROWS_MAX),
        }?;
        Ok((!block.ends.is_empty()).then_some(block))
    }

    /// Without delimiters there are no quotes either.
    fn block(&mut self, delimiters: &[u8], rows_max: usize) -> anyhow::Result<Block> {
        let mut block = Block::default();
        let mut start = 0;
        while block.ends.len() < rows_max && start < BLOCK_BYTES_MAX {
            let piece = self.input.fill_buf().context("cannot read the file")?;
            if piece.is_empty() {
                if self.place == Place::Quoted {
                    bail!("line {}: a quote is opened there and never closed", self.row_line);
                }
                end_row(&mut block, &mut start);
                break;
            }
            let (place, mut is_whole) = (&mut self.place, false);
            let end = piece.iter().position(|byte| {
                is_whole = ends_row(place, *byte, delimiters);
                is_whole
            });
            let used = end.map_or(piece.len(), |end| end + 1);
            block.bytes.extend_from_slice(&piece[..used]);
            self.line += piece[..used].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.input.consume(used);
            if is_whole {
                end_row(&mut block, &mut start);
                self.row_line = self.line;
            } else if block.bytes.len() - start > ROW_BYTES_MAX {
                bail!(
                    "line {}: a row of more than {ROW_BYTES_MAX} bytes; is a quote opened and never closed?",
                    self.row_line
                );
            }
        }
        Ok(block)
    }
}

/// Takes the row that ends here, unless it is blank.
fn end_row(block: &mut Block, start: &mut usize) {
    if block.bytes[*start..].trim_ascii().is_empty() {
        block.bytes.truncate(*start);
    } else {
        *start = block.bytes.len();
        block.ends.push(*start);
    }
}

/// Whether a row ends with this byte.
fn ends_row(place: &mut Place, byte: u8, delimiters: &[u8]) -> bool {
    if delimiters.is_empty() {
        return byte == b'\n';
    }
    let (next, ends) = match (*place, byte) {
        (Place::Quoted, b'"') => (Place::Quote, false),
        (Place::Quoted, _) | (Place::Start | Place::Quote, b'"') => (Place::Quoted, false),
        (_, b'\n') => (Place::Start, true),
        (_, byte) if delimiters.contains(&byte) => (Place::Start, false),
        _ => (Place::Plain, false),
    };
    *place = next;
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Layout = Layout::Csv { delimiter: b',', column: 1, count: 2, channel: Some(Channel::Email) };

    fn rows(layout: Layout, text: &[u8]) -> (Vec<String>, Vec<String>) {
        // A small buffer, so that rows lie across its ends.
        let mut rows = Rows::new(std::io::BufReader::with_capacity(3, text));
        let (mut raw, mut recipients) = (Vec::new(), Vec::new());
        while let Some(block) = rows.next(layout).unwrap() {
            raw.extend(block.rows().map(|row| String::from_utf8_lossy(row).into_owned()));
            recipients.extend(block.recipients(layout).into_iter().map(Cow::into_owned));
        }
        (raw, recipients)
    }

    #[test]
    fn rows_stay_as_they_are() {
        let text =
            "1,a@example.com\r\n\n\"two\nlines\",\" b@example.com\"\n3,\"\"\"q\"\"@example.com\"\n4\n5,c@example.com";
        let (raw, recipients) = rows(CSV, text.as_bytes());
        assert_eq!(raw.concat(), text.replace("\r\n\n", "\r\n"));
        assert_eq!(raw.len(), 5);
        assert_eq!(recipients, ["a@example.com", "b@example.com", "\"q\"@example.com", "", "c@example.com"]);
        let (_, recipients) =
            rows(Layout::Lines, b"\xef\xbb\xbfa@example.com\r\n\n \"j doe\"@example.com \n\xff@example.com");
        assert_eq!(recipients, ["a@example.com", "\"j doe\"@example.com", ""]);
    }

    #[test]
    fn blocks_have_bounds_and_lose_nothing() {
        let text: String = (0..25_000).map(|n| format!("{n},user{n}@example.com\n")).collect();
        let mut input = Rows::new(text.as_bytes());
        let mut sizes = Vec::new();
        let mut whole = Vec::new();
        while let Some(block) = input.next(CSV).unwrap() {
            sizes.push(block.rows().count());
            whole.extend_from_slice(&block.bytes);
        }
        assert_eq!(sizes, [10_000, 10_000, 5_000]);
        assert_eq!(whole, text.as_bytes());
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error() {
        let text = b"1,a@example.com\n2,\"b@example.com\n3,c@example.com\n";
        let error = Rows::new(&text[..]).next(CSV).unwrap_err();
        assert!(error.to_string().starts_with("line 2:"), "{error}");
        let long = [b"1,\"".as_slice(), &vec![b'x'; ROW_BYTES_MAX + 1]].concat();
        assert!(Rows::new(&long[..]).next(CSV).is_err());
    }

    #[track_caller]
    fn check_layout(first: &str, column: Option<&str>, expected: Option<(u8, usize, Option<Channel>)>) {
        let (layout, is_header) = Layout::of(first.as_bytes(), column, false).unwrap();
        let found = match layout {
            Layout::Csv { delimiter, column, channel, .. } => Some((delimiter, column, channel)),
            Layout::Lines => None,
        };
        assert_eq!((found, is_header), (expected, expected.is_some()), "{first}");
    }

    #[test]
    fn the_first_row_tells_the_layout() {
        check_layout("id,Email,name\r\n", None, Some((b',', 1, Some(Channel::Email))));
        check_layout("\u{feff}\"recipient\";x\n", None, Some((b';', 0, None)));
        check_layout("name\tphone\n", None, Some((b'\t', 1, Some(Channel::Sms))));
        check_layout("email,phone\n", Some("phone"), Some((b',', 1, Some(Channel::Sms))));
        check_layout("Kontakt;id\n", Some("kontakt"), Some((b';', 0, None)));
        check_layout("email", None, Some((b',', 0, Some(Channel::Email))));
        check_layout("jane@example.com\n", None, None);
        check_layout("+1 555 123 4567\n", None, None);
        for wrong in ["name,city\n", "\n", "jane\n"] {
            assert!(Layout::of(wrong.as_bytes(), None, false).is_err(), "{wrong}");
        }
        assert!(Layout::of(b"email\n", Some("phone"), false).is_err());
        assert_eq!(Layout::of(b"jane\n", None, true).unwrap(), (Layout::Lines, false));
    }

    #[test]
    fn what_is_told_stands_in_its_columns() {
        let append = |layout: Layout, row: &str| {
            let mut out = Vec::new();
            layout.append(row.as_bytes(), &["soft_bounce", "category:a, b"], &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(append(CSV, "1,a@example.com\r\n"), "1,a@example.com,soft_bounce,\"category:a, b\"\n");
        assert_eq!(append(CSV, "1"), "1,,soft_bounce,\"category:a, b\"\n");
        assert_eq!(
            append(Layout::Lines, " \"a,b\"@example.com\n"),
            "\"\"\"a,b\"\"@example.com\",soft_bounce,\"category:a, b\"\n"
        );
    }
}
