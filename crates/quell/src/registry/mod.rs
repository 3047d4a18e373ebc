//! The schema registry: registers what this build writes, keeps the ids in a file so that a start survives the registry's
//! absence, and asks it for what other builds wrote.

mod cache;
mod client;
mod resolve;

use anyhow::{Context as _, bail};
use cache::Cache;
use client::Client;
use schemas::{
    Ids,
    registry::{Ask, COMPATIBILITY, RegistryError, Subject, subjects},
};
use serde::{Deserialize, Serialize};
use service::Secret;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The cache's name in the data directory.
const CACHE_FILE: &str = "schema-registry.json";

/// `[registry]`: any registry that speaks Confluent's API. Without this section ids are embedded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryConfig {
    /// Root of its API, e.g. `https://registry.example.com` or, for Apicurio, `…/apis/ccompat/v7`.
    pub(crate) url: String,
    /// `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) basic_auth: Option<Secret>,
    /// Bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bearer: Option<Secret>,
    /// PEM file of roots to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) roots: Option<PathBuf>,
    /// Whether missing schemas are registered. Without, somebody else must have registered them, or the start fails.
    #[serde(default = "yes")]
    pub(crate) register: bool,
    /// Whether it may stand on this machine or a private network. The address comes from this file alone, never from a
    /// record, and registries stand inside.
    #[serde(default = "yes")]
    pub(crate) allow_private: bool,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// Longest wait for an absent registry at start, where the ids of this build's schemas were never learnt.
    #[serde(default = "default_start_wait_s")]
    pub(crate) start_wait_s: u64,
}

const fn yes() -> bool {
    true
}

const fn default_timeout_ms() -> u64 {
    5_000
}

const fn default_start_wait_s() -> u64 {
    60
}

impl RegistryConfig {
    /// What cannot work, said before anything starts.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let url: http::Uri = self.url.parse().context("registry.url is not a URL")?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.query().is_some() {
            bail!("registry.url must begin with http:// or https:// and hold no query");
        }
        if url.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            bail!(
                "registry.url must hold a host and no credentials: those are registry.basic_auth, as env:NAME or file:PATH"
            );
        }
        if self.basic_auth.is_some() && self.bearer.is_some() {
            bail!("registry.basic_auth and registry.bearer exclude each other: keep one");
        }
        if !(100..=60_000).contains(&self.timeout_ms) || self.start_wait_s > 3_600 {
            bail!("registry.timeout_ms must be 100 to 60000, and registry.start_wait_s at most 3600");
        }
        Ok(())
    }
}

/// Brings the registry into use for this process, until `stop`: afterwards records are written with its ids. Call it before
/// anything is written to or read from the log. `topic_prefix` stands before each topic's name in the subjects.
pub(crate) async fn start(
    config: &RegistryConfig,
    data_dir: &Path,
    topic_prefix: &str,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    start_with(Ids::process(), config, data_dir, topic_prefix, stop).await
}

/// How many of this build's schemas the registry has, and of how many. Registers nothing.
pub(crate) async fn look(config: &RegistryConfig) -> anyhow::Result<(usize, usize)> {
    config.check()?;
    let client = Client::new(config)?;
    let (subjects, mut found) = (subjects(""), 0);
    for subject in &subjects {
        match client.id(&Ask::find(subject)).await {
            Ok(_) => found += 1,
            Err(RegistryError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((found, subjects.len()))
}

async fn start_with(
    ids: &'static Ids,
    config: &RegistryConfig,
    data_dir: &Path,
    topic_prefix: &str,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    config.check()?;
    let client = Client::new(config)?;
    let mut cache = Cache::read(&data_dir.join(CACHE_FILE), &config.url)?;
    let subjects = subjects(topic_prefix);
    let cached: Option<Vec<(u8, u32)>> =
        subjects.iter().map(|subject| Some((subject.codec.number, cache.id(subject)?))).collect();
    let given = match register_all(&client, config, &subjects, cached.is_some(), &stop).await {
        Ok(given) => given,
        Err(error) if error.is_transient() => match cached {
            Some(cached) => {
                tracing::warn!(%error, "starting with the schema ids learnt before");
                cached
            }
            None => {
                return Err(error).context(
                    "the schema registry cannot be reached, and the ids of this build's schemas were never learnt: \
                     the first start of a build needs it once",
                );
            }
        },
        Err(error) => return Err(error.into()),
    };
    for (subject, (_, id)) in subjects.iter().zip(&given) {
        cache.set_id(subject, *id)?;
    }
    cache.schemas().for_each(|(id, text)| ids.learn(id, schemas::ids::Resolved::Schema(text.to_owned())));
    ids.adopt(&given)?;
    if let Err(error) = cache.write() {
        tracing::warn!(%error, "the schema ids are not kept: the next start needs the registry");
    }
    tracing::info!(registry = %config.url, schemas = given.len(), "writing with the registry's schema ids");
    resolve::start(ids, client, cache, stop);
    Ok(())
}

/// Numbers of the records and their ids. Waits for an absent registry, for a shorter time where the ids are `known`.
async fn register_all(
    client: &Client,
    config: &RegistryConfig,
    subjects: &[Subject],
    known: bool,
    stop: &CancellationToken,
) -> Result<Vec<(u8, u32)>, RegistryError> {
    let patience = if known { Duration::ZERO } else { Duration::from_secs(config.start_wait_s) };
    let (began, mut backoff) = (Instant::now(), BACKOFF_FIRST);
    loop {
        match register_once(client, config.register, subjects).await {
            Err(error) if error.is_transient() && began.elapsed() < patience && !stop.is_cancelled() => {
                tracing::warn!(%error, "waiting for the schema registry");
            }
            done => return done,
        }
        tokio::select! {
            () = sleep(backoff.min(patience.saturating_sub(began.elapsed()))) => {}
            () = stop.cancelled() => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn register_once(
    client: &Client,
    may_register: bool,
    subjects: &[Subject],
) -> Result<Vec<(u8, u32)>, RegistryError> {
    let mut given = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let id = if may_register { register(client, subject).await? } else { find(client, subject).await? };
        given.push((subject.codec.number, id));
    }
    Ok(given)
}

async fn register(client: &Client, subject: &Subject) -> Result<u32, RegistryError> {
    match client.id(&Ask::find(subject)).await {
        Err(RegistryError::Missing { .. }) => {}
        found => return found,
    }
    // Before the schema, so that it is held to it too. Some registries set a level only where a version is.
    let set = set_level(client, subject).await;
    let id = client.id(&Ask::register(subject)).await?;
    if set.is_err()
        && let Err(error) = set_level(client, subject).await
    {
        tracing::warn!(%error, "the subject's compatibility level cannot be set to {COMPATIBILITY}: set it by hand");
    }
    Ok(id)
}

/// Sets a level where the registry checks nothing. A level of `NONE` may be the registry's or the subject's own: some
/// answer with the first where the second is not set.
async fn set_level(client: &Client, subject: &Subject) -> Result<(), RegistryError> {
    let level = match client.level(&Ask::level(Some(subject))).await? {
        None => client.level(&Ask::level(None)).await?,
        level => level,
    };
    match level.as_deref() {
        None | Some("NONE") => client.done(&Ask::set_level(subject)).await,
        Some(_) => Ok(()),
    }
}

async fn find(client: &Client, subject: &Subject) -> Result<u32, RegistryError> {
    match client.id(&Ask::find(subject)).await {
        Err(RegistryError::Missing { about, detail }) => {
            client.compatible(&Ask::check(subject)).await?;
            let detail = format!("{detail}; it would fit: register it, or set registry.register = true");
            Err(RegistryError::Missing { about, detail })
        }
        found => found,
    }
}

#[cfg(test)]
mod tests;
