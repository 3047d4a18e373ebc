//! Mailtrap's suppression list, an entry for an address, a sending domain and a stream, with a type.
//!
//! Entries are made one a call, at most 10 a minute, and removed by their ids: the address's entries are asked for, and
//! those of the account's domain and stream and of the type that was released go one by one, until none is left.
//!
//! Sources: <https://docs.mailtrap.io/developers/email-sending/suppressions> and the description that it is made of,
//! `mailtrap/mailtrap-openapi` (`specs/email-sending.openapi.yml`). Older clients have the account's number in the path,
//! which is used where `account` is set.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    all, body_text, check_credential, encoded, json_body, json_request, judge, needs, nowhere, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Mailtrap's list.
#[derive(Debug, Clone, Copy)]
pub struct MailtrapLists;

const LIST: &str = "suppressions";
const BOUNCE: &str = "hard bounce";
const COMPLAINT: &str = "spam complaint";
const UNSUBSCRIPTION: &str = "unsubscription";
/// What somebody wrote by hand, without saying why.
const BY_HAND: &str = "manual import";

fn place(kind: &str) -> Place {
    Place { list: LIST.to_owned(), tag: Some(kind.to_owned()) }
}

impl MailtrapLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let headers = vec![("authorization", format!("Bearer {}", settings.credential))];
        let account = settings.account.as_ref().map(|account| format!("/accounts/{account}")).unwrap_or_default();
        json_request(method, format!("{}/api{account}/suppressions{path}", settings.base_url), headers, body)
    }

    fn search(settings: &ApiSettings, address: &str) -> ApiRequest {
        Self::send(settings, http::Method::GET, &format!("?email={}", encoded(address)), None)
    }

    /// The id of an entry of the address that the edit is about.
    fn found(settings: Option<&ApiSettings>, edit: &Edit, address: &str, answer: &ApiAnswer) -> Option<Option<String>> {
        let entries: Vec<Value> = json_body(answer)?;
        let is_ours = |entry: &&Value| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let kind = text("type");
            let is_asked = edit.tags.is_empty() || edit.tags.iter().any(|tag| tag == kind);
            let is_here = settings.is_none_or(|settings| {
                text("domain_name").eq_ignore_ascii_case(settings.domain.as_deref().unwrap_or_default())
                    && ["any", settings.stream.as_deref().unwrap_or_default()].contains(&text("sending_stream"))
            });
            text("email").eq_ignore_ascii_case(address) && is_asked && is_here
        };
        Some(entries.iter().find(is_ours).and_then(|entry| Some(entry.get("id")?.as_str()?.to_owned())))
    }
}

impl SuppressionApi for MailtrapLists {
    fn provider(&self) -> &'static str {
        "mailtrap"
    }

    fn base_url(&self) -> &'static str {
        "https://mailtrap.io"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["account", "domain", "domain_id", "stream"])?;
        needs(settings.domain.as_deref(), "domain", "mailtrap", "the sending domain, e.g. \"example.com\"")?;
        needs(settings.domain_id.as_deref(), "domain_id", "mailtrap", "the domain's number, from its page's address")?;
        if settings.domain_id.as_deref().is_some_and(|id| id.parse::<u64>().is_err()) {
            return Err(SettingsError("`domain_id` is a number with mailtrap, e.g. \"12345\"".to_owned()));
        }
        if !["transactional", "bulk"].contains(&settings.stream.as_deref().unwrap_or_default()) {
            return Err(SettingsError(
                "mailtrap keeps entries a stream: set `stream` to \"transactional\" or \"bulk\"".to_owned(),
            ));
        }
        if let Some(account) = &settings.account {
            needs(Some(account), "account", "mailtrap", "the account's number, or remove it")?;
        }
        check_credential(settings, "API token with admin access to the account")
    }

    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => vec![place(BOUNCE)],
            Scope::NonCritical => vec![place(COMPLAINT)],
            Scope::Marketing => vec![place(UNSUBSCRIPTION)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        [BOUNCE, COMPLAINT, UNSUBSCRIPTION, BY_HAND].map(place).into()
    }

    fn holds_complaints(&self, place: &Place) -> bool {
        place.tag.as_deref() == Some(COMPLAINT)
    }

    fn rate(&self, action: Action) -> Option<Rate> {
        (action == Action::Add).then_some(Rate { calls: 10, seconds: 60 })
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => {
                // One entry is enough to stop the address; the type that stays longest says why.
                let has = |kind: &&&str| edit.tags.iter().any(|tag| tag == **kind);
                let kind = [COMPLAINT, BOUNCE].iter().find(has).copied().unwrap_or(UNSUBSCRIPTION);
                let id: Option<u64> = settings.domain_id.as_deref().and_then(|id| id.parse().ok());
                let body = json!({
                    "email": only(addresses), "domain_id": id, "sending_stream": settings.stream, "type": kind,
                });
                Self::send(settings, http::Method::POST, "", Some(&body))
            }
            Action::Remove => Self::search(settings, only(addresses)),
        }
    }

    fn next(
        &self,
        settings: &ApiSettings,
        edit: &Edit,
        addresses: &[&str],
        sent: &ApiRequest,
        answer: &ApiAnswer,
    ) -> Option<ApiRequest> {
        match sent.method {
            http::Method::GET if answer.status == 200 => {
                let id = Self::found(Some(settings), edit, only(addresses), answer)??;
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
        let said = body_text(answer);
        if answer.status == 422 && (said.contains("already") || said.contains("taken")) {
            return all(addresses, &ItemResult::Done);
        }
        // Of a deletion it is followed by another search; a search has an answer.
        if let Some(told) = nowhere(answer) {
            return told;
        }
        judge(edit, addresses, answer, now, || all(addresses, &ItemResult::Done))
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::search(settings, address))
    }

    /// Entries of other domains and streams count here: then the removal is made again, and looks closer.
    fn holds(&self, edit: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        if answer.status != 200 {
            return None;
        }
        Self::found(None, edit, address, answer).map(|id| id.is_some())
    }
}
