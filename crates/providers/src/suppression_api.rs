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

use domain::{Kind, Scope, Timestamp};
use std::collections::BTreeMap;

/// How one account of a provider is reached. The credential stands here resolved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Scheme and host, without a slash at the end, e.g. `https://api.eu.mailgun.net`.
    pub base_url: String,
    /// API key or server token.
    pub credential: String,
    /// The sending domain whose lists these are, where the provider keeps lists a domain (Mailgun).
    pub domain: Option<String>,
    /// The message stream whose list this is, where the provider keeps a list a stream (Postmark).
    pub stream: Option<String>,
    /// Names of categories and the unsubscribe groups they stand for (SendGrid). A category that is a number is the group's
    /// own id and needs no entry.
    pub groups: BTreeMap<String, u64>,
}

impl std::fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiSettings")
            .field("base_url", &self.base_url)
            .field("credential", &"***")
            .field("domain", &self.domain)
            .field("stream", &self.stream)
            .field("groups", &self.groups)
            .finish()
    }
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
    /// JSON, where the method has a body.
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

    /// Where the API is, if the account says nothing.
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

    /// Whether entries of the list are complaints. They are removed only by an explicit act of an operator.
    fn holds_complaints(&self, list: &str) -> bool;

    /// Most addresses in one call of this kind.
    fn batch_max(&self, edit: &Edit) -> usize;

    /// The call that makes the edit for these addresses: at least one, at most [`Self::batch_max`].
    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest;

    /// What the answer to [`Self::request`] means for each address.
    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered;

    /// Asks whether the edit's list holds the address, after an answer that leaves it open.
    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> ApiRequest;

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

/// Refuses settings of other providers where the credential alone says which lists are meant.
pub(crate) fn takes_credential_alone(settings: &ApiSettings, provider: &str) -> Result<(), SettingsError> {
    if settings.domain.is_some() || settings.stream.is_some() || !settings.groups.is_empty() {
        return Err(SettingsError(format!("`domain`, `stream` and `groups` mean nothing to {provider}: remove them")));
    }
    Ok(())
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
