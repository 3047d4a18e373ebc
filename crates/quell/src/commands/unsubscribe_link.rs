//! `quell unsubscribe-link`: a link for one message, with the header fields that carry it; and what a link says.

use super::{
    Output, Verdict,
    show::{plain, print},
};
use crate::config::{Config, UnsubscribeConfig};
use anyhow::{Context as _, bail};
use clap::Args;
use domain::{Recipient, Scope, Tenant, Timestamp};
use providers::one_click::{self, Claims, Key, token::SALT_BYTES};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use service::Clock as _;
use std::{fmt::Write as _, path::Path};

/// Arguments of `unsubscribe-link`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done (with --open: it is a link of ours), 1 with --open: it is not, 2 it could not be done\n\n\
    Examples:\n  quell unsubscribe-link jane@example.com --scope category:newsletter --message-id m-1@news.example.com\n  \
    quell unsubscribe-link --open https://mail.example.com/unsubscribe/1.2026a.kJ4…"
)]
pub(crate) struct UnsubscribeLink {
    /// An email address, or a phone number as +COUNTRY NUMBER
    #[arg(value_name = "ADDRESS", required_unless_present = "open")]
    recipient: Option<String>,
    /// What a click leaves: marketing, category:NAME, non_critical or all
    #[arg(long, default_value = "marketing")]
    scope: Scope,
    /// Whose recipient
    #[arg(long, default_value = "default")]
    tenant: Tenant,
    /// The message that the link will stand in
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The campaign that the message belongs to
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Say what a link or token holds, instead of making one
    #[arg(long, value_name = "LINK", conflicts_with_all = ["recipient", "message_id", "campaign"])]
    open: Option<String>,
}

impl UnsubscribeLink {
    pub(crate) fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let config = Config::load(file)?;
        let config = config.unsubscribe.context("no [unsubscribe] section: write one, with base_url and a key")?;
        let now = Timestamp::from_micros(service::SystemClock.now_micros())?;
        match &self.open {
            Some(link) => open(&config, link, now, output),
            None => self.make(&config, now, output),
        }
    }

    fn make(self, config: &UnsubscribeConfig, now: Timestamp, output: Output) -> anyhow::Result<Verdict> {
        let recipient = self.recipient.unwrap_or_default();
        Recipient::guess(&recipient).with_context(|| format!("recipient {recipient:?}"))?;
        let claims = Claims {
            tenant: self.tenant,
            recipient,
            scope: self.scope,
            issued_at: now.as_seconds(),
            message_id: self.message_id,
            campaign: self.campaign,
        };
        let spec = config.spec();
        let Some(secret) = spec.secrets.first() else { bail!("there is no key: add a [[unsubscribe.key]]") };
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        let token = Key::read(secret)?.seal(&claims, salt).context("too long for a link: shorten the names")?;
        let url = config.url(&token);
        let answer = json!({
            "url": url,
            "headers": { "List-Unsubscribe": format!("<{url}>"), "List-Unsubscribe-Post": one_click::ONE_CLICK },
        });
        print(output, &answer, |out| {
            writeln!(out, "List-Unsubscribe: <{url}>\nList-Unsubscribe-Post: {}", one_click::ONE_CLICK)
        })?;
        Ok(Verdict::Yes)
    }
}

fn open(config: &UnsubscribeConfig, link: &str, now: Timestamp, output: Output) -> anyhow::Result<Verdict> {
    let link = link.trim().trim_start_matches('<').trim_end_matches('>');
    let token = one_click::token_of(link).unwrap_or(link);
    match one_click::open(token, &config.spec(), now) {
        Ok(claims) => {
            print(output, &json!({ "ok": true, "claims": claims }), |out| {
                let issued = Timestamp::from_seconds(claims.issued_at).map(|time| time.to_string()).unwrap_or_default();
                writeln!(out, "recipient: {}", plain(&claims.recipient))?;
                writeln!(
                    out,
                    "tenant: {}\nscope: {}\nissued: {issued}",
                    claims.tenant,
                    plain(&claims.scope.to_string())
                )?;
                for (name, value) in [("message", &claims.message_id), ("campaign", &claims.campaign)] {
                    if let Some(value) = value {
                        writeln!(out, "{name}: {}", plain(value))?;
                    }
                }
                Ok(())
            })?;
            Ok(Verdict::Yes)
        }
        Err(error) => {
            let answer = json!({ "ok": false, "reason": error.tag() });
            print(output, &answer, |out| writeln!(out, "not a link of ours: {}", error))?;
            Ok(Verdict::No)
        }
    }
}
