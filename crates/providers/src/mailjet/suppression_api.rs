//! Mailjet's exclusion list: contacts that no campaign reaches.
//!
//! One contact a call. A contact that is not there answers 404 and is then made, already excluded. A change that changes
//! nothing answers 304. Mailjet blocks transactional email to dead addresses and complainers by itself, and no API touches
//! that.
//!
//! Sources: <https://dev.mailjet.com/email/reference/contacts/contact/> (`PUT`, `POST`, `GET`),
//! <https://dev.mailjet.com/email/guides/contact-management/>, and for the error `MJ18` (the contact is there already) the
//! issues of the clients, e.g. <https://github.com/mailjet/mailjet-apiv3-php/issues/239>.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi, all,
    basic, body_text, check_credential, encoded, json_body, json_request, judge, needs, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Mailjet's list.
#[derive(Debug, Clone, Copy)]
pub struct MailjetLists;

const LIST: &str = "exclusion";
/// "A Contact resource with value … for Email already exists."
const THERE_ALREADY: &str = "MJ18";

impl MailjetLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let headers = vec![basic(settings.key_id.as_deref().unwrap_or_default(), &settings.credential)];
        json_request(method, format!("{}/v3/REST/contact{path}", settings.base_url), headers, body)
    }
}

impl SuppressionApi for MailjetLists {
    fn provider(&self) -> &'static str {
        "mailjet"
    }

    fn base_url(&self) -> &'static str {
        "https://api.mailjet.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["key_id"])?;
        needs(settings.key_id.as_deref(), "key_id", "mailjet", "the API key that `credential` is the secret of")?;
        check_credential(settings, "secret key")
    }

    /// A complaint is kept for good. A hard bounce is blocked for a time only, and an opt-out is of one list.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        kind == Kind::Complaint
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

    /// The list mixes all reasons; Mailjet keeps complaints apart from it.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        let body = json!({ "IsExcludedFromCampaigns": edit.action == Action::Add });
        Self::send(settings, http::Method::PUT, &format!("/{}", encoded(only(addresses))), Some(&body))
    }

    fn next(
        &self,
        settings: &ApiSettings,
        edit: &Edit,
        addresses: &[&str],
        sent: &ApiRequest,
        answer: &ApiAnswer,
    ) -> Option<ApiRequest> {
        let is_unknown = edit.action == Action::Add && sent.method == http::Method::PUT && answer.status == 404;
        is_unknown.then(|| {
            let body = json!({ "Email": only(addresses), "IsExcludedFromCampaigns": true });
            Self::send(settings, http::Method::POST, "", Some(&body))
        })
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        match answer.status {
            304 => all(addresses, &ItemResult::Done),
            // Somebody made the contact between the two calls: once more from the beginning.
            400 if edit.action == Action::Add && body_text(answer).contains(THERE_ALREADY) => {
                Answered::Retry { after: None, unclear: false, detail: body_text(answer) }
            }
            _ => judge(edit, addresses, answer, now, || all(addresses, &ItemResult::Done)),
        }
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, http::Method::GET, &format!("/{}", encoded(address)), None))
    }

    /// The flag is a boolean, and a text in older answers.
    fn holds(&self, _: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        let body: Value = match answer.status {
            200 => json_body(answer)?,
            404 => return Some(false),
            _ => return None,
        };
        let flag = body.get("Data")?.get(0)?.get("IsExcludedFromCampaigns")?;
        flag.as_bool().or_else(|| Some(flag.as_str()? == "true"))
    }
}
