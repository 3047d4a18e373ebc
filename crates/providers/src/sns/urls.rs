//! The URLs that a notification names. They are input from outside: nothing is fetched or opened but on the sender's own
//! hosts, and what looks almost like them is refused.

use super::{Envelope, Purpose};
use crate::form::Form;
use crate::verify::url::Parts;

const URL_BYTES_MAX: usize = 2_048;
const REGION_BYTES_MAX: usize = 32;

/// On which hosts a sender's certificates and confirmations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// `sns.<region>.amazonaws.com` and, in China, `sns.<region>.amazonaws.com.cn`.
    Amazon,
    /// Not known: certificates come from the configuration alone, and nothing is opened.
    Unknown,
}

impl Hosts {
    fn allow(self, host: &str) -> bool {
        match self {
            Self::Amazon => is_amazon(host),
            Self::Unknown => false,
        }
    }

    /// Whether a certificate may be named by, and fetched from, a URL.
    pub(crate) fn allow_certificate(self, url: &str) -> bool {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let path = |path: &str| path.ends_with(".pem") && path.bytes().all(named) && !path.contains("..");
        match self {
            Self::Amazon => https(url).is_some_and(|(host, rest)| self.allow(host) && path(rest)),
            // Only a key of the configured list.
            Self::Unknown => true,
        }
    }
}

/// The URL that confirms a subscription: on the sender's own host, for this topic, and nothing but a confirmation.
pub(crate) fn confirmation_url(envelope: &Envelope<'_>, hosts: Hosts) -> Option<String> {
    if envelope.purpose != Purpose::SubscriptionConfirmation {
        return None;
    }
    let (url, topic) = (envelope.required("SubscribeURL").ok()?, envelope.topic().ok()?);
    let (host, rest) = https(&url)?;
    let query = Form::urlencoded(rest.strip_prefix("/?")?.as_bytes()).ok()?;
    let once = |name: &str| {
        let mut found = query.texts().filter(|(field, _)| field == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    };
    let fine = hosts.allow(host)
        && once("Action")? == "ConfirmSubscription"
        && once("TopicArn")? == topic
        && !once("Token")?.is_empty();
    fine.then(|| url.into_owned())
}

/// Authority and what follows of an https URL of printable ASCII, without a fragment or a backslash.
fn https(url: &str) -> Option<(&str, &str)> {
    let plain =
        url.len() <= URL_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#'));
    let parts = plain.then(|| Parts::of(url)).flatten()?;
    (parts.scheme == "https").then_some((parts.authority, parts.rest))
}

/// Exactly `sns.<region>.amazonaws.com[.cn]`: no user, no port, no other spelling.
fn is_amazon(authority: &str) -> bool {
    let Some(rest) = authority.strip_prefix("sns.") else { return false };
    let region = rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"));
    region.is_some_and(|region| {
        (3..=REGION_BYTES_MAX).contains(&region.len())
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !region.starts_with('-')
            && !region.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_stand_on_amazons_hosts() {
        let good = [
            "https://sns.us-east-2.amazonaws.com/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem",
            "https://sns.us-gov-west-1.amazonaws.com/a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0.pem",
        ];
        let wrong = [
            "",
            "sns.us-east-2.amazonaws.com/a.pem",
            "http://sns.us-east-2.amazonaws.com/a.pem",
            "HTTPS://sns.us-east-2.amazonaws.com/a.pem",
            "ftp://sns.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com/a",
            "https://sns.us-east-2.amazonaws.com/.pem/a",
            "https://sns.us-east-2.amazonaws.com/a.pem?x=.pem",
            "https://sns.us-east-2.amazonaws.com/?x=a.pem",
            "https://sns.us-east-2.amazonaws.com?a.pem",
            "https://sns.us-east-2.amazonaws.com/a#.pem",
            "https://sns.us-east-2.amazonaws.com/a%2epem",
            "https://sns.us-east-2.amazonaws.com/../a.pem",
            "https://sns.us-east-2.amazonaws.com:443/a.pem",
            "https://sns.us-east-2.amazonaws.com:8443/a.pem",
            "https://user@sns.us-east-2.amazonaws.com/a.pem",
            "https://user:password@sns.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com@evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.us-east-2.amazonaws.com/a.pem",
            "https://evil.example\\@sns.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com\\.evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com/\r\nHost: evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com./a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.amazonaws.com/a.pem",
            "https://sns.evil.example.amazonaws.com/a.pem",
            "https://sns.-us.amazonaws.com/a.pem",
            "https://SNS.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com.cn.cn/a.pem",
            "https://sns.us-east-2.amazonaws.org/a.pem",
            "https://xsns.us-east-2.amazonaws.com/a.pem",
            "https://s3.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.s3.amazonaws.com/a.pem",
            "https://sns-us-east-2.amazonaws.com/a.pem",
            "https://169.254.169.254/a.pem",
            "https://[::1]/a.pem",
            "https://localhost:56789/a.pem",
            "file:///etc/a.pem",
            "https://sns.us-eаst-2.amazonaws.com/a.pem",
        ];
        for url in good {
            assert!(Hosts::Amazon.allow_certificate(url), "{url}");
        }
        for url in wrong {
            assert!(!Hosts::Amazon.allow_certificate(url), "{url}");
        }
        let long = format!("https://sns.us-east-2.amazonaws.com/{}.pem", "a".repeat(URL_BYTES_MAX));
        assert!(!Hosts::Amazon.allow_certificate(&long));
    }

    #[test]
    fn a_confirmation_confirms_this_topic_and_does_nothing_else() {
        const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:mail";
        let confirm = |purpose: &str, url: &str| {
            let body = serde_json::json!({ "Type": purpose, "TopicArn": TOPIC, "SubscribeURL": url }).to_string();
            let envelope = Envelope::read(body.as_bytes()).unwrap().unwrap();
            confirmation_url(&envelope, Hosts::Amazon)
        };
        let check = |url: &str, fine: bool| {
            assert_eq!(confirm("SubscriptionConfirmation", url), fine.then(|| url.to_owned()), "{url}");
            assert_eq!(confirm("UnsubscribeConfirmation", url), None, "that would subscribe again");
            assert_eq!(confirm("Notification", url), None);
        };
        let good = format!(
            "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
        );
        check(&good, true);
        check(&good.replace(':', "%3A").replace("https%3A", "https:"), true);
        for (from, to) in [
            ("https:", "http:"),
            ("sns.us-east-1", "evil"),
            ("amazonaws.com", "amazonaws.com.evil.example"),
            ("amazonaws.com", "amazonaws.com:8443"),
            ("https://", "https://user@"),
            ("/?", "/path?"),
            ("/?", "?"),
            ("ConfirmSubscription", "Unsubscribe"),
            ("Action=", "action="),
            ("&Token", "&Action=DeleteTopic&Token"),
            ("&Token", "&TopicArn=arn:aws:sns:us-east-1:1:other&Token"),
            (":mail", ":other"),
            ("&Token=2336412f37", ""),
            ("2336412f37", ""),
            ("2336412f37", "1#2"),
            ("2336412f37", "1 2"),
        ] {
            check(&good.replacen(from, to, 1), false);
        }
    }
}
