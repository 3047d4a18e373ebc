//! The gateway's spool, which keeps webhooks while the log is away.

use super::{Findings, Health, machine, running::Samples};
use crate::config::Config;

/// Looks at the spool, where `quell serve` would use one: its room, and what waits in it. An instance that runs here
/// without a gateway has none.
pub(super) fn check(config: &Config, running: Option<&Samples>, findings: &mut Findings) {
    let spool = &config.gateway.spool;
    if config.kafka.brokers.is_empty() || running.is_some_and(|samples| !samples.has("quell_gateway_spool_records")) {
        return;
    }
    if !spool.enabled {
        findings.warn(
            "spool",
            "off: while Kafka is away every webhook is refused; set gateway.spool.enabled = true and give it a disk",
        );
        return;
    }
    let Some((health, detail)) = machine::room_for(&spool.directory, spool.bytes_max) else {
        findings.fail(
            "spool",
            format!(
                "{} cannot be written: make it, change its owner, or set gateway.spool.directory",
                spool.directory.display()
            ),
        );
        return;
    };
    findings.add("spool", health, detail);
    if let Some((health, detail)) = running.and_then(waiting) {
        findings.add("spooled webhooks", health, detail);
    }
}

/// What waits in the spool of the instance that runs here.
fn waiting(samples: &Samples) -> Option<(Health, String)> {
    let gauge = |name| samples.sum(name, &[]).unwrap_or_default();
    let (records, oldest) =
        (samples.sum("quell_gateway_spool_records", &[])?, gauge("quell_gateway_spool_oldest_seconds"));
    let refused = gauge("quell_gateway_spool_refused_records");
    Some(if refused > 0.0 {
        (
            Health::Fail,
            format!("{refused} that Kafka refuses lie aside: see the gateway's log for the reason and what to do"),
        )
    } else if records > 0.0 {
        (
            Health::Warn,
            format!("{records} wait for Kafka, the oldest for {oldest:.0} s: look at the checks `kafka` and `topics`"),
        )
    } else {
        (Health::Ok, "none waits".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &str, running: Option<&str>) -> Vec<(String, Health)> {
        let text = format!("[kafka]\nbrokers = \"127.0.0.1:9092\"\n[gateway.spool]\n{keys}");
        let config: Config = service::config::parse("test", &text, []).unwrap();
        let mut findings = Findings::default();
        check(&config, running.map(Samples::read).as_ref(), &mut findings);
        findings.0.into_iter().map(|finding| (finding.check, finding.health)).collect()
    }

    #[test]
    fn the_spool_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        let keys = |bytes: u64| format!("directory = \"{}\"\nbytes_max = {bytes}\n", folder.path().display());
        let spool = |health| ("spool".to_owned(), health);
        let spooled = |health| ("spooled webhooks".to_owned(), health);
        assert_eq!(found(&keys(1 << 20), None), [spool(Health::Ok)]);
        // More than any disk has.
        assert_eq!(found(&keys(1 << 60), None), [spool(Health::Warn)]);
        assert_eq!(found("directory = \"/proc/nowhere\"\n", None), [spool(Health::Fail)]);
        assert_eq!(found("enabled = false\n", None), [spool(Health::Warn)]);
        let metrics = |records, refused| {
            format!(
                "quell_gateway_spool_records {records}\nquell_gateway_spool_oldest_seconds 7\n\
                 quell_gateway_spool_refused_records {refused}\n"
            )
        };
        let with = |records, refused| found(&keys(1 << 20), Some(&metrics(records, refused)));
        assert_eq!(with(0, 0), [spool(Health::Ok), spooled(Health::Ok)]);
        assert_eq!(with(3, 0), [spool(Health::Ok), spooled(Health::Warn)]);
        assert_eq!(with(3, 1), [spool(Health::Ok), spooled(Health::Fail)]);
        // A suppressor has no spool.
        assert_eq!(found(&keys(1 << 20), Some("process_open_fds 3\n")), []);
    }

    #[test]
    fn without_a_cluster_there_is_no_spool() {
        let mut findings = Findings::default();
        check(&Config::default(), None, &mut findings);
        assert_eq!(findings, Findings::default());
    }
}
