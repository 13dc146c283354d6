//! Values of a pod file with the field that they stand in, and the faults that are found there.
//!
//! [`Node::check`] holds a whole object against the table of the API: unknown and duplicate fields, types, fields that must
//! be there, fields that cannot be honoured. What reads the values afterwards takes them where they are right and leaves
//! out silently what was reported already.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::fault::{Fault, FaultKind};
use super::table::{self, Field, FieldType, Shape, Status};
use super::yaml::{At, Kind, Value, YamlKey};
use crate::appc::Location;
use crate::words::{nearest, shown};

/// The most bytes of a pod's variables, arguments and files together, each as often as it is referred to.
const MAX_VALUES_BYTES: usize = 64 << 20;

/// The files that are read, and what was found wrong with them so far.
#[derive(Default)]
pub(super) struct Faults {
    found: RefCell<Vec<((usize, At), Fault)>>,
    /// What is taken of [`MAX_VALUES_BYTES`]; more once that was reported.
    taken: Cell<usize>,
}

impl Faults {
    /// A pod more is read, whose values have all the room that there is.
    pub(super) fn next_pod(&self) {
        self.taken.set(0);
    }

    /// The faults, in the order of the files.
    pub(super) fn into_sorted(self) -> Vec<Fault> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(place, _)| *place);
        // What is the pod's own is read for each of its containers.
        found.dedup();
        found.into_iter().map(|(_, fault)| fault).collect()
    }
}

/// A file, for messages.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a str,
    /// Which of the files it is.
    pub(super) index: usize,
    pub(super) faults: &'a Faults,
}

impl Origin<'_> {
    pub(super) fn report(&self, at: At, field: &str, kind: FaultKind) {
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
pub(super) struct Node<'a> {
    origin: Origin<'a>,
    value: &'a Value,
    field: String,
}

impl<'a> Node<'a> {
    pub(super) fn root(origin: Origin<'a>, value: &'a Value) -> Self {
        let field = String::new();
        Self { origin, value, field }
    }

    pub(super) fn location(&self) -> Location {
        Location {
            file: self.origin.file.to_owned(),
            line: self.value.at.line,
            column: self.value.at.column,
            field: self.field.clone(),
        }
    }

    /// Reports something about this value.
    pub(super) fn fault(&self, kind: FaultKind) {
        self.origin.report(self.value.at, &self.field, kind);
    }

    /// Reports that the value is none that the field can have.
    pub(super) fn reject(&self, value: &str, expected: &'static str) {
        let value = shown(value);
        self.fault(FaultKind::Value { value, expected });
    }

    /// Reports that what the field asks for cannot be honoured.
    pub(super) fn refuse(&self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        self.fault(FaultKind::Unsupported { what, why });
    }

    /// How many bytes the values of the pod may still have.
    pub(super) fn room(&self) -> usize {
        MAX_VALUES_BYTES.saturating_sub(self.origin.faults.taken.get())
    }

    /// Takes so much of that for a value here; `false`, with a fault for the first one, where it is not there.
    pub(super) fn take_room(&self, bytes: usize) -> bool {
        let taken = self.origin.faults.taken.get();
        let all = taken.saturating_add(bytes);
        self.origin.faults.taken.set(all);
        if all > MAX_VALUES_BYTES && taken <= MAX_VALUES_BYTES {
            self.rule("with this value the pod's variables, arguments and files have more than 64 MiB");
        }
        all <= MAX_VALUES_BYTES
    }

    /// Reports that a rule is broken here.
    pub(super) fn rule(&self, words: impl Into<String>) {
        self.fault(FaultKind::Rule(words.into()));
    }

    /// Reports that the field `name` of this object must be there.
    pub(super) fn missing(&self, name: &str) {
        self.origin
            .report(self.value.at, &self.path(name), FaultKind::Missing);
    }

    fn path(&self, name: &str) -> String {
        let name = shown(name);
        match (self.field.is_empty(), name.contains(['.', '[', '/'])) {
            (true, _) => name,
            // A key of the user's.
            (false, true) => format!("{}['{name}']", self.field),
            (false, false) => format!("{}.{name}", self.field),
        }
    }

    fn map(&self) -> &'a [(YamlKey, Value)] {
        match &self.value.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    fn child(&self, name: &str, value: &'a Value) -> Self {
        Self {
            origin: self.origin,
            value,
            field: self.path(name),
        }
    }

    /// The field `name`, where it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let (key, value) = self.map().iter().find(|(key, _)| key.text == name)?;
        (value.kind != Kind::Null).then(|| self.child(&key.text, value))
    }

    /// The entries of the map `name`, whose keys are the user's; none where it is not there.
    pub(super) fn entries(&self, name: &str) -> Vec<(&'a str, Self)> {
        let Some(map) = self.get(name) else {
            return Vec::new();
        };
        let entry = |(key, value): &'a (YamlKey, Value)| (key.text.as_str(), map.child(&key.text, value));
        map.map().iter().map(entry).collect()
    }

    /// The items of the list `name`; none where it is not there.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        self.get(name).map(|list| list.own_items()).unwrap_or_default()
    }

    fn own_items(&self) -> Vec<Self> {
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
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.value.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as text, where it is text or a number (`Quantity`, `IntOrString`).
    pub(super) fn as_word(&self) -> Option<String> {
        match &self.value.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Integer(number) => Some(number.to_string()),
            Kind::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The text of the field `name`; an empty one counts as one that is not there, as in Go.
    pub(super) fn text(&self, name: &str) -> Option<(Self, &'a str)> {
        let node = self.get(name)?;
        let text = node.as_text().filter(|text| !text.is_empty())?;
        Some((node, text))
    }

    /// The texts of the list `name`.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<&'a str>> {
        let list = self.get(name)?;
        Some(list.own_items().iter().filter_map(Node::as_text).collect())
    }

    /// The boolean of the field `name`.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value.kind {
            Kind::Boolean(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.boolean(name) == Some(true)
    }

    /// The number of the field `name` as a `T`; one outside of `T` is a fault that says what it must be.
    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str, expected: &'static str) -> Option<T> {
        self.get(name)?.as_number(expected)
    }

    /// The number as a `T`; one outside of `T` is a fault that says what it must be.
    pub(super) fn as_number<T: TryFrom<i64>>(&self, expected: &'static str) -> Option<T> {
        let Kind::Integer(number) = self.value.kind else {
            return None;
        };
        let read = T::try_from(number).ok();
        if read.is_none() {
            self.reject(&number.to_string(), expected);
        }
        read
    }

    /// Holds this object against the table: every fault of its form, all the way down.
    pub(super) fn check(&self, type_name: &'static str) {
        let fields = table::fields(type_name);
        if !matches!(self.value.kind, Kind::Map(_)) {
            return self.type_fault("an object");
        }
        let mut seen = BTreeSet::new();
        for (key, value) in self.map() {
            let path = self.path(&key.text);
            let Some(field) = fields.iter().find(|field| field.name == key.text) else {
                let nearest = nearest(&key.text, fields.iter().map(|field| field.name));
                self.origin
                    .report(key.at, &path, FaultKind::UnknownField { nearest });
                continue;
            };
            if !seen.insert(&key.text) {
                self.origin.report(key.at, &path, FaultKind::DoubledField);
            }
            if value.kind != Kind::Null {
                self.child(&key.text, value).check_field(field, key.at);
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if self.get(field.name).is_none() {
                self.missing(field.name);
            }
        }
    }

    fn check_field(&self, field: &Field, key: At) {
        if let Status::Refused(why) = field.status {
            if !self.asks_for_nothing() {
                let (what, why) = ("the field is".to_owned(), why.to_owned());
                self.origin
                    .report(key, &self.field, FaultKind::Unsupported { what, why });
            }
            return;
        }
        match (field.shape, &self.value.kind) {
            (Shape::One, _) => self.check_type(field.of),
            (Shape::List, Kind::List(_)) => {
                self.own_items().iter().for_each(|item| item.check_type(field.of))
            }
            (Shape::List, _) => self.type_fault("a list"),
            (Shape::Map, Kind::Map(entries)) => {
                let mut seen = BTreeSet::new();
                for (key, value) in entries {
                    let child = self.child(&key.text, value);
                    if !seen.insert(&key.text) {
                        self.origin.report(key.at, &child.field, FaultKind::DoubledField);
                    }
                    child.check_type(field.of);
                }
            }
            (Shape::Map, _) => self.type_fault("an object"),
        }
    }

    fn check_type(&self, of: FieldType) {
        match (of, &self.value.kind) {
            (FieldType::Object(name), _) => self.check(name),
            (FieldType::Text | FieldType::Bytes | FieldType::NumberOrText, Kind::Text(text)) => {
                if text.contains('\0') {
                    self.reject(text, "text without NUL characters");
                }
            }
            (FieldType::NumberOrText, Kind::Integer(_) | Kind::Number(_))
            | (FieldType::Integer, Kind::Integer(_))
            | (FieldType::Boolean, Kind::Boolean(_))
            | (FieldType::Any, _) => {}
            (FieldType::Text | FieldType::Bytes, _) => self.type_fault("a string"),
            (FieldType::Integer, _) => self.type_fault("a whole number"),
            (FieldType::Boolean, _) => self.type_fault("`true` or `false`"),
            (FieldType::NumberOrText, _) => self.type_fault("a number or a string"),
        }
    }

    fn type_fault(&self, expected: &'static str) {
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

    /// Whether this object has a field that is refused, as [`check`](Self::check) reports.
    pub(super) fn asks_for_refused(&self, type_name: &'static str) -> bool {
        let fields = table::fields(type_name).iter();
        let mut refused = fields.filter(|field| matches!(field.status, Status::Refused(_)));
        refused.any(|field| self.get(field.name).is_some_and(|node| !node.asks_for_nothing()))
    }

    /// Whether the value is what Go leaves out: nothing is asked for by it.
    fn asks_for_nothing(&self) -> bool {
        match &self.value.kind {
            Kind::Null | Kind::Boolean(false) => true,
            Kind::Text(text) => text.is_empty(),
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            Kind::Boolean(true) | Kind::Integer(_) | Kind::Number(_) => false,
        }
    }
}
