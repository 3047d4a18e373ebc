//! The suppression list of Unisender Go (UniOne): an address has an entry for each cause.
//!
//! One address and one cause a call. A removal takes every entry that may be removed at once, whatever its cause: it is made
//! only if the list has one of the cause that was released, and not if that would take a complaint along. What has to stay
//! is written again. Causes that Quell does not write: `temporary_unavailable` (Unisender's own, for three days) and
//! `blocked` (by its administration, for good).
//!
//! Sources: <https://godocs.unisender.ru/web-api-ref#suppression>, <https://docs.unione.io/en/web-api-ref#suppression-delete>,
//! which has the errors 3003, 3004 and 906.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi, all,
    body_text, check_credential, json_body, json_request, judge, nowhere, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

/// Unisender Go's list.
#[derive(Debug, Clone, Copy)]
pub struct UnisenderGoLists;

const LIST: &str = "suppression";
const DEAD: &str = "permanent_unavailable";
const COMPLAINED: &str = "complained";
const UNSUBSCRIBED: &str = "unsubscribed";
const AWAY: &str = "temporary_unavailable";
/// "There are no entries of this email in the suppression list."
const NO_ENTRY: i64 = 3003;
/// "Such entries exist but no one can be deleted."
const NOT_DELETABLE: i64 = 3004;
/// "Daily limit of deletes exceeded."
const NO_MORE_TODAY: i64 = 906;
/// The limit is a day's; when the day ends is not told.
const LIMIT_WAIT: Duration = Duration::from_secs(60 * 60);

fn place(cause: &str) -> Place {
    Place { list: LIST.to_owned(), tag: Some(cause.to_owned()) }
}

/// The causes that an answer to `suppression/get.json` shows.
fn causes(answer: &ApiAnswer) -> Option<Vec<String>> {
    let body: Value = json_body(answer)?;
    let entries = body.get("suppressions")?.as_array()?;
    Some(entries.iter().filter_map(|entry| Some(entry.get("cause")?.as_str()?.to_owned())).collect())
}

fn is_asked(edit: &Edit, cause: &str) -> bool {
    edit.tags.is_empty() || edit.tags.iter().any(|tag| tag == cause)
}

/// Whether a removal would take along a complaint that it is not about.
fn takes_complaint_along(edit: &Edit, causes: &[String]) -> bool {
    causes.iter().any(|cause| is_asked(edit, cause))
        && causes.iter().any(|cause| cause == COMPLAINED)
        && !is_asked(edit, COMPLAINED)
}

impl UnisenderGoLists {
    fn send(settings: &ApiSettings, call: &str, address: &str, cause: Option<&str>) -> ApiRequest {
        let headers = vec![("x-api-key", settings.credential.clone()), ("accept", "application/json".to_owned())];
        let mut body = json!({ "email": address });
        if let Some(cause) = cause {
            body["cause"] = Value::from(cause);
        }
        let url = format!("{}/en/transactional/api/v1/suppression/{call}.json", settings.base_url);
        json_request(http::Method::POST, url, headers, Some(&body))
    }
}

impl SuppressionApi for UnisenderGoLists {
    fn provider(&self) -> &'static str {
        "unisender-go"
    }

    fn base_url(&self) -> &'static str {
        "https://goapi.unisender.ru"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &[])?;
        check_credential(settings, "API key of the project (or of the account, where there are no projects)")
    }

    /// An address is taken for dead only after several hard bounces.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => vec![place(DEAD)],
            Scope::NonCritical => vec![place(COMPLAINED)],
            Scope::Marketing => vec![place(UNSUBSCRIBED)],
            Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, scope: &Scope) -> Vec<Place> {
        if *scope == Scope::All { vec![place(AWAY)] } else { Vec::new() }
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        [DEAD, COMPLAINED, UNSUBSCRIBED, AWAY].map(place).into()
    }

    fn holds_complaints(&self, place: &Place) -> bool {
        place.tag.as_deref() == Some(COMPLAINED)
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => {
                let cause = edit.tags.first().map_or(DEAD, String::as_str);
                Self::send(settings, "set", only(addresses), Some(cause))
            }
            Action::Remove => Self::send(settings, "get", only(addresses), None),
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
        if answer.status != 200 {
            return None;
        }
        if sent.url.ends_with("/set.json") {
            let body: Value = serde_json::from_slice(sent.body.as_deref()?).ok()?;
            let written = body.get("cause")?.as_str()?;
            let at = edit.tags.iter().position(|tag| tag == written)?;
            return Some(Self::send(settings, "set", only(addresses), Some(edit.tags.get(at + 1)?)));
        }
        if !sent.url.ends_with("/get.json") {
            return None;
        }
        let causes = causes(answer)?;
        let goes = causes.iter().any(|cause| is_asked(edit, cause)) && !takes_complaint_along(edit, &causes);
        goes.then(|| Self::send(settings, "delete", only(addresses), None))
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        let code = json_body::<Value>(answer).and_then(|body| body.get("code")?.as_i64());
        let said = || format!("status {}: {}", answer.status, body_text(answer));
        match code {
            Some(NO_ENTRY) if edit.action == Action::Remove => return all(addresses, &ItemResult::Done),
            Some(NOT_DELETABLE) if edit.action == Action::Remove => {
                return all(addresses, &ItemResult::Refused(said()));
            }
            Some(NO_MORE_TODAY) => {
                return Answered::Retry { after: Some(LIMIT_WAIT), unclear: false, detail: said() };
            }
            _ => {}
        }
        if let Some(told) = nowhere(answer) {
            return told;
        }
        judge(edit, addresses, answer, now, || {
            let kept = edit.action == Action::Remove
                && causes(answer).is_some_and(|causes| takes_complaint_along(edit, &causes));
            let result = match kept {
                true => ItemResult::Refused("kept: the removal would take along a complaint".to_owned()),
                false => ItemResult::Done,
            };
            all(addresses, &result)
        })
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::send(settings, "get", address, None))
    }

    fn holds(&self, edit: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        if answer.status != 200 {
            return None;
        }
        causes(answer).map(|causes| causes.iter().any(|cause| is_asked(edit, cause)))
    }
}
