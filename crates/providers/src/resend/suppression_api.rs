//! Resend's suppression list, one a team.
//!
//! At most 100 addresses are added a call; one that stands there already comes back as it is. A call with a malformed
//! address is refused whole. Removed is one at a time: the batched removal does not say which address it did not find.
//!
//! The list holds Resend's own entries (origin `bounce` or `complaint`) beside ours (`manual`) and stops every message.
//! Opting out is no part of it, so Resend stops nothing by itself after an unsubscription.
//!
//! Source: <https://resend.com/docs/api-reference/suppressions/add-suppressions>, `…/get-suppression`,
//! `…/remove-suppression`.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    check_credential, encoded, json_body, judge, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Resend's list.
#[derive(Debug, Clone, Copy)]
pub struct ResendLists;

const LIST: &str = "suppressions";
const BATCH_MAX: usize = 100;

impl ResendLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let mut headers = vec![("authorization", format!("Bearer {}", settings.credential))];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let url = format!("{}/suppressions/{path}", settings.base_url);
        ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
    }
}

impl SuppressionApi for ResendLists {
    fn provider(&self) -> &'static str {
        "resend"
    }

    fn base_url(&self) -> &'static str {
        "https://api.resend.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &[])?;
        check_credential(settings, "API key (re_…) with full access")
    }

    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint)
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

    fn batch_max(&self, edit: &Edit) -> usize {
        match edit.action {
            Action::Add => BATCH_MAX,
            Action::Remove => 1,
        }
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => Self::send(settings, http::Method::POST, "batch/add", Some(&json!({ "emails": addresses }))),
            Action::Remove => Self::send(settings, http::Method::DELETE, &encoded(only(addresses)), None),
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        judge(edit, addresses, answer, now, || Answered::Items(vec![ItemResult::Done; addresses.len()]))
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, http::Method::GET, &encoded(address), None))
    }

    fn holds(&self, _: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        match answer.status {
            200 => json_body::<Value>(answer)?.get("id").map(|_| true),
            404 => Some(false),
            _ => None,
        }
    }
}
