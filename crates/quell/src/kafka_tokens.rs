//! Tokens for Kafka's mechanism `oauthbearer`, by the client credentials grant (RFC 6749 section 4.4).
//!
//! librdkafka asks for a token on whichever thread serves a client, and that thread waits. It may be the only thread of a
//! command's runtime, so tokens are fetched on a thread and a runtime of their own. One token serves every client of the
//! process until three quarters of its life are over: librdkafka asks for the next one at four fifths.

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use event_log::kafka::{Admin, KafkaConfig, Mechanism, Oauth, Token, Tokens};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use service::{
    clock::{Clock, SystemClock},
    http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError},
};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// Longest wait for the issuer's whole answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait of a client, with others before it.
const DEADLINE: Duration = Duration::from_secs(8);
/// Clients that wait; further ones are told to come again, which librdkafka does after ten seconds.
const WAITING_MAX: usize = 64;
/// The largest answer that is read; brokers take tokens of some KB.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// For so long after a failure the issuer is left alone, so that many clients do not each wait for it.
const REST_MS: i64 = 1_000;
/// The life of a token whose issuer does not say how long it lives (RFC 6749 section 5.1 leaves that open).
const LIFE_UNSAID_S: i64 = 300;
/// A token is taken to live a day at most.
const LIFE_MAX_S: i64 = 86_400;
/// A token that ends sooner is of no use: it has to travel to the broker first.
const LIFE_MIN_S: i64 = 5;
/// The codes of RFC 6749 section 5.2. Nothing else that an issuer writes is repeated.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// The source of tokens of a configuration; none where it asks for another mechanism. It fetches nothing yet.
pub(crate) fn of(config: &KafkaConfig) -> anyhow::Result<Option<Arc<dyn Tokens>>> {
    let (Some(Mechanism::Oauthbearer), Some(oauth)) = (config.security.mechanism, &config.security.oauth) else {
        return Ok(None);
    };
    Ok(Some(Arc::new(start(oauth, Arc::new(SystemClock))?)))
}

/// Why topics cannot be looked after by token: rdkafka's admin client never asks for one
/// (<https://github.com/fede1024/rust-rdkafka/issues/757>), and would wait for it until its time is over.
pub(crate) const NO_ADMIN: &str = "topics cannot be looked after over oauthbearer, as the Kafka library's admin client takes \
    no tokens: give `quell topics` a configuration whose kafka.brokers and kafka.security name a listener with another \
    mechanism, or certificates";

/// A client that looks after topics.
///
/// # Errors
///
/// With [`NO_ADMIN`] where the configuration asks for `oauthbearer`; else those of [`Admin::connect`].
pub(crate) fn admin(config: &KafkaConfig) -> anyhow::Result<Admin> {
    config.validate()?;
    if config.security.mechanism == Some(Mechanism::Oauthbearer) {
        bail!(NO_ADMIN);
    }
    Ok(Admin::connect(config, None)?)
}

/// Why there is no token. It holds no secret, and nothing that the issuer wrote but a code of RFC 6749.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum TokenError {
    #[error(
        "the issuer of tokens cannot be asked ({0}): look whether it runs, and at kafka.security.oauth.token_endpoint"
    )]
    Away(HttpError),
    #[error("the issuer of tokens has trouble of its own (status {0}); it is asked again")]
    Trouble(u16),
    #[error(
        "the issuer of tokens refuses us ({0}): look at client_id and client_secret of kafka.security.oauth, and whether \
         this client may use the client credentials grant with client_secret_basic"
    )]
    Refused(String),
    #[error("the issuer of tokens refuses the scope ({0}): mend kafka.security.oauth.scope")]
    Scope(String),
    #[error(
        "kafka.security.oauth.token_endpoint answers with status {0}: it must be the address of the token endpoint itself"
    )]
    Endpoint(u16),
    #[error("the issuer's answer cannot be used, as {0}: look at kafka.security.oauth.token_endpoint")]
    Unusable(&'static str),
    #[error("no token within {} seconds: the issuer of tokens is slow", DEADLINE.as_secs())]
    Late,
    #[error("too many clients wait for the issuer of tokens")]
    Busy,
    #[error("the source of tokens has ended: start this process again")]
    Ended,
}

/// Where the thread sends what it got.
type Asker = SyncSender<Result<Token, TokenError>>;

/// Asks the thread that fetches tokens; the thread ends with it.
#[derive(Debug)]
struct Source {
    questions: SyncSender<Asker>,
}

impl Source {
    fn ask(&self) -> Result<Token, TokenError> {
        let (asker, answer) = sync_channel(1);
        self.questions.try_send(asker).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(_) => TokenError::Busy,
            std::sync::mpsc::TrySendError::Disconnected(_) => TokenError::Ended,
        })?;
        answer.recv_timeout(DEADLINE).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(TokenError::Late),
            RecvTimeoutError::Disconnected => Err(TokenError::Ended),
        })
    }
}

impl Tokens for Source {
    fn token(&self) -> Result<Token, String> {
        self.ask().map_err(|error| error.to_string())
    }
}

fn start(oauth: &Oauth, clock: Arc<dyn Clock>) -> anyhow::Result<Source> {
    let issuer = Issuer::new(oauth, clock)?;
    // Names are looked up on threads beside it: one that hangs must not keep the next from it.
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build().context("no runtime")?;
    let (questions, asked) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("kafka-tokens".to_owned());
    thread.spawn(move || answer(&runtime, issuer, &asked)).context("no thread for Kafka's tokens")?;
    Ok(Source { questions })
}

fn answer(runtime: &Runtime, mut issuer: Issuer, asked: &Receiver<Asker>) {
    while let Ok(asker) = asked.recv() {
        // Who asked may have gone.
        drop(asker.send(runtime.block_on(issuer.token())));
    }
}

/// A token, and until when it is handed out without asking for another.
struct Kept {
    token: Token,
    since_ms: i64,
    renew_ms: i64,
}

/// The issuer, what it gave last, and how it failed last.
struct Issuer {
    http: HttpClient,
    call: HttpCall,
    principal: String,
    clock: Arc<dyn Clock>,
    kept: Option<Kept>,
    failed: Option<(i64, TokenError)>,
}

impl Issuer {
    fn new(oauth: &Oauth, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        check(oauth)?;
        let http = HttpClient::new(&HttpClientOptions {
            timeout: ANSWER_WAIT,
            connect_timeout: CONNECT_WAIT,
            answer_bytes_max: ANSWER_BYTES_MAX,
            // Nobody would notice that the issuer closed it.
            idle_per_host_max: 0,
            // The address comes from the configuration alone, and issuers stand inside.
            allow_private: true,
            ..HttpClientOptions::default()
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // RFC 6749 section 2.3.1: each of the two is encoded as a form's value first.
        let pair = format!("{}:{}", form(&oauth.client_id), form(oauth.client_secret.expose()));
        let mut basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
            .map_err(|_| anyhow::anyhow!("kafka.security.oauth.client_secret is too long for a header"))?;
        basic.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, basic);
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &oauth.scope {
            body = format!("{body}&scope={}", form(scope));
        }
        let (url, principal) = (oauth.token_endpoint.clone(), oauth.client_id.clone());
        let call = HttpCall { method: Method::POST, url, headers, body: Bytes::from(body) };
        Ok(Self { http, call, principal, clock, kept: None, failed: None })
    }

    /// The kept token while it is young, else a new one. Where none can be had, the kept one goes on until shortly before
    /// its end.
    async fn token(&mut self) -> Result<Token, TokenError> {
        let now = self.clock.now_millis();
        // A clock that was set back says nothing about a token's age.
        if let Some(kept) = self.kept.as_ref().filter(|kept| (kept.since_ms..kept.renew_ms).contains(&now)) {
            return Ok(kept.token.clone());
        }
        let error = match &self.failed {
            Some((at, error)) if (*at..*at + REST_MS).contains(&now) => error.clone(),
            _ => match self.fetch(now).await {
                Ok(kept) => {
                    tracing::debug!(renewed_in_ms = kept.renew_ms - now, "a token for Kafka came");
                    self.failed = None;
                    return Ok(self.kept.insert(kept).token.clone());
                }
                Err(error) => {
                    tracing::warn!(%error, "no token for Kafka");
                    self.failed = Some((self.clock.now_millis(), error.clone()));
                    error
                }
            },
        };
        let kept = self.kept.as_ref().filter(|kept| now + LIFE_MIN_S * 1_000 <= kept.token.ends_ms);
        kept.map(|kept| kept.token.clone()).ok_or(error)
    }

    async fn fetch(&self, now: i64) -> Result<Kept, TokenError> {
        let answer = self.http.call(self.call.clone()).await.map_err(|error| match error {
            HttpError::TooLarge(_) => TokenError::Unusable("it is larger than any token"),
            error => TokenError::Away(error),
        })?;
        let (token, life_s) = read(answer.status, &answer.body)?;
        // Its life is counted from before the question: the answer may have taken a while.
        let life_ms = life_s * 1_000;
        let token = Token { token, principal: self.principal.clone(), ends_ms: now + life_ms };
        Ok(Kept { token, since_ms: now, renew_ms: now + life_ms / 4 * 3 })
    }
}

/// What can be told without asking the issuer.
fn check(oauth: &Oauth) -> anyhow::Result<()> {
    let how = "kafka.security.oauth.token_endpoint: give it as https://host/path, without credentials in it";
    let Ok(url) = oauth.token_endpoint.parse::<Uri>() else { bail!(how) };
    let has_host = url.authority().is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
    match url.scheme_str() {
        Some("https") if has_host => {}
        Some("http") if has_host => {
            if !matches!(url.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
                // RFC 6749 section 3.2 asks for TLS; a mesh may add it on the way.
                tracing::warn!("kafka.security.oauth.token_endpoint is not https: the secret travels as it is");
            }
        }
        _ => bail!(how),
    }
    if oauth.client_id.is_empty() || oauth.client_secret.expose().is_empty() {
        bail!("kafka.security.oauth: client_id and client_secret must not be empty");
    }
    Ok(())
}

/// RFC 6749 section 5.1, as far as we need it.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
}

/// Some issuers write the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

/// RFC 6749 section 5.2, as far as we need it.
#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// The token, and how many seconds it lives.
fn read(status: StatusCode, body: &[u8]) -> Result<(String, i64), TokenError> {
    match status.as_u16() {
        200 => granted(body),
        status @ (400 | 401 | 403) => Err(denied(status, body)),
        status @ (408 | 429 | 500..) => Err(TokenError::Trouble(status)),
        status => Err(TokenError::Endpoint(status)),
    }
}

fn granted(body: &[u8]) -> Result<(String, i64), TokenError> {
    // What serde says may hold a piece of the token.
    let found: Granted = serde_json::from_slice(body)
        .map_err(|_| TokenError::Unusable("it is no JSON object with an access_token and seconds in expires_in"))?;
    if found.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(TokenError::Unusable("its token_type is not bearer"));
    }
    // RFC 6750 section 2.1. Anything else would break the message to the broker.
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if found.access_token.is_empty() || !found.access_token.bytes().all(is_sound) {
        return Err(TokenError::Unusable("its access_token is no bearer token"));
    }
    let life = match found.expires_in {
        None => Some(LIFE_UNSAID_S),
        Some(Seconds::Number(life)) => Some(life),
        Some(Seconds::Text(text)) => text.parse().ok(),
    };
    match life {
        Some(life) if life >= LIFE_MIN_S => Ok((found.access_token, life.min(LIFE_MAX_S))),
        Some(_) => Err(TokenError::Unusable("its token ends at once")),
        None => Err(TokenError::Unusable("its expires_in is no number of seconds")),
    }
}

fn denied(status: u16, body: &[u8]) -> TokenError {
    let code = serde_json::from_slice::<Denied>(body).map(|denied| denied.error).unwrap_or_default();
    match CODES.into_iter().find(|known| *known == code) {
        Some(code @ "invalid_scope") => TokenError::Scope(format!("status {status}, {code}")),
        Some(code) => TokenError::Refused(format!("status {status}, {code}")),
        None => TokenError::Refused(format!("status {status}")),
    }
}

/// As a value of a form, RFC 6749 appendix B.
fn form(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
