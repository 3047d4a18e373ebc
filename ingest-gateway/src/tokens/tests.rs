use super::*;
use std::sync::Arc;

/// What every store must do.
async fn check(store: Arc<dyn TokenStore>) {
    let (a, b) = (TokenKey::of("mailgun", "a"), TokenKey::of("mailgun", "b"));
    let bind = async |key, body: u8, now_ms| store.bind(key, [body; 32], now_ms, 1_000).await.unwrap();
    assert_eq!(bind(a, 1, 0).await, Bound::First);
    assert_eq!(bind(a, 1, 1).await, Bound::Same);
    assert_eq!(bind(a, 2, 2).await, Bound::Other);
    assert_eq!(bind(a, 1, 999).await, Bound::Same);
    assert_eq!(bind(b, 2, 2).await, Bound::First);
    // It ended: what comes now is first again.
    assert_eq!(bind(a, 2, 1_000).await, Bound::First);
    assert_eq!(bind(a, 1, 1_001).await, Bound::Other);

    // Of many at once with bodies of their own exactly one is first.
    let key = TokenKey::of("mailgun", "race");
    let tasks: Vec<_> = (0..32u8)
        .map(|body| {
            let store = store.clone();
            tokio::spawn(async move { store.bind(key, [body; 32], 0, 1_000).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for task in tasks {
        match task.await.unwrap() {
            Bound::First => first += 1,
            bound => assert_eq!(bound, Bound::Other),
        }
    }
    assert_eq!(first, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_memory() {
    check(Arc::new(MemoryTokens::new(100))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_a_keyspace() {
    let folder = tempfile::tempdir().unwrap();
    let database = event_log::embedded::open_database(folder.path(), 1 << 20).unwrap();
    let log = event_log::embedded::EmbeddedLog::open(database, &[], Default::default()).unwrap();
    check(Arc::new(EmbeddedTokens::open(&log).unwrap())).await;
}

#[tokio::test]
async fn a_full_memory_forgets_what_ended_and_else_says_so() {
    let store = MemoryTokens::new(2);
    let bind = async |token: &str, now_ms| store.bind(TokenKey::of("mailgun", token), [0; 32], now_ms, 100).await;
    assert_eq!(bind("a", 0).await, Ok(Bound::First));
    assert_eq!(bind("b", 50).await, Ok(Bound::First));
    assert!(bind("c", 60).await.is_err());
    assert_eq!(bind("c", 100).await, Ok(Bound::First));
    assert_eq!(bind("b", 101).await, Ok(Bound::Same));
}

#[test]
fn providers_do_not_share_tokens() {
    assert_ne!(TokenKey::of("mailgun", "a"), TokenKey::of("mailguna", ""));
    assert_ne!(TokenKey::of("mailgun", "a"), TokenKey::of("other", "a"));
}
