//! Suppression lists of providers, as pure knowledge: which list a scope maps onto, how a list is changed and read back,
//! and what an answer means. Requests are built here and sent by the syncer; nothing here opens a socket.
//!
//! A provider tells [`SuppressionApi::places`] and a few facts about its lists; [`edits`] derives from them what has to be
//! changed for a recipient, the same way for every provider.

mod answer;
mod edit;

pub use answer::{Answered, ApiAnswer, Budget, ItemResult, budget, without_addresses};
pub(crate) use answer::{body_text, json_body, judge};
pub use edit::{Action, Desired, Edit, Place, edits};

use domain::{Channel, Kind, Scope, Timestamp};
use std::collections::BTreeMap;

/// How one account of a provider is reached. The credential stands here resolved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Scheme and host, without a slash at the end, e.g. `https://api.eu.mailgun.net`.
    pub base_url: String,
    /// API key, server token or secret.
    pub credential: String,
    /// The public half of the credential, where it has two (SES, Mailjet, Twilio).
    pub key_id: Option<String>,
    /// What comes with a temporary credential (SES).
    pub session_token: Option<String>,
    /// The region whose lists these are (SES, Scaleway).
    pub region: Option<String>,
    /// The number of the account at the provider, where it is part of a URL (Drip, Mailtrap).
    pub account: Option<String>,
    /// The sending domain whose lists these are, where the provider keeps lists a domain (Mailgun, Mailtrap).
    pub domain: Option<String>,
    /// The provider's own id of that domain (MailerSend, Mailtrap, Scaleway).
    pub domain_id: Option<String>,
    /// The message stream whose list this is, where the provider keeps a list a stream (Postmark, Mailtrap).
    pub stream: Option<String>,
    /// Senders that a suppression of more than one sender is written for (Twilio).
    pub senders: Vec<String>,
    /// Names of categories and the unsubscribe groups they stand for (SendGrid). A category that is a number is the group's
    /// own id and needs no entry.
    pub groups: BTreeMap<String, u64>,
}

impl std::fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiSettings")
            .field("base_url", &self.base_url)
            .field("credential", &"***")
            .field("key_id", &self.key_id)
            .field("session_token", &self.session_token.as_ref().map(|_| "***"))
            .field("region", &self.region)
            .field("account", &self.account)
            .field("domain", &self.domain)
            .field("domain_id", &self.domain_id)
            .field("stream", &self.stream)
            .field("senders", &self.senders)
            .field("groups", &self.groups)
            .finish()
    }
}

/// So many calls in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Calls, at least 1.
    pub calls: u32,
    /// Seconds, at least 1.
    pub seconds: u32,
}

/// Settings with which no call can succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// One HTTP request to a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// Method.
    pub method: http::Method,
    /// Absolute URL; addresses in it are percent-encoded.
    pub url: String,
    /// Header names in lower case, with their values; credentials among them.
    pub headers: Vec<(&'static str, String)>,
    /// JSON or a form, where the method has a body.
    pub body: Option<Vec<u8>>,
}

impl std::fmt::Debug for ApiRequest {
    /// Without what must not be logged: credentials, and addresses in the path or the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.body.as_ref().map_or(0, Vec::len);
        f.debug_struct("ApiRequest").field("method", &self.method).field("body_bytes", &bytes).finish_non_exhaustive()
    }
}

/// One provider's knowledge of its suppression lists. Implementations are stateless.
pub trait SuppressionApi: Send + Sync + std::fmt::Debug {
    /// The provider's word, e.g. `sendgrid`.
    fn provider(&self) -> &'static str;

    /// Whose lists these are: of email addresses or of phone numbers.
    fn channel(&self) -> Channel {
        Channel::Email
    }

    /// Where the API is, if the account says nothing; `{region}` stands for the account's region.
    fn base_url(&self) -> &'static str;

    /// Refuses settings with which no call can succeed.
    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError>;

    /// Whether the provider stops sending by itself after it told us of such an event. Only for these is the account that
    /// told us left out.
    fn suppresses_by_itself(&self, kind: Kind) -> bool;

    /// Where a suppression of this scope is written. Empty where the provider has no list for it.
    fn places(&self, settings: &ApiSettings, scope: &Scope) -> Vec<Place>;

    /// Lists that only the provider itself fills and that hold a recipient back for such a scope: a release takes the
    /// recipient off them too.
    fn own_places(&self, scope: &Scope) -> Vec<Place>;

    /// Every list that may hold a recipient, apart from the lists of single categories.
    fn every_place(&self, settings: &ApiSettings) -> Vec<Place>;

    /// Whether entries of the place are complaints. They are removed only by an explicit act of an operator.
    fn holds_complaints(&self, place: &Place) -> bool;

    /// How often the provider may be called for such an edit, where it says so. Edits of the same rate share it.
    fn rate(&self, _: Action) -> Option<Rate> {
        None
    }

    /// Most addresses in one call of this kind.
    fn batch_max(&self, edit: &Edit) -> usize;

    /// The call that makes the edit for these addresses: at least one, at most [`Self::batch_max`].
    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest;

    /// The call that has to follow this one before the edit is made: where an entry goes by an id that has to be looked up
    /// first, or a contact has to be there before it can be blocked. The chain begins with [`Self::request`], and is begun
    /// again after any failure, so that each call may be repeated. `None`: the answer is the last, and is interpreted.
    fn next(&self, _: &ApiSettings, _: &Edit, _: &[&str], _sent: &ApiRequest, _: &ApiAnswer) -> Option<ApiRequest> {
        None
    }

    /// Adds a signature over the request and the time, right before it is sent.
    fn sign(&self, _: &ApiSettings, request: ApiRequest, _now: Timestamp) -> ApiRequest {
        request
    }

    /// What the last answer of an edit means for each address.
    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered;

    /// Asks whether the edit's list holds the address, after an answer that leaves it open. `None` where the provider cannot
    /// be asked.
    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> Option<ApiRequest>;

    /// What the answer to [`Self::read_back`] says; `None` where it does not tell.
    fn holds(&self, edit: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool>;
}

/// Every provider whose lists can be changed by API.
#[rustfmt::skip]
pub const APIS: &[&dyn SuppressionApi] = &[
    &crate::sendgrid::SendGridLists,
    &crate::mailgun::MailgunLists,
    &crate::postmark::PostmarkLists,
    &crate::resend::ResendLists,
    &crate::sparkpost::SparkPostLists,
    &crate::mandrill::MandrillLists,
    &crate::ses::SesLists,
    &crate::brevo::BrevoLists,
    &crate::mailjet::MailjetLists,
    &crate::mailersend::MailerSendLists,
    &crate::mailtrap::MailtrapLists,
    &crate::unisender_go::UnisenderGoLists,
    &crate::drip::DripLists,
    &crate::scaleway::ScalewayLists,
    &crate::twilio::TwilioLists,
];

/// The knowledge of one provider's lists, by its word.
pub fn suppression_api(provider: &str) -> Option<&'static dyn SuppressionApi> {
    APIS.iter().copied().find(|api| api.provider() == provider)
}

/// Percent-encodes a path segment or a query value: all but the unreserved characters (RFC 3986 2.3), so that `+`, `/`, `%`
/// and `@` in an address stay part of it.
pub(crate) fn encoded(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len() + 8);
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// The first address, for calls that take one.
pub(crate) fn only<'a>(addresses: &[&'a str]) -> &'a str {
    addresses.first().copied().unwrap_or("")
}

/// Refuses settings that mean nothing to this provider: each key that is set and is none of `keys`.
pub(crate) fn takes_only(settings: &ApiSettings, provider: &str, keys: &[&str]) -> Result<(), SettingsError> {
    let set = [
        ("key_id", settings.key_id.is_some()),
        ("session_token", settings.session_token.is_some()),
        ("region", settings.region.is_some()),
        ("account", settings.account.is_some()),
        ("domain", settings.domain.is_some()),
        ("domain_id", settings.domain_id.is_some()),
        ("stream", settings.stream.is_some()),
        ("senders", !settings.senders.is_empty()),
        ("groups", !settings.groups.is_empty()),
    ];
    let odd: Vec<String> =
        set.iter().filter(|(key, is_set)| *is_set && !keys.contains(key)).map(|(key, _)| format!("`{key}`")).collect();
    if odd.is_empty() {
        return Ok(());
    }
    let verb = if odd.len() == 1 { "means" } else { "mean" };
    Err(SettingsError(format!(
        "{} {verb} nothing to {provider}: remove what the account does not need",
        odd.join(" and ")
    )))
}

/// Refuses a key that is not set; `what` says what it is and where it is found.
pub(crate) fn needs(value: Option<&str>, key: &str, provider: &str, what: &str) -> Result<(), SettingsError> {
    match value.map(str::trim) {
        None | Some("") => Err(SettingsError(format!("{provider} needs `{key}`: set it to {what}"))),
        Some(value) if value.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        Some(_) => Err(SettingsError(format!("`{key}` holds white space or characters that {what} cannot have"))),
    }
}

/// `Authorization: Basic`.
pub(crate) fn basic(user: &str, password: &str) -> (&'static str, String) {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    ("authorization", format!("Basic {pair}"))
}

/// A request with these headers, and with JSON where there is a body.
pub(crate) fn json_request(
    method: http::Method,
    url: String,
    mut headers: Vec<(&'static str, String)>,
    body: Option<&serde_json::Value>,
) -> ApiRequest {
    if body.is_some() {
        headers.push(("content-type", "application/json".to_owned()));
    }
    ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
}

/// A 404 where no address can be blamed for it: the account's settings name what the provider does not have.
pub(crate) fn nowhere(answer: &ApiAnswer) -> Option<Answered> {
    (answer.status == 404).then(|| Answered::Blocked(format!("status 404: {}", body_text(answer))))
}

/// The same result for every address.
pub(crate) fn all(addresses: &[&str], result: &ItemResult) -> Answered {
    Answered::Items(vec![result.clone(); addresses.len()])
}

/// Refuses an empty credential: the same mistake with every provider.
pub(crate) fn check_credential(settings: &ApiSettings, what: &str) -> Result<(), SettingsError> {
    let credential = &settings.credential;
    if credential.trim().is_empty() {
        return Err(SettingsError(format!("`credential` is empty: set it to the {what}")));
    }
    if !credential.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SettingsError("`credential` holds white space or characters that no key has".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
