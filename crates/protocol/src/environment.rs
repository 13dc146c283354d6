//! An app's variables on their way from the planner to its programs. systemd passes on only names of letters, digits and
//! `_` (systemd.exec(5), `Environment=`); a container's variable may have any name without `=`. One that systemd would
//! leave out travels as the value of one that it takes, and gets its name back from the agent:
//!
//! ```text
//!   a.b=c ── pack ──> ISOPOD_ENV_0="a.b=c" ── systemd ──> isopod-agent become ── unpack ──> a.b=c
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What the names of those begin with that carry another.
const PREFIX: &str = "ISOPOD_ENV_";

/// Whether a program can have a variable of that name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Whether systemd passes a variable of that name on as it is.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(PREFIX)
}

/// The app's variable number `index` as systemd takes it.
#[must_use]
pub fn pack(index: usize, name: &str, value: &str) -> (String, String) {
    match is_plain(name) {
        true => (name.to_owned(), value.to_owned()),
        false => (format!("{PREFIX}{index}"), format!("{name}={value}")),
    }
}

/// The variable that was given to [`pack`].
#[must_use]
pub fn unpack(name: OsString, value: OsString) -> (OsString, OsString) {
    let packed = name.as_bytes().starts_with(PREFIX.as_bytes());
    let equals = value.as_bytes().iter().position(|byte| *byte == b'=');
    match equals.filter(|_| packed) {
        None => (name, value),
        Some(at) => {
            let (name, value) = value.as_bytes().split_at(at);
            let value = OsStr::from_bytes(value.get(1..).unwrap_or_default());
            (OsString::from_vec(name.to_vec()), value.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_comes_back_and_systemd_takes_what_is_packed() {
        for name in [
            "A",
            "_a1",
            "a.b",
            "a-b",
            "1",
            "ä b\n",
            "ISOPOD_ENV_0",
            "ISOPOD_ENV_",
        ] {
            for value in ["", "x", "a=b", "=", "ISOPOD_ENV_1=x"] {
                let (packed, text) = pack(3, name, value);
                assert_eq!(is_plain(name), packed == name, "{name}");
                assert!(is_plain(packed.trim_start_matches(PREFIX)) || packed == "ISOPOD_ENV_3");
                assert_eq!(
                    unpack(packed.into(), text.into()),
                    (name.into(), value.into()),
                    "{name}={value}"
                );
            }
        }
        assert!(is_name("a.b") && !is_name("") && !is_name("a=b") && !is_name("a\0"));
    }
}
