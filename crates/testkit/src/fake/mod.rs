//! Fakes of providers' suppression APIs, over HTTP on loopback.
//!
//! [`FakeApi`] is the provider itself without a socket: a request in, an answer out, faults and rate limit included.
//! [`Fake`] puts it behind a real HTTP server.

mod brevo;
mod call;
mod drip;
mod lists;
mod mailersend;
mod mailgun;
mod mailjet;
mod mailtrap;
mod mandrill;
mod postmark;
mod resend;
mod scaleway;
mod sendgrid;
mod server;
mod ses;
mod sigv4;
mod sparkpost;
mod twilio;
mod unisender_go;

pub use call::{Answer, Call};
pub use lists::{Entry, Lists, Origin};
pub use server::Fake;

use call::is_plausible;

use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// Which provider, with what it checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FakeProvider {
    /// SendGrid: the API key, and the unsubscribe groups there are.
    SendGrid {
        /// Bearer token.
        api_key: String,
        /// Ids of unsubscribe groups.
        groups: Vec<u64>,
    },
    /// Mailgun: the API key and the sending domains there are.
    Mailgun {
        /// Password of the user `api`.
        api_key: String,
        /// Sending domains.
        domains: Vec<String>,
    },
    /// Postmark: the server token and the message streams there are.
    Postmark {
        /// `X-Postmark-Server-Token`.
        token: String,
        /// Message streams.
        streams: Vec<String>,
    },
    /// Resend: the API key.
    Resend {
        /// Bearer token.
        api_key: String,
    },
    /// SparkPost: the API key.
    SparkPost {
        /// `Authorization`, as it is.
        api_key: String,
    },
    /// Mandrill: the API key.
    Mandrill {
        /// `key` in the body.
        api_key: String,
    },
    /// Amazon SES: the access key, and the region it is called in.
    Ses {
        /// Access key id.
        key_id: String,
        /// Secret access key.
        secret: String,
        /// Region.
        region: String,
    },
    /// Brevo: the API key.
    Brevo {
        /// `api-key`.
        api_key: String,
    },
    /// Mailjet: the API key and its secret.
    Mailjet {
        /// API key.
        key_id: String,
        /// Secret key.
        secret: String,
    },
    /// MailerSend: the token, and the domain there is.
    MailerSend {
        /// Bearer token.
        token: String,
        /// The domain's id.
        domain_id: String,
    },
    /// Mailtrap: the token, and the domains there are.
    Mailtrap {
        /// Bearer token.
        token: String,
        /// Names of domains and their numbers.
        domains: Vec<(String, u64)>,
    },
    /// Unisender Go: the API key.
    UnisenderGo {
        /// `X-API-KEY`.
        api_key: String,
    },
    /// Drip: the token, and the account.
    Drip {
        /// User of basic authentication.
        token: String,
        /// Account id.
        account: String,
    },
    /// Scaleway: the secret key, the region and the domain there are.
    Scaleway {
        /// `X-Auth-Token`.
        secret: String,
        /// Region.
        region: String,
        /// The domain's id.
        domain_id: String,
    },
    /// Twilio: the API key, and the senders there are.
    Twilio {
        /// SID of the API key.
        key_id: String,
        /// Its secret.
        secret: String,
        /// Messaging services and numbers.
        senders: Vec<String>,
    },
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// This status, and no effect.
    Status(u16),
    /// 429 with `Retry-After` of so many seconds, and no effect.
    RateLimited(u64),
    /// The effect, and then a 500.
    FailedAfterEffect,
    /// No effect, and never an answer.
    Silent,
    /// The effect, but never an answer.
    SilentAfterEffect,
    /// The effect and the answer, after so long.
    Slow(Duration),
}

#[derive(Debug)]
struct State {
    lists: Lists,
    fault: Fault,
    next: VecDeque<Fault>,
    rate_limit: Option<u32>,
    window: Option<(u64, u32)>,
    n_calls: u64,
    statuses: BTreeMap<u16, u64>,
    in_flight: BTreeMap<String, u32>,
    in_flight_max: u32,
    largest_call: usize,
}

/// A provider's suppression API. Clones are the same provider.
#[derive(Debug, Clone)]
pub struct FakeApi {
    provider: FakeProvider,
    began: (Instant, Duration),
    state: Arc<Mutex<State>>,
}

impl FakeApi {
    /// A provider with empty lists.
    pub fn new(provider: FakeProvider) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = State {
            lists: Lists::default(),
            fault: Fault::None,
            next: VecDeque::new(),
            rate_limit: None,
            window: None,
            n_calls: 0,
            statuses: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            in_flight_max: 0,
            largest_call: 0,
        };
        Self { provider, began: (Instant::now(), unix), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the epoch, by tokio's clock: also where a test has paused it.
    fn unix(&self) -> u64 {
        (self.began.1 + self.began.0.elapsed()).as_secs()
    }

    /// Answers one call. Never returns where the fault is silence.
    pub async fn answer(&self, call: &Call) -> Answer {
        let mut open = self.begin(call.addresses());
        let answer = match open.fault {
            Fault::None => self.limited(call),
            Fault::Status(status) => Answer::json(status, &json!({ "message": "planned fault" })),
            Fault::RateLimited(seconds) => Answer::empty(429).with("retry-after", seconds),
            Fault::FailedAfterEffect => {
                let effect = self.limited(call);
                if effect.status < 300 { Answer::json(500, &json!({ "message": "planned fault" })) } else { effect }
            }
            Fault::Silent => std::future::pending().await,
            Fault::SilentAfterEffect => {
                self.limited(call);
                std::future::pending().await
            }
            Fault::Slow(wait) => {
                tokio::time::sleep(wait).await;
                self.limited(call)
            }
        };
        open.status = answer.status;
        answer
    }

    fn begin(&self, addresses: Vec<String>) -> Open<'_> {
        let mut state = self.state();
        state.n_calls += 1;
        state.largest_call = state.largest_call.max(addresses.len());
        for address in &addresses {
            let count = state.in_flight.entry(address.clone()).or_default();
            *count += 1;
            let count = *count;
            state.in_flight_max = state.in_flight_max.max(count);
        }
        let standing = state.fault;
        let fault = state.next.pop_front().unwrap_or(standing);
        Open { api: self, addresses, fault, status: 0 }
    }

    /// Answers within the rate limit: a fixed window of one second, as SendGrid describes it in its headers.
    fn limited(&self, call: &Call) -> Answer {
        let second = self.unix();
        let mut state = self.state();
        let Some(limit) = state.rate_limit else { return self.act(&mut state, call) };
        let used = state.window.filter(|(window, _)| *window == second).map_or(0, |(_, used)| used);
        let answer = if used >= limit {
            let told = Answer::json(
                429,
                &json!({ "errors": [{ "message": "too many requests" }], "message": "Too many requests" }),
            );
            told.with("retry-after", 1)
        } else {
            state.window = Some((second, used + 1));
            self.act(&mut state, call)
        };
        let left = limit.saturating_sub(used + 1);
        let answer = answer.with("x-ratelimit-limit", limit.into()).with("x-ratelimit-remaining", left.into());
        answer.with("x-ratelimit-reset", second + 1)
    }

    fn act(&self, state: &mut State, call: &Call) -> Answer {
        match &self.provider {
            FakeProvider::SendGrid { api_key, groups } => sendgrid::answer(&mut state.lists, api_key, groups, call),
            FakeProvider::Mailgun { api_key, domains } => mailgun::answer(&mut state.lists, api_key, domains, call),
            FakeProvider::Postmark { token, streams } => postmark::answer(&mut state.lists, token, streams, call),
            FakeProvider::Resend { api_key } => resend::answer(&mut state.lists, api_key, call),
            FakeProvider::SparkPost { api_key } => sparkpost::answer(&mut state.lists, api_key, call),
            FakeProvider::Mandrill { api_key } => mandrill::answer(&mut state.lists, api_key, call),
            FakeProvider::Ses { key_id, secret, region } => {
                ses::answer(&mut state.lists, [key_id, secret, region], self.unix(), call)
            }
            FakeProvider::Brevo { api_key } => brevo::answer(&mut state.lists, api_key, call),
            FakeProvider::Mailjet { key_id, secret } => mailjet::answer(&mut state.lists, key_id, secret, call),
            FakeProvider::MailerSend { token, domain_id } => {
                mailersend::answer(&mut state.lists, token, domain_id, call)
            }
            FakeProvider::Mailtrap { token, domains } => mailtrap::answer(&mut state.lists, token, domains, call),
            FakeProvider::UnisenderGo { api_key } => unisender_go::answer(&mut state.lists, api_key, call),
            FakeProvider::Drip { token, account } => drip::answer(&mut state.lists, token, account, call),
            FakeProvider::Scaleway { secret, region, domain_id } => {
                scaleway::answer(&mut state.lists, [secret, region, domain_id], call)
            }
            FakeProvider::Twilio { key_id, secret, senders } => {
                twilio::answer(&mut state.lists, [key_id, secret], senders, call)
            }
        }
    }

    /// What goes wrong with every call from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// What goes wrong with the next calls, one each; then what [`Self::set_fault`] said.
    pub fn next_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().next.extend(faults);
    }

    /// At most so many calls a second; `None` is no limit.
    pub fn set_rate_limit(&self, calls_per_second: Option<u32>) {
        self.state().rate_limit = calls_per_second;
    }

    /// Whether a list holds an address. Lists: SendGrid `global`, `group/ID`, `bounces`, `blocks`, `spam_reports`,
    /// `invalid_emails`; Mailgun `DOMAIN/bounces`, `DOMAIN/complaints`, `DOMAIN/unsubscribes`; Postmark the stream; Resend
    /// `suppressions`; SparkPost `transactional`, `non_transactional`; Mandrill `rejects`; SES `suppressed`; Brevo
    /// `contacts`, `blocked_contacts`; Mailjet `exclusion`; MailerSend `hard-bounces`, `spam-complaints`, `unsubscribes`;
    /// Mailtrap `DOMAIN/STREAM`; Unisender Go the cause; Drip `unsubscribed`, `undeliverable`; Scaleway `blocklist`; Twilio
    /// the sender.
    pub fn holds(&self, list: &str, address: &str) -> bool {
        self.state().lists.get(list, address).is_some()
    }

    /// The addresses on a list, sorted.
    pub fn addresses(&self, list: &str) -> Vec<String> {
        self.state().lists.addresses(list)
    }

    /// An entry of a list.
    pub fn entry(&self, list: &str, address: &str) -> Option<Entry> {
        self.state().lists.get(list, address).cloned()
    }

    /// How many different addresses stand on any list.
    pub fn held(&self) -> usize {
        self.state().lists.distinct()
    }

    /// The provider suppresses by itself after a hard bounce. `place` is the Mailgun domain or Postmark stream, SendGrid has
    /// none; with the others it is the list.
    pub fn bounced_by_itself(&self, place: &str, address: &str) {
        self.by_itself(place, address, ["bounces", "bounces"], "HardBounce");
    }

    /// The provider puts an address on a list for a reason of its own, by its own word for it.
    pub fn put_by_itself(&self, list: &str, address: &str, reason: &str) {
        self.state().lists.put(list, address, Origin::Provider, reason, &[]);
    }

    /// The provider suppresses by itself after a complaint.
    pub fn complained_by_itself(&self, place: &str, address: &str) {
        self.by_itself(place, address, ["spam_reports", "complaints"], "SpamComplaint");
    }

    /// The provider suppresses by itself after the recipient opted out.
    pub fn unsubscribed_by_itself(&self, place: &str, address: &str) {
        self.by_itself(place, address, ["global", "unsubscribes"], "ManualSuppression");
    }

    fn by_itself(&self, place: &str, address: &str, [sendgrid, mailgun]: [&str; 2], reason: &'static str) {
        let (list, tags) = match &self.provider {
            FakeProvider::SendGrid { .. } => (sendgrid.to_owned(), Vec::new()),
            FakeProvider::Mailgun { .. } => {
                let tags = if mailgun == "unsubscribes" { vec!["*".to_owned()] } else { Vec::new() };
                (format!("{place}/{mailgun}"), tags)
            }
            // They keep one list, or stand for several of which the caller names one.
            _ => (place.to_owned(), Vec::new()),
        };
        self.state().lists.put(&list, address, Origin::Provider, reason, &tags);
    }

    /// Calls so far, those that failed among them.
    pub fn calls(&self) -> u64 {
        self.state().n_calls
    }

    /// Answers so far by status; 0 is none at all.
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        self.state().statuses.clone()
    }

    /// Most calls that were ever in flight for one recipient at once.
    pub fn in_flight_max(&self) -> u32 {
        self.state().in_flight_max
    }

    /// Addresses in the largest call so far.
    pub fn largest_call(&self) -> usize {
        self.state().largest_call
    }
}

/// A call in flight: until it is answered, or the caller gave up.
struct Open<'a> {
    api: &'a FakeApi,
    addresses: Vec<String>,
    fault: Fault,
    status: u16,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.api.state();
        *state.statuses.entry(self.status).or_default() += 1;
        for address in &self.addresses {
            if let Some(count) = state.in_flight.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    state.in_flight.remove(address);
                }
            }
        }
    }
}
