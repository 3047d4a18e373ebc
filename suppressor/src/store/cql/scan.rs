//! Whole tables in order of tokens, page by page.
//!
//! A cursor is the token and the key of the last recipient given: `TOKEN:KEY`. Tokens of two recipients may be equal, so
//! a page begins at the token again and leaves out what was given.

use super::{CqlStore, Driven, session::unreadable};
use crate::{
    Evidence, History, StoreError,
    store::{InForce, Page, value::read_value},
};
use domain::RecipientKey;
use scylla::{
    response::{PagingState, PagingStateResponse},
    statement::bound::BoundStatement,
};
use std::ops::ControlFlow;

/// A scan never returns more at once.
const PAGE_MAX: usize = 10_000;

type EvidenceRow = (i64, String, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
type InForceRow = (i64, String, Vec<u8>);

/// Where a scan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    token: i64,
    key: String,
}

impl Cursor {
    fn parse(text: Option<&str>) -> Result<Option<Self>, StoreError> {
        let Some(text) = text else { return Ok(None) };
        let read = text.split_once(':').and_then(|(token, key)| Some((token.parse().ok()?, key.to_owned())));
        let (token, key) =
            read.ok_or_else(|| StoreError::Corrupt("not a cursor of this store: begin the scan anew".to_owned()))?;
        Ok(Some(Self { token, key }))
    }

    fn text(&self) -> String {
        format!("{}:{}", self.token, self.key)
    }
}

/// Whether a row was given by an earlier page.
fn is_given(after: Option<&Cursor>, token: i64, key: &str) -> bool {
    after.is_some_and(|after| (token, key) <= (after.token, after.key.as_str()))
}

impl CqlStore {
    pub(super) async fn histories(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, History)>, StoreError> {
        let (after, max) = (Cursor::parse(after)?, max.clamp(1, PAGE_MAX));
        let mut found: Vec<(Cursor, History)> = Vec::new();
        let mut is_full = false;
        let start = after.as_ref().map_or(i64::MIN, |after| after.token);
        let statement = self.bound(|statements| &statements.scan, &(start,))?;
        self.pages(statement, |row: EvidenceRow| {
            let (token, key, position, row, profile) = row;
            if is_given(after.as_ref(), token, &key) {
                return Ok(ControlFlow::Continue(()));
            }
            if found.last().is_none_or(|(last, _)| last.key != key) {
                if found.len() == max {
                    is_full = true;
                    return Ok(ControlFlow::Break(()));
                }
                found.push((Cursor { token, key }, History::default()));
            }
            if let Some((_, history)) = found.last_mut() {
                add(history, position, row.as_deref(), profile.as_deref())?;
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(page(found, is_full))
    }

    pub(super) async fn all_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        let (after, max) = (Cursor::parse(after)?, max.clamp(1, PAGE_MAX));
        let mut found: Vec<(Cursor, InForce)> = Vec::new();
        let mut is_full = false;
        let start = after.as_ref().map_or(i64::MIN, |after| after.token);
        let statement = self.bound(|statements| &statements.scan_in_force, &(start,))?;
        self.pages(statement, |(token, key, row): InForceRow| {
            if is_given(after.as_ref(), token, &key) {
                return Ok(ControlFlow::Continue(()));
            }
            if found.len() == max {
                is_full = true;
                return Ok(ControlFlow::Break(()));
            }
            found.push((Cursor { token, key }, read_value(&row)?));
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(page(found, is_full))
    }

    /// Reads a statement's rows page by page until told to stop.
    pub(super) async fn pages<R>(
        &self,
        statement: BoundStatement,
        mut take: impl FnMut(R) -> Result<ControlFlow<()>, StoreError> + Send,
    ) -> Result<(), StoreError>
    where
        R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        let mut state = PagingState::start();
        loop {
            let Driven { result, next } = self.page_of(&statement, state).await?;
            let rows = result.into_rows_result().map_err(unreadable)?;
            for row in rows.rows::<R>().map_err(unreadable)? {
                if take(row.map_err(unreadable)?)?.is_break() {
                    return Ok(());
                }
            }
            match next {
                PagingStateResponse::HasMorePages { state: next } => state = next,
                PagingStateResponse::NoMorePages => return Ok(()),
            }
        }
    }
}

fn page<T>(found: Vec<(Cursor, T)>, is_full: bool) -> Page<(RecipientKey, T)> {
    let next = if is_full { found.last().map(|(last, _)| last.text()) } else { None };
    let items = found
        .into_iter()
        .filter_map(|(cursor, item)| RecipientKey::from_log_key(&cursor.key).map(|key| (key, item)))
        .collect();
    Page { items, next }
}

/// Adds one row of `evidence`, of which a recipient with a profile alone has one without a position.
pub(super) fn add(
    history: &mut History,
    position: Option<i64>,
    row: Option<&[u8]>,
    profile: Option<&[u8]>,
) -> Result<(), StoreError> {
    if history.address.is_empty()
        && history.rows.is_empty()
        && let Some(profile) = profile
    {
        (history.engagement, history.address) = read_value(profile)?;
    }
    match (position, row) {
        (Some(_), Some(row)) => history.insert(read_value::<Evidence>(row)?),
        (None, _) => {}
        (Some(_), None) => return Err(StoreError::Corrupt("a row of evidence without its value".to_owned())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_tells_what_was_given() {
        let cursor = Cursor { token: -5, key: "default/email/a:b@example.com".into() };
        assert_eq!(Cursor::parse(Some(&cursor.text())), Ok(Some(cursor.clone())));
        assert_eq!(Cursor::parse(None), Ok(None));
        for bad in ["", "x:y", "default/"] {
            assert!(Cursor::parse(Some(bad)).is_err(), "{bad}");
        }
        let given = |token, key: &str| is_given(Some(&cursor), token, key);
        assert!(given(-6, "z") && given(-5, "default/email/a:b@example.com") && given(-5, "default/email/a"));
        assert!(!given(-5, "default/email/b") && !given(-4, "a"));
        assert!(!is_given(None, i64::MIN, ""));
    }
}
