//! What is written for people: aligned tables, and text that cannot play tricks on a terminal.

use super::Output;
use serde::Serialize;
use serde_json::Value;
use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

/// Rows under a header, in aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|name| name.to_uppercase()).collect()] }
    }

    /// Adds a row. Empty cells show as `-`.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cell = |text: T| match text.as_ref() {
            "" => "-".to_owned(),
            text => plain(text),
        };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// Whether it has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let length = |row: &Vec<String>, column: usize| row.get(column).map(|cell| cell.chars().count());
        let widest = |column| self.rows.iter().filter_map(|row| length(row, column)).max();
        let widths: Vec<usize> = (0..count).map(|column| widest(column).unwrap_or_default()).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:<width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Text from outside on one line: control characters, which could steer a terminal, and characters that reverse the
/// direction of writing become a dot.
pub(crate) fn plain(text: &str) -> String {
    let is_tricky = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_tricky(c) { '\u{b7}' } else { c }).collect()
}

/// A field of an answer as text: strings without quotes, lists joined, nothing for null.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The items of a list in an answer.
pub(crate) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `1 address`, `2 addresses`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// Writes an answer to standard output: as it is for programs, or what `people` makes of it.
pub(crate) fn print<T: Serialize>(
    output: Output,
    answer: &T,
    people: impl FnOnce(&mut String) -> fmt::Result,
) -> anyhow::Result<()> {
    let written = match output {
        Output::Json => serde_json::to_string_pretty(answer)? + "\n",
        Output::Text => {
            let mut text = String::new();
            people(&mut text)?;
            text
        }
    };
    Ok(ignore_closed(io::stdout().write_all(written.as_bytes()))?)
}

/// Who reads may stop before the end (`quell export | head`): that is no failure of ours.
fn ignore_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["recipient", "reason"]);
        assert!(table.is_empty());
        table.row(["jürgen@example.com", "hard_bounce"]);
        table.row(["a@b.c", ""]);
        assert_eq!(
            table.to_string(),
            "RECIPIENT           REASON\njürgen@example.com  hard_bounce\na@b.c               -\n"
        );
    }

    #[test]
    fn text_from_outside_cannot_steer_a_terminal() {
        assert_eq!(plain("550 \u{1b}[2Jgone\r\n\u{202e}evil"), "550 \u{b7}[2Jgone\u{b7}\u{b7}\u{b7}evil");
        assert_eq!(plain("Größe 12"), "Größe 12");
    }

    #[test]
    fn fields_as_text() {
        assert_eq!(text(&json!(null)), "");
        assert_eq!(text(&json!(["a", 1])), "a, 1");
        assert_eq!(items(&json!({"a": [1]}), "a").len(), 1);
        assert!(items(&json!({}), "a").is_empty());
        assert_eq!((counted(1, "row", "rows"), counted(2, "row", "rows")), ("1 row".to_owned(), "2 rows".to_owned()));
    }
}
