//! Flags whose value is one thing: a variable, a size, a number, a user, a capability, a path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::{FlagFault, InvalidFlag};
use crate::capability;
use crate::size::{MAX_CPUS, MIN_MEMORY_MIB};
use crate::words::shown;
use crate::{AppName, EnvVar, PodName};

/// Reads text that must be UTF-8: the arguments of an app.
///
/// # Errors
/// [`InvalidFlag`] when it is not UTF-8, or holds a NUL byte.
pub fn read_text(flag: &'static str, text: &OsStr) -> Result<String, InvalidFlag> {
    utf8(text)
        .map(str::to_owned)
        .map_err(|fault| InvalidFlag::new(flag, text, fault))
}

pub(super) fn utf8(text: &OsStr) -> Result<&str, FlagFault> {
    let text = text.to_str().ok_or(FlagFault::form("it is not UTF-8"))?;
    if text.contains('\0') {
        Err(FlagFault::form("it holds a NUL byte"))
    } else {
        Ok(text)
    }
}

/// Reads `--entrypoint`: a program, or as with podman a JSON list of it and of its first arguments, which are given apart.
///
/// # Errors
/// [`InvalidFlag`] when it is not UTF-8, holds a NUL byte, or begins like a list of texts and is none.
pub fn read_entrypoint(text: &OsStr) -> Result<(String, Vec<String>), InvalidFlag> {
    const FLAG: &str = "--entrypoint";
    let word = read_text(FLAG, text)?;
    if !word.starts_with('[') {
        return Ok((word, Vec::new()));
    }
    let list: Result<Vec<String>, _> = serde_json::from_str(&word);
    let mut list = list.map_err(|_| {
        let fault = "it begins like a JSON list, but is not a list of strings";
        let hint = Some(r#"write `["sh", "-c"]`"#);
        InvalidFlag::new(FLAG, text, FlagFault::Form { fault, hint })
    })?;
    if list.iter().any(|word| word.contains('\0')) {
        return Err(InvalidFlag::new(
            FLAG,
            text,
            FlagFault::form("it holds a NUL byte"),
        ));
    }
    // An empty list is docker's empty text: the program is what follows the image.
    let program = if list.is_empty() {
        String::new()
    } else {
        list.remove(0)
    };
    Ok((program, list))
}

/// Reads text that must be UTF-8 and not empty: `--group`.
///
/// # Errors
/// [`InvalidFlag`] when it is empty, not UTF-8, or holds a NUL byte.
pub fn read_word(flag: &'static str, text: &OsStr) -> Result<String, InvalidFlag> {
    let word = read_text(flag, text)?;
    if word.is_empty() {
        Err(InvalidFlag::new(flag, text, FlagFault::form("it is empty")))
    } else {
        Ok(word)
    }
}

/// Reads `--app-name`, an app's name.
///
/// # Errors
/// [`InvalidFlag`] for what is not a name of an app.
pub fn read_app_name(text: &OsStr) -> Result<AppName, InvalidFlag> {
    AppName::new(shown(text)).map_err(|error| InvalidFlag::new("--app-name", text, FlagFault::Name(error)))
}

/// Reads a pod's `--name`.
///
/// # Errors
/// [`InvalidFlag`] with the rule that it breaks.
pub fn read_pod_name(text: &OsStr) -> Result<PodName, InvalidFlag> {
    let read = |text: &str| {
        PodName::new(text).map_err(|error| FlagFault::Form {
            fault: error.reason,
            hint: Some("such as `web` or `my-pod_2`"),
        })
    };
    utf8(text)
        .and_then(read)
        .map_err(|fault| InvalidFlag::new("--name", text, fault))
}

/// Reads `--env NAME=VALUE` or `--env NAME`.
///
/// # Errors
/// [`InvalidFlag`] when the name is empty, or the text is not UTF-8.
pub fn read_env(text: &OsStr) -> Result<EnvVar, InvalidFlag> {
    let read = || {
        let (name, value) = match utf8(text)?.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (utf8(text)?, None),
        };
        if name.is_empty() {
            return Err(FlagFault::form("the variable has no name"));
        }
        Ok(EnvVar {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            secret: false,
        })
    };
    read().map_err(|fault| InvalidFlag::new("--env", text, fault))
}

/// Reads `--vm-memory`, a size as docker writes it, into MiB, rounded up.
///
/// # Errors
/// [`InvalidFlag`] for what is not a size, and below [`MIN_MEMORY_MIB`].
pub fn read_memory_mib(text: &OsStr) -> Result<u32, InvalidFlag> {
    let fail = |fault| InvalidFlag::new("--vm-memory", text, fault);
    let bytes = text.to_str().and_then(read_bytes).ok_or_else(|| {
        fail(FlagFault::Form {
            fault: "it is not a size",
            hint: Some("write `512m` or `1.5g`"),
        })
    })?;
    let mib =
        u32::try_from(bytes.div_ceil(1 << 20)).map_err(|_| fail(FlagFault::form("it is more than 4 PiB")))?;
    if mib < MIN_MEMORY_MIB {
        let fault = "it is less than 160 MiB, with which no guest starts";
        let hint = Some("a number without a unit is bytes; write `512m` for 512 MiB");
        return Err(fail(FlagFault::Form { fault, hint }));
    }
    Ok(mib)
}

/// Reads `--vm-cpus`, a whole number of virtual CPUs.
///
/// # Errors
/// [`InvalidFlag`] for a fraction, 0 and more than [`MAX_CPUS`].
pub fn read_cpus(text: &OsStr) -> Result<u32, InvalidFlag> {
    let fail = |fault, hint| {
        Err(InvalidFlag::new(
            "--vm-cpus",
            text,
            FlagFault::Form { fault, hint },
        ))
    };
    let cpus = text.to_str().unwrap_or_default();
    if cpus.parse::<f64>().is_ok_and(|_| cpus.contains('.')) {
        return fail(
            "it is a fraction",
            Some("the guest has whole virtual CPUs: write `1` or `2`"),
        );
    }
    match cpus.parse::<u32>() {
        Ok(number @ 1..=MAX_CPUS) if cpus.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => fail("it is not a whole number from 1 to 255", None),
    }
}

/// Reads `--user USER[:GROUP]`; each is a number, a name or an absolute path in the image.
///
/// # Errors
/// [`InvalidFlag`] when one of them is empty, or the text is not UTF-8.
pub fn read_user(text: &OsStr) -> Result<(String, Option<String>), InvalidFlag> {
    let read = || {
        let (user, group) = match utf8(text)?.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (utf8(text)?, None),
        };
        if user.is_empty() {
            let hint = Some("the group alone is `--group GROUP`");
            return Err(FlagFault::Form {
                fault: "the user is empty",
                hint,
            });
        }
        if group == Some("") {
            return Err(FlagFault::form("the group is empty"));
        }
        Ok((user.to_owned(), group.map(str::to_owned)))
    };
    read().map_err(|fault| InvalidFlag::new("--user", text, fault))
}

/// Reads `--workdir`, an absolute path.
///
/// # Errors
/// [`InvalidFlag`] for a relative path.
pub fn read_workdir(text: &OsStr) -> Result<PathBuf, InvalidFlag> {
    absolute("PATH", text.to_owned()).map_err(|fault| InvalidFlag::new("--workdir", text, fault))
}

/// Reads `--cap-add` or `--cap-drop`: a capability with or without `CAP_`, in any case, or `ALL`. The result has the
/// kernel's spelling (`CAP_NET_ADMIN`), or is `ALL`.
///
/// # Errors
/// [`InvalidFlag`] for a name that capabilities(7) does not know.
pub(crate) fn read_capability(flag: &'static str, text: &OsStr) -> Result<String, InvalidFlag> {
    let name = text.to_string_lossy();
    if name.eq_ignore_ascii_case("ALL") {
        return Ok("ALL".to_owned());
    }
    capability::read(&name).map(str::to_owned).ok_or_else(|| {
        let hint = match capability::nearest(&name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "capabilities(7) lists them".to_owned(),
        };
        InvalidFlag::new(
            flag,
            text,
            FlagFault::Unknown {
                what: "capability",
                name: shown(text),
                hint,
            },
        )
    })
}

/// Reads `--label` or `--annotation`: `NAME=VALUE`, or a name alone, whose value is empty then.
///
/// # Errors
/// [`InvalidFlag`] when it has no name.
pub fn read_label(flag: &'static str, text: &OsStr) -> Result<(String, String), InvalidFlag> {
    let word = read_word(flag, text)?;
    let (name, value) = word.split_once('=').unwrap_or((&word, ""));
    match name.trim().is_empty() {
        true => Err(InvalidFlag::new(flag, text, FlagFault::form("it has no name"))),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

/// Reads a whole number of seconds, `least` or more.
///
/// # Errors
/// [`InvalidFlag`] for anything else.
pub fn read_seconds(flag: &'static str, least: u32, text: &OsStr) -> Result<Duration, InvalidFlag> {
    let digits = text.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let seconds = text.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds = seconds.filter(|seconds| digits && *seconds >= least);
    seconds
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or_else(|| {
            let fault = match least {
                0 => "it is not a whole number of seconds",
                _ => "it is not a whole number of seconds above 0",
            };
            InvalidFlag::new(flag, text, FlagFault::form(fault))
        })
}

/// Reads `--on-silent report|kill[:SECONDS]`: how long the guest may be silent before it is killed, if it is.
///
/// # Errors
/// [`InvalidFlag`] for anything else, and for less than 10 seconds.
pub fn read_on_silent(text: &OsStr) -> Result<Option<Duration>, InvalidFlag> {
    /// It reports every three seconds, and an emulated guest on a busy host stands still for some.
    const LEAST: u64 = 10;
    let seconds = match text.to_str().unwrap_or_default().split_once(':') {
        None if text == "report" => return Ok(None),
        None if text == "kill" => Some(60),
        Some(("kill", seconds)) => seconds.parse().ok().filter(|seconds| *seconds >= LEAST),
        _ => None,
    };
    seconds
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(|| {
            let fault = "it is not `report`, `kill` or `kill:SECONDS` with 10 or more";
            InvalidFlag::new("--on-silent", text, FlagFault::form(fault))
        })
}

/// A number of bytes, with `k`, `m`, `g`, `t` or `p` for powers of 1024, as docker reads it: in any case, with `i`, `b` or `iB` behind, and
/// a decimal fraction before (`1.5g`). What is left of a byte does not count.
pub(super) fn read_bytes(text: &str) -> Option<u64> {
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit
        .strip_prefix(' ')
        .unwrap_or(unit)
        .to_ascii_lowercase()
        .as_str()
    {
        "" | "b" => 0,
        "k" | "ki" | "kb" | "kib" => 10,
        "m" | "mi" | "mb" | "mib" => 20,
        "g" | "gi" | "gb" | "gib" => 30,
        "t" | "ti" | "tb" | "tib" => 40,
        "p" | "pi" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    // More digits than this are less than a byte of the largest unit.
    let (fraction, _) = fraction
        .split_at_checked(FRACTION_DIGITS)
        .unwrap_or((fraction, ""));
    let read = |digits: &str| format!("0{digits}").parse::<u128>().ok();
    let parts = (read(fraction)? << shift) / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let bytes = read(whole)?.checked_mul(1 << shift)?.checked_add(parts)?;
    u64::try_from(bytes).ok()
}

/// How many digits of a fraction count.
const FRACTION_DIGITS: usize = 18;

/// A path that must be absolute.
pub(super) fn absolute(key: &'static str, path: OsString) -> Result<PathBuf, FlagFault> {
    if !path.as_bytes().starts_with(b"/") {
        return Err(FlagFault::value(key, path, "an absolute path"));
    }
    if path.as_bytes().contains(&0) {
        return Err(FlagFault::value(key, path, "a path without NUL bytes"));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("7b", Some(7)),
            ("1k", Some(1 << 10)),
            ("3KiB", Some(3 << 10)),
            ("64Mi", Some(64 << 20)),
            ("2G", Some(2 << 30)),
            ("1t", Some(1 << 40)),
            ("16777216t", None),
            ("", None),
            ("m", None),
            ("1.5g", Some(3 << 29)),
            ("0.5K", Some(512)),
            ("1.5GiB", Some(3 << 29)),
            ("2.7", Some(2)),
            ("64 MB", Some(64 << 20)),
            ("0.1p", Some(112_589_990_684_262)),
            ("0.0000000000000000009999p", Some(0)),
            ("1.g", Some(1 << 30)),
            (".5g", Some(1 << 29)),
            (".", None),
            (".g", None),
            ("99999999999999999999999999999999999999999", None),
            ("1.5.1g", None),
            ("1.0000000000000000000x", None),
            ("1.+5g", None),
            ("1.000000000000000000x0g", None),
            ("-1", None),
            ("+1", None),
            ("1  g", None),
            ("1x", None),
            ("1é", None),
        ] {
            assert_eq!(read_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn memory_is_whole_mib_and_enough() {
        for (text, mib) in [
            ("512m", 512),
            ("1g", 1024),
            ("1.5g", 1536),
            ("0.3g", 308),
            ("167772160", 160),
            ("167772161", 161),
        ] {
            assert_eq!(read_memory_mib(os(text)).unwrap(), mib, "{text}");
        }
        for (text, message) in [
            ("512", "it is less than 160 MiB, with which no guest starts"),
            ("159m", "it is less than 160 MiB, with which no guest starts"),
            ("4096t", "it is more than 4 PiB"),
            ("much", "it is not a size"),
            ("1.5", "it is less than 160 MiB, with which no guest starts"),
            ("1,5g", "it is not a size"),
        ] {
            assert_eq!(
                read_memory_mib(os(text)).unwrap_err().fault.to_string(),
                message,
                "{text}"
            );
        }
        assert!(
            read_memory_mib(os("512"))
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("`512m`")
        );
    }

    #[test]
    fn cpus_are_whole() {
        assert_eq!(read_cpus(os("4")).unwrap(), 4);
        assert_eq!(
            read_cpus(os("1.5")).unwrap_err().fault.to_string(),
            "it is a fraction"
        );
        for bad in ["0", "256", "-1", "+1", "", "a", "."] {
            assert!(read_cpus(os(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn environment_variables() {
        for (text, name, value) in [
            ("A=b", "A", Some("b")),
            ("A=", "A", Some("")),
            ("A", "A", None),
            ("A=b=c\n", "A", Some("b=c\n")),
        ] {
            let expected = EnvVar {
                name: name.to_owned(),
                value: value.map(str::to_owned),
                secret: false,
            };
            assert_eq!(read_env(os(text)).unwrap(), expected, "{text}");
        }
        for bad in [os("=a"), os(""), OsStr::from_bytes(b"A=\xff"), os("A=\0")] {
            assert!(read_env(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users_and_groups() {
        assert_eq!(read_user(os("1000")).unwrap(), ("1000".to_owned(), None));
        assert_eq!(
            read_user(os("www:/etc/passwd")).unwrap(),
            ("www".to_owned(), Some("/etc/passwd".to_owned()))
        );
        for bad in [":1", "a:", "", ":"] {
            assert!(read_user(os(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities_have_the_kernels_spelling() {
        for (text, name) in [
            ("net_admin", "CAP_NET_ADMIN"),
            ("CAP_BPF", "CAP_BPF"),
            ("all", "ALL"),
        ] {
            assert_eq!(read_capability("--cap-add", os(text)).unwrap(), name);
        }
        let error = read_capability("--cap-drop", os("NET_ADMN")).unwrap_err();
        assert_eq!(error.to_string(), "invalid value `NET_ADMN` of `--cap-drop`");
        assert_eq!(error.fault.to_string(), "unknown capability `NET_ADMN`");
        assert_eq!(error.hint().unwrap(), "did you mean `CAP_NET_ADMIN`?");
    }
}
