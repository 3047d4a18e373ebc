//! Amazon SES's suppression list of the account in one region.
//!
//! An address has one entry, of the reason `BOUNCE` or `COMPLAINT`; there is no reason for an opt-out, and none is written
//! as a complaint, so marketing's opt-outs and categories have no list here. A call is about one address. An entry is removed
//! by its address whatever its reason, so it is looked at first and only one of the reason that was released goes: a
//! complaint is not lost with a bounce.
//!
//! Signed with Signature Version 4. Everything but sending is limited to one call a second; the list cannot be used in the
//! sandbox.
//!
//! Sources: <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutSuppressedDestination.html>,
//! `…/API_GetSuppressedDestination.html`, `…/API_DeleteSuppressedDestination.html`,
//! <https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list.html>, and the service model in botocore.

use super::sigv4::{self, Keys, Signed};
use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, Rate, SettingsError, SuppressionApi,
    all, body_text, check_credential, encoded, json_body, json_request, judge, needs, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde_json::{Value, json};

/// SES's list.
#[derive(Debug, Clone, Copy)]
pub struct SesLists;

const LIST: &str = "suppressed";
const BOUNCE: &str = "BOUNCE";
const COMPLAINT: &str = "COMPLAINT";
const PATH: &str = "/v2/email/suppression/addresses";

fn place(reason: &str) -> Place {
    Place { list: LIST.to_owned(), tag: Some(reason.to_owned()) }
}

/// The reason of the entry that an answer shows.
fn reason(answer: &ApiAnswer) -> Option<String> {
    let body: Value = json_body(answer)?;
    Some(body.get("SuppressedDestination")?.get("Reason")?.as_str()?.to_owned())
}

/// Whether the edit is about an entry of this reason.
fn concerns(edit: &Edit, reason: &str) -> bool {
    edit.tags.is_empty() || edit.tags.iter().any(|tag| tag == reason)
}

impl SesLists {
    fn of_address(settings: &ApiSettings, method: http::Method, address: &str) -> ApiRequest {
        json_request(method, format!("{}{PATH}/{}", settings.base_url, encoded(address)), Vec::new(), None)
    }
}

impl SuppressionApi for SesLists {
    fn provider(&self) -> &'static str {
        "ses"
    }

    fn base_url(&self) -> &'static str {
        "https://email.{region}.amazonaws.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["key_id", "session_token", "region"])?;
        needs(settings.key_id.as_deref(), "key_id", "ses", "the access key id (AKIA…) that `credential` belongs to")?;
        needs(settings.region.as_deref(), "region", "ses", "the region that sends, e.g. \"eu-west-1\"")?;
        if let Some(token) = &settings.session_token {
            needs(Some(token), "session_token", "ses", "the session token of the temporary key, or remove it")?;
        }
        check_credential(settings, "secret access key")
    }

    /// With account-level suppression on for both reasons, as accounts have it since November 2019.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint)
    }

    fn places(&self, _: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => vec![place(BOUNCE)],
            Scope::NonCritical => vec![place(COMPLAINT)],
            Scope::Marketing | Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, _: &Scope) -> Vec<Place> {
        Vec::new()
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        vec![place(BOUNCE), place(COMPLAINT)]
    }

    fn holds_complaints(&self, place: &Place) -> bool {
        place.tag.as_deref() == Some(COMPLAINT)
    }

    /// <https://docs.aws.amazon.com/ses/latest/dg/quotas.html>: all but sending, one a second.
    fn rate(&self, _: Action) -> Option<Rate> {
        Some(Rate { calls: 1, seconds: 1 })
    }

    fn batch_max(&self, _: &Edit) -> usize {
        1
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match edit.action {
            Action::Add => {
                // One entry stands for both; a complaint is the one that stays longer.
                let reason = if edit.tags.iter().any(|tag| tag == COMPLAINT) { COMPLAINT } else { BOUNCE };
                let body = json!({ "EmailAddress": only(addresses), "Reason": reason });
                let url = format!("{}{PATH}", settings.base_url);
                json_request(http::Method::PUT, url, Vec::new(), Some(&body))
            }
            Action::Remove => Self::of_address(settings, http::Method::GET, only(addresses)),
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
        let found = sent.method == http::Method::GET && answer.status == 200;
        (found && concerns(edit, &reason(answer)?))
            .then(|| Self::of_address(settings, http::Method::DELETE, only(addresses)))
    }

    fn sign(&self, settings: &ApiSettings, mut request: ApiRequest, now: Timestamp) -> ApiRequest {
        let date = sigv4::amz_date(now);
        request.headers.push(("x-amz-date", date.clone()));
        if let Some(token) = &settings.session_token {
            request.headers.push(("x-amz-security-token", token.clone()));
        }
        let keys = Keys {
            key_id: settings.key_id.as_deref().unwrap_or_default(),
            secret: &settings.credential,
            region: settings.region.as_deref().unwrap_or_default(),
            service: "ses",
        };
        let (_, rest) = request.url.split_once("://").unwrap_or(("", &request.url));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("host", host));
        let signed = Signed {
            method: request.method.as_str(),
            path,
            query: "",
            headers: &headers,
            body: request.body.as_deref().unwrap_or_default(),
        };
        let authorization = sigv4::authorization(keys, &signed, &date);
        request.headers.push(("authorization", authorization));
        request
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        // Throttling may come as a 400; the header names the error.
        let error = answer.headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok()).unwrap_or_default();
        if answer.status == 400 && (error.contains("Throttling") || error.contains("TooManyRequests")) {
            return Answered::Retry { after: None, unclear: false, detail: format!("{error}: {}", body_text(answer)) };
        }
        judge(edit, addresses, answer, now, || all(addresses, &ItemResult::Done))
    }

    fn read_back(&self, settings: &ApiSettings, _: &Edit, address: &str) -> Option<ApiRequest> {
        Some(Self::of_address(settings, http::Method::GET, address))
    }

    fn holds(&self, edit: &Edit, _: &str, answer: &ApiAnswer) -> Option<bool> {
        match answer.status {
            200 => Some(concerns(edit, &reason(answer)?)),
            404 => Some(false),
            _ => None,
        }
    }
}
