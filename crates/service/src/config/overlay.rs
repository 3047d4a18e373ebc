//! Environment variables laid over the file's tree, each marked, so that an error about it names the variable.

use super::ENV_PREFIX;
use std::{borrow::Cow, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// How deep a variable's name may reach.
const DEPTH_MAX: usize = 16;

/// One overriding variable.
#[derive(Debug)]
pub(super) struct Override {
    name: String,
    path: Vec<String>,
    text: String,
    /// `value = …`, so that the value can be parsed as TOML.
    snippet: String,
}

impl Override {
    pub(super) fn new(name: String, value: String) -> Self {
        let path = name[ENV_PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        Self { path, snippet: format!("value = {value}"), text: value, name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts the value at its place in the tree; `mark` is the start of its span.
    pub(super) fn apply<'a>(&'a self, root: &mut DeTable<'a>, mark: usize) -> Result<(), String> {
        let span = mark..mark;
        let Some((last, parents)) = self.path.split_last() else { return Err("names no key".into()) };
        if self.path.len() > DEPTH_MAX || self.path.iter().any(String::is_empty) {
            return Err(format!("names no key: write {ENV_PREFIX}section__key"));
        }
        let mut table = root;
        let mut parents = parents.iter();
        while let Some(name) = parents.next() {
            let fresh = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
            let mut node = table.entry(Spanned::new(span.clone(), Cow::Borrowed(name.as_str()))).or_insert_with(fresh);
            while let DeValue::Array(_) = node.get_ref() {
                node = element(node, parents.next())?;
            }
            let DeValue::Table(inner) = node.get_mut() else {
                return Err(format!("`{name}` is a single value, not a section"));
            };
            table = inner;
        }
        if let Some(slot) = table.get_mut(last.as_str()) {
            *slot = self.value(&span);
        } else {
            table.insert(Spanned::new(span.clone(), Cow::Borrowed(last.as_str())), self.value(&span));
        }
        Ok(())
    }

    fn value(&self, span: &Range<usize>) -> Spanned<DeValue<'_>> {
        let parsed = DeTable::parse(&self.snippet).ok().map(Spanned::into_inner).filter(|table| table.len() == 1);
        let value = parsed.and_then(|mut table| table.remove("value")).map(Spanned::into_inner);
        let mut value = Spanned::new(span.clone(), value.unwrap_or(DeValue::String(Cow::Borrowed(&self.text))));
        mark(&mut value, span);
        value
    }
}

fn element<'n, 'a>(
    node: &'n mut Spanned<DeValue<'a>>,
    index: Option<&String>,
) -> Result<&'n mut Spanned<DeValue<'a>>, String> {
    let DeValue::Array(array) = node.get_mut() else { return Err("not a list".into()) };
    let length = array.len();
    let index: Option<usize> = index.and_then(|index| index.parse().ok());
    index.and_then(|index| array.get_mut(index)).ok_or_else(|| {
        format!(
            "reaches into a list of {length}: the next part of the name must be a number from 0 to {}",
            length.saturating_sub(1)
        )
    })
}

fn mark(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) {
    let inner = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
    let inner = match inner {
        DeValue::Table(table) => {
            let marked = table.into_iter().map(|(key, mut value)| {
                mark(&mut value, span);
                (Spanned::new(span.clone(), key.into_inner()), value)
            });
            DeValue::Table(marked.collect())
        }
        DeValue::Array(mut array) => {
            array.iter_mut().for_each(|value| mark(value, span));
            DeValue::Array(array)
        }
        other => other,
    };
    *value = Spanned::new(span.clone(), inner);
}
