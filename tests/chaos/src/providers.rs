//! The fake providers: their accounts, the suppressions they make by themselves, and what they must hold in the end.

use crate::{
    fact::{Fact, STREAM, Teller, What},
    oracle::{self, State},
};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use testkit::{Fake, Fault, fake::FakeProvider};

const DOMAIN: &str = "mg.example.com";
/// SendGrid's unsubscribe group for the stream.
const GROUP: u64 = 4_711;
const SENDGRID_KEY: &str = "SG.chaos-sendgrid-api-key";
const MAILGUN_KEY: &str = "chaos-mailgun-api-key";
const POSTMARK_TOKEN: &str = "chaos-postmark-server-token";

/// The providers that are told.
#[derive(Debug)]
pub(crate) struct Providers {
    sendgrid: Fake,
    mailgun: Fake,
    postmark: Fake,
}

/// Their names, which are their accounts' too.
pub(crate) const ACCOUNTS: [&str; 3] = ["sendgrid", "mailgun", "postmark"];

impl Providers {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let why = "a fake provider cannot listen on loopback";
        let sendgrid = FakeProvider::SendGrid { api_key: SENDGRID_KEY.to_owned(), groups: vec![GROUP] };
        let mailgun = FakeProvider::Mailgun { api_key: MAILGUN_KEY.to_owned(), domains: vec![DOMAIN.to_owned()] };
        let postmark = FakeProvider::Postmark { token: POSTMARK_TOKEN.to_owned(), streams: vec![STREAM.to_owned()] };
        Ok(Self {
            sendgrid: Fake::start(sendgrid).await.context(why)?,
            mailgun: Fake::start(mailgun).await.context(why)?,
            postmark: Fake::start(postmark).await.context(why)?,
        })
    }

    fn all(&self) -> [(&'static str, &Fake); 3] {
        [("sendgrid", &self.sendgrid), ("mailgun", &self.mailgun), ("postmark", &self.postmark)]
    }

    /// The configuration's accounts, and the environment that holds their credentials.
    pub(crate) fn accounts(&self) -> (String, Vec<(String, String)>) {
        let (mut text, mut variables) = (String::new(), Vec::new());
        for (name, fake) in self.all() {
            let (credential, rest) = match name {
                "sendgrid" => (SENDGRID_KEY, format!("groups = {{ {STREAM} = {GROUP} }}")),
                "mailgun" => (MAILGUN_KEY, format!("domain = \"{DOMAIN}\"")),
                _ => (POSTMARK_TOKEN, format!("stream = \"{STREAM}\"")),
            };
            let variable = format!("CHAOS_{}_ACCOUNT", name.to_uppercase());
            text.push_str(&format!(
                "\n[[account]]\nname = \"{name}\"\nprovider = \"{name}\"\nbase_url = \"{}\"\ncredential = \
                 \"env:{variable}\"\nallow_private = true\nspacing_ms = 1\ntimeout_ms = 3000\n{rest}\n",
                fake.url()
            ));
            variables.push((variable, credential.to_owned()));
        }
        (text, variables)
    }

    /// What a provider does by itself when such a thing happens: it stops sending to the address.
    pub(crate) fn happened(&self, fact: &Fact) {
        let (fake, place) = match fact.teller {
            Teller::SendGrid => (&self.sendgrid, ""),
            Teller::Mailgun => (&self.mailgun, DOMAIN),
            Teller::Postmark => (&self.postmark, STREAM),
            Teller::Drip | Teller::Generic | Teller::Twilio => return,
        };
        match fact.what {
            What::Hard => fake.bounced_by_itself(place, &fact.recipient),
            What::Complaint => fake.complained_by_itself(place, &fact.recipient),
            What::Unsubscribed => fake.unsubscribed_by_itself(place, &fact.recipient),
            _ => {}
        }
    }

    /// A provider is away from now on: it refuses, or never answers. Returns its name.
    pub(crate) fn take_away(&self, which: usize, silent: bool) -> &'static str {
        let (name, fake) = self.all()[which % ACCOUNTS.len()];
        fake.set_fault(if silent { Fault::Silent } else { Fault::Status(503) });
        name
    }

    /// Its next calls are carried out, but not answered well.
    pub(crate) fn stumble(&self, which: usize) -> &'static str {
        let (name, fake) = self.all()[which % ACCOUNTS.len()];
        fake.next_faults([Fault::FailedAfterEffect, Fault::None, Fault::RateLimited(1), Fault::SilentAfterEffect]);
        name
    }

    /// Everybody is back.
    pub(crate) fn bring_back(&self) {
        self.all().iter().for_each(|(_, fake)| fake.set_fault(Fault::None));
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.all().iter().map(|(_, fake)| fake.calls()).sum()
    }

    /// Where the lists are not what must be in force, a line each.
    pub(crate) fn differences(&self, state: &State) -> BTreeMap<&'static str, Vec<String>> {
        let emails: BTreeMap<&str, BTreeSet<&str>> =
            oracle::scopes(state).into_iter().filter(|(recipient, _)| recipient.contains('@')).collect();
        BTreeMap::from([
            ("sendgrid", self.sendgrid_differences(&emails)),
            ("mailgun", self.mailgun_differences(&emails)),
            ("postmark", {
                let wanted: BTreeSet<String> = emails.keys().map(|&recipient| recipient.to_owned()).collect();
                compared(STREAM, &wanted, &held(&self.postmark, STREAM))
            }),
        ])
    }

    /// A list a scope, and tags where one list has two scopes.
    fn mailgun_differences(&self, emails: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
        let stream = oracle::stream_scope();
        let mut differences = Vec::new();
        for (list, scopes) in [
            ("bounces", vec!["all"]),
            ("complaints", vec!["non_critical"]),
            ("unsubscribes", vec!["marketing", &stream]),
        ] {
            let list = format!("{DOMAIN}/{list}");
            let wanted = with(emails, |own| scopes.iter().any(|scope| own.contains(scope)));
            differences.extend(compared(&list, &wanted, &held(&self.mailgun, &list)));
            for address in wanted.iter().filter(|_| scopes.len() > 1) {
                let Some(entry) = self.mailgun.entry(&list, address) else { continue };
                let own = emails.get(address.as_str());
                let tag = |scope: &str, tag: &str| own.filter(|own| own.contains(scope)).map(|_| tag.to_owned());
                let tags: BTreeSet<String> =
                    [tag("marketing", "*"), tag(&stream, STREAM)].into_iter().flatten().collect();
                if entry.tags != tags {
                    differences.push(format!("{list}: {address} has tags {:?}, not {tags:?}", entry.tags));
                }
            }
        }
        differences
    }

    /// What SendGrid found out itself stands on a list that only SendGrid fills; all else stands on the global one.
    fn sendgrid_differences(&self, emails: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
        let stream = oracle::stream_scope();
        let list = |name: &str| held(&self.sendgrid, name);
        let (global, group) = (list("global"), list(&format!("group/{GROUP}")));
        let (bounces, complaints) = (list("bounces"), list("spam_reports"));
        let mut differences = compared("group", &with(emails, |own| own.contains(stream.as_str())), &group);
        let whole = with(emails, |own| own.iter().any(|scope| *scope != stream));
        let dead = with(emails, |own| own.contains("all"));
        let complained = with(emails, |own| own.contains("non_critical"));
        let left = with(emails, |own| own.contains("marketing"));
        let mut say = |what: &str, who: Vec<&String>| {
            differences.extend(who.into_iter().map(|address| format!("{what}: {address}")));
        };
        say("global holds one who is not suppressed", global.difference(&whole).collect());
        say("bounces hold one who is not suppressed", bounces.difference(&dead).collect());
        say("spam reports hold one who is not suppressed", complaints.difference(&complained).collect());
        let missing = |wanted: &BTreeSet<String>, own: &BTreeSet<String>| -> Vec<String> {
            wanted.iter().filter(|address| !global.contains(*address) && !own.contains(*address)).cloned().collect()
        };
        for (what, wanted, own) in [
            ("neither global nor bounces hold", &dead, &bounces),
            ("neither global nor spam reports hold", &complained, &complaints),
            ("global does not hold", &left, &BTreeSet::new()),
        ] {
            say(what, missing(wanted, own).iter().collect());
        }
        differences
    }
}

fn held(fake: &Fake, list: &str) -> BTreeSet<String> {
    fake.addresses(list).into_iter().collect()
}

fn with(emails: &BTreeMap<&str, BTreeSet<&str>>, is_meant: impl Fn(&BTreeSet<&str>) -> bool) -> BTreeSet<String> {
    emails.iter().filter(|(_, own)| is_meant(own)).map(|(recipient, _)| (*recipient).to_owned()).collect()
}

fn compared(list: &str, wanted: &BTreeSet<String>, held: &BTreeSet<String>) -> Vec<String> {
    let missing = wanted.difference(held).map(|address| format!("{list} does not hold {address}"));
    let extra = held.difference(wanted).map(|address| format!("{list} holds {address}, who is not suppressed"));
    missing.chain(extra).collect()
}
