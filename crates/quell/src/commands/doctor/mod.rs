//! `quell doctor`: whether this machine and this configuration can do the work, a line a check, with what to do next.

mod accounts;
mod alarms;
mod certificates;
mod clocks;
mod cluster;
mod endpoint;
mod machine;
mod network;
mod running;
mod spool;
mod store;
mod subscribers;
mod traces;
mod webhooks;

use super::{
    Output, Verdict, moment,
    show::{Table, print},
};
use crate::config::{Config, SourceConfig};
use clap::Args;
use event_log::Browse;
use serde::Serialize;
use service::traces::Environment;
use std::{fmt::Write as _, path::Path};

/// A secret of fewer letters is taken for a placeholder.
const SECRET_CHARS_MIN: usize = 8;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing failed (warnings are no failure), 1 a check failed, 2 the checks could not be made\n\n\
    Example:\n  quell --config quell.toml doctor"
)]
pub(crate) struct Doctor {
    /// Do not call any provider, subscriber, or receiver of alarms or traces
    #[arg(long)]
    offline: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: String,
    health: Health,
    /// What was found, and for a warning or failure what to do next.
    detail: String,
}

/// All that was found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Health::Ok, detail);
    }

    pub(super) fn warn(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Health::Warn, detail);
    }

    pub(super) fn fail(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Health::Fail, detail);
    }

    pub(super) fn add(&mut self, check: impl Into<String>, health: Health, detail: impl Into<String>) {
        self.0.push(Finding { check: check.into(), health, detail: detail.into() });
    }

    fn count(&self, health: Health) -> usize {
        self.0.iter().filter(|finding| finding.health == health).count()
    }
}

impl Doctor {
    pub(crate) async fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let mut findings = Findings::default();
        machine::clock(&mut findings);
        machine::open_files(&mut findings);
        if let Some(config) = configuration(file, &mut findings) {
            let running = running::check(&config, &mut findings).await;
            if running.is_none() {
                network::ports(&config, &mut findings);
            }
            machine::data_dir(&config.data_dir, !config.kafka.brokers.is_empty(), &mut findings);
            spool::check(&config, running.as_ref(), &mut findings);
            for (name, tls) in [("gateway.tls", &config.gateway.tls), ("lookup.tls", &config.lookup.tls)] {
                if let Some(tls) = tls {
                    network::tls(name, tls, &mut findings).await;
                }
            }
            if let Ok(now) = moment::now() {
                certificates::check(&config, now, &mut findings);
            }
            lookup(&config, &mut findings);
            policy(&config, &mut findings);
            sources(&config, &mut findings);
            let log = cluster::check(&config, &mut findings).await;
            let log = log.as_ref().map(|log| log as &dyn Browse);
            webhooks::check(&config, log, running.as_ref(), &mut findings).await;
            accounts::check(&config, self.offline, &mut findings).await;
            subscribers::check(&config, self.offline, log, running.as_ref(), &mut findings).await;
            alarms::check(&config, self.offline, running.as_ref(), &mut findings).await;
            let environment = Environment::read(|name| std::env::var(name).ok());
            traces::check(&config, environment, self.offline, running.as_ref(), &mut findings).await;
        }
        let (warned, failed) = (findings.count(Health::Warn), findings.count(Health::Fail));
        let answer =
            serde_json::json!({ "ok": failed == 0, "warnings": warned, "failures": failed, "checks": findings });
        print(output, &answer, |out| show(out, &findings))?;
        Ok(if failed == 0 { Verdict::Yes } else { Verdict::No })
    }
}

fn show(out: &mut String, findings: &Findings) -> std::fmt::Result {
    let mut table = Table::new(&["", "check", "found"]);
    for Finding { check, health, detail } in &findings.0 {
        let mark = match health {
            Health::Ok => "ok",
            Health::Warn => "WARN",
            Health::Fail => "FAIL",
        };
        table.row([mark, check, detail]);
    }
    write!(out, "{table}")?;
    let (warned, failed) = (findings.count(Health::Warn), findings.count(Health::Fail));
    writeln!(out, "{} checks, {warned} warnings, {failed} failures", findings.0.len())
}

/// Read without the checks that `quell up` makes at once, as each is made and told here on its own.
fn configuration(file: Option<&Path>, findings: &mut Findings) -> Option<Config> {
    let name = file.map_or_else(|| "defaults and environment".to_owned(), |file| file.display().to_string());
    match service::config::load::<Config>(file) {
        Ok(mut config) => {
            if let Err(error) = config.declare(file) {
                findings.fail("adapters", format!("{error:#}"));
            }
            match config.check() {
                Ok(()) => findings.ok("configuration", name),
                Err(error) => findings.fail("configuration", format!("{error:#}: `quell up` will not start with it")),
            }
            if file.is_none() {
                findings.warn("configuration file", "none was named: say --config FILE, or set QUELL_CONFIG");
            }
            Some(config)
        }
        Err(error) => {
            findings
                .fail("configuration", format!("{error}: mend it, then run `quell doctor` again for the other checks"));
            None
        }
    }
}

fn lookup(config: &Config, findings: &mut Findings) {
    let lookup = &config.lookup;
    if lookup.open && !lookup.listen.ip().is_loopback() {
        let detail = format!(
            "lookup.open lets anybody who reaches {} read and release suppressions: add [[lookup.token]]",
            lookup.listen
        );
        findings.fail("tokens", detail);
    } else if lookup.open {
        findings.warn("tokens", "lookup.open: everybody on this machine may read and release; add [[lookup.token]]");
    } else if lookup.tokens.is_empty() {
        findings.warn("tokens", "there is none, so nobody can ask or suppress: add [[lookup.token]]");
    } else {
        let short = lookup.tokens.iter().filter(|token| token.secret.expose().chars().count() < 16);
        let short: Vec<&str> = short.map(|token| token.name.as_str()).collect();
        if short.is_empty() {
            findings.ok("tokens", format!("{} configured", lookup.tokens.len()));
        } else {
            let detail = format!("of fewer than 16 letters, which can be guessed: {}; make new ones", short.join(", "));
            findings.warn("tokens", detail);
        }
    }
    if lookup.tls.is_none() && !lookup.listen.ip().is_loopback() {
        findings.warn(
            "lookup.tls",
            format!("tokens reach {} unencrypted unless a proxy adds TLS: set lookup.tls", lookup.listen),
        );
    }
}

fn policy(config: &Config, findings: &mut Findings) {
    let Some(file) = &config.policy.file else {
        findings.ok("policy", "built in");
        return;
    };
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    match read.and_then(|text| suppressor::Policy::parse(1, &text).map_err(|error| error.to_string())) {
        Ok(policy) => findings.ok("policy", format!("{}: {} rules", file.display(), policy.rules.len())),
        Err(error) => {
            findings.fail("policy", format!("{}: {}; see `quell policy check`", file.display(), error.trim_end()))
        }
    }
}

fn sources(config: &Config, findings: &mut Findings) {
    if config.sources.is_empty() {
        findings.warn("sources", "there is none, so every webhook gets a 404: add [[source]]");
    }
    for source in &config.sources {
        let check = format!("source {}/{}", source.provider, source.name);
        let (health, detail) = judge(config, source);
        findings.add(check, health, detail);
    }
}

fn judge(config: &Config, source: &SourceConfig) -> (Health, String) {
    let provider = match config.provider(&source.provider) {
        Ok(provider) => provider,
        Err(known) => return (Health::Fail, format!("the provider is not known: {known}")),
    };
    if let Err(error) = provider.check_source(&source.spec()) {
        return (Health::Fail, error.to_string());
    }
    let proofs = source.secrets.iter().chain(&source.bearer).chain(source.headers.values());
    let passwords =
        source.basic_auth.iter().map(|pair| pair.expose().split_once(':').map_or("", |(_, password)| password));
    let short =
        proofs.map(service::Secret::expose).chain(passwords).any(|text| text.chars().count() < SECRET_CHARS_MIN);
    if source.unauthenticated {
        return (Health::Warn, "takes webhooks from anybody (unauthenticated): set secrets".to_owned());
    }
    if source.shadow {
        return (
            Health::Warn,
            "only reports failed proofs (shadow): turn it off once the provider's signatures pass".to_owned(),
        );
    }
    if short {
        return (
            Health::Warn,
            format!(
                "a secret of fewer than {SECRET_CHARS_MIN} letters looks like a placeholder: compare it with the provider's page"
            ),
        );
    }
    let count = source.secrets.len() + source.basic_auth.len() + source.bearer.len() + source.headers.len();
    (Health::Ok, format!("{count} proofs configured, tenant {}", source.tenant.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str, check: impl Fn(&Config, &mut Findings)) -> Vec<(String, Health)> {
        let config: Config = service::config::parse("test", text, []).unwrap();
        let mut findings = Findings::default();
        check(&config, &mut findings);
        findings.0.into_iter().map(|finding| (finding.check, finding.health)).collect()
    }

    #[test]
    fn sources_are_judged_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (long, short) = (write("long", "0123456789abcdef"), write("short", "x"));
        let text = format!(
            "[[source]]\nprovider = \"drip\"\nsecrets = [\"file:{long}\"]\n\
             [[source]]\nprovider = \"drip\"\nname = \"b\"\nsecrets = [\"file:{short}\"]\n\
             [[source]]\nprovider = \"drip\"\nname = \"c\"\n\
             [[source]]\nprovider = \"drip\"\nname = \"d\"\nunauthenticated = true\n\
             [[source]]\nprovider = \"dripp\"\n\
             [[source]]\nprovider = \"twilio\"\nsecrets = [\"file:{long}\"]\n"
        );
        let found: Vec<Health> = findings(&text, sources).into_iter().map(|(_, health)| health).collect();
        use Health::*;
        assert_eq!(found, [Ok, Warn, Fail, Warn, Fail, Fail]);
        assert_eq!(findings("", sources), [("sources".to_owned(), Warn)]);
    }

    #[test]
    fn tokens_and_policy_are_judged() {
        use Health::*;
        let healths = |text: &str| findings(text, lookup).into_iter().map(|(_, health)| health).collect::<Vec<_>>();
        assert_eq!(healths(""), [Warn]);
        assert_eq!(healths("[lookup]\nopen = true\n"), [Warn]);
        assert_eq!(healths("[lookup]\nopen = true\nlisten = \"0.0.0.0:8081\"\n"), [Fail, Warn]);
        assert_eq!(findings("", policy), [("policy".to_owned(), Ok)]);
        assert_eq!(findings("[policy]\nfile = \"/nowhere\"\n", policy), [("policy".to_owned(), Fail)]);
    }

    #[test]
    fn every_line_is_shown() {
        let mut all = Findings::default();
        all.ok("clock", "right");
        all.fail("data_dir", "full: free some");
        let mut out = String::new();
        show(&mut out, &all).unwrap();
        assert!(
            out.contains("ok    clock     right\nFAIL  data_dir  full: free some\n2 checks, 0 warnings, 1 failures"),
            "{out}"
        );
    }
}
