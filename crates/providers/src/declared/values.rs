//! A value's place in a request, and what stands there: in the event's JSON, in a form's field, in a header.

use super::path::{Layout, Path, Paths, Place, Root, Tree, list};
use super::{AdapterError, wrong};
use crate::form::Form;
use crate::json::Value;
use crate::{Request, draft};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A value's place in a request.
#[derive(Debug)]
pub(super) enum Spot {
    Header(String),
    Element(Place),
    Item(Place),
    Field(String),
}

/// Places to look for one value, the best first.
pub(super) type Spots = Vec<Spot>;

/// Turns paths into places.
#[derive(Debug)]
pub(super) struct Surveyor {
    pub(super) is_form: bool,
    pub(super) has_each: bool,
    pub(super) element: Layout,
    pub(super) item: Layout,
    pub(super) headers: BTreeSet<String>,
}

impl Surveyor {
    pub(super) fn spots(&mut self, key: &str, paths: Option<Paths>) -> Result<Spots, AdapterError> {
        let paths = paths.map(|paths| paths.0).unwrap_or_default();
        paths.into_iter().map(|path| self.spot(key, path)).collect()
    }

    fn spot(&mut self, key: &str, path: Path) -> Result<Spot, AdapterError> {
        let Path { text, root, steps } = path;
        match root {
            Root::Header => {
                let name = steps.concat();
                self.headers.insert(name.clone());
                Ok(Spot::Header(name))
            }
            Root::Item if !self.has_each => wrong(
                &format!("event.{key}"),
                &format!("`{text}` is read in each recipient of a list: set the path event.each"),
            ),
            Root::Item => Ok(Spot::Item(self.item.place(&steps))),
            // The name of a form's field is one, whatever stands in it.
            Root::Element if self.is_form => Ok(Spot::Field(text)),
            Root::Element => Ok(Spot::Element(self.element.place(&steps))),
        }
    }

    /// Metadata goes by the last step of its path.
    pub(super) fn named(&mut self, paths: Option<Paths>) -> Result<Vec<(String, Spot)>, AdapterError> {
        let paths = paths.map(|paths| paths.0).unwrap_or_default();
        let name = |path: &Path| path.steps.last().cloned().unwrap_or_else(|| "recipient".to_owned());
        let is_form = self.is_form;
        paths
            .into_iter()
            .map(|path| {
                let name = if is_form && path.root == Root::Element { path.text.clone() } else { name(&path) };
                Ok((name, self.spot("metadata", path)?))
            })
            .collect()
    }
}

/// Where values are read from.
#[derive(Debug)]
pub(super) enum Fields<'g, 'a> {
    Json { element: &'g Tree<'g, 'a>, item: Option<&'g Tree<'g, 'a>> },
    Form(&'g Form<'a>),
}

/// A request, and one event of it.
#[derive(Debug)]
pub(super) struct Given<'g, 'a> {
    pub(super) request: &'g Request<'g>,
    pub(super) fields: Fields<'g, 'a>,
}

impl Given<'_, '_> {
    /// The first text that says something.
    pub(super) fn text(&self, spots: &[Spot]) -> Option<Cow<'_, str>> {
        spots.iter().find_map(|spot| self.at(spot))
    }

    pub(super) fn at(&self, spot: &Spot) -> Option<Cow<'_, str>> {
        match (spot, &self.fields) {
            (Spot::Header(name), _) => {
                self.request.header(name).filter(|text| !text.trim().is_empty()).map(Cow::Borrowed)
            }
            (Spot::Field(name), Fields::Form(form)) => form.last(name),
            _ => self.value(spot)?.text(),
        }
    }

    fn value(&self, spot: &Spot) -> Option<Value<'_>> {
        match (spot, &self.fields) {
            (Spot::Element(place), Fields::Json { element, .. }) => element.at(place),
            (Spot::Item(place), Fields::Json { item, .. }) => item.as_ref()?.at(place),
            _ => None,
        }
    }

    /// Every text at the places; of a list its own.
    pub(super) fn texts(&self, spots: &[Spot]) -> Vec<Cow<'_, str>> {
        let mut texts = Vec::new();
        for spot in spots {
            match (spot, &self.fields) {
                (Spot::Field(name), Fields::Form(form)) => {
                    let values = form.texts().filter(|(field, _)| field == name.as_str()).map(|(_, value)| value);
                    texts.extend(values.filter(|text| !text.trim().is_empty()));
                }
                (Spot::Header(_) | Spot::Field(_), _) => texts.extend(self.at(spot)),
                _ => texts.extend(self.value(spot).map(list).unwrap_or_default().into_iter().filter_map(Value::text)),
            }
        }
        texts
    }

    /// Adds what stands at a place; of an object every field.
    pub(super) fn add(&self, metadata: &mut draft::Metadata, name: &str, spot: &Spot) {
        match self.value(spot) {
            Some(value) => match value.object() {
                Some(object) => metadata.extend(&object),
                None => metadata.extend_by(name, value),
            },
            None => {
                if let Some(text) = self.at(spot) {
                    metadata.add(name, &text);
                }
            }
        }
    }
}
