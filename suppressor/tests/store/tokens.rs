//! Tokens over CQL: one conditional insert, so that of many instances one is first.

use crate::bed::cql_store;
use std::time::{Duration, Instant};
use suppressor::store::cql::TokenBinding;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_first() {
    let (store, _) = cql_store().await;
    let binds: Vec<_> = (0..50_u8)
        .map(|body| {
            let store = store.clone();
            tokio::spawn(async move { store.bind_token([7; 32], [body; 32], DAY).await.unwrap() })
        })
        .collect();
    let mut first = None;
    for (body, bind) in (0..50_u8).zip(binds) {
        match bind.await.unwrap() {
            TokenBinding::First => assert_eq!(first.replace(body), None, "two were first"),
            bound => assert_eq!(bound, TokenBinding::Other),
        }
    }
    let first = first.unwrap();
    assert_eq!(store.bind_token([7; 32], [first; 32], DAY).await.unwrap(), TokenBinding::Same);
    assert_eq!(store.bind_token([7; 32], [first + 1; 32], DAY).await.unwrap(), TokenBinding::Other);
    assert_eq!(store.bind_token([8; 32], [first; 32], DAY).await.unwrap(), TokenBinding::First);
}

#[tokio::test]
async fn a_binding_ends() {
    let (store, _) = cql_store().await;
    let bind = async |body: u8| store.bind_token([1; 32], [body; 32], Duration::from_secs(4)).await.unwrap();
    assert_eq!(bind(1).await, TokenBinding::First);
    let end = Instant::now() + Duration::from_secs(30);
    while bind(2).await != TokenBinding::First {
        assert!(Instant::now() < end, "it never ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bind(2).await, TokenBinding::Same);
}
