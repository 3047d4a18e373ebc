//! Alarms by webhook: whether their receiver can be reached, and what the instance here says of them. None is sent.

use super::{Findings, Health, endpoint, running::Samples};
use crate::config::Config;

/// Checks where alarms go.
pub(super) async fn check(config: &Config, is_offline: bool, running: Option<&Samples>, findings: &mut Findings) {
    let alarms = &config.alarms;
    if !alarms.enabled {
        return findings.ok("alarms", "off (alarms.enabled): Prometheus is to watch instead");
    }
    let (health, detail) = match &alarms.url {
        None => (Health::Ok, "told in the log, by /alarms and as metrics; no webhook (alarms.url)".to_owned()),
        Some(url) => match alarms.check() {
            Err(error) => (Health::Fail, format!("{error:#}")),
            Ok(()) if is_offline => (Health::Ok, "not asked (--offline)".to_owned()),
            Ok(()) => endpoint::judge("alarms.url", &endpoint::ask(url, alarms.allow_private).await),
        },
    };
    findings.add("alarms", health, detail);
    if let Some(running) = running {
        posts(running, findings);
        firing(running, findings);
    }
}

/// Whether what the instance here posted was taken.
fn posts(running: &Samples, findings: &mut Findings) {
    let outcomes = running.sums_by("quell_alarms_posts_total", &[], "outcome");
    let delivered = outcomes.get("delivered").copied().unwrap_or_default();
    let failed = outcomes.values().sum::<f64>() - delivered;
    if failed > 0.0 {
        let others: Vec<&str> = outcomes
            .iter()
            .filter(|(outcome, n)| *outcome != "delivered" && **n > 0.0)
            .map(|(outcome, _)| &**outcome)
            .collect();
        let detail = format!(
            "{delivered} posts were taken since the start, {failed} were not ({}): compare alarms.secrets with the receiver's; \
             the log says what it answered",
            others.join(", ")
        );
        findings.add("posts of alarms", if delivered > 0.0 { Health::Ok } else { Health::Warn }, detail);
    }
}

fn firing(running: &Samples, findings: &mut Findings) {
    let firing = running.sums_by("quell_alarms_firing", &[], "alarm");
    let names: Vec<&str> = firing.iter().filter(|(_, n)| **n > 0.0).map(|(name, _)| &**name).collect();
    if names.is_empty() {
        findings.ok("alarms firing", "none");
    } else {
        findings.warn("alarms firing", format!("{}: docs/runbooks has a page for each", names.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::endpoint::tests::endpoint, *};

    async fn found(text: &str, is_offline: bool, metrics: Option<&str>) -> Vec<(String, Health, String)> {
        let config: Config = service::config::parse("test", text, []).unwrap();
        let mut findings = Findings::default();
        check(&config, is_offline, metrics.map(Samples::read).as_ref(), &mut findings).await;
        findings.0.into_iter().map(|found| (found.check, found.health, found.detail)).collect()
    }

    fn configured(folder: &std::path::Path, url: &str, secret: &str) -> String {
        let file = folder.join("secret");
        std::fs::write(&file, secret).unwrap();
        format!("[alarms]\nurl = \"{url}\"\nallow_private = true\nsecrets = [\"file:{}\"]\n", file.display())
    }

    #[tokio::test]
    async fn the_receiver_is_asked_and_gets_no_alarm() {
        use Health::*;
        let folder = tempfile::tempdir().unwrap();
        let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
        let (url, got) = endpoint(200).await;
        let text = configured(folder.path(), &url, secret);
        assert_eq!(found(&text, false, None).await[0].1, Ok);
        assert_eq!(*got.lock().unwrap(), [(http::Method::OPTIONS, 0)]);
        assert_eq!(found(&text, true, None).await[0].1, Ok);
        assert_eq!(got.lock().unwrap().len(), 1);
        let away = found(&configured(folder.path(), "http://127.0.0.1:1/?key=s3cret", secret), false, None).await;
        assert!(away[0].1 == Fail && away[0].2.contains("alarms.url") && !away[0].2.contains("s3cret"), "{away:?}");
        let unsigned = found(&configured(folder.path(), &url, "whsec_bad"), false, None).await;
        assert!(unsigned[0].1 == Fail && unsigned[0].2.contains("openssl") && !unsigned[0].2.contains("whsec_bad"));
        assert!(found("", false, None).await[0].2.contains("no webhook"));
        assert!(found("[alarms]\nenabled = false\n", false, Some("")).await[0].2.starts_with("off"));
    }

    #[tokio::test]
    async fn what_the_instance_here_says_of_alarms_is_told() {
        use Health::*;
        let told = async |metrics: &str| found("", true, Some(metrics)).await.split_off(1);
        assert_eq!(told("a 1\n").await, [("alarms firing".to_owned(), Ok, "none".to_owned())]);
        let ill = told(
            "quell_alarms_posts_total{outcome=\"refused\"} 3\nquell_alarms_posts_total{outcome=\"delivered\"} 0\n\
             quell_alarms_firing{alarm=\"QuellLogAway\"} 1\nquell_alarms_firing{alarm=\"QuellStageDown\"} 0\n",
        )
        .await;
        assert!(ill[0].1 == Warn && ill[0].2.contains("3 were not (refused)"), "{ill:?}");
        assert!(ill[1].1 == Warn && ill[1].2.starts_with("QuellLogAway: "), "{ill:?}");
        let mended = told(
            "quell_alarms_posts_total{outcome=\"refused\"} 3\nquell_alarms_posts_total{outcome=\"delivered\"} 1\n",
        );
        assert_eq!(mended.await[0].1, Ok);
    }
}
