//! Mandrill's deny list of the account.
//!
//! One address a call. An entry that is added does not expire; Mandrill's own entries after bounces, complaints and
//! unsubscriptions do, and so it is told what it told us. Adding an address of the allow list has no effect. Removing an
//! entry that Mandrill made costs the account reputation.
//!
//! Errors come as 500 with a name. Subaccounts may have entries of their own, which are not written.
//!
//! Source: <https://mailchimp.com/developer/transactional/api/rejects/>.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    body_text, check_credential, json_body, judge, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Mandrill's list.
#[derive(Debug, Clone, Copy)]
pub struct MandrillLists;

const LIST: &str = "rejects";

impl MandrillLists {
    fn send(settings: &ApiSettings, call: &str, address: &str, more: Option<(&str, Value)>) -> ApiRequest {
        let mut body = json!({ "key": settings.credential, "email": address });
        if let Some((name, value)) = more {
            body[name] = value;
        }
        ApiRequest {
            method: http::Method::POST,
            url: format!("{}/api/1.0/rejects/{call}.json", settings.base_url),
            headers: vec![("content-type", "application/json".to_owned())],
            body: Some(body.to_string().into_bytes()),
        }
    }

    /// What an error means by its name; `None` for what may pass.
    fn error(addresses: &[&str], answer: &ApiAnswer) -> Option<Answered> {
        let body: Value = json_body(answer)?;
        let said = || format!("status {}: {}", answer.status, body_text(answer));
        match body.get("name")?.as_str()? {
            "ValidationError" => Some(Answered::Items(vec![ItemResult::Refused(said()); addresses.len()])),
            "Invalid_Key" | "PaymentRequired" | "Unknown_Subaccount" => Some(Answered::Blocked(said())),
            _ => None,
        }
    }
}

impl SuppressionApi for MandrillLists {
    fn provider(&self) -> &'static str {
        "mandrill"
    }

    fn base_url(&self) -> &'static str {
        "https://mandrillapp.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &[])?;
        check_credential(settings, "API key")
    }

    /// Its own entries expire, and then it sends again.
    fn suppresses_by_itself(&self, _: Kind) -> bool {
        false
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All | Scope::NonCritical | Scope::Marketing => vec![Place::list(LIST)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        vec![Place::list(LIST)]
    }

    /// The list mixes all reasons; a complaint that we know of keeps its address on it.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => {
                Self::send(settings, "add", only(addresses), Some(("comment", Value::from("suppressed by Quell"))))
            }
            Action::Remove => Self::send(settings, "delete", only(addresses), None),
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        if let Some(told) = (answer.status >= 400).then(|| Self::error(addresses, answer)).flatten() {
            return told;
        }
        judge(edit, addresses, answer, now, || {
            let added = json_body::<Value>(answer).and_then(|body| body.get("added")?.as_bool());
            let result = match (edit.action, added) {
                (Action::Add, Some(false)) => {
                    ItemResult::Refused("not added: the address stands on Mandrill's allow list".to_owned())
                }
                _ => ItemResult::Done,
            };
            Answered::Items(vec![result; addresses.len()])
        })
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, "list", address, Some(("include_expired", Value::Bool(false)))))
    }

    fn holds(&self, _: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        if answer.status != 200 {
            return None;
        }
        let entries: Vec<Value> = json_body(answer)?;
        let is_ours = |entry: &Value| {
            entry.get("email").and_then(Value::as_str).is_some_and(|email| email.eq_ignore_ascii_case(address))
                && entry.get("expired").and_then(Value::as_bool) != Some(true)
        };
        Some(entries.iter().any(is_ours))
    }
}
