//! Flags that say how an app lives: `--restart`, `--depends-on`, `--stop-signal`, and `--attach`.

use std::ffi::OsStr;

use super::{FlagFault, InvalidFlag, read_text};
use crate::words::shown;
use crate::{AppName, Dependency, DependencyCondition, RestartPolicy};

/// Reads `--restart no|on-failure[:N]|always|unless-stopped`, in docker's words. As with docker, `on-failure:0` has no limit.
/// `unless-stopped` is `always`: nothing starts a stopped pod but its user.
///
/// # Errors
/// [`InvalidFlag`] for anything else.
pub fn read_restart(text: &OsStr) -> Result<RestartPolicy, InvalidFlag> {
    const FLAG: &str = "--restart";
    let fault = |fault| InvalidFlag::new(FLAG, text, fault);
    let word = read_text(FLAG, text)?;
    let (policy, count) = match word.split_once(':') {
        Some((policy, count)) => (policy, Some(count)),
        None => (word.as_str(), None),
    };
    match (policy, count) {
        ("no", None) => Ok(RestartPolicy::No),
        ("always" | "unless-stopped", None) => Ok(RestartPolicy::Always),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure { max_retries: None }),
        ("on-failure", Some(count)) => {
            let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
            let count: u32 = count.parse().ok().filter(|_| digits).ok_or_else(|| {
                fault(FlagFault::value(
                    "on-failure",
                    shown(count),
                    "a number of restarts",
                ))
            })?;
            Ok(RestartPolicy::OnFailure {
                max_retries: (count > 0).then_some(count),
            })
        }
        ("no" | "always" | "unless-stopped", Some(_)) => Err(fault(FlagFault::Form {
            fault: "only `on-failure` takes a number",
            hint: Some("write `on-failure:N`"),
        })),
        _ => Err(fault(FlagFault::Form {
            fault: "there is no such policy",
            hint: Some("write `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`"),
        })),
    }
}

/// Reads `--depends-on APP[=started|succeeded|healthy]`.
///
/// # Errors
/// [`InvalidFlag`] for what is not an app name, and for another condition.
pub fn read_depends_on(text: &OsStr) -> Result<Dependency, InvalidFlag> {
    const FLAG: &str = "--depends-on";
    let word = read_text(FLAG, text)?;
    let (app, condition) = word.split_once('=').unwrap_or((&word, "started"));
    let condition = match condition {
        "started" => DependencyCondition::Started,
        "succeeded" => DependencyCondition::Succeeded,
        "healthy" => DependencyCondition::Healthy,
        other => {
            let fault = FlagFault::value("APP", shown(other), "`started`, `succeeded` or `healthy`");
            return Err(InvalidFlag::new(FLAG, text, fault));
        }
    };
    let app = AppName::new(app).map_err(|error| InvalidFlag::new(FLAG, text, FlagFault::Name(error)))?;
    Ok(Dependency { app, condition })
}

/// Reads `--stop-signal`: a signal's name, with or without `SIG`, or its number.
///
/// # Errors
/// [`InvalidFlag`] for what has no such form; whether there is the signal is for the planner to find.
pub fn read_stop_signal(text: &OsStr) -> Result<String, InvalidFlag> {
    const FLAG: &str = "--stop-signal";
    let word = read_text(FLAG, text)?;
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
    match !word.is_empty() && word.chars().all(known) {
        true => Ok(word.to_ascii_uppercase()),
        false => {
            let hint = Some("write `QUIT`, `SIGQUIT` or `3`");
            let fault = "it is not a signal";
            Err(InvalidFlag::new(FLAG, text, FlagFault::Form { fault, hint }))
        }
    }
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// Reads `--attach stdin|stdout|stderr`, in any case.
///
/// # Errors
/// [`InvalidFlag`] for anything else.
pub fn read_attach(text: &OsStr) -> Result<Stream, InvalidFlag> {
    const FLAG: &str = "--attach";
    match read_text(FLAG, text)?.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Stdin),
        "stdout" => Ok(Stream::Stdout),
        "stderr" => Ok(Stream::Stderr),
        _ => {
            let fault = FlagFault::form("it is not `stdin`, `stdout` or `stderr`");
            Err(InvalidFlag::new(FLAG, text, fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_policies() {
        let on_failure = |max_retries| RestartPolicy::OnFailure { max_retries };
        for (text, policy) in [
            ("no", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::Always),
            ("on-failure", on_failure(None)),
            ("on-failure:0", on_failure(None)),
            ("on-failure:3", on_failure(Some(3))),
        ] {
            assert_eq!(read_restart(OsStr::new(text)), Ok(policy), "{text}");
        }
    }

    #[test]
    fn reads_dependencies() {
        let read = |text| read_depends_on(OsStr::new(text));
        let expected = |condition| {
            Ok(Dependency {
                app: AppName::new("db").unwrap(),
                condition,
            })
        };
        assert_eq!(read("db"), expected(DependencyCondition::Started));
        assert_eq!(read("db=started"), expected(DependencyCondition::Started));
        assert_eq!(read("db=succeeded"), expected(DependencyCondition::Succeeded));
        assert_eq!(read("db=healthy"), expected(DependencyCondition::Healthy));
        for text in ["", "=started", "db=", "db=well", "D B"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_a_hint() {
        for text in [
            "",
            "on-failure:",
            "on-failure:-1",
            "on-failure:+1",
            "on-failure:4294967296",
            "always:3",
        ] {
            assert!(read_restart(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
