//! A cluster that is reached with tokens: `oauthbearer`, from an issuer in this process.

use crate::bed::{Bed, TOKEN, ended};
use axum::{Json, Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;

/// Gives tokens to who knows [`TOKEN`]; ends when dropped.
struct Issuer {
    endpoint: String,
    n_given: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Issuer {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        listener.set_nonblocking(true).expect("it can be");
        let endpoint = format!("http://{}/token", listener.local_addr().expect("it is bound"));
        let n_given = Arc::new(AtomicUsize::new(0));
        let router = Router::new().route("/token", post(give)).with_state(n_given.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        });
        Self { endpoint, n_given, _runtime: runtime }
    }
}

/// An unsecured JWS (RFC 7515 appendix A.5), as Kafka's own handler for development takes them.
async fn give(State(n_given): State<Arc<AtomicUsize>>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let expected = format!("Basic {}", STANDARD.encode(format!("quell:{TOKEN}")));
    if headers.get("authorization").is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" })));
    }
    n_given.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({ "sub": "quell", "iat": now, "exp": now + 600 }).to_string();
    let token = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims));
    (StatusCode::OK, Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 })))
}

#[test]
fn a_cluster_is_reached_with_tokens() {
    let issuer = Issuer::start();
    let mut bed = Bed::start_secure();
    bed.set_up();
    let secure = bed.kafka.security().expect("it is secure");
    bed.reached = format!(
        "brokers = \"{}\"\n[kafka.security]\nprotocol = \"sasl_tls\"\nmechanism = \"oauthbearer\"\nca = \"{}\"\n\
         [kafka.security.oauth]\ntoken_endpoint = \"{}\"\nclient_id = \"quell\"\nclient_secret = \"env:BED_TOKEN\"\n",
        secure.bootstrap_sasl,
        secure.ca_pem_path.display(),
        issuer.endpoint
    );

    let refused = bed.run(&["topics", "check"]).with(2).err;
    assert!(refused.contains("over oauthbearer") && refused.contains("another mechanism"), "{refused}");

    let wrong = ended(bed.command(&["doctor"]).env("BED_TOKEN", "guessed-word")).with(1);
    assert!(wrong.out.contains("(status 401, invalid_client): look at client_id and client_secret"), "{wrong:?}");
    assert!(!wrong.out.contains("guessed-word") && !wrong.err.contains("guessed-word"), "{wrong:?}");
    assert_eq!(issuer.n_given.load(Ordering::Relaxed), 0);

    let sound = bed.run(&["doctor"]).out;
    assert!(sound.contains("the issuer gives tokens") && sound.contains(" answers"), "{sound}");
    assert_eq!(issuer.n_given.load(Ordering::Relaxed), 1);

    // Every kind of client: producers, members of groups, readers.
    let mut all = bed.serve("all", "gateway,normalizer,suppressor,lookup");
    all.wait_ready();
    let receipt = all.drip_bounce("jane@example.com", "2026-01-20T10:00:00Z");
    all.until(1, &["check", "jane@example.com"]);
    all.until(0, &["receipt", &receipt]);
    assert_eq!(all.terminate(), Some(0), "{}", all.log());
    assert_eq!(issuer.n_given.load(Ordering::Relaxed), 2, "one token serves a process");
    assert!(!all.log().contains(TOKEN), "{}", all.log());
}
