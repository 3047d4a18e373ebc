//! Against an issuer in this process that answers by script.

use super::*;
use axum::{Router, extract::State, routing::post};
use event_log::kafka::{Protocol, Redacted, Security};
use service::clock::ManualClock;
use std::{net::SocketAddr, sync::Mutex};
use tokio::net::TcpListener;

const SECRET: &str = "s3cret: 100% ~ü";

/// Answers in turn, the last one again and again; what was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<Vec<(u16, String)>>,
    asked: Mutex<Vec<(HeaderMap, String)>>,
}

impl Script {
    fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn then(&self, status: u16, body: &str) {
        *self.answers.lock().unwrap() = vec![(status, body.to_owned())];
    }
}

async fn answer_next(State(script): State<Arc<Script>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    script.asked.lock().unwrap().push((headers, body));
    let mut answers = script.answers.lock().unwrap();
    let (status, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    (StatusCode::from_u16(status).unwrap(), body)
}

fn granting(token: &str, seconds: i64) -> (u16, String) {
    let answer = serde_json::json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds });
    (200, answer.to_string())
}

async fn serve(answers: Vec<(u16, String)>) -> (SocketAddr, Arc<Script>) {
    let script = Arc::new(Script { answers: Mutex::new(answers), ..Script::default() });
    let router = Router::new().route("/token", post(answer_next)).with_state(script.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, script)
}

fn oauth(endpoint: &str) -> Oauth {
    Oauth {
        token_endpoint: endpoint.to_owned(),
        client_id: "quell:1".to_owned(),
        client_secret: Redacted::new(SECRET),
        scope: Some("kafka write".to_owned()),
    }
}

fn at(address: SocketAddr) -> Oauth {
    oauth(&format!("http://{address}/token"))
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at_micros(1_000_000_000))
}

#[tokio::test]
async fn asks_as_rfc_6749_says() {
    let (address, script) = serve(vec![granting("abc.DEF-_~+/==", 3_600)]).await;
    let token = Issuer::new(&at(address), clock()).unwrap().token().await.unwrap();
    assert_eq!((token.token.as_str(), token.principal.as_str()), ("abc.DEF-_~+/==", "quell:1"));
    assert_eq!(token.ends_ms, 1_000_000 + 3_600_000);
    let asked = script.asked.lock().unwrap();
    let (headers, body) = &asked[0];
    assert_eq!(body, "grant_type=client_credentials&scope=kafka+write");
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
    let basic = headers[header::AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(basic).unwrap(), b"quell%3A1:s3cret%3A+100%25+%7E%C3%BC");
}

#[tokio::test]
async fn no_scope_is_asked_for_where_none_is_given() {
    let (address, script) = serve(vec![granting("t", 3_600)]).await;
    Issuer::new(&Oauth { scope: None, ..at(address) }, clock()).unwrap().token().await.unwrap();
    assert_eq!(script.asked.lock().unwrap()[0].1, "grant_type=client_credentials");
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_before_its_end() {
    let (address, script) = serve(vec![granting("one", 100), granting("two", 100)]).await;
    let clock = clock();
    let mut issuer = Issuer::new(&at(address), clock.clone()).unwrap();
    for (advance_s, expected, n_asked) in [(0, "one", 1), (0, "one", 1), (74, "one", 1), (1, "two", 2), (74, "two", 2)]
    {
        clock.advance_micros(advance_s * 1_000_000);
        assert_eq!(issuer.token().await.unwrap().token, expected);
        assert_eq!(script.n_asked(), n_asked);
    }
    // Set back to before the token came: its age is not known.
    clock.set_micros(0);
    issuer.token().await.unwrap();
    assert_eq!(script.n_asked(), 3);
}

#[tokio::test]
async fn what_is_kept_outlasts_an_issuer_that_is_away() {
    let (address, script) = serve(vec![granting("one", 100)]).await;
    let clock = clock();
    let mut issuer = Issuer::new(&at(address), clock.clone()).unwrap();
    issuer.token().await.unwrap();
    script.then(503, "");
    clock.advance_micros(80 * 1_000_000);
    for _ in 0..3 {
        assert_eq!(issuer.token().await.unwrap().token, "one");
    }
    assert_eq!(script.n_asked(), 2, "it is left alone for a moment");
    clock.advance_micros(15 * 1_000_000);
    assert_eq!(issuer.token().await.unwrap().token, "one");
    clock.advance_micros(1_000_000);
    assert_eq!(issuer.token().await.unwrap_err(), TokenError::Trouble(503), "too close to its end");
    let n_asked = script.n_asked();
    let (status, body) = granting("two", 100);
    script.then(status, &body);
    assert!(issuer.token().await.is_err());
    assert_eq!(script.n_asked(), n_asked);
    clock.advance_micros(REST_MS * 1_000);
    assert_eq!(issuer.token().await.unwrap().token, "two");
}

#[tokio::test]
async fn errors_say_what_to_do_and_repeat_nothing() {
    let (address, script) = serve(vec![(200, String::new())]).await;
    let check = async |status: u16, body: &str, expected: &str| {
        script.then(status, body);
        let error = Issuer::new(&at(address), clock()).unwrap().token().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{status} {body}: {text}");
        assert!(!text.contains("leaked") && !text.contains("s3cret"), "{text}");
    };
    check(401, r#"{"error":"invalid_client"}"#, "(status 401, invalid_client): look at client_id and client_secret")
        .await;
    check(401, "leaked", "(status 401): look at client_id").await;
    check(400, r#"{"error":"leaked"}"#, "(status 400): look at client_id").await;
    check(400, r#"{"error":"unauthorized_client"}"#, "client credentials grant").await;
    check(400, r#"{"error":"invalid_scope","error_description":"leaked"}"#, "mend kafka.security.oauth.scope").await;
    check(302, "", "status 302: it must be the address of the token endpoint itself").await;
    check(404, "leaked", "token_endpoint answers with status 404").await;
    check(429, "", "status 429").await;
    check(503, "leaked", "trouble of its own (status 503)").await;
    check(200, "<html>leaked</html>", "no JSON object").await;
    check(200, r#"{"expires_in":3600}"#, "no JSON object").await;
    check(200, r#"{"access_token":"leaked","expires_in":[1]}"#, "no JSON object").await;
    check(200, r#"{"access_token":"leaked","expires_in":"soon"}"#, "no number of seconds").await;
    check(200, r#"{"access_token":"leaked","expires_in":0}"#, "ends at once").await;
    check(200, r#"{"access_token":"leaked","expires_in":-9223372036854775808}"#, "ends at once").await;
    check(200, r#"{"access_token":"leaked","token_type":"mac"}"#, "token_type is not bearer").await;
    check(200, r#"{"access_token":"leaked\u0001auth=x"}"#, "no bearer token").await;
    check(200, r#"{"access_token":""}"#, "no bearer token").await;
    check(200, &"leaked".repeat(20_000), "larger than any token").await;
}

#[test]
fn lives_are_bounded() {
    let life = |body: &str| read(StatusCode::OK, body.as_bytes()).unwrap().1;
    assert_eq!(life(r#"{"access_token":"t"}"#), LIFE_UNSAID_S);
    assert_eq!(life(r#"{"access_token":"t","token_type":"bearer","expires_in":"3599"}"#), 3_599);
    assert_eq!(life(r#"{"access_token":"t","expires_in":9223372036854775807,"more":{}}"#), LIFE_MAX_S);
}

#[tokio::test]
async fn an_absent_issuer_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Issuer::new(&at(address), clock()).unwrap().token().await.unwrap_err();
    assert!(matches!(error, TokenError::Away(HttpError::Connect(_))), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("look whether it runs, and at kafka.security.oauth.token_endpoint"), "{text}");
}

/// librdkafka's threads ask at once, and the thread of the runtime waits like them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn threads_share_one_token() {
    let (address, script) = serve(vec![granting("one", 100)]).await;
    let source = Arc::new(start(&at(address), Arc::new(SystemClock)).unwrap());
    let threads = [(); 20].map(|()| {
        let source = source.clone();
        std::thread::spawn(move || source.token().map(|token| token.token))
    });
    assert_eq!(source.token().unwrap().token, "one");
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Ok("one".to_owned()));
    }
    assert_eq!(script.n_asked(), 1);
    assert!(!format!("{source:?}").contains("s3cret"));
}

/// An issuer that takes the connection and says nothing.
#[test]
fn who_waits_is_answered_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = start(&at(listener.local_addr().unwrap()), Arc::new(SystemClock)).unwrap();
    let began = std::time::Instant::now();
    let error = source.token().unwrap_err();
    assert!(error.contains("no answer in time"), "{error}");
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

#[test]
fn a_source_is_there_where_tokens_are_asked_for() {
    let security = |mechanism, endpoint: &str| Security {
        protocol: Protocol::SaslTls,
        mechanism: Some(mechanism),
        oauth: Some(oauth(endpoint)),
        ..Security::default()
    };
    let config = |mechanism, endpoint: &str| KafkaConfig {
        brokers: "127.0.0.1:1".to_owned(),
        security: security(mechanism, endpoint),
        ..KafkaConfig::default()
    };
    assert!(of(&KafkaConfig::default()).unwrap().is_none());
    assert!(of(&config(Mechanism::ScramSha256, "https://id.example.com/token")).unwrap().is_none());
    let sound = config(Mechanism::Oauthbearer, "https://id.example.com/token");
    assert!(of(&sound).unwrap().is_some());
    assert_eq!(admin(&sound).unwrap_err().to_string(), NO_ADMIN);
    for wrong in ["", "id.example.com", "ftp://id.example.com/", "https://a:s3cret@id.example.com/", "https://", "a b"]
    {
        let error = of(&config(Mechanism::Oauthbearer, wrong)).unwrap_err().to_string();
        assert!(error.contains("give it as https://host/path") && !error.contains("s3cret"), "{wrong}: {error}");
    }
    let mut empty = sound;
    empty.security.oauth = Some(Oauth { client_secret: Redacted::new(""), ..oauth("https://id.example.com/token") });
    assert!(of(&empty).unwrap_err().to_string().contains("must not be empty"));
}
