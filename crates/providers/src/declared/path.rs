//! Paths to values: `data.recipient.email`, and where they lie in the JSON, each object and list read at most once.

use crate::json::{Object, Value};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::cell::OnceCell;

const PATH_BYTES_MAX: usize = 256;
const STEPS_MAX: usize = 16;
/// Paths to try for one value.
const PATHS_MAX: usize = 16;
/// Values of one list that are looked at.
pub(super) const LIST_MAX: usize = 64;

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// In the event.
    Element,
    /// In one item of the event's list of recipients: `@`, `@.email`.
    Item,
    /// In the request's headers: `header:x-event-id`.
    Header,
}

/// The way to a value. Steps are names of fields, or places in lists from 0; a dot inside a name is written `\.`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Path {
    pub(super) text: String,
    pub(super) root: Root,
    pub(super) steps: Vec<String>,
}

impl TryFrom<String> for Path {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let path = |root, steps| Ok(Self { text: text.clone(), root, steps });
        if text.trim().is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(format!("a path has 1 to {PATH_BYTES_MAX} bytes, such as data.recipient.email"));
        }
        if let Some(name) = text.strip_prefix("header:") {
            return match http::HeaderName::try_from(name) {
                Ok(name) => path(Root::Header, vec![name.as_str().to_owned()]),
                Err(_) => Err(format!("the path `{text}` names no header: write header:NAME")),
            };
        }
        match text.strip_prefix('@') {
            Some("") => path(Root::Item, Vec::new()),
            Some(rest) => match rest.strip_prefix('.') {
                Some(rest) => path(Root::Item, steps(&text, rest)?),
                None => Err(format!("the path `{text}` must go on with a dot: @.name")),
            },
            None => path(Root::Element, steps(&text, &text)?),
        }
    }
}

fn steps(text: &str, way: &str) -> Result<Vec<String>, String> {
    let mut steps = vec![String::new()];
    let mut characters = way.chars();
    while let Some(character) = characters.next() {
        match (character, steps.last_mut()) {
            ('.', _) => steps.push(String::new()),
            ('\\', Some(step)) => step.extend(characters.next()),
            (other, Some(step)) => step.push(other),
            (_, None) => {}
        }
    }
    if steps.iter().any(String::is_empty) {
        return Err(format!("the path `{text}` has an empty step: write names with one dot between them"));
    }
    if steps.len() > STEPS_MAX { Err(format!("the path `{text}` has more than {STEPS_MAX} steps")) } else { Ok(steps) }
}

/// One path, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths(pub(super) Vec<Path>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Paths;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path or a list of paths")
            }
            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Paths, E> {
                Path::try_from(path.to_owned()).map(|path| Paths(vec![path])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = list.next_element()? {
                    paths.push(path);
                    if paths.len() > PATHS_MAX {
                        return Err(serde::de::Error::custom(format!("a list holds at most {PATHS_MAX} paths")));
                    }
                }
                if paths.is_empty() {
                    Err(serde::de::Error::custom("an empty list of paths"))
                } else {
                    Ok(Paths(paths))
                }
            }
        }
        d.deserialize_any(OneOrMore)
    }
}

/// The containers on the way to all values that are read: each once, by its parent and step. The root is number 0.
#[derive(Debug, Default)]
pub(super) struct Layout {
    containers: Vec<(usize, String)>,
}

/// A value's place: its container, and the step in there; without a step, the root itself.
#[derive(Debug)]
pub(super) struct Place {
    container: usize,
    step: Option<String>,
}

impl Layout {
    /// The place that steps from the root lead to.
    pub(super) fn place(&mut self, steps: &[String]) -> Place {
        let Some((last, way)) = steps.split_last() else { return Place { container: 0, step: None } };
        let container = way.iter().fold(0, |parent, step| self.container(parent, step));
        Place { container, step: Some(last.clone()) }
    }

    fn container(&mut self, parent: usize, step: &str) -> usize {
        let known = self.containers.iter().position(|(known, name)| *known == parent && name == step);
        let at = known.unwrap_or_else(|| {
            self.containers.push((parent, step.to_owned()));
            self.containers.len() - 1
        });
        at + 1
    }
}

/// What a container is found to be.
#[derive(Debug)]
enum Container<'a> {
    Object(Object<'a>),
    List(Vec<Value<'a>>),
    Nothing,
}

impl<'a> Container<'a> {
    fn of(value: Value<'a>) -> Self {
        if value.raw().starts_with('[') {
            return Self::List(list(value));
        }
        value.object().map_or(Self::Nothing, Self::Object)
    }

    fn at(&self, step: &str) -> Option<Value<'a>> {
        match self {
            Self::Object(object) => object.get(step),
            Self::List(values) => values.get(step.parse::<usize>().ok().filter(|place| *place < LIST_MAX)?).copied(),
            Self::Nothing => None,
        }
    }
}

/// The first values of a list, one more than are looked at; a value alone counts as a list of one. What lies behind is read
/// over, so that a body of nothing but commas takes no memory.
pub(super) fn list(value: Value<'_>) -> Vec<Value<'_>> {
    if !value.raw().starts_with('[') {
        return value.list();
    }
    serde_json::from_str::<First<'_>>(value.raw()).map(|first| first.0).unwrap_or_default()
}

struct First<'a>(Vec<Value<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = First<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<'de>, A::Error> {
                let mut values = Vec::new();
                while values.len() <= LIST_MAX {
                    match list.next_element::<&'de RawValue>()? {
                        Some(value) => values.extend(Value::read(value.get())),
                        None => return Ok(First(values)),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(values))
            }
        }
        d.deserialize_seq(Values)
    }
}

/// A JSON document, read as far as it is asked for.
#[derive(Debug)]
pub(super) struct Tree<'l, 'a> {
    layout: &'l Layout,
    root: Option<Value<'a>>,
    /// The root first, then the layout's.
    containers: Vec<OnceCell<Container<'a>>>,
}

impl<'l, 'a> Tree<'l, 'a> {
    /// Over an object that is read already.
    pub(super) fn of_object(layout: &'l Layout, object: Object<'a>) -> Self {
        Self::new(layout, None, OnceCell::from(Container::Object(object)))
    }

    /// Over any value.
    pub(super) fn of_value(layout: &'l Layout, value: Value<'a>) -> Self {
        Self::new(layout, Some(value), OnceCell::new())
    }

    fn new(layout: &'l Layout, root: Option<Value<'a>>, first: OnceCell<Container<'a>>) -> Self {
        let mut containers = Vec::with_capacity(layout.containers.len() + 1);
        containers.push(first);
        containers.resize_with(layout.containers.len() + 1, OnceCell::new);
        Self { layout, root, containers }
    }

    /// The value at a place.
    pub(super) fn at(&self, place: &Place) -> Option<Value<'a>> {
        match &place.step {
            Some(step) => self.container(place.container)?.at(step),
            None => self.root,
        }
    }

    /// Goes up at most as many containers as a path has steps.
    fn container(&self, number: usize) -> Option<&Container<'a>> {
        let read = || {
            let value = match number.checked_sub(1).and_then(|at| self.layout.containers.get(at)) {
                Some((parent, step)) => self.container(*parent).and_then(|container| container.at(step)),
                None => self.root,
            };
            value.map_or(Container::Nothing, Container::of)
        };
        self.containers.get(number).map(|cell| cell.get_or_init(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    fn path(text: &str) -> Result<Path, String> {
        Path::try_from(text.to_owned())
    }

    #[test]
    fn reads_paths() {
        let check = |text: &str, root: Root, steps: &[&str]| {
            let path = path(text).unwrap();
            assert_eq!(
                (path.root, path.steps),
                (root, steps.iter().map(|step| (*step).to_owned()).collect()),
                "{text}"
            );
        };
        check("a", Root::Element, &["a"]);
        check("event-data.to.0", Root::Element, &["event-data", "to", "0"]);
        check(r"a\.b.c\\d", Root::Element, &["a.b", r"c\d"]);
        check("@", Root::Item, &[]);
        check("@.email", Root::Item, &["email"]);
        check("header:X-Event", Root::Header, &["x-event"]);
        for wrong in
            ["", " ", "a..b", ".a", "a.", "@a", "@.", "header:", "header:a b", &"a.".repeat(17), &"a".repeat(257)]
        {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn finds_values() {
        let text = r#"{"a":{"b":[{"c":1},{"c":"two"}],"b.d":null},"e":"x","1":"one"}"#;
        let mut layout = Layout::default();
        let paths = ["a.b.1.c", "a.b.0.c", "a.b.2.c", r"a.b\.d", "e", "e.f", "1", "a.b.x", "z.y.x"];
        let places: Vec<Place> = paths.iter().map(|text| layout.place(&path(text).unwrap().steps)).collect();
        let object = Object::read(&Element { index: 0, bytes: text.as_bytes() }).unwrap();
        let tree = Tree::of_object(&layout, object);
        let found: Vec<Option<&str>> = places.iter().map(|place| tree.at(place).map(Value::raw)).collect();
        let expected =
            [Some("\"two\""), Some("1"), None, Some("null"), Some("\"x\""), None, Some("\"one\""), None, None];
        assert_eq!(found, expected);
        let item = Tree::of_value(&layout, Value::read("\"jane@example.com\"").unwrap());
        assert_eq!(item.at(&Place { container: 0, step: None }).unwrap().raw(), "\"jane@example.com\"");
        assert!(item.at(&places[0]).is_none());
    }

    #[test]
    fn of_a_long_list_the_first_values_are_read() {
        let read = |text: &str| {
            list(Value::read(text).unwrap()).iter().map(|value| value.raw().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(read("[1, \"a\" ,{}]"), ["1", "\"a\"", "{}"]);
        assert_eq!((read("[]").len(), read("null").len(), read("7").len()), (0, 0, 1));
        let long = format!("[{}]", vec!["0"; 100_000].join(","));
        assert_eq!(read(&long).len(), LIST_MAX + 1);
    }
}
