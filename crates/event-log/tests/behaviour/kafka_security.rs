//! TLS and SASL against a real broker.

use crate::{harness::*, kafka_bed::config};
use event_log::{
    Append, AppendError, Browse, Limits, Polled, Session,
    kafka::{
        Admin, KafkaConfig, KafkaLog, Mechanism, Member, Oauth, Protocol, Redacted, Security, Token, Tokens,
        TopicWanted,
    },
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use testkit::servers::{JvmKafka, KafkaOptions, KafkaSecurity};

static KAFKA: OnceLock<JvmKafka> = OnceLock::new();

fn secure() -> KafkaSecurity {
    let options = KafkaOptions { secure: true, ..KafkaOptions::default() };
    KAFKA.get_or_init(|| JvmKafka::start(&options).unwrap()).security().unwrap().clone()
}

fn sasl(secure: &KafkaSecurity, mechanism: Mechanism) -> KafkaConfig {
    KafkaConfig {
        security: Security {
            protocol: Protocol::SaslTls,
            ca: Some(secure.ca_pem_path.clone()),
            mechanism: Some(mechanism),
            user: Some(secure.user.clone()),
            password: Some(Redacted::new(secure.password.clone())),
            ..Security::default()
        },
        ..config(&secure.bootstrap_sasl)
    }
}

/// Makes a topic, appends, reads and takes part in a group: every kind of client there is.
async fn check(config: KafkaConfig, tokens: Option<Arc<dyn Tokens>>) {
    let topic = crate::kafka_bed::prefix() + "secure";
    // The client that looks after topics takes no tokens.
    let admin = match Admin::connect(&config, tokens.clone()) {
        Ok(admin) => admin,
        Err(_) => Admin::connect(&sasl(&secure(), Mechanism::Plain), None).unwrap(),
    };
    let wanted = TopicWanted {
        name: topic.clone(),
        partitions: 1,
        replication: None,
        configs: std::collections::BTreeMap::new(),
    };
    admin.create(&[wanted]).await.unwrap();
    let log = KafkaLog::connect_with(config, tokens).unwrap();
    log.append(&topic, None, record("k", "v")).await.unwrap();
    assert_eq!(log.read(&topic, 0, 0, 1).await.unwrap().len(), 1);
    let member = Member { instance: "only".to_owned(), worker: 0 };
    let mut session = log.session(&topic, &topic, &member).unwrap();
    let deadline = Instant::now() + crate::kafka_bed::PATIENCE;
    let batch = loop {
        assert!(Instant::now() < deadline);
        let limits = Limits { wait: Duration::from_millis(50), ..LIMITS };
        if let Polled::Batch(batch) = session.poll(&limits).unwrap() {
            break batch;
        }
    };
    session.commit(&batch, &nothing_for(&batch)).unwrap();
    assert_eq!(log.committed(&topic, &topic, 0).await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_alone() {
    let secure = secure();
    let security = Security { protocol: Protocol::Tls, ca: Some(secure.ca_pem_path.clone()), ..Security::default() };
    check(KafkaConfig { security, ..config(&secure.bootstrap_tls) }, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_and_plain_over_tls() {
    let secure = secure();
    check(sasl(&secure, Mechanism::ScramSha512), None).await;
    check(sasl(&secure, Mechanism::Plain), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_over_tls() {
    /// As Kafka's own handler for development takes them: an unsecured JWS, RFC 7515 appendix A.5.
    #[derive(Debug)]
    struct Unsecured;
    impl Tokens for Unsecured {
        fn token(&self) -> Result<Token, String> {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let header = base64_url(br#"{"alg":"none"}"#);
            let claims = format!(r#"{{"sub":"quell","iat":{now},"exp":{}}}"#, now + 600);
            let token = format!("{header}.{}.", base64_url(claims.as_bytes()));
            let ends_ms = i64::try_from((now + 600) * 1_000).unwrap();
            Ok(Token { token, principal: "quell".to_owned(), ends_ms })
        }
    }
    let secure = secure();
    let mut config = sasl(&secure, Mechanism::Oauthbearer);
    (config.security.user, config.security.password) = (None, None);
    config.security.oauth = Some(Oauth {
        token_endpoint: "https://issuer.invalid/token".to_owned(),
        client_id: "quell".to_owned(),
        client_secret: Redacted::new("secret"),
        scope: None,
    });
    assert!(KafkaLog::connect(config.clone()).is_err(), "somebody has to fetch them");
    check(config, Some(Arc::new(Unsecured))).await;
}

/// RFC 4648 section 5, without padding.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * n)) as usize & 63]));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_gets_nowhere() {
    let secure = secure();
    let refused = |config: KafkaConfig| async move {
        let log = KafkaLog::connect(KafkaConfig { request_timeout_ms: 1_500, ..config }).unwrap();
        let result = log.append("t", None, record("k", "v")).await;
        let Err(AppendError::Unavailable(why)) = result else { panic!("{result:?}") };
        assert!(!why.contains("word-") && !why.contains("guessed"), "{why}");
    };
    let mut wrong = sasl(&secure, Mechanism::ScramSha512);
    wrong.security.password = Some(Redacted::new("guessed"));
    assert!(!format!("{wrong:?}").contains("guessed"));
    refused(wrong).await;
    // A certificate that nobody vouches for.
    let security = Security { protocol: Protocol::Tls, ..Security::default() };
    refused(KafkaConfig { security, ..config(&secure.bootstrap_tls) }).await;
    // A file that is not there is told at once.
    let mut missing = sasl(&secure, Mechanism::ScramSha512);
    missing.security.ca = Some("/nowhere/ca.pem".into());
    assert!(KafkaLog::connect(missing).is_err());
}
