//! The blocklist of one domain of Scaleway Transactional Email.
//!
//! An entry has an id and ends only by being removed; those that Scaleway makes itself end after two days. Its two flags are
//! of mailboxes, so every entry says `mailbox_not_found` and the true reason stands in its text. A removal asks for the
//! address's entries and deletes them one by one, until none is left. Entries can be added only under a Scale plan.
//!
//! Sources: <https://www.scaleway.com/en/developers/api/transactional-email/blocklist> and
//! <https://www.scaleway.com/en/docs/transactional-email/how-to/manage-blocklists>. The most addresses a call is not told:
//! 100 are sent. Nor is what comes of an address that is there already: a conflict counts as added.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi, all,
    body_text, check_credential, encoded, json_body, json_request, judge, needs, nowhere, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Scaleway's list.
#[derive(Debug, Clone, Copy)]
pub struct ScalewayLists;

const LIST: &str = "blocklist";
const BATCH_MAX: usize = 100;

/// The id of an entry of the address.
fn found(address: &str, answer: &ApiAnswer) -> Option<Option<String>> {
    let body: Value = json_body(answer)?;
    let entries = body.get("blocklists")?.as_array()?;
    let is_ours = |entry: &&Value| {
        entry.get("email").and_then(Value::as_str).is_some_and(|email| email.eq_ignore_ascii_case(address))
    };
    Some(entries.iter().find(is_ours).and_then(|entry| Some(entry.get("id")?.as_str()?.to_owned())))
}

impl ScalewayLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let region = encoded(settings.region.as_deref().unwrap_or_default());
        let url = format!("{}/transactional-email/v1alpha1/regions/{region}/blocklists{path}", settings.base_url);
        json_request(method, url, vec![("x-auth-token", settings.credential.clone())], body)
    }

    fn search(settings: &ApiSettings, address: &str) -> ApiRequest {
        let domain = encoded(settings.domain_id.as_deref().unwrap_or_default());
        Self::send(settings, http::Method::GET, &format!("?domain_id={domain}&email={}", encoded(address)), None)
    }
}

impl SuppressionApi for ScalewayLists {
    fn provider(&self) -> &'static str {
        "scaleway"
    }

    fn base_url(&self) -> &'static str {
        "https://api.scaleway.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["region", "domain_id"])?;
        needs(settings.region.as_deref(), "region", "scaleway", "the domain's region, \"fr-par\"")?;
        needs(settings.domain_id.as_deref(), "domain_id", "scaleway", "the domain's id (a UUID), from its overview")?;
        check_credential(settings, "secret key of an API key that may change blocklists")
    }

    /// Its own entries end after two days.
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

    /// Scaleway is told of no complaints; one that we know of keeps its address on the list.
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
                let body = json!({
                    "domain_id": settings.domain_id,
                    "emails": addresses,
                    "type": "mailbox_not_found",
                    "reason": "suppressed by Quell",
                });
                Self::send(settings, http::Method::POST, "", Some(&body))
            }
            Action::Remove => Self::search(settings, only(addresses)),
        }
    }

    fn next(
        &self,
        settings: &ApiSettings,
        _: &Edit,
        addresses: &[&str],
        sent: &ApiRequest,
        answer: &ApiAnswer,
    ) -> Option<ApiRequest> {
        match sent.method {
            http::Method::GET if answer.status == 200 => {
                let id = found(only(addresses), answer)??;
                Some(Self::send(settings, http::Method::DELETE, &format!("/{}", encoded(&id)), None))
            }
            // There may be more than one.
            http::Method::DELETE if matches!(answer.status, 200..=299 | 404) => {
                Some(Self::search(settings, only(addresses)))
            }
            _ => None,
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        match answer.status {
            409 if addresses.len() > 1 => Answered::Split(body_text(answer)),
            409 => all(addresses, &ItemResult::Done),
            // Of a deletion a 404 is followed by another search; a search has an answer.
            _ => nowhere(answer)
                .unwrap_or_else(|| judge(edit, addresses, answer, now, || all(addresses, &ItemResult::Done))),
        }
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::search(settings, address))
    }

    fn holds(&self, _: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        if answer.status != 200 {
            return None;
        }
        found(address, answer).map(|id| id.is_some())
    }
}
