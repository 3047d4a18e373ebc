//! Request bodies that must come at a pace.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// The client sent its body too slowly.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the body came too slowly")]
pub struct Slow;

/// Whether an error of reading a body is, at its root, [`Slow`]: the answer is 408.
pub fn is_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Slow>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A body that fails with [`Slow`] once its sender has used up its patience: a grace, which waiting takes from, and which what
/// comes fills up again at the minimal rate, to the grace and no further. So no pause is longer than the grace, however much
/// came before it: what has come lies in memory meanwhile. Only waiting counts, not the reader's own work.
#[derive(Debug)]
pub struct PacedBody<B> {
    inner: B,
    grace: Duration,
    bytes_per_s_min: u64,
    patience: Duration,
    /// Nothing was there when the next piece was asked for; what has come already is handed over between two polls.
    asked: bool,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl<B> PacedBody<B> {
    /// Watches over a body.
    pub fn new(inner: B, grace: Duration, bytes_per_s_min: u64) -> Self {
        Self { inner, grace, bytes_per_s_min, patience: grace, asked: false, waiting: None }
    }

    fn earn(&mut self, bytes: usize) {
        let earned = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_s_min.max(1);
        self.patience = self.patience.saturating_add(Duration::from_micros(earned)).min(self.grace);
    }
}

impl<B> Body for PacedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            if let Some(waiting) = this.waiting.take() {
                this.patience = this.patience.saturating_sub(waiting.since.elapsed());
            }
            this.asked = false;
            return Poll::Ready(frame.map(|frame| {
                let frame = frame.map_err(Into::into)?;
                this.earn(frame.data_ref().map_or(0, Bytes::len));
                Ok(frame)
            }));
        }
        // Most bodies have come with their head, and need no timer.
        if !std::mem::replace(&mut this.asked, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = this.patience;
        let waiting = this.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, sleep: Box::pin(tokio::time::sleep_until(since + left)) }
        });
        ready!(waiting.sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(Slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    /// A body of so many pieces of so many bytes, one every so many milliseconds.
    async fn read(
        pieces: usize,
        bytes: usize,
        pause_ms: u64,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let frames = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; bytes])))
        });
        let body = PacedBody::new(StreamBody::new(Box::pin(frames)), Duration::from_secs(1), 1_000);
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_the_minimal_rate_passes_however_long_it_takes() {
        assert_eq!(read(60, 1_000, 990).await.unwrap(), 60_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_fails() {
        let started = Instant::now();
        let error = read(1_000, 1, 100).await.unwrap_err();
        assert!(is_slow(error.as_ref()));
        assert!(started.elapsed() < Duration::from_millis(1_100), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_at_once_earns_no_long_pause() {
        let started = Instant::now();
        let frames = stream::iter([5_000_000, 1]).then(|bytes| async move {
            tokio::time::sleep(Duration::from_secs(if bytes == 1 { 3_600 } else { 0 })).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; bytes])))
        });
        let body = PacedBody::new(StreamBody::new(Box::pin(frames)), Duration::from_secs(1), 1_000);
        assert!(is_slow(body.collect().await.unwrap_err().as_ref()));
        assert!(started.elapsed() < Duration::from_millis(1_100), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_fails_after_the_grace() {
        assert!(is_slow(read(1, 10, 3_600_000).await.unwrap_err().as_ref()));
    }
}
