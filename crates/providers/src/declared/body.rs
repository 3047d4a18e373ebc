//! Where in a body the events are.

use super::file::{BodySpec, Format};
use super::path::{Path, Root};
use super::{AdapterError, wrong};
use crate::form::{self, Form};
use crate::json::{self, Object, Value};
use crate::{Element, Malformed, Request};

/// Where the events are.
#[derive(Debug)]
pub(super) enum Body {
    /// In JSON, at the end of these steps: an object, or a list.
    Json(Vec<String>),
    /// A JSON document a line.
    Lines,
    /// The form is the event.
    Form,
    /// A form's field holds JSON.
    FormField(Vec<u8>),
}

impl Body {
    pub(super) fn new(spec: BodySpec) -> Result<Self, AdapterError> {
        let BodySpec { format, at, field } = spec;
        if at.as_ref().is_some_and(|at| at.root != Root::Element) {
            return wrong("body.at", "it is a path into the body, such as data.events");
        }
        match (format, at, field) {
            (Format::Json, at, None) => Ok(Self::Json(at.map(|Path { steps, .. }| steps).unwrap_or_default())),
            (Format::Lines, None, None) => Ok(Self::Lines),
            (Format::Form, None, None) => Ok(Self::Form),
            (Format::Form, None, Some(field)) if !field.is_empty() => Ok(Self::FormField(field.into_bytes())),
            (_, Some(_), _) => wrong("body.at", "it is for format = \"json\": leave it out"),
            (_, None, Some(_)) => {
                wrong("body.field", "it names the field of a form that holds JSON: write format = \"form\" too")
            }
        }
    }

    /// Splits a body.
    pub(super) fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        match self {
            Self::Json(steps) => at(steps, json::elements(request.body)?, request.body),
            Self::Lines => json::lines(request.body),
            Self::Form => {
                Form::read(request)?;
                Ok(vec![Element { index: 0, bytes: request.body }])
            }
            Self::FormField(field) => form::field::elements(request.body, field),
        }
    }
}

/// The elements at the end of the steps. A body where they lead nowhere is the event itself: so does the element of a dead
/// letter look that is replayed.
fn at<'a>(steps: &[String], whole: Vec<Element<'a>>, body: &[u8]) -> Result<Vec<Element<'a>>, Malformed> {
    let [only] = whole.as_slice() else { return Ok(whole) };
    if steps.is_empty() || !body.trim_ascii_start().starts_with(b"{") {
        return Ok(whole);
    }
    match value(steps, only) {
        Some(found) if found.raw().starts_with('[') => found.elements().unwrap_or(Ok(whole)),
        Some(found) if found.raw().starts_with('{') => Ok(vec![Element { index: 0, bytes: found.raw().as_bytes() }]),
        Some(found) if found.raw() == "null" => Ok(Vec::new()),
        _ => Ok(whole),
    }
}

fn value<'a>(steps: &[String], element: &Element<'a>) -> Option<Value<'a>> {
    let mut steps = steps.iter();
    let mut value = Object::read(element).ok()?.get(steps.next()?)?;
    for step in steps {
        value = value.object()?.get(step)?;
    }
    Some(value)
}
