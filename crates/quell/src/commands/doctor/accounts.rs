//! Accounts at providers: whether each answers a harmless read with its credential.

use super::{Findings, Health, clocks, clocks::Ahead};
use crate::{
    commands::moment,
    config::{AccountConfig, Config},
};
use domain::Timestamp;
use providers::suppression_api::{Action, ApiAnswer, ApiRequest, Edit};
use service::http_client::{HttpClient, HttpClientOptions};
use std::time::Duration;
use syncer::{Account, ApiError, HttpApi, ProviderApi as _};

/// Nobody's address, by RFC 2606: asked for, never written.
const NOBODY: &str = "quell-doctor@example.com";

/// Checks every account.
pub(super) async fn check(config: &Config, is_offline: bool, findings: &mut Findings) {
    for account in &config.accounts {
        let name = format!("account {}", account.name);
        let ready = match Account::new(account.to_lane()) {
            Ok(ready) => ready,
            Err(error) => {
                findings.fail(name, error.detail);
                continue;
            }
        };
        if is_offline {
            findings.ok(name, format!("{}, not called (--offline)", account.provider));
            continue;
        }
        let before = moment::now().unwrap_or(Timestamp::EPOCH);
        let Some(answer) = read(account, &ready).await else {
            findings.warn(name, unread(account));
            continue;
        };
        if let Ok(answer) = &answer {
            clock(account, before, answer, findings);
        }
        let (health, detail) = judge(&account.provider, &answer);
        findings.add(name, health, detail);
    }
}

/// What is left to know where a provider has no call that only reads.
fn unread(account: &AccountConfig) -> String {
    let AccountConfig { name, provider, .. } = account;
    format!(
        "credential not tried: {provider} has no call that only reads its lists; \
         after the lane's first call, quell_syncer_account_blocked{{account=\"{name}\"}} is 1 if it was refused"
    )
}

/// Asks whether a list of the account holds nobody's address. `None` where the provider cannot be asked.
async fn read(account: &AccountConfig, ready: &Account) -> Option<Result<ApiAnswer, ApiError>> {
    let place = ready.lists.every_place(&ready.settings).into_iter().next()?;
    let edit = Edit { action: Action::Add, list: place.list, tags: place.tag.into_iter().collect() };
    let request = ready.lists.read_back(&ready.settings, &edit, NOBODY)?;
    let now = moment::now().unwrap_or(Timestamp::EPOCH);
    Some(send(account, &ready.lists.sign(&ready.settings, request, now)).await)
}

async fn send(account: &AccountConfig, request: &ApiRequest) -> Result<ApiAnswer, ApiError> {
    let options = HttpClientOptions {
        timeout: Duration::from_millis(account.timeout_ms),
        allow_private: account.allow_private,
        ..HttpClientOptions::default()
    };
    let client = HttpClient::new(&options).map_err(|error| ApiError::Unusable(error.to_string()))?;
    HttpApi::new(client).send(request).await
}

fn judge(provider: &str, answer: &Result<ApiAnswer, ApiError>) -> (Health, String) {
    match answer {
        Ok(answer) => match answer.status {
            // That nobody is not on the list is an answer too.
            200..=299 | 404 => (Health::Ok, format!("{provider} takes the credential")),
            401 | 403 => {
                let detail = format!(
                    "{provider} refuses the credential ({}): make a new key with the right to read and write suppressions",
                    answer.status
                );
                (Health::Fail, detail)
            }
            429 => (Health::Warn, format!("{provider} is asked too often now (429): run this again later")),
            500..=599 => (
                Health::Warn,
                format!("{provider} has a fault ({}): its lane waits and goes on by itself", answer.status),
            ),
            other => {
                (Health::Fail, format!("{provider} answers {other}: check base_url, domain and stream of the account"))
            }
        },
        Err(ApiError::NotSent(error) | ApiError::Unclear(error)) => (
            Health::Fail,
            format!("{provider} cannot be reached ({error}): look at the network, the firewall and base_url"),
        ),
        Err(ApiError::Unusable(error)) => (Health::Fail, error.clone()),
    }
}

/// Compares our clock with the provider's, where it tells the time (RFC 9110 6.6.1).
fn clock(account: &AccountConfig, before: Timestamp, answer: &ApiAnswer, findings: &mut Findings) {
    let told = answer.headers.get(http::header::DATE).and_then(|value| value.to_str().ok()).and_then(imf_fixdate);
    let (Some(theirs), Ok(after)) = (told, moment::now()) else { return };
    // It tells whole seconds.
    let ahead = Ahead::between(before, theirs, after);
    clocks::compare(&account.name, Ahead { at_most: ahead.at_most.saturating_add(1), ..ahead }, findings);
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Timestamp::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn answers_are_judged() {
        let health =
            |status| judge("sendgrid", &Ok(ApiAnswer { status, headers: HeaderMap::new(), body: Vec::new() })).0;
        for (status, expected) in [
            (200, Health::Ok),
            (404, Health::Ok),
            (401, Health::Fail),
            (429, Health::Warn),
            (503, Health::Warn),
            (400, Health::Fail),
        ] {
            assert_eq!(health(status), expected, "{status}");
        }
        assert_eq!(judge("sendgrid", &Err(ApiError::NotSent("no route".to_owned()))).0, Health::Fail);
    }

    #[test]
    fn reads_the_time_of_an_answer() {
        let read = |text| imf_fixdate(text).map(|at| at.to_string());
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT").as_deref(), Some("1994-11-06T08:49:37Z"));
        assert_eq!(read("now"), None);
        let config: Config = service::config::parse(
            "test",
            "[[account]]\nname = \"main\"\nprovider = \"sendgrid\"\ncredential = \"env:PATH\"\n",
            [],
        )
        .unwrap();
        let told = |date: &str| {
            let headers = HeaderMap::from_iter([(http::header::DATE, date.parse().unwrap())]);
            let mut findings = Findings::default();
            let before = moment::now().unwrap();
            clock(&config.accounts[0], before, &ApiAnswer { status: 200, headers, body: Vec::new() }, &mut findings);
            findings.0.into_iter().map(|found| (found.check, found.health)).collect::<Vec<_>>()
        };
        assert_eq!(told("Sun, 06 Nov 1994 08:49:37 GMT"), [("clock of main".to_owned(), Health::Fail)]);
        assert_eq!(told("soon"), []);
    }
}
