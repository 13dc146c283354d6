//! A pod's name: what docker takes for a container's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: a DNS name's length, as Kubernetes has it.
pub const MAX_POD_NAME_BYTES: usize = 253;

/// Why a text names no pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pod name `{name}`: {reason}")]
pub struct InvalidPodName {
    /// The text as it was given, control characters escaped.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A pod's name: letters, digits, `_`, `.` and `-`, a letter or digit first. It is safe as the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodName(String);

impl PodName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidPodName`] with the rule that it breaks. A UUID is not a name: it could be another pod's.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidPodName> {
        let name = name.into();
        let fail = |reason| {
            Err(InvalidPodName {
                name: name.escape_debug().to_string(),
                reason,
            })
        };
        if name.is_empty() {
            return fail("it is empty");
        }
        if name.len() > MAX_POD_NAME_BYTES {
            return fail("it is longer than 253 bytes");
        }
        let plain = |b: u8| b.is_ascii_alphanumeric();
        if !name.bytes().all(|b| plain(b) || matches!(b, b'_' | b'.' | b'-')) {
            return fail("only letters, digits, `_`, `.` and `-` are allowed");
        }
        if !name.bytes().next().is_some_and(plain) {
            return fail("a letter or digit must stand first");
        }
        if is_uuid(&name) {
            return fail("it is a UUID");
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text has a UUID's form: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PodName {
    type Error = InvalidPodName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<PodName> for String {
    fn from(name: PodName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for name in ["web", "Web_1.2-x", "0", "a..b"] {
            assert_eq!(PodName::new(name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "é", "../a"] {
            assert!(PodName::new(name).is_err(), "{name:?}");
        }
        assert!(PodName::new("a".repeat(253)).is_ok());
        assert!(PodName::new("a".repeat(254)).is_err());
        assert!(PodName::new("6ba7b810-9dad-11d1-80b4-00c04fd430c8").is_err());
    }
}
