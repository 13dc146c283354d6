//! Names of apps and volumes: what Kubernetes takes for one, of which the appc specification's AC Name is a part.
//!
//! Such a name holds lower-case letters, digits and inner dashes, so it needs no quoting in a unit file, on a
//! QEMU command line or in a path. That is why everything the planner names after the user's words is named after
//! one of these, and every other text of the user's (paths above all) is treated as hostile.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest app name accepted, in bytes: with `.service` behind it a unit name stays within systemd's limit of 255
/// bytes (`UNIT_NAME_MAX` counts the final NUL).
pub const MAX_APP_NAME_BYTES: usize = 247;

/// The longest volume name accepted, in bytes: it becomes one component of a path (`NAME_MAX`, path_resolution(7)).
pub const MAX_VOLUME_NAME_BYTES: usize = 255;

/// Why a text is no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid name `{name}`: {reason}")]
pub struct InvalidName {
    /// The text as it was given, control characters escaped.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl InvalidName {
    /// The nearest name that is valid, where anything is left of it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        sanitize(&self.name, MAX_APP_NAME_BYTES).map(|name| format!("`{name}` would be valid"))
    }
}

fn check(name: &str, max_bytes: usize) -> Result<(), InvalidName> {
    let fail = |reason| {
        Err(InvalidName {
            name: name.escape_debug().to_string(),
            reason,
        })
    };
    if name.is_empty() {
        return fail("it is empty");
    }
    if name.len() > max_bytes {
        return fail(if max_bytes == MAX_APP_NAME_BYTES {
            "it is longer than 247 bytes"
        } else {
            "it is longer than 255 bytes"
        });
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return fail("only lower-case letters, digits and `-` are allowed");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return fail("it must begin and end with a letter or digit");
    }
    Ok(())
}

/// Whether a name is an AC Name, too, which has no two dashes in a row (appc spec, section "AC Name Type").
///
/// # Errors
/// [`InvalidName`] where it is not one.
pub(crate) fn check_ac_name(name: &str) -> Result<(), InvalidName> {
    match name.contains("--") {
        true => Err(InvalidName {
            name: name.escape_debug().to_string(),
            reason: "`-` must stand between two letters or digits",
        }),
        false => Ok(()),
    }
}

/// Turns any text into the nearest AC Name, or `None` when no letter or digit is left of it.
fn sanitize(text: &str, max_bytes: usize) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(max_bytes);
    let out = out.trim_end_matches('-');
    (!out.is_empty()).then(|| out.to_owned())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `name` against the rules.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that it breaks.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check(&name, $max).map(|()| Self(name.into()))
            }

            /// The nearest valid name to `text`: lower case, every run of other characters one dash. `None` when
            /// nothing is left.
            #[must_use]
            pub fn nearest(text: &str) -> Option<Self> {
                sanitize(text, $max).map(|name| Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(s: &str) -> Result<Self, InvalidName> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(s: String) -> Result<Self, InvalidName> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name_type! {
    /// The name of an app, unique in its pod.
    AppName, MAX_APP_NAME_BYTES
}
name_type! {
    /// The name of a volume, unique in its pod.
    VolumeName, MAX_VOLUME_NAME_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_and_refuses_as_kubernetes_and_appc_do() {
        let (longest, too_long) = ("a".repeat(MAX_APP_NAME_BYTES), "a".repeat(MAX_APP_NAME_BYTES + 1));
        for good in ["a", "0", "a-b", "a--b", "database", "example-1-2", &longest] {
            assert!(AppName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", "a b", "a\n", &too_long,
        ] {
            assert!(AppName::new(bad).is_err(), "{bad}");
        }
        assert!(check_ac_name("a-b").is_ok() && check_ac_name("a--b").is_err());
    }

    proptest! {
        #[test]
        fn nearest_is_always_valid(text in any::<String>()) {
            if let Some(name) = AppName::nearest(&text) {
                prop_assert!(AppName::new(name.as_str()).is_ok());
            }
        }

        #[test]
        fn nearest_leaves_a_valid_name_alone(name in "[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}") {
            let nearest = AppName::nearest(&name).unwrap();
            prop_assert_eq!(nearest.as_str(), name);
        }
    }
}
