//! Values that may be written in several ways: a text or a list, a list of pairs or an object, a text that is a boolean.

use std::ffi::OsStr;

use crate::flags::InvalidFlag;
use crate::located::{FaultKind, Key, Kind, Node};

/// A pair of a list or of an object.
pub(super) struct Pair<'a> {
    pub(super) name: String,
    /// `None`: a name alone.
    pub(super) value: Option<String>,
    pub(super) node: Node<'a>,
}

/// A text, or another scalar as it is written: `yes` and `1.10` are texts to compose.
pub(super) fn word(node: &Node<'_>) -> Option<String> {
    let written = || {
        let written = node.written();
        // Where an alias stands for the value, that is written.
        let plain = !written.is_empty()
            && written
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
        plain.then(|| written.to_owned())
    };
    match node.kind() {
        Kind::Null => None,
        Kind::Text(text) => Some(text.clone()),
        Kind::Boolean(value) => Some(written().unwrap_or_else(|| value.to_string())),
        Kind::Integer(_) | Kind::Number(_) => written().or_else(|| node.as_word()),
        Kind::List(_) | Kind::Map(_) => {
            node.type_fault("a string");
            None
        }
    }
}

/// The keys of an object with their values, those that are null included.
pub(super) fn fields<'a>(node: &Node<'a>) -> Vec<(&'a Key, Node<'a>)> {
    node.map()
        .iter()
        .map(|(key, value)| (key, node.child(&key.text, value)))
        .collect()
}

/// The word of the key `name`.
pub(super) fn word_at<'a>(node: &Node<'a>, name: &str) -> Option<(Node<'a>, String)> {
    let value = node.get(name)?;
    let word = word(&value)?;
    Some((value, word))
}

/// A boolean, which may be written as text.
pub(super) fn boolean(node: &Node<'_>, name: &str) -> Option<bool> {
    let value = node.get(name)?;
    match (value.kind(), value.as_text()) {
        (Kind::Boolean(value), _) => Some(*value),
        (_, Some("true")) => Some(true),
        (_, Some("false")) => Some(false),
        _ => {
            value.type_fault("`true` or `false`");
            None
        }
    }
}

/// A text, or a list of them.
pub(super) fn words<'a>(node: &Node<'a>, name: &str) -> Vec<(Node<'a>, String)> {
    let Some(value) = node.get(name) else {
        return Vec::new();
    };
    let items = match value.kind() {
        Kind::List(_) => value.own_items(),
        _ => vec![value],
    };
    let read = |item: Node<'a>| {
        let word = word(&item)?;
        Some((item, word))
    };
    items.into_iter().filter_map(read).collect()
}

/// A list of `NAME=VALUE`, or an object. Between name and value of a list stands one of `between`.
pub(super) fn pairs<'a>(node: &Node<'a>, name: &str, between: &[char]) -> Vec<Pair<'a>> {
    let Some(value) = node.get(name) else {
        return Vec::new();
    };
    match value.kind() {
        Kind::Map(_) => {
            let pair = |(key, node): (&Key, Node<'a>)| Pair {
                name: key.text.clone(),
                value: word(&node),
                node,
            };
            fields(&value).into_iter().map(pair).collect()
        }
        Kind::List(_) => {
            let pair = |item: Node<'a>| {
                let word = word(&item)?;
                let (name, value) = match word.split_once(between) {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word, None),
                };
                Some(Pair {
                    name,
                    value,
                    node: item,
                })
            };
            value.own_items().into_iter().filter_map(pair).collect()
        }
        _ => {
            value.type_fault("a list or an object");
            Vec::new()
        }
    }
}

/// A command: a list, or a line as a shell would split it.
pub(super) fn command(node: &Node<'_>, name: &str) -> Option<Vec<String>> {
    let value = node.get(name)?;
    match value.kind() {
        Kind::List(_) => Some(value.own_items().iter().filter_map(word).collect()),
        _ => {
            let line = word(&value)?;
            let split = shlex::split(&line);
            if split.is_none() {
                value.rule("a quote does not end");
            }
            split
        }
    }
}

/// What the reader of a flag made of a value here; its fault is one of the file.
pub(super) fn flag<T>(node: &Node<'_>, read: Result<T, InvalidFlag>) -> Option<T> {
    read.map_err(|error| node.fault(FaultKind::Flag(error.fault)))
        .ok()
}

/// The value of the key `name`, read as a flag's.
pub(super) fn flag_at<T>(
    node: &Node<'_>,
    name: &str,
    read: impl FnOnce(&OsStr) -> Result<T, InvalidFlag>,
) -> Option<T> {
    let (node, word) = word_at(node, name)?;
    flag(&node, read(OsStr::new(&word)))
}

/// Whether the value has keys.
pub(super) fn is_object(node: &Node<'_>) -> bool {
    matches!(node.kind(), Kind::Map(_))
}
