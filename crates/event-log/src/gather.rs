//! Gathering a batch from several partitions, so that a full one cannot starve the others.

use crate::{Consumed, Limits};

/// Where a reader stands in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) partition: u32,
    /// The offset to read next.
    pub(crate) next: u64,
}

/// What one read of one partition may bring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// The first record is given whatever its size: a batch is never stuck on a large record.
    pub(crate) first: bool,
}

/// Gathers a batch within `limits`: rounds over the partitions, each taking its share, until all are at their end or a
/// limit is reached. `turn` rotates the partition that comes first from one call to the next.
///
/// `read` brings records of the cursor's partition from its place on, in order, and moves the cursor past them.
pub(crate) fn gather<E>(
    cursors: &mut [Cursor],
    turn: &mut usize,
    limits: &Limits,
    mut read: impl FnMut(&mut Cursor, Room) -> Result<Vec<Consumed>, E>,
) -> Result<Vec<Consumed>, E> {
    let mut records: Vec<Consumed> = Vec::new();
    let mut bytes = 0usize;
    let n_cursors = cursors.len();
    let records_max = limits.records_max.max(1);
    let mut open: Vec<usize> = (0..n_cursors).map(|i| (*turn + i) % n_cursors).collect();
    while !open.is_empty() && records.len() < records_max {
        let share = ((records_max - records.len()) / open.len()).max(1);
        let mut more = Vec::with_capacity(open.len());
        for index in open {
            let room = Room {
                records: share.min(records_max - records.len()),
                bytes: limits.bytes_max.saturating_sub(bytes),
                first: records.is_empty(),
            };
            if room.records == 0 || (room.bytes == 0 && !room.first) {
                break;
            }
            let Some(cursor) = cursors.get_mut(index) else { continue };
            let got = read(cursor, room)?;
            if got.len() == room.records {
                more.push(index);
            }
            bytes += got.iter().map(size_of_record).sum::<usize>();
            records.extend(got);
        }
        open = more;
    }
    if n_cursors > 0 {
        *turn = (*turn + 1) % n_cursors;
    }
    Ok(records)
}

/// Bytes of key and value: what a limit counts.
pub(crate) fn size_of_record(consumed: &Consumed) -> usize {
    let record = &consumed.record;
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.as_ref().map_or(0, bytes::Bytes::len)
}
