//! JSON values that know their place in the file, and the faults that are found at these places.
//!
//! The syntax is checked by serde_json, which is strict and explains well; the values come from jsonc-parser, which keeps
//! every position. A `null` counts as a field that is not there, since Go writes an empty list so.

use std::cell::RefCell;
use std::collections::BTreeSet;

use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::{Fault, FaultKind, Location};
use crate::words::{nearest, shown};

/// The file that is read, and what was found wrong with it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    file: &'a str,
    faults: RefCell<Vec<(JsonPlace, FaultKind)>>,
}

/// A place in a text as people count: lines and columns. It continues from one place to the next.
struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
            column: 1,
        }
    }

    /// Goes on to `offset`, which is not before the last one.
    fn go_to(&mut self, offset: usize) {
        let passed = &self.text[self.offset..offset];
        if let Some(newline) = passed.rfind('\n') {
            self.line += passed.matches('\n').count();
            self.column = 1 + passed[newline + 1..].chars().count();
        } else {
            self.column += passed.chars().count();
        }
        self.offset = offset;
    }
}

/// A field and where it stands.
#[derive(Clone, Debug)]
pub(super) struct JsonPlace {
    field: String,
    /// The offset in the file, in bytes.
    offset: usize,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, file: &'a str) -> Self {
        Self {
            text,
            file,
            faults: RefCell::default(),
        }
    }

    /// The file's only value.
    pub(super) fn parse(&self) -> Result<Value<'a>, Box<Fault>> {
        let syntax = |line, column, message: String| {
            let kind = FaultKind::Syntax(message);
            Box::new(Fault {
                file: self.file.to_owned(),
                line,
                column,
                field: String::new(),
                kind,
            })
        };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(self.text) {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            return Err(syntax(error.line().max(1), error.column().max(1), message));
        }
        match parse_to_ast(self.text, &CollectOptions::default(), &STRICT) {
            Ok(result) => result
                .value
                .ok_or_else(|| syntax(1, 1, "the file is empty".to_owned())),
            Err(error) => {
                let message = error.kind().to_string().to_lowercase();
                Err(syntax(error.line_display(), error.column_display(), message))
            }
        }
    }

    pub(super) fn report(&self, place: JsonPlace, kind: FaultKind) {
        self.faults.borrow_mut().push((place, kind));
    }

    /// A place as people count: lines and columns.
    pub(super) fn location(&self, place: JsonPlace) -> Location {
        let mut cursor = Cursor::new(self.text);
        cursor.go_to(place.offset);
        Location {
            file: self.file.to_owned(),
            line: cursor.line,
            column: cursor.column,
            field: place.field,
        }
    }

    /// The faults, in the order of the file.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(place, _)| place.offset);
        let mut cursor = Cursor::new(self.text);
        let fault = |(place, kind): (JsonPlace, FaultKind)| {
            cursor.go_to(place.offset);
            Fault {
                file: self.file.to_owned(),
                line: cursor.line,
                column: cursor.column,
                field: place.field,
                kind,
            }
        };
        faults.into_iter().map(fault).collect()
    }
}

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// A value and the field that it is the value of.
pub(super) struct JsonNode<'a> {
    document: &'a Document<'a>,
    value: &'a Value<'a>,
    field: String,
}

impl<'a> JsonNode<'a> {
    pub(super) fn root(document: &'a Document<'a>, value: &'a Value<'a>) -> Self {
        Self {
            document,
            value,
            field: String::new(),
        }
    }

    pub(super) fn place(&self) -> JsonPlace {
        JsonPlace {
            field: self.field.clone(),
            offset: self.value.start(),
        }
    }

    pub(super) fn fault(&self, kind: FaultKind) {
        self.document.report(self.place(), kind);
    }

    fn type_fault<T>(&self, expected: &'static str) -> Option<T> {
        let found = match self.value {
            Value::StringLit(_) => "a string",
            Value::NumberLit(_) => "a number",
            Value::BooleanLit(_) => "a boolean",
            Value::Object(_) => "an object",
            Value::Array(_) => "a list",
            Value::NullKeyword(_) => "null",
        };
        self.fault(FaultKind::Type { expected, found });
        None
    }

    /// The value as text; a NUL character, which no argument, path or variable can hold, is a fault.
    pub(super) fn string(&self) -> Option<String> {
        let Value::StringLit(literal) = self.value else {
            return self.type_fault("a string");
        };
        if literal.value.contains('\0') {
            self.fault(FaultKind::Value {
                value: shown(&*literal.value),
                expected: "text without NUL characters",
            });
            return None;
        }
        Some(literal.value.clone().into_owned())
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::BooleanLit(literal) => Some(literal.value),
            _ => self.type_fault("`true` or `false`"),
        }
    }

    /// The number as it is written.
    pub(super) fn number(&self) -> Option<&'a str> {
        match self.value {
            Value::NumberLit(literal) => Some(literal.value),
            _ => self.type_fault("a number"),
        }
    }

    /// The value as text, of a number as it is written.
    pub(super) fn string_or_number(&self) -> Option<String> {
        match self.value {
            Value::NumberLit(literal) => Some(literal.value.to_owned()),
            Value::StringLit(_) => self.string(),
            _ => self.type_fault("a string or a number"),
        }
    }

    /// The value as an object of strings, whatever their names; one of a name twice is a fault.
    pub(super) fn texts(&self) -> Option<Vec<(String, String)>> {
        let fields = self.any_object()?;
        let (mut texts, mut seen) = (Vec::new(), BTreeSet::new());
        for property in fields.properties {
            let (node, name) = (fields.node(property), property.name.as_str());
            if !seen.insert(name) {
                node.fault(FaultKind::DoubledField);
            }
            if let Some(text) = node.string() {
                texts.push((name.to_owned(), text));
            }
        }
        Some(texts)
    }

    pub(super) fn list(&self) -> Option<Vec<JsonNode<'a>>> {
        let Value::Array(array) = self.value else {
            return self.type_fault("a list");
        };
        let item = |(index, value)| JsonNode {
            document: self.document,
            value,
            field: format!("{}[{index}]", self.field),
        };
        Some(array.elements.iter().enumerate().map(item).collect())
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self.value, Value::Array(array) if array.elements.is_empty())
    }

    /// The value as an object whose fields are `known`; others are faults, and so are duplicate ones.
    pub(super) fn object(&self, known: &'static [&'static str]) -> Option<ReadFields<'a>> {
        let fields = self.any_object()?;
        let mut seen = BTreeSet::new();
        for property in fields.properties {
            let name = property.name.as_str();
            let place = JsonPlace {
                field: fields.path(&shown(name)),
                offset: property.start(),
            };
            if !known.contains(&name) {
                let nearest = nearest(name, known.iter().copied());
                self.document.report(place, FaultKind::UnknownField { nearest });
            } else if !seen.insert(name) {
                self.document.report(place, FaultKind::DoubledField);
            }
        }
        Some(fields)
    }

    pub(super) fn any_object(&self) -> Option<ReadFields<'a>> {
        let Value::Object(object) = self.value else {
            return self.type_fault("an object");
        };
        Some(ReadFields {
            document: self.document,
            properties: &object.properties,
            place: self.place(),
        })
    }

    /// Checks that this is an object of strings, whatever their names (`userLabels`).
    pub(super) fn check_texts(&self) {
        let Some(fields) = self.any_object() else { return };
        for property in fields.properties {
            fields.node(property).string();
        }
    }
}

/// The fields of an object.
pub(super) struct ReadFields<'a> {
    document: &'a Document<'a>,
    properties: &'a [ObjectProp<'a>],
    place: JsonPlace,
}

impl<'a> ReadFields<'a> {
    fn path(&self, name: &str) -> String {
        if self.place.field.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place.field)
        }
    }

    fn node(&self, property: &'a ObjectProp<'a>) -> JsonNode<'a> {
        let name = shown(property.name.as_str());
        JsonNode {
            document: self.document,
            value: &property.value,
            field: self.path(&name),
        }
    }

    /// The field `name`, where it is there and not null.
    pub(super) fn optional(&self, name: &str) -> Option<JsonNode<'a>> {
        let property = self
            .properties
            .iter()
            .find(|property| property.name.as_str() == name)?;
        (!matches!(property.value, Value::NullKeyword(_))).then(|| self.node(property))
    }

    /// The field `name`, which must be there.
    pub(super) fn required(&self, name: &str) -> Option<JsonNode<'a>> {
        let node = self.optional(name);
        if node.is_none() {
            self.missing(name);
        }
        node
    }

    /// Reports that the field `name` is not there, at the object it is missing from.
    pub(super) fn missing(&self, name: &str) {
        self.document.report(
            JsonPlace {
                field: self.path(name),
                offset: self.place.offset,
            },
            FaultKind::Missing,
        );
    }

    /// The field `name` as text that is not empty, where it is there.
    pub(super) fn optional_text(&self, name: &str) -> Option<(JsonNode<'a>, String)> {
        self.optional(name).and_then(text)
    }

    /// The field `name` as text that is not empty, which must be there.
    pub(super) fn required_text(&self, name: &str) -> Option<(JsonNode<'a>, String)> {
        self.required(name).and_then(text)
    }

    /// The items of the list `name`; none where it is not there.
    pub(super) fn items(&self, name: &str) -> Vec<JsonNode<'a>> {
        self.optional(name)
            .and_then(|node| node.list())
            .unwrap_or_default()
    }
}

fn text(node: JsonNode<'_>) -> Option<(JsonNode<'_>, String)> {
    let text = node.string()?;
    if text.is_empty() {
        node.reject("", "text that is not empty");
        return None;
    }
    Some((node, text))
}
