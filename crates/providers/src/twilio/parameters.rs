//! A webhook's parameters, whichever way they came.

use crate::form::Form;
use crate::json::Object;
use std::borrow::Cow;

/// The same names in a form or in a JSON object.
#[derive(Debug)]
pub(super) enum Parameters<'a> {
    Form(&'a Form<'a>),
    Json(&'a Object<'a>),
}

impl<'a> Parameters<'a> {
    /// A parameter that says something.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        match self {
            Self::Form(form) => form.last(name),
            Self::Json(object) => object.text(name),
        }
    }
}
