//! What other builds wrote with: a task of the main runtime asks the registry, for stages on threads and runtimes of their
//! own.

use super::{cache::Cache, client::Client};
use schemas::{
    Ids,
    ids::{Away, Resolved, Resolver, Resolving},
    registry::RegistryError,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;

/// Questions that wait; who comes later waits outside.
const WAITING_MAX: usize = 64;
/// An id that the registry does not have is asked for so many times: a follower may be behind its leader.
const MISSING_TRIES: u32 = 4;
const MISSING_WAIT: Duration = Duration::from_millis(300);
/// For so long after a failure the registry is left alone, so that a queue of questions does not wait for each in turn.
const REST: Duration = Duration::from_secs(1);
/// How often what the registry refused may be asked again.
const FORGET: Duration = Duration::from_secs(60);

type Question = (u32, oneshot::Sender<Result<Resolved, Away>>);

#[derive(Debug)]
struct Asking {
    questions: mpsc::Sender<Question>,
}

impl Resolver for Asking {
    fn resolve(&self, id: u32) -> Resolving {
        let questions = self.questions.clone();
        Box::pin(async move {
            let stopped = || Away("this instance is stopping".to_owned());
            let (answer, answered) = oneshot::channel();
            questions.send((id, answer)).await.map_err(|_| stopped())?;
            answered.await.unwrap_or_else(|_| Err(stopped()))
        })
    }
}

/// Answers the questions of `ids` until `stop`.
pub(super) fn start(ids: &'static Ids, client: Client, cache: Cache, stop: CancellationToken) {
    let (questions, asked) = mpsc::channel(WAITING_MAX);
    ids.install(Arc::new(Asking { questions }));
    let asker = Asker { client, cache, rests_until: None };
    drop(tokio::spawn(run(ids, asker, asked, stop)));
}

async fn run(ids: &'static Ids, mut asker: Asker, mut asked: mpsc::Receiver<Question>, stop: CancellationToken) {
    let mut forget = interval_at(Instant::now() + FORGET, FORGET);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = forget.tick() => ids.forget_refused(),
            question = asked.recv() => {
                let Some((id, answer)) = question else { return };
                let resolved = asker.resolve(id).await;
                // Who asked may have gone.
                drop(answer.send(resolved));
            }
        }
    }
}

struct Asker {
    client: Client,
    cache: Cache,
    rests_until: Option<Instant>,
}

impl Asker {
    async fn resolve(&mut self, id: u32) -> Result<Resolved, Away> {
        if let Some(text) = self.cache.schema(id) {
            return Ok(Resolved::Schema(text.to_owned()));
        }
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Err(Away("the registry did not answer a moment ago".to_owned()));
        }
        match self.ask(id).await {
            Ok(Ok(text)) => {
                tracing::info!(id, "learnt another build's schema");
                self.cache.set_schema(id, &text);
                if let Err(error) = self.cache.write() {
                    tracing::warn!(%error, "a learnt schema is not kept");
                }
                Ok(Resolved::Schema(text))
            }
            Ok(Err(why)) => {
                tracing::warn!(id, why, "a record's schema id stands for nothing that can be read");
                Ok(Resolved::Refused(why))
            }
            // Credentials or a URL that is wrong say nothing about the record either.
            Err(error) => {
                tracing::warn!(id, %error, "the registry cannot be asked for a schema");
                self.rests_until = Instant::now().checked_add(REST);
                Err(Away(error.to_string()))
            }
        }
    }

    /// The inner error is final for now: the record's fault.
    async fn ask(&self, id: u32) -> Result<Result<String, String>, RegistryError> {
        for _ in 1..MISSING_TRIES {
            match self.client.schema(id).await {
                Err(RegistryError::Missing { .. }) => sleep(MISSING_WAIT).await,
                answer => return answer,
            }
        }
        match self.client.schema(id).await {
            Err(error @ RegistryError::Missing { .. }) => Ok(Err(error.to_string())),
            answer => answer,
        }
    }
}
