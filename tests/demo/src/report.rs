//! The report: every figure as it was read back, beside what the input implies.

use std::fmt::Write as _;

/// A figure.
#[derive(Debug)]
struct Figure {
    name: String,
    found: String,
    note: String,
    /// What it had to be, where the input implies it and it is not.
    expected: Option<String>,
    is_checked: bool,
}

#[derive(Debug)]
enum Line {
    Section(String),
    Figure(Figure),
    Text(String),
}

/// Figures in sections.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    /// Begins a section.
    pub(crate) fn section(&mut self, name: &str) {
        self.0.push(Line::Section(name.to_owned()));
    }

    /// A line as it is.
    pub(crate) fn text(&mut self, text: String) {
        self.0.push(Line::Text(text));
    }

    /// A figure that nothing implies, such as a time.
    pub(crate) fn measure(&mut self, name: &str, found: String, note: &str) {
        let (name, note) = (name.to_owned(), note.to_owned());
        self.0.push(Line::Figure(Figure { name, found, note, expected: None, is_checked: false }));
    }

    /// A figure that the input implies.
    pub(crate) fn check(&mut self, name: &str, found: String, expected: String, note: &str) {
        let (name, note) = (name.to_owned(), note.to_owned());
        let expected = (found != expected).then_some(expected);
        self.0.push(Line::Figure(Figure { name, found, note, expected, is_checked: true }));
    }

    /// A count that the input implies.
    pub(crate) fn count(&mut self, name: &str, found: usize, expected: usize, note: &str) {
        self.check(name, grouped(found), grouped(expected), note);
    }

    /// A count that the input implies to be this much, or more.
    pub(crate) fn at_least(&mut self, name: &str, found: u64, least: u64, note: &str) {
        let text = grouped(usize::try_from(found).unwrap_or(usize::MAX));
        let expected = if found >= least { text.clone() } else { format!("at least {least}") };
        self.check(name, text, expected, note);
    }

    /// How many figures were checked.
    pub(crate) fn n_checked(&self) -> usize {
        self.figures().filter(|(_, figure)| figure.is_checked).count()
    }

    /// A sentence for each figure that is not what the input implies.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let tell = |(section, figure): (&str, &Figure)| {
            let expected = figure.expected.as_ref()?;
            Some(format!("{section}: {} is {}, but the input implies {expected}", figure.name, figure.found))
        };
        self.figures().filter_map(tell).collect()
    }

    fn figures(&self) -> impl Iterator<Item = (&str, &Figure)> {
        self.0
            .iter()
            .scan("", |section, line| {
                if let Line::Section(name) = line {
                    *section = name;
                }
                Some((*section, line))
            })
            .filter_map(|(section, line)| match line {
                Line::Figure(figure) => Some((section, figure)),
                Line::Section(_) | Line::Text(_) => None,
            })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |of: fn(&Figure) -> &String| {
            self.figures().map(|(_, figure)| of(figure).chars().count()).max().unwrap_or(0)
        };
        let (names, founds) = (width(|figure| &figure.name), width(|figure| &figure.found));
        for line in &self.0 {
            match line {
                Line::Section(name) => writeln!(f, "\n{name}")?,
                Line::Text(text) => writeln!(f, "{text}")?,
                Line::Figure(Figure { name, found, note, expected, is_checked }) => {
                    let mark = match (is_checked, expected) {
                        (false, _) => "  ",
                        (true, None) => "✔ ",
                        (true, Some(_)) => "✘ ",
                    };
                    let mut end = String::new();
                    if let Some(expected) = expected {
                        let _ = write!(end, "  the input implies {expected}");
                    }
                    if !note.is_empty() {
                        let _ = write!(end, "  {note}");
                    }
                    writeln!(f, "  {mark}{name:<names$}  {found:>founds$}{end}")?;
                }
            }
        }
        Ok(())
    }
}

/// A number in groups of three: 3,471.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share in percent: `6.5 %`, and with a second digit below one.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    let share = share(part, whole) * 100.0;
    if share < 1.0 { format!("{share:.2} %") } else { format!("{share:.1} %") }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A bar of blocks: a full one for every quarter of a percent.
pub(crate) fn bar(part: usize, whole: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    // At most 100 %: 400 blocks.
    let eighths = (share(part, whole).min(1.0) * 400.0 * 8.0).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_figure_is_named_with_its_section() {
        let mut report = Report::default();
        report.section("webhooks");
        report.count("accepted", 3_470, 3_471, "");
        report.measure("p50", "2 ms".to_owned(), "");
        report.section("state");
        report.count("suppressions", 7, 7, "");
        report.at_least("429s", 1, 2, "");
        assert_eq!(
            report.wrong(),
            [
                "webhooks: accepted is 3,470, but the input implies 3,471",
                "state: 429s is 1, but the input implies at least 2"
            ]
        );
        assert_eq!(report.n_checked(), 3);
        let text = report.to_string();
        assert!(text.contains("✘ accepted      3,470  the input implies 3,471\n"), "{text}");
        assert!(text.contains("    p50            2 ms\n"), "{text}");
        assert!(text.contains("✔ suppressions      7\n"), "{text}");
    }

    #[test]
    fn numbers_are_readable() {
        let check = |number: usize, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(224, "224");
        check(3_471, "3,471");
        check(50_000, "50,000");
        check(1_234_567, "1,234,567");
        assert_eq!(percent(3_247, 50_000), "6.5 %");
        assert_eq!(percent(124, 46_753), "0.27 %");
        assert_eq!(percent(1, 0), "0.00 %");
        assert_eq!(bar(1, 400), "█");
        assert_eq!(bar(1, 800), "▌");
        assert_eq!(bar(0, 400), "");
    }
}
