//! What is kept by time, and by when what is known of an erased recipient is gone from it. Pure.

use async_trait::async_trait;
use domain::Timestamp;
use serde_json::{Value, json};

/// What is on its way when somebody is erased (the erasure's own events and deltas, a step of the job that forgets, a round of
/// those who take away what is old) has come to its place by then.
const ON_ITS_WAY_SECONDS: i64 = 3_600;
const HOUR_SECONDS: i64 = 3_600;

/// Something that is kept for a while and may name recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The topic, or what of the store.
    pub what: String,
    /// Which of the two.
    pub place: Place,
    /// How long, in seconds; `None` where it has no end.
    pub keeps_seconds: Option<u64>,
    /// How much longer than that the engine may take, in seconds.
    pub adds_seconds: u64,
    /// What happens there when somebody is erased.
    pub how: &'static str,
    /// Where the figures were found: `configuration`, `cluster` or `declaration`.
    pub told_by: &'static str,
}

/// Where something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A topic of the log.
    Topic,
    /// Rows of the store.
    Store,
}

impl Place {
    const fn word(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Store => "store",
        }
    }
}

/// Knows what is kept, and for how long.
#[async_trait]
pub trait Keeping: Send + Sync {
    /// Everything that may name recipients.
    async fn kept(&self) -> Vec<Kept>;
}

/// For those whose configuration says it all.
#[async_trait]
impl Keeping for Vec<Kept> {
    async fn kept(&self) -> Vec<Kept> {
        self.clone()
    }
}

impl Kept {
    /// By when the last trace of a recipient is gone who was erased then, rounded up to the hour; `None`: never by itself.
    fn gone_by(&self, erased_at: Timestamp) -> Option<Timestamp> {
        let kept = i64::try_from(self.keeps_seconds?.saturating_add(self.adds_seconds)).ok()?;
        let seconds = erased_at.as_millis().div_euclid(1_000).checked_add(kept)?.checked_add(ON_ITS_WAY_SECONDS)?;
        let hours = seconds.div_euclid(HOUR_SECONDS).checked_add(1)?;
        Timestamp::from_seconds(hours.checked_mul(HOUR_SECONDS)?).ok()
    }

    fn shown(&self, erased_at: Timestamp) -> Value {
        json!({
            "what": self.what,
            "place": self.place.word(),
            "keeps_seconds": self.keeps_seconds,
            "adds_seconds": self.adds_seconds,
            "gone_by": self.gone_by(erased_at),
            "how": self.how,
            "told_by": self.told_by,
        })
    }
}

/// The receipt of an erasure: one row for each.
pub(super) fn receipt(kept: &[Kept], erased_at: Timestamp) -> Vec<Value> {
    kept.iter().map(|kept| kept.shown(erased_at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keeps_seconds: Option<u64>, adds_seconds: u64) -> Kept {
        let (place, how, told_by) = (Place::Topic, "by time", "configuration");
        Kept { what: "t".to_owned(), place, keeps_seconds, adds_seconds, how, told_by }
    }

    #[test]
    fn the_last_trace_is_gone_after_all_that_is_added() {
        let at = Timestamp::parse_rfc3339("2026-01-01T10:20:30Z").unwrap();
        let gone_by = |kept: Kept| kept.gone_by(at).map(|at| at.to_string());
        assert_eq!(gone_by(kept(Some(0), 0)).as_deref(), Some("2026-01-01T12:00:00Z"));
        assert_eq!(gone_by(kept(Some(7 * 86_400), 86_400)).as_deref(), Some("2026-01-09T12:00:00Z"));
        assert_eq!(gone_by(kept(None, 86_400)), None);
        assert_eq!(gone_by(kept(Some(u64::MAX), 86_400)), None, "no date can be said");
    }
}
