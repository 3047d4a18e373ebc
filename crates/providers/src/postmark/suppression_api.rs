//! Postmark's suppression list of one message stream.
//!
//! At most 50 addresses a call, with a result for each. Entries added by API are of the reason `ManualSuppression` and the
//! origin `Customer`; the change is asynchronous and can take a minute. Entries of the reason `SpamComplaint` cannot be
//! removed by API: Postmark answers `Failed` for them.
//!
//! Sources: <https://postmarkapp.com/developer/api/suppressions-api>, <https://postmarkapp.com/developer/api/overview>
//! (error codes), the clients' wikis (`ActiveCampaign/postmark-php`, Managing Suppressions).

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    body_text, check_credential, encoded, json_body, judge, takes_only, without_addresses,
};
use domain::{Kind, Scope, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// Postmark's list.
#[derive(Debug, Clone, Copy)]
pub struct PostmarkLists;

const LIST: &str = "suppressions";
const BATCH_MAX: usize = 50;
/// "The message stream was not found": the account's settings are wrong, not an address.
const NO_SUCH_STREAM: i64 = 1226;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    suppressions: Vec<OneResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneResult {
    email_address: String,
    #[serde(default)]
    status: String,
    message: Option<String>,
}

impl PostmarkLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let mut headers =
            vec![("x-postmark-server-token", settings.credential.clone()), ("accept", "application/json".to_owned())];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let stream = encoded(settings.stream.as_deref().unwrap_or_default());
        let url = format!("{}/message-streams/{stream}/suppressions{path}", settings.base_url);
        ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
    }

    fn results(addresses: &[&str], answer: &ApiAnswer) -> Answered {
        let Some(results) = json_body::<Results>(answer) else {
            return Answered::Retry {
                after: None,
                unclear: true,
                detail: "answer is not the documented JSON".to_owned(),
            };
        };
        let result = |address: &&str| match results
            .suppressions
            .iter()
            .find(|one| one.email_address.eq_ignore_ascii_case(address))
        {
            Some(one) if matches!(one.status.as_str(), "Suppressed" | "Deleted") => ItemResult::Done,
            Some(one) => ItemResult::Refused(without_addresses(one.message.as_deref().unwrap_or("no reason given"))),
            None => ItemResult::Refused("left out of the answer".to_owned()),
        };
        Answered::Items(addresses.iter().map(result).collect())
    }
}

impl SuppressionApi for PostmarkLists {
    fn provider(&self) -> &'static str {
        "postmark"
    }

    fn base_url(&self) -> &'static str {
        "https://api.postmarkapp.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        if settings.stream.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(SettingsError(
                "postmark keeps a list a message stream: set `stream`, e.g. \"broadcast\"".to_owned(),
            ));
        }
        takes_only(settings, self.provider(), &["stream"])?;
        check_credential(settings, "server token")
    }

    /// Hard bounces, spam complaints and unsubscribes deactivate the recipient on the stream by themselves.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    /// One list takes every scope; a category is told only if it is the stream itself.
    fn places(&self, settings: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All | Scope::NonCritical | Scope::Marketing => vec![Place::list(LIST)],
            Scope::Category(name) if settings.stream.as_deref() == Some(name) => vec![Place::list(LIST)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        vec![Place::list(LIST)]
    }

    /// The list mixes all reasons; Postmark itself keeps complaints on it.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn batch_max(&self, _: &Edit) -> usize {
        BATCH_MAX
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        let entries: Vec<Value> = addresses.iter().map(|address| json!({ "EmailAddress": address })).collect();
        let path = match edit.action {
            Action::Add => "",
            Action::Remove => "/delete",
        };
        Self::send(settings, http::Method::POST, path, Some(&json!({ "Suppressions": entries })))
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        let code = || json_body::<Value>(answer)?.get("ErrorCode")?.as_i64();
        // Removal is a POST too: a 404 says nothing about an entry.
        if answer.status == 404 || (answer.status == 422 && code() == Some(NO_SUCH_STREAM)) {
            return Answered::Blocked(format!("status {}: {}", answer.status, body_text(answer)));
        }
        judge(edit, addresses, answer, now, || Self::results(addresses, answer))
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, http::Method::GET, &format!("/dump?EmailAddress={}", encoded(address)), None))
    }

    fn holds(&self, _: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        if answer.status != 200 {
            return None;
        }
        let results: Results = json_body(answer)?;
        Some(results.suppressions.iter().any(|one| one.email_address.eq_ignore_ascii_case(address)))
    }
}
