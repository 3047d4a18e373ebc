//! The store while it is not there yet: a gateway takes webhooks without it, and only what needs it waits or is refused.

use async_trait::async_trait;
use ingest_gateway::{Bound, SpooledReceipts, TokenKey, TokenStore, TokenStoreError, spool::SpooledReceiptsError};
use schemas::ReceiptId;
use service::Shutdown;
use std::{sync::Arc, time::Duration};
use suppressor::{
    StoreError, lookup,
    store::cql::{ConnectError, CqlConfig, CqlStore, TokenBinding},
};
use tokio::sync::watch;

const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How far connecting got.
#[derive(Debug, Clone)]
enum State {
    Connecting,
    Connected(CqlStore),
    /// For good, or until it is migrated.
    Failed(Arc<ConnectError>),
    /// The process ended first.
    Stopped,
}

/// A store that is being connected to in the background, for as long as it takes.
#[derive(Debug, Clone)]
pub(super) struct LateStore(watch::Receiver<State>);

impl LateStore {
    pub(super) fn connect(config: CqlConfig, shutdown: Shutdown) -> Self {
        let (told, state) = watch::channel(State::Connecting);
        tokio::spawn(async move {
            tokio::select! {
                () = connect(&config, &told) => {}
                () = shutdown.requested() => drop(told.send(State::Stopped)),
            }
        });
        Self(state)
    }

    /// The store, once it is there; none where the process ended before.
    pub(super) async fn wait(&self) -> anyhow::Result<Option<CqlStore>> {
        let mut state = self.0.clone();
        let state = state.wait_for(|state| !matches!(state, State::Connecting)).await?.clone();
        match state {
            State::Connected(store) => Ok(Some(store)),
            State::Failed(error) => Err(error.into()),
            State::Connecting | State::Stopped => Ok(None),
        }
    }

    /// The store, if it is there.
    fn now(&self) -> Result<CqlStore, String> {
        match &*self.0.borrow() {
            State::Connected(store) => Ok(store.clone()),
            State::Failed(error) => Err(error.to_string()),
            State::Connecting | State::Stopped => Err("it did not answer yet".to_owned()),
        }
    }
}

/// Ends once the store is there, or can never be used as it is configured. Tables of another version end a process that
/// needs them; a gateway, which hardly does, goes on, and takes them once they are migrated.
async fn connect(config: &CqlConfig, told: &watch::Sender<State>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        match CqlStore::connect(config).await {
            Ok(store) => return drop(told.send(State::Connected(store))),
            Err(ConnectError::Store(StoreError::Unavailable(error))) => {
                tracing::warn!(error, "waiting for the store");
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be used");
                let is_final = !matches!(error, ConnectError::Schema(_));
                drop(told.send(State::Failed(Arc::new(error))));
                if is_final {
                    return;
                }
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

#[async_trait]
impl TokenStore for LateStore {
    async fn bind(&self, key: TokenKey, body: [u8; 32], _now_ms: i64, ttl_ms: u64) -> Result<Bound, TokenStoreError> {
        let store = self.now().map_err(TokenStoreError)?;
        let bound = store.bind_token(*key.as_bytes(), body, Duration::from_millis(ttl_ms)).await;
        match bound.map_err(|error| TokenStoreError(error.to_string()))? {
            TokenBinding::First => Ok(Bound::First),
            TokenBinding::Same => Ok(Bound::Same),
            TokenBinding::Other => Ok(Bound::Other),
        }
    }
}

#[async_trait]
impl SpooledReceipts for LateStore {
    async fn put(&self, inner: &str, receipt: &str) -> Result<(), SpooledReceiptsError> {
        let store = self.now().map_err(SpooledReceiptsError)?;
        store.put_receipt(inner, receipt).await.map_err(|error| SpooledReceiptsError(error.to_string()))
    }
}

/// Where spooled webhooks went, for lookups.
#[derive(Debug)]
pub(super) struct Receipts(pub(super) CqlStore);

#[async_trait]
impl lookup::SpooledReceipts for Receipts {
    async fn find(&self, inner: &str) -> Result<Option<ReceiptId>, StoreError> {
        let Some(receipt) = self.0.receipt(inner).await? else { return Ok(None) };
        receipt.parse().map(Some).map_err(|_| StoreError::Corrupt("a spooled webhook's receipt".to_owned()))
    }
}
