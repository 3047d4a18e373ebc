//! What erasures kept.
//!
//! A row is written at its position, before the partition's newest: who reads the newest finds the row. In which order the
//! rows of a batch are forgotten does not matter: all of it is deleted at positions above theirs.

use super::{
    CqlStore, number, partition_key,
    write::{Request, signed, stamp},
};
use crate::{
    StoreError,
    erasure::Erased,
    store::{ErasedAt, value::read_value, value::write_value},
};
use domain::RecipientKey;

type Row = (i64, Option<Vec<u8>>, Option<String>);

fn read((position, row, recipient): Row) -> Result<Option<(u64, Erased)>, StoreError> {
    // Rows that were taken away and come back in part have no value.
    let Some(row) = row else { return Ok(None) };
    let erased: Erased = read_value(&row)?;
    let recipient = recipient.as_deref().and_then(RecipientKey::from_log_key);
    Ok(Some((number(position)?, Erased { recipient, ..erased })))
}

impl CqlStore {
    pub(super) async fn newest_erased(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let rows: Vec<(i32, i64)> = self.rows(self.bound(|statements| &statements.erased_newest, &())?).await?;
        let read = |(partition, position): (i32, i64)| Ok((u32::try_from(partition).unwrap_or(0), number(position)?));
        rows.into_iter().map(read).collect()
    }

    pub(super) async fn erased_after(
        &self,
        partition: u32,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<(u64, Erased)>, StoreError> {
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        let values = (partition_key(partition), after.map_or(-1, signed), max);
        let rows: Vec<Row> = self.rows(self.bound(|statements| &statements.erased, &values)?).await?;
        rows.into_iter().filter_map(|row| read(row).transpose()).collect()
    }

    pub(super) async fn erased_one(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        let values = (partition_key(at.partition), signed(at.position));
        let rows: Vec<Row> = self.rows(self.bound(|statements| &statements.erased_at, &values)?).await?;
        let found = rows.into_iter().next().map(read).transpose()?.flatten();
        Ok(found.map(|(_, erased)| erased).filter(|erased| erased.pseudonym == at.pseudonym))
    }

    pub(super) async fn write_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        let recipient = row.recipient.as_ref().map(RecipientKey::to_log_key);
        let nameless = Erased { recipient: None, ..row };
        let (partition, at) = (partition_key(partition), stamp(position));
        let values = (partition, signed(position), write_value(&nameless)?, recipient, at);
        self.write(Request::One(self.bound(|statements| &statements.put_erased, &values)?)).await?;
        let values = (partition, signed(position), at);
        self.write(Request::One(self.bound(|statements| &statements.put_erased_newest, &values)?)).await
    }
}
