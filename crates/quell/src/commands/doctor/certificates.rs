//! Certificates that the configuration names: when the first of each file ends.

use super::{Findings, Health};
use crate::config::Config;
use domain::Timestamp;
use providers::Certificate;
use std::path::Path;

/// Renewals that work happen weeks before the end; later than this, one has failed.
const WARN_DAYS: i64 = 21;
const DAY_SECONDS: i64 = 86_400;
/// Larger than any bundle of roots.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Checks every certificate that is named, once each.
pub(super) fn check(config: &Config, now: Timestamp, findings: &mut Findings) {
    for (name, file) in files(config) {
        let check = format!("certificate {name}");
        match end(file) {
            Ok(end) => {
                let (health, detail) = judge(&file.display().to_string(), end, now);
                findings.add(check, health, detail);
            }
            Err(error) => findings.fail(check, format!("{}: {error}", file.display())),
        }
    }
    for source in &config.sources {
        for (url, pem) in &source.spec().certificates {
            let check = format!("certificate source {}/{}", source.provider, source.name);
            match Certificate::first_end(pem) {
                Ok(end) => {
                    let (health, detail) = judge(url, end, now);
                    findings.add(check, health, detail);
                }
                Err(error) => findings.fail(check, format!("{url}: {error}")),
            }
        }
    }
}

/// What each file is to us, by its key.
fn files(config: &Config) -> Vec<(&'static str, &Path)> {
    let mut files: Vec<(&'static str, Option<&Path>)> = vec![
        ("gateway.tls", config.gateway.tls.as_ref().map(|tls| tls.certificate.as_path())),
        ("lookup.tls", config.lookup.tls.as_ref().map(|tls| tls.certificate.as_path())),
    ];
    if !config.kafka.brokers.is_empty() {
        let (kafka, store) = (&config.kafka.security, config.store.tls.as_ref());
        files.extend([
            ("kafka.security.certificate", kafka.certificate.as_deref()),
            ("kafka.security.ca", kafka.ca.as_deref()),
            ("store.tls.certificate", store.and_then(|tls| tls.certificate.as_deref())),
            ("store.tls.ca", store.map(|tls| tls.ca.as_path())),
            ("registry.roots", config.registry.as_ref().and_then(|registry| registry.roots.as_deref())),
        ]);
    }
    files.into_iter().filter_map(|(name, file)| Some((name, file?))).collect()
}

fn end(file: &Path) -> Result<Timestamp, String> {
    let bytes = std::fs::metadata(file).map_err(|error| format!("it cannot be read ({error})"))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has {bytes} bytes: name a PEM file of certificates"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("it cannot be read ({error})"))?;
    Certificate::first_end(&text).map_err(|error| error.to_string())
}

fn judge(what: &str, end: Timestamp, now: Timestamp) -> (Health, String) {
    let left = end.as_seconds().saturating_sub(now.as_seconds());
    let days = left / DAY_SECONDS;
    if left < 0 {
        (Health::Fail, format!("{what} ended on {end}: put a new one there and restart what uses it"))
    } else if days < WARN_DAYS {
        (
            Health::Warn,
            format!("{what} ends on {end}, in {days} days: renew it; if that is done for you, it has failed"),
        )
    } else {
        (Health::Ok, format!("{what} holds for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends with 2034.
    const LONG: &str = include_str!("../../../../providers/src/sns/fixtures/signer.pem");
    /// Ended with 2024.
    const EXPIRED: &str = include_str!("../../../../providers/src/sns/fixtures/expired.pem");

    #[test]
    fn certificates_are_judged_by_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, now: &str, health, says: &str| {
            let file = folder.path().join("chain.pem");
            std::fs::write(&file, text).unwrap();
            let shown = file.display();
            let config = format!("[gateway.tls]\ncertificate = \"{shown}\"\nkey = \"{shown}\"\n");
            let config: Config = service::config::parse("test", &config, []).unwrap();
            let mut findings = Findings::default();
            super::check(&config, now.parse().unwrap(), &mut findings);
            assert_eq!((findings.0.len(), findings.0[0].health), (1, health), "{findings:?}");
            assert!(findings.0[0].detail.contains(says), "{findings:?}");
        };
        check(LONG, "2026-01-01T00:00:00Z", Health::Ok, "days");
        check(LONG, "2034-12-20T00:00:00Z", Health::Warn, "in 12 days: renew");
        check(LONG, "2035-01-02T00:00:00Z", Health::Fail, "ended on 2035-01-01");
        // Of a chain the first that ends counts.
        check(&format!("{LONG}{EXPIRED}"), "2026-01-01T00:00:00Z", Health::Fail, "ended on 2025-01-01");
        check("nothing", "2026-01-01T00:00:00Z", Health::Fail, "PEM");
    }

    #[test]
    fn what_of_a_cluster_is_only_looked_at_with_one() {
        let text = "[store.tls]\nca = \"/nowhere/ca.pem\"\n";
        let named = |text: &str| {
            let config: Config = service::config::parse("test", text, []).unwrap();
            let mut findings = Findings::default();
            check(&config, Timestamp::EPOCH, &mut findings);
            findings.0.into_iter().map(|finding| (finding.check, finding.health)).collect::<Vec<_>>()
        };
        assert_eq!(named(text), []);
        let found = named(&format!("[kafka]\nbrokers = \"127.0.0.1:9092\"\n{text}"));
        assert_eq!(found, [("certificate store.tls.ca".to_owned(), Health::Fail)]);
    }
}
