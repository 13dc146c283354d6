//! The ConfigMaps and Secrets behind a Pod.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::objects::Secrecy;
use crate::tree::{Fields, Tree};
use crate::{PodName, VolumeName};

/// The objects so far.
pub(super) struct WrittenObjects {
    /// What stands before each name, so that two pods of a cluster do not share them.
    prefix: String,
    all: Vec<Object>,
}

struct Object {
    secrecy: Secrecy,
    name: String,
    entries: Vec<(String, Vec<u8>)>,
}

impl WrittenObjects {
    /// None yet, of the pod of that name.
    pub(super) fn new(pod: Option<&PodName>) -> Self {
        let name = pod.and_then(|name| VolumeName::nearest(name.as_str()));
        Self {
            prefix: name.map(|name| format!("{name}-")).unwrap_or_default(),
            all: Vec::new(),
        }
    }

    /// Adds an object of these keys and values; the name that it gets.
    pub(super) fn add(&mut self, secrecy: Secrecy, name: &str, entries: Vec<(String, Vec<u8>)>) -> String {
        let first = format!("{}{name}", self.prefix);
        let taken = |name: &String| {
            let mut all = self.all.iter();
            all.any(|other| other.secrecy == secrecy && other.name == *name)
        };
        let others = (2..).map(|number| format!("{first}-{number}"));
        let mut names = std::iter::once(first.clone()).chain(others);
        let name = names.find(|name| !taken(name)).unwrap_or_default();
        self.all.push(Object {
            secrecy,
            name: name.clone(),
            entries,
        });
        name
    }

    /// The documents, in the order in which they were added.
    pub(super) fn into_documents(self) -> impl Iterator<Item = Fields> {
        self.all.into_iter().map(document)
    }
}

fn document(object: Object) -> Fields {
    let (plain, encoded) = match object.secrecy {
        Secrecy::Open => ("data", "binaryData"),
        Secrecy::Secret => ("stringData", "data"),
    };
    let (mut texts, mut binaries) = (Fields::new(), Fields::new());
    for (key, value) in object.entries {
        match as_text(&value) {
            Some(text) => texts = texts.with(key, text),
            None => binaries = binaries.with(key, Tree::Text(STANDARD.encode(value))),
        }
    }
    Fields::new()
        .with("apiVersion", "v1")
        .with("kind", object.secrecy.kind())
        .with("metadata", Fields::new().with("name", object.name))
        .with_fields(plain, texts)
        .with_fields(encoded, binaries)
}

/// A value as text, where people can read it as such.
fn as_text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let readable = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().all(readable).then_some(text)
}
