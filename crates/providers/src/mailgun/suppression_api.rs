//! Mailgun's suppression lists: bounces, complaints and unsubscribes, of one sending domain each.
//!
//! Entries are added as a JSON array of at most 1,000; a 400 refuses the whole array and names nobody. Entries are removed
//! one by one: a DELETE without an address would empty the list, so none is ever built. An unsubscribe has tags; `*` is
//! all of the domain's mail.
//!
//! Sources: <https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/unsubscribe>, `…/bounces`,
//! `…/complaints`; the tag of a removal from the client `mailgun/mailgun-go` (`DeleteUnsubscribeWithTag`).

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    check_credential, encoded, judge, only, takes_only,
};
use base64::Engine as _;
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Mailgun's lists.
#[derive(Debug, Clone, Copy)]
pub struct MailgunLists;

const BOUNCES: &str = "bounces";
const COMPLAINTS: &str = "complaints";
const UNSUBSCRIBES: &str = "unsubscribes";
/// The tag that stands for all of a domain's mail.
const EVERY_TAG: &str = "*";
const BATCH_MAX: usize = 1_000;

impl MailgunLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let pair = format!("api:{}", settings.credential);
        let basic = base64::engine::general_purpose::STANDARD.encode(pair);
        let mut headers = vec![("authorization", format!("Basic {basic}"))];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let domain = encoded(settings.domain.as_deref().unwrap_or_default());
        let url = format!("{}/v3/{domain}/{path}", settings.base_url);
        ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
    }

    fn entry(edit: &Edit, address: &str) -> Value {
        match edit.list.as_str() {
            UNSUBSCRIBES => json!({ "address": address, "tags": edit.tags }),
            BOUNCES => json!({ "address": address, "code": "550", "error": "suppressed by Quell" }),
            _ => json!({ "address": address }),
        }
    }
}

impl SuppressionApi for MailgunLists {
    fn provider(&self) -> &'static str {
        "mailgun"
    }

    fn base_url(&self) -> &'static str {
        "https://api.mailgun.net"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        if settings.domain.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(SettingsError("mailgun keeps its lists a sending domain: set `domain`".to_owned()));
        }
        takes_only(settings, self.provider(), &["domain"])?;
        check_credential(settings, "API key")
    }

    /// Permanent failures, complaints and unsubscribes land on the domain's lists by themselves.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        let tagged = |tag: &str| vec![Place { list: UNSUBSCRIBES.to_owned(), tag: Some(tag.to_owned()) }];
        match scope {
            Scope::All => vec![Place::list(BOUNCES)],
            Scope::NonCritical => vec![Place::list(COMPLAINTS)],
            Scope::Marketing => tagged(EVERY_TAG),
            Scope::Category(name) => tagged(name),
            Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        [BOUNCES, COMPLAINTS, UNSUBSCRIBES].iter().map(|list| Place::list(list)).collect()
    }

    fn holds_complaints(&self, place: &Place) -> bool {
        place.list == COMPLAINTS
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
                let entries: Vec<Value> = addresses.iter().map(|address| Self::entry(edit, address)).collect();
                Self::send(settings, http::Method::POST, &edit.list, Some(&Value::Array(entries)))
            }
            Action::Remove => {
                let tag = edit.tags.first().map(|tag| format!("?tag={}", encoded(tag))).unwrap_or_default();
                let path = format!("{}/{}{tag}", edit.list, encoded(only(addresses)));
                Self::send(settings, http::Method::DELETE, &path, None)
            }
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        judge(edit, addresses, answer, now, || Answered::Items(vec![ItemResult::Done; addresses.len()]))
    }

    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, http::Method::GET, &format!("{}/{}", edit.list, encoded(address)), None))
    }

    /// An entry, or 404; with tags, the entry has to have those of the edit.
    fn holds(&self, edit: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        match answer.status {
            404 => Some(false),
            200 if edit.tags.is_empty() => Some(true),
            200 => {
                let entry: Value = crate::suppression_api::json_body(answer)?;
                let tags = entry.get("tags")?.as_array()?;
                Some(edit.tags.iter().all(|tag| tags.iter().any(|one| one.as_str() == Some(tag))))
            }
            _ => None,
        }
    }
}
