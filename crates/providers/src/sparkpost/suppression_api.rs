//! SparkPost's suppression list of the account: an entry for transactional messages, one for all others, or both.
//!
//! A dead address stands on both; a complaint and an opt-out stop what is not transactional, as SparkPost's own entries for
//! them do. At most 10,000 entries are written a call; a 400 names the malformed addresses and writes none, and after a 5xx
//! some may be written. Entries that SparkPost's compliance team made cannot be removed (403).
//!
//! Subaccounts have lists of their own, which are not written.
//!
//! Source: <https://developers.sparkpost.com/api/suppression-list/>.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    body_text, check_credential, encoded, json_body, judge, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// SparkPost's list.
#[derive(Debug, Clone, Copy)]
pub struct SparkPostLists;

const TRANSACTIONAL: &str = "transactional";
const OTHERS: &str = "non_transactional";
const BATCH_MAX: usize = 10_000;

impl SparkPostLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let mut headers = vec![("authorization", settings.credential.clone())];
        if method == http::Method::GET {
            // Without it a search goes over the lists of all subaccounts, and may be 20 minutes behind.
            headers.push(("x-msys-subaccount", "0".to_owned()));
        }
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let url = format!("{}/api/v1/suppression-list/{path}", settings.base_url);
        ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
    }
}

impl SuppressionApi for SparkPostLists {
    fn provider(&self) -> &'static str {
        "sparkpost"
    }

    fn base_url(&self) -> &'static str {
        "https://api.sparkpost.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &[])?;
        check_credential(settings, "API key with the permission to read and write suppression lists")
    }

    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => vec![Place::list(TRANSACTIONAL), Place::list(OTHERS)],
            Scope::NonCritical | Scope::Marketing => vec![Place::list(OTHERS)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        vec![Place::list(TRANSACTIONAL), Place::list(OTHERS)]
    }

    /// The list mixes all reasons; a complaint that we know of keeps its address on it.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn batch_max(&self, edit: &Edit) -> usize {
        match edit.action {
            Action::Add => BATCH_MAX,
            Action::Remove => 1,
        }
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => {
                let entry = |address: &&str| json!({ "recipient": address, "type": edit.list, "description": "suppressed by Quell" });
                let entries: Vec<Value> = addresses.iter().map(entry).collect();
                Self::send(settings, http::Method::PUT, "", Some(&json!({ "recipients": entries })))
            }
            // Without the type both entries would go.
            Action::Remove => {
                let body = json!({ "type": edit.list });
                Self::send(settings, http::Method::DELETE, &encoded(only(addresses)), Some(&body))
            }
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        // The entry's own matter; any other 403 is about the key.
        if answer.status == 403 && edit.action == Action::Remove && body_text(answer).contains("could not be removed") {
            return Answered::Items(vec![ItemResult::Refused(body_text(answer)); addresses.len()]);
        }
        judge(edit, addresses, answer, now, || Answered::Items(vec![ItemResult::Done; addresses.len()]))
    }

    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, http::Method::GET, &format!("{}?types={}", encoded(address), edit.list), None))
    }

    /// The entries of the address; those of the other type may be among them.
    fn holds(&self, edit: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        let body: Value = match answer.status {
            200 => json_body(answer)?,
            404 => return Some(false),
            _ => return None,
        };
        let entries = body.get("results")?.as_array()?;
        Some(entries.iter().any(|entry| entry.get("type").and_then(Value::as_str) == Some(edit.list.as_str())))
    }
}
