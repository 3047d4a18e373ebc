//! Drip's unsubscribed subscribers of one account.
//!
//! Up to 1,000 are unsubscribed from everything a call, in the background: 204 says that the batch was taken, and nothing
//! of its items. Nobody is subscribed again in batches, and a subscriber who does not exist would be made by it: so the
//! subscriber is looked at first, and made active only if unsubscribed.
//!
//! Limits: 50 batches and 3,600 single calls an hour.
//!
//! Sources: <https://developer.drip.com/#unsubscribe-a-batch-of-subscribers>, `#fetch-a-subscriber`,
//! `#create-or-update-a-subscriber`, `#rate-limiting` (repository `DripEmail/api-docs`).

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    all, basic, check_credential, encoded, json_body, json_request, judge, needs, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// Drip's list.
#[derive(Debug, Clone, Copy)]
pub struct DripLists;

const LIST: &str = "unsubscribed";
const BATCH_MAX: usize = 1_000;

/// The status of the subscriber that an answer shows: `active`, `unsubscribed`, `undeliverable`.
fn status(answer: &ApiAnswer) -> Option<String> {
    let body: Value = json_body(answer)?;
    Some(body.get("subscribers")?.get(0)?.get("status")?.as_str()?.to_owned())
}

impl DripLists {
    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&Value>) -> ApiRequest {
        let account = encoded(settings.account.as_deref().unwrap_or_default());
        json_request(
            method,
            format!("{}/v2/{account}/{path}", settings.base_url),
            vec![basic(&settings.credential, "")],
            body,
        )
    }

    fn subscriber(settings: &ApiSettings, address: &str) -> ApiRequest {
        Self::send(settings, http::Method::GET, &format!("subscribers/{}", encoded(address)), None)
    }
}

impl SuppressionApi for DripLists {
    fn provider(&self) -> &'static str {
        "drip"
    }

    fn base_url(&self) -> &'static str {
        "https://api.getdrip.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["account"])?;
        needs(settings.account.as_deref(), "account", "drip", "the account id, from Settings → Account")?;
        check_credential(settings, "API token")
    }

    /// A bounce makes nobody undeliverable at once.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Complaint | Kind::Unsubscribed)
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

    /// The status mixes all reasons; a complaint that we know of keeps its address unsubscribed.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn rate(&self, action: Action) -> Option<Rate> {
        Some(match action {
            Action::Add => Rate { calls: 50, seconds: 3_600 },
            Action::Remove => Rate { calls: 3_600, seconds: 3_600 },
        })
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
                let subscribers: Vec<Value> = addresses.iter().map(|address| json!({ "email": address })).collect();
                let body = json!({ "batches": [{ "subscribers": subscribers }] });
                Self::send(settings, http::Method::POST, "unsubscribes/batches", Some(&body))
            }
            Action::Remove => Self::subscriber(settings, only(addresses)),
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
        let found = sent.method == http::Method::GET && answer.status == 200;
        (found && status(answer)? == LIST).then(|| {
            let body = json!({ "subscribers": [{ "email": only(addresses), "status": "active" }] });
            Self::send(settings, http::Method::POST, "subscribers", Some(&body))
        })
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        judge(edit, addresses, answer, now, || {
            let is_dead = edit.action == Action::Remove && status(answer).as_deref() == Some("undeliverable");
            let result = match is_dead {
                true => {
                    ItemResult::Refused("Drip takes the address for undeliverable: only Drip changes that".to_owned())
                }
                false => ItemResult::Done,
            };
            all(addresses, &result)
        })
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::subscriber(settings, address))
    }

    fn holds(&self, _: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        match answer.status {
            200 => Some(status(answer)? == LIST),
            404 => Some(false),
            _ => None,
        }
    }
}
