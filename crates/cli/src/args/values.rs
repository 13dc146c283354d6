//! Values that several commands read.

use std::fmt::Display;
use std::time::Duration;

use clap::ValueEnum;
use isopod_spec::flags::InvalidFlag;
use isopod_spec::{AppName, InvalidName};

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
}

/// What is wrong with a value and what would be right, in a line: clap prints it behind the value.
pub(crate) fn invalid(reason: impl Display, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{reason}; {hint}"),
        None => reason.to_string(),
    }
}

/// The same of a value that a flag of `run` has too.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn invalid_flag(error: InvalidFlag) -> String {
    invalid(&error.fault, error.hint())
}

/// The same of a name.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn invalid_name(error: InvalidName) -> String {
    invalid(error.reason, error.hint())
}

/// The name of an app.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text).map_err(invalid_name)
}

/// A number of seconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u32 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Ok(Duration::from_secs(seconds.into()))
}

/// A time such as `90`, `90s`, `5m`, `2h` or `1d`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time such as 90s, 5m, 2h or 1d".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_value_comes_with_what_is_right() {
        assert_eq!(
            app_name("Web").unwrap_err(),
            "only lower-case letters, digits and `-` are allowed; `web` would be valid"
        );
        let memory = isopod_spec::flags::read_memory_bytes("--memory", "1.5x".as_ref());
        assert_eq!(
            memory.map_err(invalid_flag).unwrap_err(),
            "it is not a size; write `64m` or `1.5g`"
        );
    }

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(
            [
                seconds("90"),
                seconds("90s"),
                seconds("5m"),
                seconds("2h"),
                seconds("1d"),
                seconds("0")
            ],
            [Ok(90), Ok(90), Ok(300), Ok(7200), Ok(86_400), Ok(0)]
        );
        for text in [
            "",
            "s",
            "5w",
            "-1",
            "1.5h",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
