//! `quell export`: everything in force, as CSV or NDJSON.

use super::{
    Output, Verdict,
    api::{Api, ApiArgs},
    part_file::PartFile,
};
use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use std::{borrow::Cow, io::Write as _, path::PathBuf};

const COLUMNS: [&str; 8] = ["recipient", "channel", "scope", "reason", "since", "until", "rule", "provider"];
/// The longest line that is taken for one.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Columns: recipient, channel, scope, reason, since, until (empty: for good), rule, provider.\n\
    With --output json, one JSON document a line. A file appears only once it is whole.\n\n\
    Exit codes: 0 done, 2 it could not be done\n\n\
    Example:\n  quell export suppressions.csv --tenant acme")]
pub(crate) struct Export {
    /// File to write; standard output without it
    #[arg(default_value = "-")]
    file: PathBuf,
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
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let mut file = PartFile::create(&self.file)?;
        let rows = write(&api, output, &mut file).await?;
        file.finish()?;
        if self.file.as_os_str() != "-" {
            writeln!(std::io::stderr(), "{rows} suppressions written to {}", self.file.display())?;
        }
        Ok(Verdict::Yes)
    }
}

async fn write(api: &Api, output: Output, file: &mut PartFile) -> anyhow::Result<u64> {
    let mut stream = api.open("/v1/export", &[("tenant", api.tenant.as_deref())]).await?;
    let mut out = csv::Writer::from_writer(file);
    if output == Output::Text {
        out.write_record(COLUMNS)?;
    }
    let (mut rest, mut rows) = (Vec::new(), 0);
    while let Some(piece) = stream.next().await.map_err(|error| api.failed(error))? {
        rest.extend_from_slice(&piece);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
            if rest.len() > LINE_BYTES_MAX {
                bail!("the API sent a line of more than {LINE_BYTES_MAX} bytes");
            }
            continue;
        };
        for line in rest[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            write_line(&mut out, output, line)?;
            rows += 1;
        }
        rest.drain(..=end);
    }
    if !rest.is_empty() {
        bail!("the export ended within a line");
    }
    out.flush()?;
    Ok(rows)
}

fn write_line(out: &mut csv::Writer<&mut PartFile>, output: Output, line: &[u8]) -> anyhow::Result<()> {
    let read: Line<'_> = serde_json::from_slice(line).context("the API sent what is no suppression")?;
    match output {
        Output::Json => {
            // Lines of JSON pass through as they are, after what the writer may hold.
            out.flush()?;
            let file = out.get_ref();
            let _ = file;
            bail_json()
        }
        Output::Text => {
            let until = read.until.as_deref().unwrap_or_default();
            let fields: [&str; 8] =
                [&read.recipient, &read.channel, &read.scope, &read.reason, &read.since, until, &read.rule, &read.provider];
            Ok(out.write_record(fields)?)
        }
    }
}
