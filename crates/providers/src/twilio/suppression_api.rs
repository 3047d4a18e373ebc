//! Twilio's consents: who wants no more messages of a sender.
//!
//! A list is a sender, a messaging service (`MG…`) or a number. What stops one sender is written for that one; what stops
//! more (a number that does not work, an opt-out from marketing) for each of the account's `senders`. Up to 25 consents a
//! call, each with a result of its own that goes by a correlation id. A consent cannot be read back. An opt-in overrides
//! the recipient's STOP, but for US toll-free numbers, where the network keeps it.
//!
//! Twilio gives access to this API on request, or with its Compliance Toolkit. 100 calls a minute.
//!
//! Sources: <https://www.twilio.com/docs/messaging/features/consent-api>, <https://www.twilio.com/docs/api/errors/30646>.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    basic, check_credential, encoded, json_body, judge, needs, takes_only, without_addresses,
};
use domain::{Channel, Kind, Scope, Timestamp};
use ring::digest;
use serde::Deserialize;
use serde_json::json;

/// Twilio's lists.
#[derive(Debug, Clone, Copy)]
pub struct TwilioLists;

const BATCH_MAX: usize = 25;

#[derive(Deserialize)]
struct Results {
    items: Vec<OneResult>,
}

#[derive(Deserialize)]
struct OneResult {
    correlation_id: String,
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    error_messages: Vec<String>,
}

/// 32 hexadecimal digits that tell the items of a call apart.
fn correlation_id(edit: &Edit, number: &str) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{}\n{number}", edit.list).as_bytes());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn results(edit: &Edit, numbers: &[&str], answer: &ApiAnswer) -> Answered {
    let again = |detail: &str| Answered::Retry { after: None, unclear: true, detail: detail.to_owned() };
    let Some(results) = json_body::<Results>(answer) else { return again("answer is not the documented JSON") };
    if results.items.iter().any(|item| item.error_messages.iter().any(|said| said.contains("INTERNAL_SERVER_ERROR"))) {
        return again("an internal error at some of the items");
    }
    let result = |number: &&str| {
        let id = correlation_id(edit, number);
        match results.items.iter().find(|item| item.correlation_id == id) {
            Some(item) if item.error_code == 0 => ItemResult::Done,
            Some(item) => {
                let said = without_addresses(&item.error_messages.join(", "));
                ItemResult::Refused(format!("error {}: {said}", item.error_code))
            }
            None => ItemResult::Refused("left out of the answer".to_owned()),
        }
    };
    Answered::Items(numbers.iter().map(result).collect())
}

impl SuppressionApi for TwilioLists {
    fn provider(&self) -> &'static str {
        "twilio"
    }

    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn base_url(&self) -> &'static str {
        "https://accounts.twilio.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["key_id", "senders"])?;
        needs(settings.key_id.as_deref(), "key_id", "twilio", "the API key's SID (SK…), or the account's (AC…)")?;
        if settings.senders.is_empty() {
            return Err(SettingsError(
                "twilio keeps consents a sender: set `senders` to the messaging services (MG…) and numbers that send"
                    .to_owned(),
            ));
        }
        for sender in &settings.senders {
            needs(Some(sender), "senders", "twilio", "messaging services (MG…) and numbers (+1…)")?;
        }
        check_credential(settings, "API key's secret, or the account's auth token")
    }

    /// STOP is kept for the sender it was told.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        kind == Kind::Unsubscribed
    }

    fn places(&self, settings: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::Sender(sender) => vec![Place::list(sender)],
            Scope::All | Scope::NonCritical | Scope::Marketing => {
                settings.senders.iter().map(|sender| Place::list(sender)).collect()
            }
            Scope::Category(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, settings: &ApiSettings) -> Vec<Place> {
        settings.senders.iter().map(|sender| Place::list(sender)).collect()
    }

    /// A consent has no reason.
    fn holds_complaints(&self, _: &Place) -> bool {
        false
    }

    fn rate(&self, _: Action) -> Option<Rate> {
        Some(Rate { calls: 100, seconds: 60 })
    }

    fn batch_max(&self, _: &Edit) -> usize {
        BATCH_MAX
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        let status = match edit.action {
            Action::Add => "opt-out",
            Action::Remove => "opt-in",
        };
        let item = |number: &&str| {
            let item = json!({
                "contact_id": number,
                "correlation_id": correlation_id(edit, number),
                "sender_id": edit.list,
                "status": status,
                "source": "others",
            });
            format!("Items={}", encoded(&item.to_string()))
        };
        let form: Vec<String> = addresses.iter().map(item).collect();
        ApiRequest {
            method: http::Method::POST,
            url: format!("{}/v1/Consents/Bulk", settings.base_url),
            headers: vec![
                basic(settings.key_id.as_deref().unwrap_or_default(), &settings.credential),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ],
            body: Some(form.join("&").into_bytes()),
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        if answer.status == 404 {
            // Removal is a POST too: the API is not open to this account.
            return Answered::Blocked("status 404: the account has no access to the Consent Management API".to_owned());
        }
        judge(edit, addresses, answer, now, || results(edit, addresses, answer))
    }

    fn read_back(&self, _: &ApiSettings, _: &Edit, _: &str) -> Option<ApiRequest> {
        None
    }

    fn holds(&self, _: &Edit, _: &str, _: &ApiAnswer) -> Option<bool> {
        None
    }
}
