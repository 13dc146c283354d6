//! The values of a manifest as they are taken: one of another type, or that is not there and must be, is a fault.
//!
//! A `null` counts as a field that is not there, since Go writes an empty list so.

use std::collections::BTreeSet;

use crate::located::{FaultKind, Kind, Node};
use crate::words::nearest;

impl<'a> Node<'a> {
    fn expected<T>(&self, expected: &'static str) -> Option<T> {
        self.type_fault(expected);
        None
    }

    /// The value as text; a NUL character, which no argument, path or variable can hold, is a fault.
    pub(super) fn expect_text(&self) -> Option<String> {
        let Kind::Text(text) = self.kind() else {
            return self.expected("a string");
        };
        if text.contains('\0') {
            self.reject(text, "text without NUL characters");
            return None;
        }
        Some(text.clone())
    }

    pub(super) fn expect_boolean(&self) -> Option<bool> {
        match self.kind() {
            Kind::Boolean(value) => Some(*value),
            _ => self.expected("`true` or `false`"),
        }
    }

    /// The number as it is written.
    pub(super) fn expect_number(&self) -> Option<&'a str> {
        match self.kind() {
            Kind::Integer(_) | Kind::Number(_) => Some(self.written()),
            _ => self.expected("a number"),
        }
    }

    /// The value as text, of a number as it is written.
    pub(super) fn expect_text_or_number(&self) -> Option<String> {
        match self.kind() {
            Kind::Integer(_) | Kind::Number(_) => Some(self.written().to_owned()),
            Kind::Text(_) => self.expect_text(),
            _ => self.expected("a string or a number"),
        }
    }

    /// The value as an object of strings, whatever their names; one of a name twice is a fault.
    pub(super) fn expect_texts(&self) -> Option<Vec<(String, String)>> {
        let fields = self.expect_any_object()?;
        let (mut texts, mut seen) = (Vec::new(), BTreeSet::new());
        for (key, value) in fields.map() {
            let node = fields.child(&key.text, value);
            if !seen.insert(&key.text) {
                node.fault(FaultKind::DuplicateField);
            }
            if let Some(text) = node.expect_text() {
                texts.push((key.text.clone(), text));
            }
        }
        Some(texts)
    }

    pub(super) fn expect_list(&self) -> Option<Vec<Node<'a>>> {
        match self.kind() {
            Kind::List(_) => Some(self.own_items()),
            _ => self.expected("a list"),
        }
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self.kind(), Kind::List(items) if items.is_empty())
    }

    /// The value as an object whose fields are `known`; others are faults, and so are duplicate ones.
    pub(super) fn expect_object(&self, known: &'static [&'static str]) -> Option<Node<'a>> {
        let object = self.expect_any_object()?;
        let mut seen = BTreeSet::new();
        for (key, _) in object.map() {
            if !known.contains(&key.text.as_str()) {
                let nearest = nearest(&key.text, known.iter().copied());
                object.report(key, FaultKind::UnknownField { nearest });
            } else if !seen.insert(&key.text) {
                object.report(key, FaultKind::DuplicateField);
            }
        }
        Some(object)
    }

    pub(super) fn expect_any_object(&self) -> Option<Node<'a>> {
        match self.kind() {
            Kind::Map(_) => Some(self.clone()),
            _ => self.expected("an object"),
        }
    }

    /// Checks that this is an object of strings, whatever their names (`userLabels`).
    pub(super) fn check_texts(&self) {
        let Some(object) = self.expect_any_object() else {
            return;
        };
        for (key, value) in object.map() {
            object.child(&key.text, value).expect_text();
        }
    }

    /// The field `name`, which must be there.
    pub(super) fn required(&self, name: &str) -> Option<Node<'a>> {
        let node = self.get(name);
        if node.is_none() {
            self.missing(name);
        }
        node
    }

    /// The field `name` as text that is not empty, where it is there.
    pub(super) fn optional_text(&self, name: &str) -> Option<(Node<'a>, String)> {
        self.get(name).and_then(Node::text_that_is_not_empty)
    }

    /// The field `name` as text that is not empty, which must be there.
    pub(super) fn required_text(&self, name: &str) -> Option<(Node<'a>, String)> {
        self.required(name).and_then(Node::text_that_is_not_empty)
    }

    fn text_that_is_not_empty(self) -> Option<(Node<'a>, String)> {
        let text = self.expect_text()?;
        if text.is_empty() {
            self.reject("", "text that is not empty");
            return None;
        }
        Some((self, text))
    }

    /// The items of the list `name`; none where it is not there.
    pub(super) fn expect_items(&self, name: &str) -> Vec<Node<'a>> {
        self.get(name)
            .and_then(|node| node.expect_list())
            .unwrap_or_default()
    }
}
