//! What the store takes from a program that does nothing else: the statements of the suppressor in the mixture in which it
//! sent them, prepared, by token, as many at once, with rows as long as its own, into tables of the same shape.

use super::counts::{Counts, Sizes};
use crate::{events, usage};
use anyhow::{Context as _, bail};
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::load_balancing::DefaultPolicy,
    response::PagingState,
    statement::{Consistency, prepared::PreparedStatement},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// As `store.concurrency` is by default.
const CONCURRENCY: usize = 256;
const RECIPIENTS: u64 = 1_000_000;
const PAGE_ROWS: i32 = 1_000;
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
const ALL_WITHIN: Duration = Duration::from_secs(600);

/// What to send.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) contact_point: String,
    pub(super) keyspace: String,
    /// What the suppressor sent; as many requests are sent here.
    pub(super) counts: Counts,
    pub(super) sizes: Sizes,
    /// From which number on recipients and rows are made up.
    pub(super) first: u64,
}

/// A kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LoadEvidence,
    FindSeen,
    PutEvidence,
    PutSeen,
    PutMessage,
    PutSuppression,
    PutAudit,
}

/// The kinds with their shares, added up. Tables that are touched now and then (`due`, `applied` and the like) count as the
/// commonest of their sort.
fn shares(counts: &Counts) -> Vec<(Kind, u64)> {
    let read = |table: &str| match table {
        "seen" => Kind::FindSeen,
        _ => Kind::LoadEvidence,
    };
    let write = |table: &str| match table {
        "evidence" => Kind::PutEvidence,
        "seen" => Kind::PutSeen,
        "suppression" => Kind::PutSuppression,
        "audit" => Kind::PutAudit,
        _ => Kind::PutMessage,
    };
    let reads = counts.reads.iter().map(|(table, count)| (read(table), *count));
    let writes = counts.writes.iter().map(|(table, count)| (write(table), *count));
    let mut sum = 0;
    reads
        .chain(writes)
        .map(|(kind, count)| {
            sum += count;
            (kind, sum)
        })
        .collect()
}

struct Bare {
    session: Session,
    load: PreparedStatement,
    seen: PreparedStatement,
    put_evidence: PreparedStatement,
    put_seen: PreparedStatement,
    put_message: PreparedStatement,
    put_suppression: PreparedStatement,
    put_audit: PreparedStatement,
    sizes: Sizes,
}

/// Sends it; prints how fast that was.
pub(crate) fn child(plan: &str) -> anyhow::Result<()> {
    let plan: Plan = serde_json::from_str(plan).context("the plan")?;
    let (reads, writes) = plan.counts.totals();
    let total = reads + writes;
    anyhow::ensure!(total > 0, "nothing to send");
    let shares: Arc<[(Kind, u64)]> = shares(&plan.counts).into();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (seconds, cpu) = runtime.block_on(async {
        let bare = Arc::new(Bare::connect(&plan).await?);
        let next = Arc::new(AtomicU64::new(0));
        let (began, cpu) = (Instant::now(), usage::cpu_seconds(std::process::id())?);
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (bare, next, shares) = (Arc::clone(&bare), Arc::clone(&next), Arc::clone(&shares));
            senders.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return anyhow::Ok(());
                    }
                    let dice = events::scatter(plan.first + number);
                    let at = events::scatter(dice) % total;
                    let kind = shares.iter().find(|(_, sum)| at < *sum).map_or(Kind::PutMessage, |(kind, _)| *kind);
                    bare.send(kind, plan.first + number, dice % RECIPIENTS).await?;
                }
            });
        }
        let all = async {
            while let Some(sender) = senders.join_next().await {
                sender??;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(ALL_WITHIN, all).await {
            Ok(ended) => ended?,
            Err(_) => bail!("the store did not take {total} requests within {} s", ALL_WITHIN.as_secs()),
        }
        Ok((began.elapsed().as_secs_f64(), usage::cpu_seconds(std::process::id())? - cpu))
    })?;
    use std::io::Write as _;
    let document = json!({ "requests": total, "reads": reads, "writes": writes, "seconds": seconds, "cpu_s": cpu });
    writeln!(std::io::stdout(), "{document}").context("cannot tell")
}

impl Bare {
    async fn connect(plan: &Plan) -> anyhow::Result<Self> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .request_timeout(Some(REQUEST_WITHIN))
            .load_balancing_policy(DefaultPolicy::builder().token_aware(true).build())
            .build();
        let builder = SessionBuilder::new().known_node(&plan.contact_point);
        let session = builder.default_execution_profile_handle(profile.into_handle()).build().await?;
        let keyspace = &plan.keyspace;
        let prepare = async |text: String| {
            let mut prepared = session.prepare(text).await?;
            prepared.set_is_idempotent(true);
            prepared.set_page_size(PAGE_ROWS);
            anyhow::Ok(prepared)
        };
        let load = format!("SELECT position, row, profile FROM {keyspace}.evidence WHERE recipient = ?");
        let seen = format!("SELECT position FROM {keyspace}.seen WHERE occurred_at = ? AND event_id = ? LIMIT 1");
        let put_evidence = format!(
            "INSERT INTO {keyspace}.evidence (recipient, occurred_at, event_id, rules, position, row, profile) VALUES (?, ?, \
             ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        let put_seen =
            format!("INSERT INTO {keyspace}.seen (occurred_at, event_id, position) VALUES (?, ?, ?) USING TTL 2592000");
        let put_message = format!(
            "INSERT INTO {keyspace}.message (tenant, message_id, occurred_at, event_id, position, entry) VALUES (?, ?, ?, \
             ?, ?, ?) USING TTL 7776000"
        );
        let put_suppression =
            format!("INSERT INTO {keyspace}.suppression (recipient, row) VALUES (?, ?) USING TIMESTAMP ?");
        let put_audit = format!(
            "INSERT INTO {keyspace}.audit (recipient, position, scope, delta) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
        );
        Ok(Self {
            load: prepare(load).await?,
            seen: prepare(seen).await?,
            put_evidence: prepare(put_evidence).await?,
            put_seen: prepare(put_seen).await?,
            put_message: prepare(put_message).await?,
            put_suppression: prepare(put_suppression).await?,
            put_audit: prepare(put_audit).await?,
            sizes: plan.sizes.clone(),
            session,
        })
    }

    async fn send(&self, kind: Kind, number: u64, recipient: u64) -> anyhow::Result<()> {
        let session = &self.session;
        let who = format!("default/email/{}", events::address(recipient));
        let position = i64::try_from(number)?;
        let (at, id) = (1_768_867_200_000_000 + position, events::scatter(number).to_be_bytes().repeat(2));
        let value = |bytes: usize| vec![7_u8; bytes];
        let sizes = &self.sizes;
        match kind {
            Kind::LoadEvidence => {
                let (answer, _) = session.execute_single_page(&self.load, (who,), PagingState::start()).await?;
                // What is read is looked at, as whoever asks for it does.
                for row in answer.into_rows_result()?.rows::<(Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>)>()? {
                    row?;
                }
            }
            Kind::FindSeen => {
                drop(session.execute_single_page(&self.seen, (at, id), PagingState::start()).await?);
            }
            Kind::PutEvidence => {
                let values = (who, at, id, 1, position, value(sizes.evidence), value(sizes.profile), position);
                session.execute_unpaged(&self.put_evidence, values).await?;
            }
            Kind::PutSeen => drop(session.execute_unpaged(&self.put_seen, (at, id, position)).await?),
            Kind::PutMessage => {
                let values = ("default", format!("m{number:020}"), at, id, position, value(sizes.message));
                session.execute_unpaged(&self.put_message, values).await?;
            }
            Kind::PutSuppression => {
                let values = (who, value(sizes.suppression), position);
                session.execute_unpaged(&self.put_suppression, values).await?;
            }
            Kind::PutAudit => {
                let values = (who, position, "all", value(sizes.audit), position);
                session.execute_unpaged(&self.put_audit, values).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_mixture_is_that_of_the_counts() {
        let map = |all: &[(&str, u64)]| -> BTreeMap<String, u64> {
            all.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect()
        };
        let counts =
            Counts { reads: map(&[("evidence", 10), ("seen", 2)]), writes: map(&[("due", 1), ("evidence", 7)]) };
        let expected =
            [(Kind::LoadEvidence, 10), (Kind::FindSeen, 12), (Kind::PutMessage, 13), (Kind::PutEvidence, 20)];
        assert_eq!(shares(&counts), expected);
    }
}
