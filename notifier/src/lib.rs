//! Tells subscribers what changed: signed webhooks out, one for each delta.
//!
//! Each configured subscriber is a [`Lane`]: a stage with a consumer group of its own over the deltas, so that an endpoint
//! that is down delays nobody else. A lane offers every delta at least once, in order for each recipient, as a POST in the
//! Standard Webhooks scheme ([`signature`]), and waits, longer and longer, while the endpoint takes nothing. What is too
//! old, or is refused again and again while others are taken, becomes a dead letter, and the next one goes on. Dead letters
//! come back by way of the topic of redeliveries, which a second lane of the subscriber reads.
//!
//! Nothing is lost by a crash: positions move once all of a batch is settled. What was posted before the crash is posted
//! again, under the same id.

pub mod answer;
mod calls;
mod courier;
pub mod lane;
mod letter;
pub mod message;
pub mod metrics;
pub mod post;
pub mod schedule;
pub mod signature;
mod status;
pub mod subscriber;

pub use answer::{Judged, judge};
pub use lane::{LIMITS, Lane, Way};
pub use message::Message;
pub use metrics::Metrics;
pub use post::{Answer, HttpReceiver, Post, PostError, Receiver};
pub use schedule::backoff;
pub use signature::{SecretError, Signer};
pub use status::{Halt, LaneStatus};
pub use subscriber::{Subscriber, SubscriberConfig, SubscriberError};
