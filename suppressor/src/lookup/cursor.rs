//! Where a reader of a topic stands, in all its partitions, as text: `p0:12,p1:30`.

use super::problem::Problem;
use event_log::Browse;
use std::{fmt, fmt::Write as _};

/// The next offset of every partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) Vec<u64>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (partition, offset) in self.0.iter().enumerate() {
            if partition > 0 {
                f.write_char(',')?;
            }
            write!(f, "p{partition}:{offset}")?;
        }
        Ok(())
    }
}

impl Cursor {
    /// Reads a cursor of a topic with so many partitions. Partitions it does not name are `None`.
    fn parse(text: &str, partitions: usize) -> Option<Vec<Option<u64>>> {
        let mut offsets = vec![None; partitions];
        for part in text.split(',') {
            let (partition, offset) = part.strip_prefix('p')?.split_once(':')?;
            let partition: usize = partition.parse().ok()?;
            let place = offsets.get_mut(partition)?;
            if place.replace(offset.parse().ok()?).is_some() {
                return None;
            }
        }
        Some(offsets)
    }

    /// The place in a topic that a request asks for: a cursor, `now` (after the newest), or nothing (the oldest kept).
    /// What lies outside of what is kept is gone, and the caller has to start over.
    pub(super) async fn resolve(browse: &dyn Browse, topic: &str, after: Option<&str>) -> Result<Self, Problem> {
        let partitions = browse.partitions(topic)?;
        let asked = match after {
            None | Some("now") => vec![None; partitions as usize],
            Some(text) => Self::parse(text, partitions as usize).ok_or_else(|| {
                Problem::bad_request("after: not a cursor of this stream; take it from an answer, as it is")
            })?,
        };
        let mut offsets = Vec::with_capacity(asked.len());
        for (partition, asked) in (0..partitions).zip(asked) {
            let (oldest, end) = browse.range(topic, partition).await?;
            let offset = match asked {
                Some(offset) if (oldest..=end).contains(&offset) => offset,
                Some(_) => {
                    return Err(Problem::gone(
                        "what follows this cursor is no longer kept, or it belongs to another log: load /v1/export and \
                         go on from after=now",
                    ));
                }
                None if after == Some("now") => end,
                None => oldest,
            };
            offsets.push(offset);
        }
        Ok(Self(offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let text = Cursor(vec![12, 0, 30]).to_string();
        assert_eq!(text, "p0:12,p1:0,p2:30");
        assert_eq!(Cursor::parse(&text, 3), Some(vec![Some(12), Some(0), Some(30)]));
        assert_eq!(Cursor::parse("p2:1", 3), Some(vec![None, None, Some(1)]));
        for bad in ["", "p3:1", "p0:-1", "p0:1,p0:2", "0:1", "p0", "p0:99999999999999999999"] {
            assert_eq!(Cursor::parse(bad, 3), None, "{bad}");
        }
    }
}
