//! Brevo's blocklist of contacts for email campaigns, and its own one for transactional email.
//!
//! A contact is made if there is none, and blocked, one a call: no campaign reaches it. The blocklist for transactional
//! email can be read and emptied by API, not written: only Brevo fills it, after a hard bounce, a complaint or an opt-out.
//! What Brevo tells of says not which of the two it went on, so it is told even what it told us.
//!
//! Sources: <https://developers.brevo.com/reference/create-contact>, `…/update-contact`, `…/get-contact-info`,
//! `…/unblock-or-resubscribe-a-transactional-contact`, and
//! <https://help.brevo.com/hc/en-us/articles/209458705> (the kinds of blocked contacts).

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    all, check_credential, encoded, json_body, json_request, judge, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Brevo's lists.
#[derive(Debug, Clone, Copy)]
pub struct BrevoLists;

const CONTACTS: &str = "contacts";
/// Of transactional email; filled by Brevo alone, for every reason.
const BLOCKED: &str = "blocked_contacts";

impl BrevoLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let headers = vec![("api-key", settings.credential.clone()), ("accept", "application/json".to_owned())];
        json_request(method, format!("{}/v3/{path}", settings.base_url), headers, body)
    }
}

impl SuppressionApi for BrevoLists {
    fn provider(&self) -> &'static str {
        "brevo"
    }

    fn base_url(&self) -> &'static str {
        "https://api.brevo.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &[])?;
        check_credential(settings, "API key (xkeysib-…)")
    }

    fn suppresses_by_itself(&self, _: Kind) -> bool {
        false
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All | Scope::NonCritical | Scope::Marketing => vec![Place::list(CONTACTS)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All | Scope::NonCritical | Scope::Marketing => vec![Place::list(BLOCKED)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        vec![Place::list(CONTACTS), Place::list(BLOCKED)]
    }

    /// Brevo's own list may hold a complaint that nobody told us of; its reason cannot be asked for by address.
    fn holds_complaints(&self, place: &Place) -> bool {
        place.list == BLOCKED
    }

    /// <https://developers.brevo.com/docs/api-limits>: contacts, 10 a second.
    fn rate(&self, _: Action) -> Option<Rate> {
        Some(Rate { calls: 10, seconds: 1 })
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        let address = only(addresses);
        match edit.action {
            Action::Add => {
                let body = json!({ "email": address, "emailBlacklisted": true, "updateEnabled": true });
                Self::send(settings, http::Method::POST, "contacts", Some(&body))
            }
            Action::Remove if edit.list == BLOCKED => {
                let path = format!("smtp/blockedContacts/{}", encoded(address));
                Self::send(settings, http::Method::DELETE, &path, None)
            }
            Action::Remove => {
                let path = format!("contacts/{}?identifierType=email_id", encoded(address));
                Self::send(settings, http::Method::PUT, &path, Some(&json!({ "emailBlacklisted": false })))
            }
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        judge(edit, addresses, answer, now, || all(addresses, &ItemResult::Done))
    }

    /// A contact can be asked for; the list for transactional email has no search by address.
    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> Option<ApiRequest> {
        let path = format!("contacts/{}?identifierType=email_id", encoded(address));
        (edit.list == CONTACTS).then(|| Self::send(settings, http::Method::GET, &path, None))
    }

    fn holds(&self, _: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        match answer.status {
            200 => json_body::<Value>(answer)?.get("emailBlacklisted")?.as_bool(),
            404 => Some(false),
            _ => None,
        }
    }
}
