//! Opens and clicks by machines, told by the user agent: scanners of mail gateways, crawlers, link previews, scripts, and the
//! proxies of Apple Mail, which fetch every message's images ahead of its reader.
//!
//! Proxies that fetch when a person opens the message (Gmail's, Yahoo's) are no machines in this sense: they only stand between.

/// What the names of machines hold, in lower case.
const NAMES: &[&str] = &[
    // Scanners of mail gateways.
    "barracuda",
    "proofpoint",
    "mimecast",
    "safelinks",
    "symantec",
    "messagelabs",
    "cloudmark",
    "ironport",
    "fireeye",
    "trendmicro",
    "urlscan",
    "virustotal",
    "google-safety",
    "bitdefender",
    "zscaler",
    // Crawlers and previews.
    "bot/",
    "googlebot",
    "bingbot",
    "slackbot",
    "twitterbot",
    "telegrambot",
    "discordbot",
    "linkedinbot",
    "crawler",
    "spider",
    "slurp",
    "facebookexternalhit",
    "bingpreview",
    "skypeuripreview",
    // Browsers without a person, and scripts.
    "headlesschrome",
    "phantomjs",
    "python-requests",
    "python-urllib",
    "aiohttp",
    "curl/",
    "wget/",
    "libwww-perl",
    "go-http-client",
    "apache-httpclient",
    "java/",
    "okhttp/",
    "node-fetch",
    "axios/",
    "scrapy",
];

/// Longest piece of a user agent that is read.
const AGENT_BYTES_MAX: usize = 512;

/// Whether a user agent is that of a machine.
pub(crate) fn is_machine(agent: &str) -> bool {
    let agent = domain::classify::cut(agent.trim(), AGENT_BYTES_MAX).to_ascii_lowercase();
    // Apple's Mail Privacy Protection says nothing more than this; no browser says so little.
    agent == "mozilla/5.0" || NAMES.iter().any(|name| agent.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fates;
    use crate::{Fate, Provider};

    #[test]
    fn user_agents() {
        for machine in [
            "Mozilla/5.0",
            "BarracudaCentral (http://www.barracudacentral.org/)",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; bingbot/2.0)",
            "Slackbot 1.0 (+https://api.slack.com/robots)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/124.0 Safari/537.36",
            "python-requests/2.31.0",
            "Go-http-client/1.1",
            "curl/8.5.0",
        ] {
            assert!(is_machine(machine), "{machine}");
        }
        for person in [
            "",
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
            "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
            "Mozilla/5.0 (Linux; Android 14; CUBOT P80) AppleWebKit/537.36 Chrome/124.0 Mobile Safari/537.36",
            "Mozilla/4.0 (compatible; MSIE 6.1; Windows XP; .NET CLR 1.1.4322)",
        ] {
            assert!(!is_machine(person), "{person}");
        }
    }

    /// Each provider that tells the user agent; one that only the machine has, and one of a person.
    #[test]
    fn every_provider_that_tells_the_user_agent_is_read() {
        #[track_caller]
        fn check(provider: &dyn Provider, content_type: &str, body: &str) {
            for (agent, machine) in [("python-requests/2.31.0", true), ("Mozilla/5.0 (iPhone)", false)] {
                let coded = if content_type.ends_with("urlencoded") {
                    agent.replace('/', "%2F").replace(' ', "+").replace('(', "%28").replace(')', "%29")
                } else {
                    agent.to_owned()
                };
                let read = fates(provider, content_type, body.replace("AGENT", &coded).as_bytes()).unwrap();
                let Some(Fate::Event(event)) = read.first() else { panic!("{read:?}") };
                assert_eq!(event.machine, machine, "{} {agent}", provider.name());
            }
        }
        let json = "application/json";
        check(
            &crate::sendgrid::SendGrid,
            json,
            r#"[{"event":"open","email":"j@example.com","timestamp":1768919600,"useragent":"AGENT"}]"#,
        );
        check(
            &crate::postmark::Postmark,
            json,
            r#"{"RecordType":"Click","Recipient":"j@example.com","MessageID":"m","ReceivedAt":"2026-01-20T14:32:15Z","UserAgent":"AGENT"}"#,
        );
        check(
            &crate::mailgun::Mailgun,
            json,
            r#"{"event-data":{"event":"clicked","id":"1","recipient":"j@example.com","timestamp":1768919600.1,"client-info":{"client-type":"browser","user-agent":"AGENT"}}}"#,
        );
        check(
            &crate::mailgun::Mailgun,
            "application/x-www-form-urlencoded",
            "event=opened&recipient=j%40example.com&timestamp=1768919600&user-agent=AGENT",
        );
        check(
            &crate::sparkpost::SparkPost,
            json,
            r#"[{"msys":{"track_event":{"type":"click","event_id":"1","rcpt_to":"j@example.com","timestamp":"1768919600","user_agent":"AGENT"}}}]"#,
        );
        check(
            &crate::mandrill::Mandrill,
            "application/x-www-form-urlencoded",
            "mandrill_events=%5B%7B%22event%22%3A%22click%22%2C%22_id%22%3A%221%22%2C%22ts%22%3A1768919600%2C%22user_agent%22%3A%22AGENT%22%2C%22msg%22%3A%7B%22email%22%3A%22j%40example.com%22%7D%7D%5D",
        );
        check(
            &crate::mailjet::Mailjet,
            json,
            r#"[{"event":"open","time":1768919600,"MessageID":1,"email":"j@example.com","agent":"AGENT"}]"#,
        );
        check(
            &crate::resend::Resend,
            json,
            r#"{"type":"email.clicked","created_at":"2026-01-20T14:32:15Z","data":{"email_id":"1","to":["j@example.com"],"click":{"link":"https://example.com","userAgent":"AGENT"}}}"#,
        );
        check(
            &crate::mailtrap::Mailtrap,
            json,
            r#"{"events":[{"event":"click","event_id":"1","email":"j@example.com","timestamp":1768919600,"user_agent":"AGENT"}]}"#,
        );
        check(
            &crate::postal::Postal,
            json,
            r#"{"event":"MessageLinkClicked","timestamp":1768919600.1,"uuid":"1","payload":{"url":"https://example.com","user_agent":"AGENT","message":{"id":1,"to":"j@example.com"}}}"#,
        );
        check(
            &crate::drip::Drip,
            json,
            r#"{"event":"subscriber.clicked_email","data":{"account_id":"1","subscriber":{"id":"s","email":"j@example.com"},"properties":{"user_agent":"AGENT"}},"occurred_at":"2026-01-20T14:32:15Z"}"#,
        );
        check(
            &crate::unisender_go::UnisenderGo,
            json,
            r#"{"auth":"x","events_by_user":[{"user_id":1,"events":[{"event_name":"transactional_email_status","event_data":{"job_id":"1","email":"j@example.com","status":"clicked","event_time":"2026-01-20 14:32:15","delivery_info":{"user_agent":"AGENT"}}}]}]}"#,
        );
    }
}
