//! Makes one account's calls: one after the other, paced, repeated while there is hope, halved where a batch fails whole.
//!
//! An unclear answer (no answer in time, a 5xx) to an addition is simply followed by the same call: the entry is there or
//! is made. A removal is read back first, because the recipient may have opted out at the provider in between, and a
//! second removal would undo that.

use crate::{
    Account, ApiError, Metrics, ProviderApi,
    calls::LaneCalls,
    pace::Pace,
    status::{Halt, LaneStatus},
};
use domain::{EventId, Timestamp};
use providers::suppression_api::{Action, Answered, ApiAnswer, ApiRequest, Edit, ItemResult, budget};
use service::Clock;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Calls for one batch before the lane stands back and lets the runner wait.
const ATTEMPTS_MAX: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// A longer wait, asked for by the provider or set by the rate limit, is not sat out within a batch.
const HELD_MAX: Duration = Duration::from_secs(30);
/// Calls that one edit may take where each tells what the next one has to be.
const STEPS_MAX: u32 = 64;
/// A removal of more addresses is repeated unread: reading so many back would cost more than it saves.
const READ_BACK_MAX: usize = 50;
/// Added to every wait that the provider asks for: its clock and ours differ a little, and it counts in whole seconds.
const CLOCK_MARGIN: Duration = Duration::from_millis(250);
const BLOCKED_FIRST: Duration = Duration::from_secs(60);
const BLOCKED_MAX: Duration = Duration::from_secs(15 * 60);

/// One address of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Index of the target.
    pub(crate) target: usize,
    /// The delta behind it.
    pub(crate) delta_id: EventId,
    /// The address.
    pub(crate) address: &'a str,
}

/// What a call came to, once it was worth no more repeating.
enum Ended {
    Items(Vec<ItemResult>),
    Split,
}

/// Makes an account's calls.
#[derive(Debug)]
pub(crate) struct Caller {
    account: Arc<Account>,
    api: Arc<dyn ProviderApi>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    status: LaneStatus,
    pace: Pace,
    /// The last batch ended without an answer: the next call is a probe, tried once.
    is_down: bool,
    blocked: Option<Blocked>,
    /// The traces that its calls belong to.
    pub(crate) calls: LaneCalls,
}

#[derive(Debug)]
struct Blocked {
    until: Instant,
    wait: Duration,
    detail: String,
}

impl Caller {
    pub(crate) fn new(
        account: Arc<Account>,
        api: Arc<dyn ProviderApi>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        status: LaneStatus,
    ) -> Self {
        let pace = Pace::new(account.spacing, |action| account.rate(action));
        metrics.blocked.with_label_values(&[account.name.as_str()]).set(0);
        let calls = LaneCalls::none(&account);
        Self { account, api, clock, metrics, status, pace, is_down: false, blocked: None, calls }
    }

    /// Makes an edit for the items of one call, and tells `sink` of each as soon as it is settled, with the calls it took.
    pub(crate) async fn settle<'a>(
        &mut self,
        edit: &Edit,
        items: &[Item<'a>],
        sink: &mut (dyn FnMut(&Item<'a>, ItemResult, u32) + Send),
    ) -> Result<(), Halt> {
        // Halving n items takes at most 2n - 1 calls.
        let mut parts: Vec<(Vec<Item<'a>>, u32)> = vec![(items.to_vec(), 0)];
        while let Some((mut part, spent)) = parts.pop() {
            let mut attempts = spent;
            match self.call(edit, &mut part, &mut attempts, sink).await? {
                Ended::Items(results) => {
                    for (item, result) in part.iter().zip(results) {
                        sink(item, result, attempts);
                    }
                }
                Ended::Split => {
                    self.count_retry("split");
                    let second = part.split_off(part.len() / 2);
                    parts.push((second, attempts));
                    parts.push((part, attempts));
                }
            }
        }
        Ok(())
    }

    /// Repeats one call while there is hope. Items found settled on the way leave `items`.
    async fn call<'a>(
        &mut self,
        edit: &Edit,
        items: &mut Vec<Item<'a>>,
        attempts: &mut u32,
        sink: &mut (dyn FnMut(&Item<'a>, ItemResult, u32) + Send),
    ) -> Result<Ended, Halt> {
        let lists = self.account.lists;
        let probing = self.is_down || self.blocked.is_some();
        let attempts_max = if probing { 1 } else { ATTEMPTS_MAX };
        let mut said = String::new();
        for attempt in 1..=attempts_max {
            if items.is_empty() {
                return Ok(Ended::Items(Vec::new()));
            }
            let addresses: Vec<&str> = items.iter().map(|item| item.address).collect();
            self.calls.are_for(items);
            let sent = self.chain(edit, &addresses, attempts).await?;
            let answered = match &sent {
                Ok(answer) => lists.interpret(edit, &addresses, answer, self.now()),
                Err(ApiError::Unusable(detail)) => Answered::Blocked(detail.clone()),
                Err(error) => Answered::Retry {
                    after: None,
                    unclear: matches!(error, ApiError::Unclear(_)),
                    detail: error.to_string(),
                },
            };
            let (after, unclear, detail) = match answered {
                Answered::Items(results) => {
                    self.works();
                    return Ok(Ended::Items(results));
                }
                Answered::Split(_) => {
                    self.works();
                    return Ok(Ended::Split);
                }
                Answered::Blocked(detail) => return Err(self.block(detail)),
                Answered::Retry { after, unclear, detail } => (after, unclear, detail),
            };
            self.count_retry(cause(&sent));
            said = detail;
            if let Some(after) = after {
                self.pace.hold(after + CLOCK_MARGIN);
            }
            if attempt < attempts_max {
                self.wait(backoff(attempt, items.first().map(|item| item.delta_id))).await?;
                if unclear && edit.action == Action::Remove {
                    self.drop_absent(edit, items, *attempts, sink).await?;
                }
            }
        }
        self.is_down = true;
        let why = format!("gave up for now after {attempts_max} calls: {said}");
        Err(Halt::Away(why))
    }

    /// Makes an edit's calls, each of which tells the next; the answer is that of the last. A failure ends them.
    async fn chain(
        &mut self,
        edit: &Edit,
        addresses: &[&str],
        attempts: &mut u32,
    ) -> Result<Result<ApiAnswer, ApiError>, Halt> {
        let account = Arc::clone(&self.account);
        let mut request = account.lists.request(&account.settings, edit, addresses);
        for _ in 0..STEPS_MAX {
            let sent = self.send(edit.action, request.clone()).await?;
            *attempts += 1;
            let next = sent
                .as_ref()
                .ok()
                .and_then(|answer| account.lists.next(&account.settings, edit, addresses, &request, answer));
            match next {
                Some(next) => request = next,
                None => return Ok(sent),
            }
        }
        Ok(Err(ApiError::Unclear(format!("not done after {STEPS_MAX} calls"))))
    }

    /// Reads back what an unclear removal left, and settles what is gone.
    async fn drop_absent<'a>(
        &mut self,
        edit: &Edit,
        items: &mut Vec<Item<'a>>,
        attempts: u32,
        sink: &mut (dyn FnMut(&Item<'a>, ItemResult, u32) + Send),
    ) -> Result<(), Halt> {
        if items.len() > READ_BACK_MAX {
            return Ok(());
        }
        let lists = self.account.lists;
        let mut left = Vec::with_capacity(items.len());
        for item in items.iter() {
            let Some(request) = lists.read_back(&self.account.settings, edit, item.address) else { return Ok(()) };
            let holds = match self.send(edit.action, request).await? {
                Ok(answer) => lists.holds(edit, item.address, &answer),
                Err(_) => None,
            };
            match holds {
                Some(false) => sink(item, ItemResult::Done, attempts),
                Some(true) | None => left.push(*item),
            }
        }
        *items = left;
        Ok(())
    }

    /// Sends one request in its turn, signed only then: a signature has a time in it.
    async fn send(&mut self, action: Action, request: ApiRequest) -> Result<Result<ApiAnswer, ApiError>, Halt> {
        if let Some(blocked) = self.blocked.as_ref().filter(|blocked| blocked.until > Instant::now()) {
            return Err(Halt::Blocked(blocked.detail.clone()));
        }
        let held = self.pace.held(action);
        if held > HELD_MAX {
            let seconds = held.as_secs();
            return Err(Halt::Away(format!(
                "the provider asked to wait, or its rate limit does, for {seconds} s more"
            )));
        }
        tokio::select! {
            () = self.status.stopped() => return Err(Halt::Stopped),
            () = self.pace.turn(action) => {}
        }
        let begun = Instant::now();
        let mut request = self.account.lists.sign(&self.account.settings, request, self.now());
        let call = self.calls.begin(&self.account, action, &mut request);
        let sent = match tokio::time::timeout(self.account.timeout, self.api.send(&request)).await {
            Ok(sent) => sent,
            Err(_) => Err(ApiError::Unclear("no answer in time".to_owned())),
        };
        LaneCalls::end(call, &sent);
        let name = self.account.name.as_str();
        self.metrics.call_seconds.with_label_values(&[name]).observe(begun.elapsed().as_secs_f64());
        if let Ok(answer) = &sent
            && let Some(budget) = budget(answer, self.now())
        {
            let left = i64::try_from(budget.left).unwrap_or(i64::MAX);
            self.metrics.budget_left.with_label_values(&[name]).set(left);
            if let (0, Some(reset)) = (budget.left, budget.reset) {
                self.pace.hold(reset + CLOCK_MARGIN);
            }
        }
        Ok(sent)
    }

    async fn wait(&self, wait: Duration) -> Result<(), Halt> {
        tokio::select! {
            () = self.status.stopped() => Err(Halt::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// The provider took a call: all is well.
    fn works(&mut self) {
        self.is_down = false;
        if self.blocked.take().is_some() {
            self.metrics.blocked.with_label_values(&[self.account.name.as_str()]).set(0);
        }
        self.status.set_running();
    }

    fn block(&mut self, detail: String) -> Halt {
        let wait = self.blocked.as_ref().map_or(BLOCKED_FIRST, |blocked| (blocked.wait * 2).min(BLOCKED_MAX));
        self.blocked = Some(Blocked { until: Instant::now() + wait, wait, detail: detail.clone() });
        self.metrics.blocked.with_label_values(&[self.account.name.as_str()]).set(1);
        Halt::Blocked(detail)
    }

    fn count_retry(&self, cause: &str) {
        self.metrics.retries.with_label_values(&[self.account.name.as_str(), cause]).inc();
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now_micros()).unwrap_or(Timestamp::EPOCH)
    }
}

/// Why a call is repeated, as a stable tag.
fn cause(sent: &Result<ApiAnswer, ApiError>) -> &'static str {
    match sent {
        Ok(answer) if answer.status == 429 => "rate_limit",
        Ok(_) => "server_error",
        Err(ApiError::Unclear(_)) => "no_answer",
        Err(ApiError::NotSent(_) | ApiError::Unusable(_)) => "not_sent",
    }
}

/// Doubling, of which a half to the whole is waited: which part is derived from the delta, so that a run can be repeated
/// and lanes still do not march in step.
fn backoff(attempt: u32, seed: Option<EventId>) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    let bytes = seed.map_or([0; 16], |id| *id.as_bytes());
    let place = usize::try_from(attempt).unwrap_or(0) % bytes.len();
    let part = (1.0 + f64::from(bytes[place]) / 255.0) / 2.0;
    full.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_within_its_bounds_and_is_the_same_again() {
        let seed = Some(EventId::derive(&["a delta"]));
        let waits: Vec<Duration> = (1..12).map(|attempt| backoff(attempt, seed)).collect();
        for (index, wait) in waits.iter().enumerate() {
            let full = BACKOFF_FIRST.saturating_mul(1 << index).min(BACKOFF_MAX);
            assert!(*wait >= full / 2 && *wait <= full, "{index}: {wait:?}");
        }
        assert_eq!(waits[3], backoff(4, seed));
        assert_ne!(backoff(4, Some(EventId::derive(&["another"]))), waits[3]);
    }
}
