//! `quell topics`: whether a cluster's topics are as declared, and making them so.

mod declaration;
mod diff;

pub(crate) use declaration::{DeclarationArgs, Declared};
pub(crate) use diff::{Act, Difference, differences};

use super::{Output, Verdict, confirm::Confirm, show::print};
use crate::{config::Config, kafka_tokens};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use event_log::kafka::{Admin, KafkaConfig, TopicNow, TopicWanted};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

/// How long a cluster may take until it tells of what was changed.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Verbs of `topics`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Say how the cluster's topics differ from the declaration
    #[command(after_help = "Exit codes: 0 they are as declared, 1 they differ, 2 it could not be told\n\n\
        Example:\n  quell --config quell.toml topics check\n  quell topics check --replication-factor 1 --min-insync 1 -o json")]
    Check {
        #[command(flatten)]
        declaration: DeclarationArgs,
    },
    /// Create what is missing and change what differs, after showing it
    Apply(Apply),
}

/// Arguments of `topics apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 they are as declared now, 1 refused or not confirmed: nothing was changed, 2 it could not be \
    done\n\nThe partitions of keyed topics are never changed: that takes new topics and a new kafka.epoch.\n\n\
    Example:\n  quell --config quell.toml topics apply\n  \
    quell topics apply --yes --partitions 4 --replication-factor 1 --min-insync 1"
)]
pub(crate) struct Apply {
    #[command(flatten)]
    declaration: DeclarationArgs,
    #[command(flatten)]
    confirm: Confirm,
}

/// A cluster, and what is declared for it.
struct Compared {
    admin: Admin,
    declared: Vec<Declared>,
    differences: Vec<Difference>,
}

impl TopicsCommand {
    pub(crate) async fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let config = Config::load(file)?;
        match self {
            Self::Check { declaration } => {
                let found = Compared::look(&config.kafka, &declaration).await?.differences;
                let answer = json!({ "ok": found.is_empty(), "differences": found });
                print(output, &answer, |out| {
                    if found.is_empty() {
                        return writeln!(out, "the topics are as declared");
                    }
                    write!(out, "{}", diff::table(&found))?;
                    out.write_str(if diff::is_refused(&found) {
                        "`quell topics apply` changes nothing as long as it refuses a part\n"
                    } else {
                        "`quell topics apply` with the same arguments does what the last column says\n"
                    })
                })?;
                Ok(if found.is_empty() { Verdict::Yes } else { Verdict::No })
            }
            Self::Apply(apply) => apply.run(&config.kafka, output).await,
        }
    }
}

impl Apply {
    async fn run(self, config: &KafkaConfig, output: Output) -> anyhow::Result<Verdict> {
        let Compared { admin, declared, differences: found } = Compared::look(config, &self.declaration).await?;
        let tell = |applied: bool, last: &str| {
            let ok = applied || found.is_empty();
            let answer = json!({ "ok": ok, "applied": applied, "differences": found });
            print(output, &answer, |out| writeln!(out, "{last}"))
        };
        if found.is_empty() {
            tell(false, "the topics are as declared; nothing to do")?;
            return Ok(Verdict::Yes);
        }
        if output == Output::Text {
            print(output, &(), |out| write!(out, "{}", diff::table(&found)))?;
        }
        if diff::is_refused(&found) {
            tell(false, "refused; nothing was changed")?;
            return Ok(Verdict::No);
        }
        self.confirm.require_somebody(output)?;
        if !self.confirm.ask("Apply this?")? {
            tell(false, "nothing was changed")?;
            return Ok(Verdict::No);
        }
        apply(&admin, &declared, &found).await?;
        settle(&admin, &declared).await?;
        tell(true, "applied; the topics are as declared")?;
        Ok(Verdict::Yes)
    }
}

impl Compared {
    async fn look(config: &KafkaConfig, args: &DeclarationArgs) -> anyhow::Result<Self> {
        let declared = args.read(config)?;
        let admin = kafka_tokens::admin(config)?;
        admin.cluster_id().with_context(|| unreachable(config))?;
        let differences = differences(&declared, &describe(&admin, &declared).await?);
        Ok(Self { admin, declared, differences })
    }
}

/// What to do where no broker answers.
pub(crate) fn unreachable(config: &KafkaConfig) -> String {
    format!(
        "no broker of kafka.brokers ({}) answers: start it, or look at the address, the firewall and kafka.security",
        config.brokers
    )
}

/// The declared topics that there are.
pub(crate) async fn describe(admin: &Admin, declared: &[Declared]) -> anyhow::Result<BTreeMap<String, TopicNow>> {
    let mut now = BTreeMap::new();
    for Declared { topic, .. } in declared {
        if let Some(found) = admin.describe(&topic.name).await? {
            now.insert(topic.name.clone(), found);
        }
    }
    Ok(now)
}

/// The settings of every topic as this program declares them.
pub(crate) fn declared_settings(kafka: &KafkaConfig) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let declared = DeclarationArgs::default().read(kafka)?;
    Ok(declared.into_iter().map(|Declared { topic, .. }| (topic.name, topic.configs)).collect())
}

/// Does what the differences ask for: new topics first. What fails in between is mended by another run.
async fn apply(admin: &Admin, declared: &[Declared], found: &[Difference]) -> anyhow::Result<()> {
    let of = |topic: &TopicWanted, act: Act| {
        found.iter().filter(move |found| found.topic == topic.name && found.act == act).collect::<Vec<_>>()
    };
    let topics = || declared.iter().map(|declared| &declared.topic);
    let new: Vec<TopicWanted> = topics().filter(|topic| !of(topic, Act::Create).is_empty()).cloned().collect();
    admin.create(&new).await.context("with fewer brokers than replicas, say --replication-factor and --min-insync")?;
    for topic in topics() {
        if !of(topic, Act::Grow).is_empty() {
            admin.add_partitions(&topic.name, topic.partitions).await?;
        }
        let changes: BTreeMap<String, String> =
            of(topic, Act::Change).into_iter().map(|found| (found.what.clone(), found.declared.clone())).collect();
        if !changes.is_empty() {
            admin.alter_configs(&topic.name, &changes).await?;
        }
    }
    Ok(())
}

/// Waits until the cluster tells of everything as declared.
async fn settle(admin: &Admin, declared: &[Declared]) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let left = differences(declared, &describe(admin, declared).await?);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "the cluster took the changes, but tells still of others: run `quell topics check`\n{}",
                diff::table(&left)
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
