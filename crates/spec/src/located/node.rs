//! Values of a file with the field that they stand in, and the faults that are found there.
//!
//! Of two kinds are those who read: who holds a whole object against a table first takes values where they are right, and
//! leaves out silently what was reported already (`get`, `text`, `items`); who reads without a table reports what is wrong
//! with a value as it takes it ([`appc`](crate::appc)).

use std::cell::{Cell, RefCell};

use super::fault::{Fault, FaultKind, Location};
use super::value::{At, Key, Kind, Value};
use crate::words::shown;

/// The most bytes of a pod's variables, arguments and files together, each as often as it is referred to.
const MAX_VALUES_BYTES: usize = 64 << 20;

/// The files that are read, and what was found wrong with them so far.
#[derive(Default)]
pub(crate) struct Faults {
    found: RefCell<Vec<((usize, At), Fault)>>,
    /// What is taken of [`MAX_VALUES_BYTES`]; more once that was reported.
    taken: Cell<usize>,
}

impl Faults {
    /// A pod more is read, whose values have all the room that there is.
    pub(crate) fn next_pod(&self) {
        self.taken.set(0);
    }

    /// The faults, in the order of the files.
    pub(crate) fn into_sorted(self) -> Vec<Fault> {
        self.take_sorted()
    }

    /// Likewise, where they are still referred to.
    pub(crate) fn take_sorted(&self) -> Vec<Fault> {
        let mut found = self.found.take();
        found.sort_by_key(|(place, _)| *place);
        // What is the pod's own is read for each of its containers.
        found.dedup();
        found.into_iter().map(|(_, fault)| fault).collect()
    }
}

/// A file, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// Which of the files it is.
    pub(crate) index: usize,
    pub(crate) faults: &'a Faults,
}

impl Origin<'_> {
    pub(crate) fn report(&self, at: At, field: &str, kind: FaultKind) {
        let at_file = Location {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            field: field.to_owned(),
        };
        let fault = Fault { at: at_file, kind };
        self.faults.found.borrow_mut().push(((self.index, at), fault));
    }
}

/// A value and the field that it is the value of.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    origin: Origin<'a>,
    value: &'a Value,
    field: String,
}

impl<'a> Node<'a> {
    pub(crate) fn root(origin: Origin<'a>, value: &'a Value) -> Self {
        let field = String::new();
        Self { origin, value, field }
    }

    pub(crate) fn location(&self) -> Location {
        Location {
            file: self.origin.file.to_owned(),
            line: self.value.at.line,
            column: self.value.at.column,
            field: self.field.clone(),
        }
    }

    /// What the value is.
    pub(crate) fn kind(&self) -> &'a Kind {
        &self.value.kind
    }

    /// The value as it is written, where it is a scalar.
    pub(crate) fn written(&self) -> &'a str {
        self.origin.text.get(self.value.bytes.clone()).unwrap_or_default()
    }

    /// Reports something about a field of this object, at its key.
    pub(crate) fn report(&self, key: &Key, kind: FaultKind) {
        self.origin.report(key.at, &self.path(&key.text), kind);
    }

    /// Reports something about this value.
    pub(crate) fn fault(&self, kind: FaultKind) {
        self.origin.report(self.value.at, &self.field, kind);
    }

    /// Reports that the value is none that the field can have.
    pub(crate) fn reject(&self, value: &str, expected: &'static str) {
        let value = shown(value);
        self.fault(FaultKind::Value { value, expected });
    }

    /// Reports that what the field asks for cannot be honoured; `hint` says what to do instead.
    pub(crate) fn unsupported(&self, what: impl Into<String>, why: Option<String>, hint: &'static str) {
        let what = what.into();
        self.fault(FaultKind::Unsupported { what, why, hint });
    }

    /// How many bytes the values of the pod may still have.
    pub(crate) fn room(&self) -> usize {
        MAX_VALUES_BYTES.saturating_sub(self.origin.faults.taken.get())
    }

    /// Takes so much of that for a value here; `false`, with a fault for the first one, where it is not there.
    pub(crate) fn take_room(&self, bytes: usize) -> bool {
        let taken = self.origin.faults.taken.get();
        let all = taken.saturating_add(bytes);
        self.origin.faults.taken.set(all);
        if all > MAX_VALUES_BYTES && taken <= MAX_VALUES_BYTES {
            self.rule("with this value the pod's variables, arguments and files have more than 64 MiB");
        }
        all <= MAX_VALUES_BYTES
    }

    /// Reports that a rule is broken here.
    pub(crate) fn rule(&self, words: impl Into<String>) {
        self.fault(FaultKind::Rule(words.into()));
    }

    /// Reports that the field `name` of this object must be there.
    pub(crate) fn missing(&self, name: &str) {
        self.origin
            .report(self.value.at, &self.path(name), FaultKind::Missing);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let name = shown(name);
        match (self.field.is_empty(), name.contains(['.', '[', '/'])) {
            (true, _) => name,
            // A key of the user.
            (false, true) => format!("{}['{name}']", self.field),
            (false, false) => format!("{}.{name}", self.field),
        }
    }

    /// The entries of this object; none where it is not one.
    pub(crate) fn map(&self) -> &'a [(Key, Value)] {
        match &self.value.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of the field `name` of this object.
    pub(crate) fn child(&self, name: &str, value: &'a Value) -> Self {
        Self {
            origin: self.origin,
            value,
            field: self.path(name),
        }
    }

    /// The field `name`, where it is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        let (key, value) = self.map().iter().find(|(key, _)| key.text == name)?;
        (value.kind != Kind::Null).then(|| self.child(&key.text, value))
    }

    /// The entries of the map `name`, whose keys are the user's; none where it is not there.
    pub(crate) fn entries(&self, name: &str) -> Vec<(&'a str, Self)> {
        let Some(map) = self.get(name) else {
            return Vec::new();
        };
        let entry = |(key, value): &'a (Key, Value)| (key.text.as_str(), map.child(&key.text, value));
        map.map().iter().map(entry).collect()
    }

    /// The items of the list `name`; none where it is not there.
    pub(crate) fn items(&self, name: &str) -> Vec<Self> {
        self.get(name).map(|list| list.own_items()).unwrap_or_default()
    }

    /// The items of this list; none where it is not one.
    pub(crate) fn own_items(&self) -> Vec<Self> {
        let Kind::List(items) = &self.value.kind else {
            return Vec::new();
        };
        let item = |(index, value)| Self {
            origin: self.origin,
            value,
            field: format!("{}[{index}]", self.field),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The value, where it is text.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        match &self.value.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as text, where it is text or a number (`Quantity`, `IntOrString`).
    pub(crate) fn as_word(&self) -> Option<String> {
        match &self.value.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Integer(number) => Some(number.to_string()),
            Kind::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The text of the field `name`; an empty one counts as one that is not there, as in Go.
    pub(crate) fn text(&self, name: &str) -> Option<(Self, &'a str)> {
        let node = self.get(name)?;
        let text = node.as_text().filter(|text| !text.is_empty())?;
        Some((node, text))
    }

    /// The texts of the list `name`.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<&'a str>> {
        let list = self.get(name)?;
        Some(list.own_items().iter().filter_map(Node::as_text).collect())
    }

    /// The boolean of the field `name`.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value.kind {
            Kind::Boolean(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.boolean(name) == Some(true)
    }

    /// The number of the field `name` as a `T`; one outside of `T` is a fault that says what it must be.
    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str, expected: &'static str) -> Option<T> {
        self.get(name)?.as_number(expected)
    }

    /// The number as a `T`; one outside of `T` is a fault that says what it must be.
    pub(crate) fn as_number<T: TryFrom<i64>>(&self, expected: &'static str) -> Option<T> {
        let Kind::Integer(number) = self.value.kind else {
            return None;
        };
        let read = T::try_from(number).ok();
        if read.is_none() {
            self.reject(&number.to_string(), expected);
        }
        read
    }

    /// Reports that the value is of another type.
    pub(crate) fn type_fault(&self, expected: &'static str) {
        let found = match self.value.kind {
            Kind::Null => "null",
            Kind::Boolean(_) => "a boolean",
            Kind::Integer(_) | Kind::Number(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "an object",
        };
        self.fault(FaultKind::Type { expected, found });
    }
}
