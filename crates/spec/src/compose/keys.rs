//! The keys of a compose file and what becomes of each: `keys.txt`, as it is compiled in.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::values::fields;
use crate::located::{FaultKind, Kind, Node};
use crate::words::nearest;

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// The pod is as it says; how, where that needs words.
    Honoured(&'static str),
    /// It changes nothing, which is reported to the user; why.
    Ignored(&'static str),
    /// A file that sets it is refused; what to do instead.
    Refused(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComposeKey {
    pub name: &'static str,
    /// What becomes of it.
    pub status: KeyStatus,
}

/// The objects of a file, in the order of the list, each with its keys.
pub static OBJECTS: LazyLock<Vec<(&'static str, Vec<ComposeKey>)>> =
    LazyLock::new(|| read(include_str!("keys.txt")));

static BY_NAME: LazyLock<HashMap<&'static str, &'static [ComposeKey]>> = LazyLock::new(|| {
    OBJECTS
        .iter()
        .map(|(name, keys)| (*name, keys.as_slice()))
        .collect()
});

fn read(text: &'static str) -> Vec<(&'static str, Vec<ComposeKey>)> {
    let mut objects: Vec<(&str, Vec<ComposeKey>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match (line.strip_prefix("  "), objects.last_mut()) {
            (Some(line), Some((_, keys))) => keys.push(read_key(line)),
            _ => objects.push((line, Vec::new())),
        }
    }
    objects
}

fn read_key(line: &'static str) -> ComposeKey {
    let (name, status) = line.split_once(' ').unwrap_or((line, ""));
    let (word, words) = status.trim().split_once(": ").unwrap_or((status.trim(), ""));
    let status = match word {
        "ignored" => KeyStatus::Ignored(words),
        "refused" => KeyStatus::Refused(words),
        _ => KeyStatus::Honoured(words),
    };
    ComposeKey { name, status }
}

/// Holds an object against the list: keys that there are not, or twice, and those that are refused or change nothing.
pub(super) fn check(node: &Node<'_>, object: &str) {
    let keys = BY_NAME.get(object).copied().unwrap_or_default();
    if !matches!(node.kind(), Kind::Map(_)) {
        return node.type_fault("an object");
    }
    let mut seen = BTreeSet::new();
    for (key, value) in fields(node) {
        if key.text.starts_with("x-") {
            continue;
        }
        if !seen.insert(&key.text) {
            node.report(key, FaultKind::DuplicateField);
        }
        let Some(known) = keys.iter().find(|known| known.name == key.text) else {
            let nearest = nearest(&key.text, keys.iter().map(|known| known.name));
            node.report(key, FaultKind::UnknownField { nearest });
            continue;
        };
        match known.status {
            KeyStatus::Refused(_) | KeyStatus::Ignored(_) if says_nothing(&value) => {}
            KeyStatus::Refused(hint) => {
                let (what, why) = ("the key is".to_owned(), None);
                node.report(key, FaultKind::Unsupported { what, why, hint });
            }
            KeyStatus::Ignored(why) => {
                node.report(key, FaultKind::Notice(format!("it changes nothing: {why}")))
            }
            KeyStatus::Honoured(_) => {}
        }
    }
}

/// Whether a value asks for nothing: what is not there, is empty, or is off.
pub(super) fn says_nothing(node: &Node<'_>) -> bool {
    match node.kind() {
        Kind::Null | Kind::Boolean(false) => true,
        Kind::Text(text) => text.is_empty(),
        Kind::List(items) => items.is_empty(),
        Kind::Map(entries) => entries.is_empty(),
        Kind::Boolean(true) | Kind::Integer(_) | Kind::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_status_and_a_reason() {
        assert!(OBJECTS.len() > 15);
        for (object, keys) in OBJECTS.iter() {
            assert!(!keys.is_empty(), "{object}");
            let mut seen = BTreeSet::new();
            for key in keys {
                assert!(seen.insert(key.name), "{object}.{}", key.name);
                if let KeyStatus::Ignored(why) | KeyStatus::Refused(why) = key.status {
                    assert!(!why.is_empty(), "{object}.{}", key.name);
                }
            }
        }
        let service = BY_NAME["service"];
        assert!(service.len() > 80);
        assert!(matches!(
            service.iter().find(|key| key.name == "gpus"),
            Some(ComposeKey {
                status: KeyStatus::Refused(_),
                ..
            })
        ));
    }
}
