//! Sessions that cannot go on, and why.

use super::KafkaSession;
use crate::SessionError;
use rdkafka::{consumer::Consumer, error::RDKafkaErrorCode, producer::Producer};

/// What to do about a fenced member. librdkafka fences itself where brokers are away for longer than the session's timeout
/// and still know the member when they are back (its issue 3437).
const FENCED: &str = ": a member of the same name joined, or the brokers were away for longer than session_timeout_ms; \
                      started again it joins anew; give every process an instance name of its own";

impl KafkaSession {
    pub(super) fn alive(&self) -> Result<(), SessionError> {
        self.ended.as_ref().map_or(Ok(()), |why| Err(SessionError(why.clone())))
    }

    /// Why a client of ours was ended for good, if one was: librdkafka tells it to whoever polls, and nobody polls in a commit.
    pub(super) fn ended_client(&self) -> Option<String> {
        if let Some((code, why)) = self.consumer.client().fatal_error() {
            let next = if code == RDKafkaErrorCode::FencedInstanceId { FENCED } else { "" };
            return Some(format!("the consumer was ended: {why}{next}"));
        }
        self.producer.client().fatal_error().map(|(_, why)| format!("the producer was ended: {why}"))
    }

    pub(super) fn end(&mut self, why: String) -> SessionError {
        self.ended = Some(why.clone());
        SessionError(why)
    }
}
