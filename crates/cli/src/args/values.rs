//! Values that several commands read.

use std::time::Duration;

use clap::ValueEnum;
use isopod_spec::AppName;

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
}

/// The name of an app.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn app_name(text: &str) -> Result<AppName, String> {
    AppName::new(text).map_err(|error| error.reason.to_owned())
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
