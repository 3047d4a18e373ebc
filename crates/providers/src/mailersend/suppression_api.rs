//! MailerSend's suppression lists of one domain: hard bounces, spam complaints and unsubscribes.
//!
//! Entries are removed by their ids, which only the list itself tells, page by page and without a search. A removal reads
//! at most [`PAGES_MAX`] pages of 100; an entry beyond is said to be out of reach.
//!
//! MailerSend documents no maximum of addresses a call, and nothing about adding what is there already. A call of 100 is
//! refused as a whole if it is refused, and then halved; a single address that is there "already" counts as added.
//!
//! Sources: <https://developers.mailersend.com/api/v1/recipients.html>, <https://developers.mailersend.com/general.html>
//! (60 calls a minute), and the client `mailersend/mailersend-python` (`models/recipients.py`) for the answers' shapes.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    all, body_text, check_credential, json_body, json_request, judge, needs, nowhere, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// MailerSend's lists.
#[derive(Debug, Clone, Copy)]
pub struct MailerSendLists;

const BOUNCES: &str = "hard-bounces";
const COMPLAINTS: &str = "spam-complaints";
const UNSUBSCRIBES: &str = "unsubscribes";
const BATCH_MAX: usize = 100;
/// Pages that are read for one removal.
const PAGES_MAX: u32 = 30;

impl MailerSendLists {
    fn send(
        settings: &ApiSettings,
        method: http::Method,
        edit: &Edit,
        query: &str,
        body: Option<&Value>,
    ) -> ApiRequest {
        let headers = vec![
            ("authorization", format!("Bearer {}", settings.credential)),
            ("accept", "application/json".to_owned()),
        ];
        json_request(method, format!("{}/v1/suppressions/{}{query}", settings.base_url, edit.list), headers, body)
    }

    fn domain_id(settings: &ApiSettings) -> &str {
        settings.domain_id.as_deref().unwrap_or_default()
    }

    fn page(settings: &ApiSettings, edit: &Edit, number: u32) -> ApiRequest {
        let query = format!("?domain_id={}&limit=100&page={number}", Self::domain_id(settings));
        Self::send(settings, http::Method::GET, edit, &query, None)
    }

    /// The ids of the address's entries on a page.
    fn ids(page: &Value, address: &str) -> Vec<String> {
        let entries = page.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_ours = |entry: &&Value| {
            let email = entry.get("recipient").and_then(|recipient| recipient.get("email")?.as_str());
            email.is_some_and(|email| email.eq_ignore_ascii_case(address))
        };
        entries.iter().filter(is_ours).filter_map(|entry| Some(entry.get("id")?.as_str()?.to_owned())).collect()
    }

    fn has_more(page: &Value) -> bool {
        page.get("links").and_then(|links| links.get("next")).is_some_and(|next| !next.is_null())
    }
}

impl SuppressionApi for MailerSendLists {
    fn provider(&self) -> &'static str {
        "mailersend"
    }

    fn base_url(&self) -> &'static str {
        "https://api.mailersend.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["domain_id"])?;
        needs(settings.domain_id.as_deref(), "domain_id", "mailersend", "the domain's id, from its page's address")?;
        check_credential(settings, "API token (mlsn.…) with full access to suppressions")
    }

    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => vec![Place::list(BOUNCES)],
            Scope::NonCritical => vec![Place::list(COMPLAINTS)],
            Scope::Marketing => vec![Place::list(UNSUBSCRIBES)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
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

    fn rate(&self, _: Action) -> Option<Rate> {
        Some(Rate { calls: 60, seconds: 60 })
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
                let body = json!({ "domain_id": Self::domain_id(settings), "recipients": addresses });
                Self::send(settings, http::Method::POST, edit, "", Some(&body))
            }
            Action::Remove => Self::page(settings, edit, 1),
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
        if sent.method != http::Method::GET || answer.status != 200 {
            return None;
        }
        let page: Value = json_body(answer)?;
        let ids = Self::ids(&page, only(addresses));
        if !ids.is_empty() {
            // Never with `all`: the body names what is meant.
            let body = json!({ "domain_id": Self::domain_id(settings), "ids": ids });
            return Some(Self::send(settings, http::Method::DELETE, edit, "", Some(&body)));
        }
        let number: u32 = sent.url.rsplit_once("page=")?.1.parse().ok()?;
        (Self::has_more(&page) && number < PAGES_MAX).then(|| Self::page(settings, edit, number + 1))
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        if answer.status == 422 && addresses.len() == 1 && body_text(answer).contains("already") {
            return all(addresses, &ItemResult::Done);
        }
        if let Some(told) = nowhere(answer) {
            return told;
        }
        judge(edit, addresses, answer, now, || {
            let page: Value = json_body(answer).unwrap_or_default();
            let result = if edit.action == Action::Remove && Self::has_more(&page) {
                let pages = PAGES_MAX * 100;
                ItemResult::Refused(format!("not among the list's first {pages} entries: remove it in MailerSend"))
            } else {
                ItemResult::Done
            };
            all(addresses, &result)
        })
    }

    fn read_back(&self, settings: &ApiSettings, edit: &Edit, _: &str) -> Option<ApiRequest> {
        Some(Self::page(settings, edit, 1))
    }

    /// Only the first page is asked for; where there are more it does not tell of an absence.
    fn holds(&self, _: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        let page: Value = if answer.status == 200 { json_body(answer)? } else { return None };
        match Self::ids(&page, address).is_empty() {
            false => Some(true),
            true if Self::has_more(&page) => None,
            true => Some(false),
        }
    }
}
