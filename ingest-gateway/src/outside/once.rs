//! Answers by key, each asked for once at a time: who comes while it is asked for waits for the same answer. Answers are
//! kept for as long as they say, failures for a few seconds, and no more of both than a bound.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OnceCell, Semaphore};

/// How long a failure is not tried again. Less than the shortest interval of retries, which is Amazon SNS's 20 seconds.
const FAILED_FOR_MS: i64 = 10_000;

/// Why there is no answer. None of it is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unhad {
    /// It was asked for and did not come, now or a moment ago.
    Failed,
    /// Too much else is asked for, or failed a moment ago.
    Busy,
}

/// The answers.
#[derive(Debug)]
pub(crate) struct Once<T> {
    slots: Mutex<HashMap<String, Arc<Slot<T>>>>,
    slots_max: usize,
    calls: Semaphore,
}

type Slot<T> = OnceCell<Answer<T>>;

#[derive(Debug)]
struct Answer<T> {
    /// None where it failed.
    value: Option<T>,
    until_ms: i64,
}

impl<T: Clone> Once<T> {
    /// So many answers, so many calls at a time.
    pub(crate) fn new(slots_max: usize, calls_max: usize) -> Self {
        Self { slots: Mutex::default(), slots_max, calls: Semaphore::new(calls_max) }
    }

    /// The answer to a key: kept, waited for, or asked for by `ask`, which gives it and until when it holds.
    pub(crate) async fn get<F>(&self, key: &str, now_ms: impl Fn() -> i64, ask: impl FnOnce() -> F) -> Result<T, Unhad>
    where
        F: Future<Output = Result<(T, i64), String>>,
    {
        let slot = self.slot(key, now_ms())?;
        // A caller that goes away while it asks leaves the asking to the next who waits.
        let answer = slot.get_or_try_init(|| async {
            let _permit = self.calls.try_acquire().map_err(|_| Unhad::Busy)?;
            Ok(match ask().await {
                Ok((value, until_ms)) => Answer { value: Some(value), until_ms },
                Err(_) => Answer { value: None, until_ms: now_ms() + FAILED_FOR_MS },
            })
        });
        answer.await?.value.clone().ok_or(Unhad::Failed)
    }

    /// The place of a key: a new one where there is none, or where its answer holds no longer.
    fn slot(&self, key: &str, now_ms: i64) -> Result<Arc<Slot<T>>, Unhad> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |slot: &Arc<Slot<T>>| match slot.get() {
            Some(answer) => answer.until_ms <= now_ms,
            // Nobody asks any more.
            None => Arc::strong_count(slot) == 1,
        };
        if let Some(slot) = slots.get(key).filter(|slot| !is_over(slot)) {
            return Ok(slot.clone());
        }
        if slots.len() >= self.slots_max {
            slots.retain(|_, slot| !is_over(slot));
        }
        if slots.len() >= self.slots_max && !slots.contains_key(key) {
            // Answers give way to what is asked for; failures do not, or a flood of them would call without end.
            let had = |slot: &Slot<T>| slot.get().filter(|answer| answer.value.is_some()).map(|answer| answer.until_ms);
            if slots.values().any(|slot| had(slot).is_none()) {
                return Err(Unhad::Busy);
            }
            let first = slots.iter().min_by_key(|(_, slot)| had(slot)).map(|(key, _)| key.clone());
            first.and_then(|key| slots.remove(&key));
        }
        let slot = Arc::new(Slot::new());
        slots.insert(key.to_owned(), slot.clone());
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    fn ok(value: u32, until_ms: i64) -> Result<(u32, i64), String> {
        Ok((value, until_ms))
    }

    fn failed() -> Result<(u32, i64), String> {
        Err("away".to_owned())
    }

    #[tokio::test]
    async fn keeps_answers_for_as_long_as_they_hold_and_failures_for_a_moment() {
        let once = Once::new(4, 4);
        let asked = AtomicUsize::new(0);
        let get = |key: &'static str, now_ms: i64, answer: Result<(u32, i64), String>| {
            let (once, asked) = (&once, &asked);
            async move {
                let ask = || async {
                    asked.fetch_add(1, Ordering::Relaxed);
                    answer
                };
                (once.get(key, || now_ms, ask).await, asked.load(Ordering::Relaxed))
            }
        };
        assert_eq!(get("a", 0, ok(1, 100)).await, (Ok(1), 1));
        assert_eq!(get("a", 99, ok(2, 100)).await, (Ok(1), 1));
        assert_eq!(get("a", 100, ok(3, 200)).await, (Ok(3), 2));
        assert_eq!(get("b", 0, failed()).await, (Err(Unhad::Failed), 3));
        assert_eq!(get("b", FAILED_FOR_MS - 1, ok(4, 99_999)).await, (Err(Unhad::Failed), 3));
        assert_eq!(get("b", FAILED_FOR_MS, ok(4, 99_999)).await, (Ok(4), 4));
    }

    #[tokio::test]
    async fn asks_once_for_all_who_wait_and_only_so_much_at_a_time() {
        let once = Once::new(4, 1);
        let (asked, gate) = (AtomicUsize::new(0), Notify::new());
        let get = |key: &'static str| {
            let ask = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                gate.notified().await;
                ok(7, 100)
            };
            once.get(key, || 0, ask)
        };
        let other = async {
            let busy = get("b").await;
            gate.notify_one();
            busy
        };
        let (a, b, c, busy) = tokio::join!(get("a"), get("a"), get("a"), other);
        assert_eq!((a, b, c, busy), (Ok(7), Ok(7), Ok(7), Err(Unhad::Busy)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_asking_to_the_next() {
        let once = Once::new(4, 4);
        let never = once.get("a", || 0, std::future::pending::<Result<(u32, i64), String>>);
        let next = once.get("a", || 0, || async { ok(1, 100) });
        tokio::select! {
            biased;
            _ = never => panic!("it never answers"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(next.await, Ok(1));
    }

    #[tokio::test]
    async fn holds_only_so_much() {
        let once = Once::new(2, 4);
        let had = |key: &'static str, until_ms: i64, now_ms: i64| {
            once.get(key, move || now_ms, move || async move { ok(1, until_ms) })
        };
        let fails = |key: &'static str, now_ms: i64| once.get(key, move || now_ms, || async { failed() });
        assert_eq!(had("a", 300, 0).await, Ok(1));
        assert_eq!(had("b", 200, 0).await, Ok(1));
        // The one that ends first gives way.
        assert_eq!(had("c", 400, 0).await, Ok(1));
        assert!(once.slots.lock().unwrap().contains_key("a"));
        assert_eq!(once.slots.lock().unwrap().len(), 2);
        // What is over goes first; failures hold their places until they are over.
        assert_eq!(fails("d", 300).await, Err(Unhad::Failed));
        assert_eq!(had("e", 1, 300).await, Err(Unhad::Busy));
        assert_eq!(had("c", 1, 300).await, Ok(1), "what is kept is still given");
        assert_eq!(had("e", 99_999, 300 + FAILED_FOR_MS).await, Ok(1));
    }
}
