//! Hints that are lost on their way: an error that has a hint of its own, or says that it has none, and holds another error whose
//! hint it does not pass on.
//!
//! Seen is the text: an error is what has a `fn hint(&self)` in an `impl` of its own, and holds what stands in its variants and
//! fields. Names that several types have, some of them without a hint, count for nothing, nor do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex_lite::Regex;

use crate::circles;

/// A declaration of a type, or an `impl` of it.
const ITEM: &str = r"(?m)^(?:pub(?:\([a-z]+\))? )?(?:(enum|struct) (\w+)|impl (\w+))[^;{(]*\{";

/// A variant or a field, and what it holds, up to the next one.
const PART: &str = r"(?m)^    (?:pub(?:\([a-z]+\))? )?(\w+)[ :({,]";

/// The errors of the crates below `crates` that lose a hint, as `Type::Part: of what`. `silent` are those that say that they have none.
///
/// # Panics
/// When the crates cannot be read.
#[must_use]
pub fn lost(crates: &Path, silent: &BTreeSet<String>) -> Vec<String> {
    let item = Regex::new(ITEM).expect("an expression");
    let part = Regex::new(PART).expect("an expression");
    // By name: the bodies of its declarations and of its hints.
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut hints: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for dir in fs::read_dir(crates).expect("the crates").flatten() {
        for text in circles::code_of(&dir.path().join("src")) {
            for found in item.captures_iter(&text) {
                let body = block(&text[found.get(0).expect("all of it").end()..]);
                if let Some(name) = found.get(2) {
                    declared
                        .entry(name.as_str().to_owned())
                        .or_default()
                        .push(body.to_owned());
                } else if let (Some(name), Some(at)) = (found.get(3), body.find("fn hint(&self)")) {
                    let hint = &body[at..];
                    let opens = hint.find('{').map_or(hint.len(), |at| at + 1);
                    hints
                        .entry(name.as_str().to_owned())
                        .or_default()
                        .push(block(&hint[opens..]).to_owned());
                }
            }
        }
    }
    let of_all = |name: &String| hints[name].len() >= declared.get(name).map_or(1, Vec::len);
    let hinted: Vec<&String> = hints.keys().filter(|name| of_all(name)).collect();
    let mut lost = Vec::new();
    let all = hints.keys().filter(|name| of_all(name)).chain(silent);
    for (name, body) in all.filter_map(|name| Some((name, declared.get(name)?.first()?))) {
        let starts: Vec<_> = part.captures_iter(body).collect();
        for (i, start) in starts.iter().enumerate() {
            let this = start.get(1).expect("a name");
            let end = starts
                .get(i + 1)
                .map_or(body.len(), |next| next.get(0).expect("it").start());
            let held = &body[this.end()..end];
            let passes = hints
                .get(name)
                .is_some_and(|hint| hint[0].contains(this.as_str()));
            let holds = |other: &&&String| {
                Regex::new(&format!(r"[(<:& ]{other}[),>\n]")).is_ok_and(|inner| inner.is_match(held))
            };
            if let Some(other) = hinted.iter().find(holds).filter(|_| !passes) {
                lost.push(format!("{name}::{}: of {other}", this.as_str()));
            }
        }
    }
    lost.sort();
    lost
}

/// What is before the brace that closes the block which `text` is in.
fn block(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return &text[..at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_that_is_not_passed_on_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let src = dir.path().join("one/src");
        fs::create_dir_all(&src).unwrap();
        let inner = "pub enum Inner {\n    Full,\n}\n\nimpl Inner {\n    pub fn hint(&self) -> Option<String> {\n        Some(String::new())\n    }\n}\n";
        let outer = "pub enum Outer {\n    /// One.\n    Kept(#[from] Inner),\n    Lost {\n        /// Why.\n        source: Box<Inner>,\n    },\n    Other(String),\n}\n\n\
                     impl Outer {\n    pub fn hint(&self) -> Option<String> {\n        match self {\n            Self::Kept(inner) => inner.hint(),\n            _ => None,\n        }\n    }\n}\n";
        let quiet = "pub struct Quiet {\n    source: Inner,\n}\n";
        fs::write(src.join("lib.rs"), [inner, outer, quiet].concat()).unwrap();
        let silent = BTreeSet::from(["Quiet".to_owned()]);
        assert_eq!(
            lost(dir.path(), &silent),
            ["Outer::Lost: of Inner", "Quiet::source: of Inner"]
        );
    }
}
