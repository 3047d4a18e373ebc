//! What may be in the gateway at a time. What does not fit is refused at once: a queue would only delay the refusal past
//! the provider's own timeout.

use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The gateway's bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A body as it is sent, in bytes.
    pub body_bytes_max: usize,
    /// A body once its content coding (gzip, deflate) is taken off, in bytes.
    pub decoded_bytes_max: usize,
    /// Requests at work at a time.
    pub in_flight_max: usize,
    /// Bytes of bodies held at a time, as sent and decoded together. A body is held about three times over while it is
    /// appended (as sent or decoded, in the record, encoded), so memory under load is about three times this.
    pub in_flight_bytes_max: usize,
    /// What `Retry-After` says when there is no room, in seconds.
    pub retry_after_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 5 * 1_024 * 1_024,
            decoded_bytes_max: 10 * 1_024 * 1_024,
            in_flight_max: 2_048,
            in_flight_bytes_max: 48 * 1_024 * 1_024,
            retry_after_s: 5,
        }
    }
}

/// Counts what is inside.
#[derive(Debug)]
pub(crate) struct Admission {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    requests_max: usize,
    bytes_max: usize,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            requests_max: limits.in_flight_max,
            bytes_max: limits.in_flight_bytes_max,
        })
    }

    /// A place for one request, or none at once.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        take(&self.requests, 1, self.requests_max).then(|| Place { admission: self.clone(), bytes: 0 })
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn take(counter: &AtomicUsize, wanted: usize, max: usize) -> bool {
    let taken = |held: usize| held.checked_add(wanted).filter(|sum| *sum <= max);
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok()
}

/// One request's place and the bytes it holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Place {
    /// Room for so many more bytes, or none at once.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = take(&self.admission.bytes, bytes, self.admission.bytes_max);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.admission.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_out_what_there_is_and_takes_it_back() {
        let limits = Limits { in_flight_max: 2, in_flight_bytes_max: 100, ..Limits::default() };
        let admission = Admission::new(&limits);
        let (mut a, mut b) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert!(admission.enter().is_none());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40) && !a.grow(1));
        assert_eq!((admission.requests(), admission.bytes()), (2, 100));
        drop(a);
        assert_eq!((admission.requests(), admission.bytes()), (1, 40));
        assert!(b.grow(60) && !b.grow(usize::MAX));
        drop(b);
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }
}
