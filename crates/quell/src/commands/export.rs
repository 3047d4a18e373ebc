//! `quell export`: everything in force, as CSV or NDJSON; for a warehouse, events, deltas and what is in force, as Parquet;
//! or, for moving, everything that is known.

mod parquet;

use super::{
    Output, Verdict,
    api::{Api, ApiArgs},
    part_file::PartFile,
    state::{self, Engines, Moved},
};
use crate::config::Config;
use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use std::{
    borrow::Cow,
    io::{self, Write},
    path::{Path, PathBuf},
};

const COLUMNS: [&str; 8] = ["recipient", "channel", "scope", "reason", "since", "until", "rule", "provider"];
/// The longest line that is taken for one.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Columns: recipient, channel, scope, reason, since, until (empty: for good), rule, provider.\n\
    With --output json, one JSON document a line. A file appears only once it is whole.\n\n\
    --parquet DIR writes events, deltas, state and suppression_list as Parquet files in DIR/TABLE/tenant=T/date=D: events and \
    deltas since the run before, and what is in force now. A run that was interrupted is done again by the next one, and no \
    row comes twice. It reads the log itself: a cluster runs on, an embedded engine must be stopped.\n\n\
    --state takes all that is known of every recipient, for `quell import --state` into another pair of engines. It reads \
    log and store themselves: drain and stop what runs on them first.\n\n\
    Exit codes: 0 done, 1 with --parquet: done, but some records were gone or could not be read, 2 it could not be done\n\n\
    Example:\n  quell export suppressions.csv --tenant acme\n  quell --config quell.toml export --parquet lake\n  quell --config quell.toml export state.ndjson --state")]
pub(crate) struct Export {
    /// File to write; standard output without it
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Take all that is known, for moving to other engines
    #[arg(long, group = "whole")]
    state: bool,
    /// Write Parquet files into this folder, beside those of earlier runs
    #[arg(long, group = "whole", value_name = "DIR", conflicts_with = "file")]
    parquet: Option<PathBuf>,
    /// Which engines of the configuration; without it the cluster, if it names one
    #[arg(long, requires = "whole", value_name = "ENGINES")]
    engines: Option<Engines>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    recipient: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    since: Cow<'a, str>,
    #[serde(borrow)]
    until: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    provider: Cow<'a, str>,
}

impl Export {
    pub(crate) async fn run(self, config: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        if let Some(dir) = &self.parquet {
            let config = Config::load(config)?;
            let engines = Engines::choose(self.engines, &config);
            let wanted = parquet::Wanted { dir, tenant: self.api.tenant.as_deref() };
            return parquet::run(&config, engines, &wanted, output).await;
        }
        if self.state {
            let config = Config::load(config)?;
            let mut file = PartFile::create(&self.file)?;
            let engines = Engines::choose(self.engines, &config);
            let Moved { policies, recipients, suppressions, epoch, erased } =
                state::take(&config, engines, &mut file).await?;
            file.finish()?;
            writeln!(
                io::stderr(),
                "{recipients} recipients, {suppressions} suppressions, {erased} erasures and {policies} policies, up to \
                 epoch {epoch}"
            )?;
            return Ok(Verdict::Yes);
        }
        let api = self.api.connect()?;
        let mut file = PartFile::create(&self.file)?;
        let rows = write(&api, output, &mut file).await?;
        file.finish()?;
        if self.file.as_os_str() != "-" {
            writeln!(io::stderr(), "{rows} suppressions written to {}", self.file.display())?;
        }
        Ok(Verdict::Yes)
    }
}

async fn write(api: &Api, output: Output, out: &mut PartFile) -> anyhow::Result<u64> {
    let mut stream = api.open("/v1/export", &[("tenant", api.tenant.as_deref())]).await?;
    if output == Output::Text {
        let mut head = csv::Writer::from_writer(&mut *out);
        head.write_record(COLUMNS)?;
        head.flush()?;
    }
    let (mut rest, mut rows) = (Vec::new(), 0);
    while let Some(piece) = stream.next().await.map_err(|error| api.failed(error))? {
        let searched = rest.len();
        rest.extend_from_slice(&piece);
        match rest[searched..].iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                let end = searched + at;
                rows += convert(output, &rest[..end], out)?;
                rest.drain(..=end);
            }
            None if rest.len() > LINE_BYTES_MAX => bail!("the API sent a line of more than {LINE_BYTES_MAX} bytes"),
            None => {}
        }
    }
    if !rest.is_empty() {
        bail!("the export ended within a line");
    }
    Ok(rows)
}

/// Writes lines of the API, each checked, in the form asked for; returns how many.
fn convert(output: Output, lines: &[u8], out: &mut impl Write) -> anyhow::Result<u64> {
    let mut rows = 0;
    let mut csv = csv::Writer::from_writer(Vec::new());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let read: Line<'_> = serde_json::from_slice(line).context("the API sent what is no suppression")?;
        rows += 1;
        match output {
            Output::Json => {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            }
            Output::Text => {
                let until = read.until.as_deref().unwrap_or_default();
                let Line { recipient, channel, scope, reason, since, rule, provider, .. } = &read;
                csv.write_record(
                    [recipient, channel, scope, reason, since, until, rule, provider].map(|field: &str| field),
                )?;
            }
        }
    }
    out.write_all(&csv.into_inner().context("cannot write CSV")?)?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows() {
        let line = r#"{"recipient":"a,b@example.com","channel":"email","scope":"category:x","reason":"unsubscribe","since":"S","until":null,"rule":"r","provider":"drip","more":1}"#;
        let convert = |output, lines: &str| {
            let mut out = Vec::new();
            convert(output, lines.as_bytes(), &mut out).map(|rows| (rows, String::from_utf8(out).unwrap()))
        };
        let row = "\"a,b@example.com\",email,category:x,unsubscribe,S,,r,drip\n";
        assert_eq!(convert(Output::Text, &format!("{line}\n{line}")).unwrap(), (2, format!("{row}{row}")));
        assert_eq!(convert(Output::Json, line).unwrap(), (1, format!("{line}\n")));
        assert!(convert(Output::Text, r#"{"error":"gone"}"#).is_err());
        assert!(convert(Output::Json, "{").is_err());
    }
}
