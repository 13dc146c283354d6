//! An object held against the table of the API: unknown and duplicate fields, types, fields that must be there, fields that
//! cannot be honoured. What reads the values afterwards takes them where they are right and leaves out silently what was
//! reported already.

use std::collections::BTreeSet;

use super::choices;
use super::table::{self, Field, FieldStatus, FieldType, Shape};
use crate::located::{FaultKind, Kind, Node};
use crate::words::nearest;

/// What to do about what cannot be honoured.
const WITHOUT: &str = "leave it out, or run the pod without it (`--ignore-unsupported`)";

impl Node<'_> {
    /// Reports that what the field asks for cannot be honoured.
    pub(super) fn refuse(&self, what: impl Into<String>, why: impl Into<String>) {
        self.unsupported(what, Some(why.into()), WITHOUT);
    }

    /// Holds this object against the table: every fault of its form, all the way down.
    pub(super) fn check(&self, type_name: &'static str) {
        let fields = table::fields(type_name);
        if !matches!(self.kind(), Kind::Map(_)) {
            return self.type_fault("an object");
        }
        let mut seen = BTreeSet::new();
        for (key, value) in self.map() {
            let Some(field) = fields.iter().find(|field| field.name == key.text) else {
                let nearest = nearest(&key.text, fields.iter().map(|field| field.name));
                self.report(key, FaultKind::UnknownField { nearest });
                continue;
            };
            if !seen.insert(&key.text) {
                self.report(key, FaultKind::DuplicateField);
            }
            if value.kind != Kind::Null {
                let child = self.child(&key.text, value);
                match field.status {
                    FieldStatus::Refused(_) if child.asks_for_nothing() => {}
                    FieldStatus::Refused(why) => self.report(
                        key,
                        FaultKind::Unsupported {
                            what: "the field is".to_owned(),
                            why: Some(why.to_owned()),
                            hint: WITHOUT,
                        },
                    ),
                    _ => {
                        child.check_field(field);
                        choices::check(type_name, field.name, &child);
                    }
                }
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            let value = self.get(field.name);
            // Of headers and of the kernel's parameters a value may be empty; all else that must be there says something.
            let is_empty = |node: &Self| field.name != "value" && node.as_text() == Some("");
            if value.is_none_or(|node| is_empty(&node)) {
                self.missing(field.name);
            }
        }
    }

    fn check_field(&self, field: &Field) {
        match (field.shape, self.kind()) {
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
                        self.report(key, FaultKind::DuplicateField);
                    }
                    child.check_type(field.of);
                }
            }
            (Shape::Map, _) => self.type_fault("an object"),
        }
    }

    fn check_type(&self, of: FieldType) {
        match (of, self.kind()) {
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

    /// Whether this object has a field that is refused, as [`check`](Self::check) reports.
    pub(super) fn asks_for_refused(&self, type_name: &'static str) -> bool {
        let fields = table::fields(type_name).iter();
        let mut refused = fields.filter(|field| matches!(field.status, FieldStatus::Refused(_)));
        refused.any(|field| self.get(field.name).is_some_and(|node| !node.asks_for_nothing()))
    }

    /// Whether the value is what Go leaves out: nothing is asked for by it.
    fn asks_for_nothing(&self) -> bool {
        match self.kind() {
            Kind::Null | Kind::Boolean(false) => true,
            Kind::Text(text) => text.is_empty(),
            Kind::List(items) => items.is_empty(),
            Kind::Map(entries) => entries.is_empty(),
            Kind::Boolean(true) | Kind::Integer(_) | Kind::Number(_) => false,
        }
    }
}
