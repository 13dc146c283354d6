//! `label=NAME[=VALUE]`, a filter that docker has for everything with labels.

use std::collections::BTreeMap;

/// Which labels something is to have: one of that name, and of that value where it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelFilter {
    name: String,
    value: Option<String>,
}

impl LabelFilter {
    /// Reads what follows `label=`.
    pub(crate) fn read(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, value)) => Self {
                name: name.to_owned(),
                value: Some(value.to_owned()),
            },
            None => Self {
                name: text.to_owned(),
                value: None,
            },
        }
    }

    pub(crate) fn passes(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.name);
        found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}
