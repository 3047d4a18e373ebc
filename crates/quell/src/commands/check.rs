//! `quell check`: may these be sent to?

use super::{
    Output, Verdict,
    api::{Api, ApiArgs},
    show::{Table, print},
};
use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use domain::{Channel, MessageClass};
use http::Method;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt::Write as _};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 none is suppressed, 1 at least one is, 2 it could not be found out\n\n\
    Example:\n  quell check jane@example.com +15551234567 --class transactional")]
pub(crate) struct Check {
    /// Email addresses, and phone numbers as +COUNTRY NUMBER
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    #[command(flatten)]
    question: QuestionArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// What is about to be sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuestionArgs {
    /// Class of the message: critical, transactional or marketing
    #[arg(long, default_value = "marketing")]
    class: MessageClass,
    /// A category, list or campaign the message belongs to; may be repeated
    #[arg(long = "category", value_name = "NAME")]
    categories: Vec<String>,
    /// Count only what this provider (or `manual`) supports; may be repeated
    #[arg(long = "source", value_name = "PROVIDER")]
    sources: Vec<String>,
    /// The number or messaging service it is sent from
    #[arg(long, value_name = "NUMBER")]
    sender: Option<String>,
    /// How the recipients are reached: email, sms or push; guessed if not given
    #[arg(long)]
    channel: Option<Channel>,
}

/// The body of a check.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    class: MessageClass,
    categories: &'a [String],
    sources: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    recipients: &'a [Cow<'a, str>],
}

/// The answer to a check.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checked<'a> {
    /// When it held.
    #[serde(borrow)]
    pub(crate) as_of: Cow<'a, str>,
    /// One a recipient, in the order asked.
    #[serde(borrow)]
    pub(crate) results: Vec<Answer<'a>>,
}

/// What is told of one recipient.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer<'a> {
    #[serde(borrow)]
    pub(crate) recipient: Cow<'a, str>,
    pub(crate) suppressed: bool,
    #[serde(borrow)]
    pub(crate) reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) scope: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) since: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) until: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) retry_at: Option<Cow<'a, str>>,
    /// Said only where it is so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) provisional: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) incident: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Cow<'a, str>>,
}

impl Answer<'_> {
    /// `reason`, `scope`, `since`, `until`, `retry_at`, empty where there is none.
    pub(crate) fn columns(&self) -> [&str; 5] {
        [
            self.reason.as_deref().unwrap_or_default(),
            self.scope.as_deref().unwrap_or_default(),
            self.since.as_deref().unwrap_or_default(),
            self.until.as_deref().unwrap_or_default(),
            self.retry_at.as_deref().unwrap_or_default(),
        ]
    }
}

impl QuestionArgs {
    /// Asks about a number of recipients at once; the bytes are the answer's, to be read by [`read`].
    pub(crate) async fn ask(&self, api: &Api, recipients: &[Cow<'_, str>]) -> anyhow::Result<Bytes> {
        let asked = Asked {
            tenant: api.tenant.as_deref(),
            class: self.class,
            categories: &self.categories,
            sources: &self.sources,
            sender: self.sender.as_deref(),
            channel: self.channel,
            recipients,
        };
        let body = Bytes::from(serde_json::to_vec(&asked)?);
        Ok(api.ask(Method::POST, "/v1/check", Some(("application/json", body))).await?.body)
    }

    /// The channel of what is asked, if it was said.
    pub(crate) fn or_channel(mut self, channel: Option<Channel>) -> Self {
        self.channel = self.channel.or(channel);
        self
    }
}

/// Reads an answer, and holds it to what was asked: one that does not fit is no answer, and never means "allowed".
pub(crate) fn read<'a>(body: &'a [u8], recipients: &[Cow<'_, str>]) -> anyhow::Result<Checked<'a>> {
    let checked: Checked<'a> = serde_json::from_slice(body)?;
    ensure!(
        checked.results.len() == recipients.len()
            && checked.results.iter().zip(recipients).all(|(answer, asked)| answer.recipient == *asked),
        "the API answered for other recipients than were asked about: nothing may be sent on that"
    );
    Ok(checked)
}

impl Check {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let recipients: Vec<Cow<'_, str>> = self.addresses.iter().map(|address| address.as_str().into()).collect();
        let body = self.question.ask(&api, &recipients).await?;
        let checked = read(&body, &recipients)?;
        print(output, &checked, |out| {
            let mut table = Table::new(&["recipient", "may be sent to", "reason", "scope", "since", "until"]);
            for answer in &checked.results {
                let [reason, scope, since, until, _] = answer.columns();
                let until = if answer.suppressed && until.is_empty() { "for good" } else { until };
                let held = answer.provisional.then(|| format!("{reason} (provisional)"));
                let reason = answer.error.as_deref().or(held.as_deref()).unwrap_or(reason);
                table.row([
                    &*answer.recipient,
                    if answer.suppressed { "no" } else { "yes" },
                    reason,
                    scope,
                    since,
                    until,
                ]);
            }
            write!(out, "{table}")
        })?;
        let is_any = checked.results.iter().any(|answer| answer.suppressed);
        Ok(if is_any { Verdict::No } else { Verdict::Yes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"as_of":"2026-01-20T00:00:00Z","results":[
        {"recipient":"a@example.com","suppressed":true,"reason":"soft_bounce","scope":"all","since":"s","until":"u","retry_at":"u"},
        {"recipient":"b\u0040example.com","suppressed":false,"reason":null,"scope":null,"since":null,"until":null,"retry_at":null}]}"#;

    #[test]
    fn an_answer_must_fit_its_question() {
        let fits = read(BODY.as_bytes(), &["a@example.com".into(), "b@example.com".into()]).unwrap();
        assert_eq!(fits.results[0].columns(), ["soft_bounce", "all", "s", "u", "u"]);
        assert_eq!(fits.results[1].columns(), [""; 5]);
        assert_eq!(fits.results.iter().map(|answer| answer.provisional).collect::<Vec<_>>(), [false, false]);
        let held = BODY.replace(r#""retry_at":"u""#, r#""retry_at":"u","provisional":true,"incident":"5f""#);
        let held = read(held.as_bytes(), &["a@example.com".into(), "b@example.com".into()]).unwrap();
        assert_eq!((held.results[0].provisional, held.results[0].incident.as_deref()), (true, Some("5f")));
        let told = serde_json::to_value(&held.results).unwrap();
        assert_eq!(
            (&told[0]["incident"], told[1].get("incident"), told[1].get("provisional")),
            (&"5f".into(), None, None)
        );
        assert!(read(BODY.as_bytes(), &["a@example.com".into()]).is_err());
        assert!(read(BODY.as_bytes(), &["b@example.com".into(), "a@example.com".into()]).is_err());
        assert!(read(&BODY.as_bytes()[..200], &["a@example.com".into(), "b@example.com".into()]).is_err());
    }
}
