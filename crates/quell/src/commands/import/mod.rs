//! `quell import`: a kept list of suppressions in, with its reasons and times.
//!
//! A row becomes a signed event of the generic format, so that it goes the way of every webhook and policy decides what it
//! means: a soft bounce of last year suppresses nobody today. What only comes from inside (`manual`, `unengaged`) becomes an
//! act by hand. A second import of the same file changes nothing.

mod row;
mod send;

use super::{
    Output, Verdict,
    act::{RECIPIENTS_MAX, actor},
    api::{Api, ApiArgs},
    moment,
    show::{Table, counted, print},
    state::{self, Engines, Moved},
};
use crate::config::Config;
use anyhow::Context as _;
use clap::Args;
use row::{Act, Columns, Planned};
use send::Sender;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

const EVENTS_A_WEBHOOK: usize = 500;
/// Refused rows that are named; all are counted.
const NAMED_MAX: usize = 1_000;
const SHOWN_MAX: usize = 20;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Columns: recipient, email, email_address or phone; reason or event_type (hard_bounce, soft_bounce, bounce, \
    spam_complaint, unsubscribe, invalid_number, carrier_rejection, sms_failure, unengaged, manual), bounce_type; source; \
    created_at, event_timestamp or since; bounce_reason; and what `quell export` writes. Rows become signed events of the \
    source generic/NAME in the configuration, so reason and time survive; unengaged and manual become acts by hand.\n\n\
    --state brings in what `quell export --state` wrote, into empty engines, before anything runs on them.\n\n\
    Exit codes: 0 every row was taken, 1 some rows could not be read (they are named), 2 it could not be done\n\n\
    Example:\n  quell --config quell.toml import bounced.csv --dry-run"
)]
pub(crate) struct Import {
    /// CSV file, or - for standard input
    file: PathBuf,
    /// The generic source of the configuration that takes the rows
    #[arg(long, default_value = "default", value_name = "NAME")]
    source: String,
    /// URL of the gateway; without it, where the configuration has it
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// Reason of rows that name none
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Take every row as an act by hand: the reason becomes `manual`, and what the row said stands in the note
    #[arg(long)]
    by_hand: bool,
    /// Who does this; kept with acts by hand. Without it, the login name
    #[arg(long, env = "QUELL_BY", value_name = "NAME")]
    by: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Bring in a whole state, for moving to other engines
    #[arg(long, conflicts_with_all = ["dry_run", "by_hand", "reason", "gateway"])]
    state: bool,
    /// Which engines of the configuration; without it the cluster, if it names one
    #[arg(long, requires = "state", value_name = "ENGINES")]
    engines: Option<Engines>,
    #[command(flatten)]
    api: ApiArgs,
}

/// What became of the rows.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    rows: u64,
    events: u64,
    by_hand: u64,
    /// Soft bounces taken by hand whose time has passed.
    ended: u64,
    refused: u64,
    refused_rows: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    reason: String,
}

/// Where planned rows go.
struct Ways {
    sender: Option<Sender>,
    api: Api,
    by: Option<String>,
    dry_run: bool,
    events: Vec<Value>,
    acts: Vec<Act>,
}

impl Import {
    pub(crate) async fn run(self, config: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let input: Box<dyn Read> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?)
        };
        if self.state {
            let config = Config::load(config)?;
            let engines = Engines::choose(self.engines, &config);
            let moved = state::bring(&config, engines, &mut BufReader::new(input)).await?;
            print(output, &moved, |out| {
                let Moved { policies, recipients, suppressions, epoch, erased } = moved;
                writeln!(
                    out,
                    "{recipients} recipients, {suppressions} suppressions, {erased} erasures and {policies} policies; new \
                     records are of epoch {epoch}"
                )
            })?;
            return Ok(Verdict::Yes);
        }
        let sender = if self.by_hand || self.dry_run {
            None
        } else {
            Some(Sender::new(
                &Config::load(config)?,
                &self.source,
                self.api.tenant.as_deref(),
                self.gateway.as_deref(),
            )?)
        };
        let mut ways = Ways {
            sender,
            api: self.api.connect()?,
            by: self.by.clone(),
            dry_run: self.dry_run,
            events: Vec::new(),
            acts: Vec::new(),
        };
        let mut report = Report { dry_run: self.dry_run, ..Report::default() };
        let passed = self.pass(input, &mut ways, &mut report).await;
        if let Err(error) = passed {
            let taken = report.events + report.by_hand;
            let said =
                format!("{taken} rows were read and up to so many taken; import the file again, none is taken twice");
            return Err(error.context(said));
        }
        print(output, &report, |out| show(out, &report))?;
        Ok(if report.refused == 0 { Verdict::Yes } else { Verdict::No })
    }

    async fn pass(&self, input: Box<dyn Read>, ways: &mut Ways, report: &mut Report) -> anyhow::Result<()> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader.byte_headers().context("cannot read the first row")?;
        let header = csv::StringRecord::from_byte_record_lossy(header.clone());
        let columns = Columns::of(&header, self.reason.is_some()).map_err(anyhow::Error::msg)?;
        let now = moment::now()?;
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).context("cannot read the file")? {
            report.rows += 1;
            let line = record.position().map_or(0, csv::Position::line);
            let planned = match csv::StringRecord::from_byte_record(std::mem::take(&mut record)) {
                Ok(text) => columns.plan(&text, self.reason.as_deref(), self.by_hand, now),
                Err(_) => Err("not UTF-8".to_owned()),
            };
            match planned {
                Ok(Planned::Event(event)) => {
                    report.events += 1;
                    ways.events.push(event);
                }
                Ok(Planned::Act(act)) => {
                    report.by_hand += 1;
                    ways.acts.push(act);
                }
                Ok(Planned::Ended) => report.ended += 1,
                Err(reason) => {
                    report.refused += 1;
                    if report.refused_rows.len() < NAMED_MAX {
                        report.refused_rows.push(Refused { line, reason });
                    }
                }
            }
            ways.flush(false).await?;
        }
        ways.flush(true).await
    }
}

impl Ways {
    /// Sends what fills a call; all there is at the end.
    async fn flush(&mut self, is_end: bool) -> anyhow::Result<()> {
        let is_due = |len: usize, max: usize| len >= max || (is_end && len > 0);
        if is_due(self.events.len(), EVENTS_A_WEBHOOK) {
            if let Some(sender) = &self.sender {
                sender.send(&self.events).await?;
            }
            self.events.clear();
        }
        if is_due(self.acts.len(), RECIPIENTS_MAX) {
            let acts = std::mem::take(&mut self.acts);
            if !self.dry_run {
                self.act(acts).await?;
            }
        }
        Ok(())
    }

    /// Acts that agree in all but the recipient share a call.
    async fn act(&self, mut acts: Vec<Act>) -> anyhow::Result<()> {
        let by = actor(self.by.clone())?;
        acts.sort();
        let same =
            |a: &Act, b: &Act| (&a.scope, &a.note, a.until, a.channel) == (&b.scope, &b.note, b.until, b.channel);
        for group in acts.chunk_by(same) {
            let Some(first) = group.first() else { continue };
            let recipients: Vec<&str> = group.iter().map(|act| act.recipient.as_str()).collect();
            let mut body = json!({
                "recipients": recipients, "scope": first.scope, "note": first.note, "channel": first.channel, "by": by,
            });
            if let Some(until) = first.until {
                body["until"] = until.to_string().into();
            }
            if let Some(tenant) = &self.api.tenant {
                body["tenant"] = tenant.as_str().into();
            }
            self.api.act_once("/v1/suppressions", &body).await?;
        }
        Ok(())
    }
}

fn show(out: &mut String, report: &Report) -> std::fmt::Result {
    let rows = counted(report.rows, "row", "rows");
    let (verb, after) = if report.dry_run { ("would be", "") } else { ("", "; in force within moments") };
    let mut parts = vec![format!("{} as events", report.events), format!("{} by hand", report.by_hand)];
    if report.ended > 0 {
        parts.push(format!("{} over already", report.ended));
    }
    writeln!(
        out,
        "{rows}: {verb}{}taken {}, {} refused{after}",
        if verb.is_empty() { "" } else { " " },
        parts.join(", "),
        report.refused
    )?;
    let mut table = Table::new(&["line", "refused because"]);
    for row in report.refused_rows.iter().take(SHOWN_MAX) {
        table.row([row.line.to_string(), row.reason.clone()]);
    }
    if !table.is_empty() {
        write!(out, "{table}")?;
    }
    if report.refused > SHOWN_MAX as u64 {
        writeln!(out, "and {} more; --output json names them", report.refused - SHOWN_MAX as u64)?;
    }
    Ok(())
}
