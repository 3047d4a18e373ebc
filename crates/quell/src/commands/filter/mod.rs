//! `quell filter`: a campaign file in, the sendable part out.
//!
//! The file is read in blocks of rows, a few of which are asked about at a time, so memory stays bounded whatever its
//! length. What comes out is put in its place only once every row was answered: half an answer never passes for a whole
//! one.

mod rows;

use super::{
    Output, Verdict,
    api::{Api, ApiArgs},
    check::{QuestionArgs, read},
    part_file::PartFile,
    show::{Table, counted},
};
use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use rows::{Block, Layout, Rows};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

/// Blocks that are asked about at a time.
const IN_FLIGHT: usize = 3;
/// The columns that the file of the suppressed has beside its own.
const TOLD: [&str; 5] = ["reason", "scope", "since", "until", "retry_at"];

/// Arguments of `filter`.
#[derive(Debug, Args)]
#[command(
    after_help = "IN is a CSV file (separated by comma, semicolon or tab) with a column named recipient, email or phone, or \
    an address a line. OUT gets the rows that may be sent to, byte for byte, in their order, with the header. It appears \
    only once every row was answered. An address that cannot be read is held back as `invalid_address`.\n\n\
    Exit codes: 0 done, 2 it could not be done, and no OUT was written\n\n\
    Example:\n  quell filter campaign.csv sendable.csv --suppressed held-back.csv --class marketing --category newsletter"
)]
pub(crate) struct Filter {
    /// Campaign file, or - for standard input
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the sendable part goes, or - for standard output
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Where the suppressed part goes, with the reasons
    #[arg(long, value_name = "FILE")]
    suppressed: Option<PathBuf>,
    /// The column of the recipients, if it is not named recipient, email or phone
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    column: Option<String>,
    /// The file is an address a line, whatever its first line looks like
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// What came out.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    /// When the answers held; the oldest of them.
    as_of: Option<String>,
    total: u64,
    sendable: u64,
    suppressed: u64,
    by_reason: BTreeMap<String, u64>,
}

impl Filter {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        if self.suppressed.as_ref() == Some(&self.out) {
            bail!("OUT and --suppressed are the same file: name two");
        }
        let api = self.api.connect()?;
        let (input, size) = open(&self.input)?;
        let bar = bar(size);
        let mut sinks = Sinks {
            out: PartFile::create(&self.out)?,
            suppressed: self.suppressed.as_deref().map(PartFile::create).transpose()?,
            summary: Summary::default(),
        };
        let result = self.pass(&api, input, &mut sinks, &bar).await;
        bar.finish_and_clear();
        result.context("nothing was written, as a part of the answer must not pass for the whole")?;
        let is_stdout_taken =
            [Some(&self.out), self.suppressed.as_ref()].iter().flatten().any(|path| path.as_os_str() == "-");
        let summary = sinks.finish()?;
        let text = summary.render(output)?;
        if is_stdout_taken {
            io::stderr().write_all(text.as_bytes())?
        } else {
            io::stdout().write_all(text.as_bytes())?
        }
        Ok(Verdict::Yes)
    }

    async fn pass(
        &self,
        api: &Api,
        input: Box<dyn BufRead>,
        sinks: &mut Sinks,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut rows = Rows::new(input);
        let Some(first) = rows.first()? else { bail!("{} is empty", self.input.display()) };
        let (layout, is_header) = Layout::of(&first, self.column.as_deref(), self.list)?;
        let question = match layout {
            Layout::Csv { channel, .. } => self.question.clone().or_channel(channel),
            Layout::Lines => self.question.clone(),
        };
        let mut first = Some(Block::of(first));
        if is_header {
            sinks.header(layout, first.take().as_ref())?;
        } else {
            sinks.header(layout, None)?;
        }
        let blocks = first.into_iter().map(Ok).chain(std::iter::from_fn(move || rows.next(layout).transpose()));
        let asked = stream::iter(blocks).map(|block: anyhow::Result<Block>| async {
            let block = block?;
            let body = question.ask(api, &block.recipients(layout)).await?;
            Ok::<(Block, Bytes), anyhow::Error>((block, body))
        });
        let mut answers = std::pin::pin!(asked.buffered(IN_FLIGHT));
        while let Some(answer) = answers.next().await {
            let (block, body) = answer?;
            sinks.take(layout, &block, &body)?;
            bar.inc(block.len_bytes());
            bar.set_message(format!("{} held back of {}", sinks.summary.suppressed, sinks.summary.total));
        }
        Ok(())
    }
}

/// Where rows go.
struct Sinks {
    out: PartFile,
    suppressed: Option<PartFile>,
    summary: Summary,
}

impl Sinks {
    fn header(&mut self, layout: Layout, header: Option<&Block>) -> anyhow::Result<()> {
        let mut line = Vec::new();
        match header.and_then(|block| block.rows().next()) {
            Some(row) => {
                self.out.write_all(row)?;
                if !row.ends_with(b"\n") {
                    self.out.write_all(b"\n")?;
                }
                layout.append(row, &TOLD, &mut line);
            }
            None => layout.append(b"recipient", &TOLD, &mut line),
        }
        if let Some(file) = &mut self.suppressed {
            file.write_all(&line)?;
        }
        Ok(())
    }

    /// Parts a block by its answer.
    fn take(&mut self, layout: Layout, block: &Block, body: &[u8]) -> anyhow::Result<()> {
        let recipients = block.recipients(layout);
        let checked = read(body, &recipients)?;
        let mut line = Vec::new();
        for (row, answer) in block.rows().zip(&checked.results) {
            self.summary.total += 1;
            if !answer.suppressed {
                self.summary.sendable += 1;
                self.out.write_all(row)?;
                continue;
            }
            self.summary.suppressed += 1;
            let reason = answer.reason.as_deref().unwrap_or("unknown");
            match self.summary.by_reason.get_mut(reason) {
                Some(count) => *count += 1,
                None => drop(self.summary.by_reason.insert(reason.to_owned(), 1)),
            }
            if let Some(file) = &mut self.suppressed {
                line.clear();
                layout.append(row, &answer.columns(), &mut line);
                file.write_all(&line)?;
            }
        }
        self.summary.as_of.get_or_insert_with(|| checked.as_of.into_owned());
        Ok(())
    }

    /// Puts the files in their places, the sendable part last: when it is there, everything is.
    fn finish(self) -> anyhow::Result<Summary> {
        let Summary { total, sendable, suppressed, .. } = self.summary;
        ensure!(total == sendable + suppressed, "rows were lost: {total} read, {sendable} and {suppressed} written");
        if let Some(file) = self.suppressed {
            file.finish()?;
        }
        self.out.finish()?;
        Ok(self.summary)
    }
}

impl Summary {
    fn render(&self, output: Output) -> anyhow::Result<String> {
        if output == Output::Json {
            return Ok(serde_json::to_string_pretty(self)? + "\n");
        }
        let share = if self.total == 0 { 0.0 } else { self.suppressed as f64 * 100.0 / self.total as f64 };
        let total = counted(self.total, "recipient", "recipients");
        let mut text = format!("{total}: {} sendable, {} held back ({share:.2} %)\n", self.sendable, self.suppressed);
        if !self.by_reason.is_empty() {
            let mut table = Table::new(&["reason", "held back"]);
            for (reason, count) in &self.by_reason {
                table.row([reason.clone(), count.to_string()]);
            }
            text.push_str(&table.to_string());
        }
        Ok(text)
    }
}

/// The file and, where it is known, its size.
fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let size = file.metadata().ok().map(|data| data.len());
    Ok((Box::new(BufReader::with_capacity(256 * 1_024, file)), size))
}

/// Drawn on standard error, and only where that is a terminal.
fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "[{bar:40}] {percent:>3} %  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_parted_by_their_answers() {
        let folder = tempfile::tempdir().unwrap();
        let (out, suppressed) = (folder.path().join("out"), folder.path().join("suppressed"));
        let mut sinks = Sinks {
            out: PartFile::create(&out).unwrap(),
            suppressed: Some(PartFile::create(&suppressed).unwrap()),
            summary: Summary::default(),
        };
        let text = b"id,email\r\n1,a@example.com\r\n2,b@example.com\r\n3,c@example.com";
        let mut rows = Rows::new(&text[..]);
        let first = rows.first().unwrap().unwrap();
        let (layout, _) = Layout::of(&first, None, false).unwrap();
        sinks.header(layout, Some(&Block::of(first))).unwrap();
        let block = rows.next(layout).unwrap().unwrap();
        let answer = |recipient: &str, reason: Option<&str>| {
            let (scope, since) = (reason.map(|_| "all"), reason.map(|_| "S"));
            serde_json::json!({ "recipient": recipient, "suppressed": reason.is_some(), "reason": reason, "scope": scope, "since": since, "until": null, "retry_at": null })
        };
        let body = |names: [&str; 3]| {
            let results = [answer(names[0], None), answer(names[1], Some("hard_bounce")), answer(names[2], None)];
            serde_json::json!({ "as_of": "T", "results": results }).to_string()
        };
        let wrong = body(["a@example.com", "c@example.com", "b@example.com"]);
        assert!(sinks.take(layout, &block, wrong.as_bytes()).is_err());
        assert_eq!(sinks.summary, Summary::default());
        let right = body(["a@example.com", "b@example.com", "c@example.com"]);
        sinks.take(layout, &block, right.as_bytes()).unwrap();
        let summary = sinks.finish().unwrap();
        assert_eq!(std::fs::read_to_string(out).unwrap(), "id,email\r\n1,a@example.com\r\n3,c@example.com");
        assert_eq!(
            std::fs::read_to_string(suppressed).unwrap(),
            "id,email,reason,scope,since,until,retry_at\n2,b@example.com,hard_bounce,all,S,,\n"
        );
        assert_eq!((summary.total, summary.sendable, summary.by_reason["hard_bounce"]), (3, 2, 1));
        let text = summary.render(Output::Text).unwrap();
        assert!(text.starts_with("3 recipients: 2 sendable, 1 held back (33.33 %)\n"), "{text}");
    }
}
