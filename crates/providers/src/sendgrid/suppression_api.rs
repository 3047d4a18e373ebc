//! SendGrid's suppression lists.
//!
//! Written are the global unsubscribes (`POST /v3/asm/suppressions/global`, which stop every message that does not bypass
//! list management) and the unsubscribe groups. Bounces, blocks, spam reports and invalid addresses are filled by SendGrid
//! alone and can only be emptied.
//!
//! Sources: <https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions>,
//! `…/suppressions-suppressions` (groups), `…/bounces-api`, `…/blocks-api`, `…/spam-reports-api`, `…/invalid-e-mails-api`,
//! and the OpenAPI description in the repository `sendgrid/sendgrid-oai`.

use crate::suppression_api::{
    Action, Answered, ApiAnswer, ApiRequest, ApiSettings, Edit, ItemResult, Place, SettingsError, SuppressionApi,
    check_credential, encoded, json_body, judge, only, takes_only,
};
use domain::{Kind, Scope, Timestamp};
use serde::Deserialize;
use serde_json::json;

/// SendGrid's lists.
#[derive(Debug, Clone, Copy)]
pub struct SendGridLists;

const GLOBAL: &str = "global";
const GROUP: &str = "group/";
const SPAM_REPORTS: &str = "spam_reports";
/// Lists of addresses that do not work; filled by SendGrid alone.
const DEAD: [&str; 3] = ["bounces", "blocks", "invalid_emails"];
/// SendGrid documents no maximum; a call of a thousand stays under 100 kB.
const BATCH_MAX: usize = 1_000;

/// The address lists of an answer.
#[derive(Deserialize)]
struct Taken {
    recipient_emails: Vec<String>,
}

impl SendGridLists {
    fn group(settings: &ApiSettings, category: &str) -> Option<u64> {
        settings.groups.get(category).copied().or_else(|| category.parse().ok())
    }

    fn send(settings: &ApiSettings, method: http::Method, path: &str, body: Option<&serde_json::Value>) -> ApiRequest {
        let mut headers = vec![("authorization", format!("Bearer {}", settings.credential))];
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let url = format!("{}/v3{path}", settings.base_url);
        ApiRequest { method, url, headers, body: body.map(|body| body.to_string().into_bytes()) }
    }

    /// The collection of an opt-out list: the global one, or a group's.
    fn opt_outs(list: &str) -> Option<String> {
        match list.strip_prefix(GROUP) {
            Some(id) => Some(format!("/asm/groups/{id}/suppressions")),
            None => (list == GLOBAL).then(|| "/asm/suppressions/global".to_owned()),
        }
    }
}

impl SuppressionApi for SendGridLists {
    fn provider(&self) -> &'static str {
        "sendgrid"
    }

    fn base_url(&self) -> &'static str {
        "https://api.sendgrid.com"
    }

    fn check(&self, settings: &ApiSettings) -> Result<(), SettingsError> {
        takes_only(settings, self.provider(), &["groups"])?;
        check_credential(settings, "API key (SG.…) with the permission to write suppressions")
    }

    /// Hard bounces, spam reports and unsubscribes land on SendGrid's lists by themselves; blocks and deferrals do not stop
    /// the next message.
    fn suppresses_by_itself(&self, kind: Kind) -> bool {
        matches!(kind, Kind::BouncedHard | Kind::Complaint | Kind::Unsubscribed)
    }

    fn places(&self, settings: &ApiSettings, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All | Scope::NonCritical | Scope::Marketing => vec![Place::list(GLOBAL)],
            Scope::Category(name) => {
                Self::group(settings, name).map(|id| Place::list(&format!("{GROUP}{id}"))).into_iter().collect()
            }
            Scope::Sender(_) => Vec::new(),
        }
    }

    fn own_places(&self, scope: &Scope) -> Vec<Place> {
        match scope {
            Scope::All => DEAD.iter().map(|list| Place::list(list)).collect(),
            Scope::NonCritical => vec![Place::list(SPAM_REPORTS)],
            Scope::Marketing | Scope::Category(_) | Scope::Sender(_) => Vec::new(),
        }
    }

    fn every_place(&self, _: &ApiSettings) -> Vec<Place> {
        [GLOBAL, SPAM_REPORTS].iter().chain(&DEAD).map(|list| Place::list(list)).collect()
    }

    fn holds_complaints(&self, place: &Place) -> bool {
        place.list == SPAM_REPORTS
    }

    fn batch_max(&self, edit: &Edit) -> usize {
        match (edit.action, Self::opt_outs(&edit.list)) {
            // Opt-outs are taken back one by one.
            (Action::Remove, Some(_)) => 1,
            (Action::Remove, None) | (Action::Add, _) => BATCH_MAX,
        }
    }

    fn request(&self, settings: &ApiSettings, edit: &Edit, addresses: &[&str]) -> ApiRequest {
        match (edit.action, Self::opt_outs(&edit.list)) {
            (Action::Add, path) => {
                let body = json!({ "recipient_emails": addresses });
                let path = path.unwrap_or_else(|| "/asm/suppressions/global".to_owned());
                Self::send(settings, http::Method::POST, &path, Some(&body))
            }
            (Action::Remove, Some(path)) => {
                Self::send(settings, http::Method::DELETE, &format!("{path}/{}", encoded(only(addresses))), None)
            }
            // Never with `delete_all`: the body names who is meant.
            (Action::Remove, None) => {
                let body = json!({ "emails": addresses });
                Self::send(settings, http::Method::DELETE, &format!("/suppression/{}", edit.list), Some(&body))
            }
        }
    }

    fn interpret(&self, edit: &Edit, addresses: &[&str], answer: &ApiAnswer, now: Timestamp) -> Answered {
        if answer.status == 404 && edit.action == Action::Add && edit.list.starts_with(GROUP) {
            let refused = ItemResult::Refused("no such unsubscribe group".to_owned());
            return Answered::Items(vec![refused; addresses.len()]);
        }
        judge(edit, addresses, answer, now, || {
            let taken: Option<Taken> = if edit.action == Action::Add { json_body(answer) } else { None };
            let known = |address: &&str| match &taken {
                Some(taken) => taken.recipient_emails.iter().any(|one| one.eq_ignore_ascii_case(address)),
                None => true,
            };
            let result = |address| {
                if known(address) { ItemResult::Done } else { ItemResult::Refused("left out of the answer".to_owned()) }
            };
            Answered::Items(addresses.iter().map(result).collect())
        })
    }

    fn read_back(&self, settings: &ApiSettings, edit: &Edit, address: &str) -> Option<ApiRequest> {
        Some(match edit.list.strip_prefix(GROUP) {
            Some(id) => {
                let body = json!({ "recipient_emails": [address] });
                Self::send(settings, http::Method::POST, &format!("/asm/groups/{id}/suppressions/search"), Some(&body))
            }
            None => {
                let list = Self::opt_outs(&edit.list).unwrap_or_else(|| format!("/suppression/{}", edit.list));
                Self::send(settings, http::Method::GET, &format!("{list}/{}", encoded(address)), None)
            }
        })
    }

    /// The global list answers with `{"recipient_email":…}` or `{}`, a group's search with the addresses it holds, the
    /// other lists with an array of entries.
    fn holds(&self, edit: &Edit, address: &str, answer: &ApiAnswer) -> Option<bool> {
        let body: serde_json::Value = match answer.status {
            200 => json_body(answer)?,
            404 => return Some(false),
            _ => return None,
        };
        if edit.list == GLOBAL {
            return body.as_object().map(|entry| entry.contains_key("recipient_email"));
        }
        let entries = body.as_array()?;
        Some(entries.iter().any(|entry| {
            let email = entry.as_str().or_else(|| entry.get("email")?.as_str());
            email.is_some_and(|email| email.eq_ignore_ascii_case(address))
        }))
    }
}
