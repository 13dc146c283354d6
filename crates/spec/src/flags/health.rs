//! Flags of an app's health check, in docker's and podman's words: `--health-cmd`, `--health-interval` and their kin.

use std::ffi::OsStr;
use std::time::Duration;

use super::{FlagFault, InvalidFlag, read_word};
use crate::words::shown;
use crate::{HealthTest, OnUnhealthy};

/// Reads `--health-cmd COMMAND`: a line for the image's `/bin/sh`.
///
/// # Errors
/// [`InvalidFlag`] when it is empty, not UTF-8, or holds a NUL byte.
pub fn read_health_cmd(text: &OsStr) -> Result<HealthTest, InvalidFlag> {
    let line = read_word("--health-cmd", text)?;
    Ok(HealthTest::Command(vec![
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        line,
    ]))
}

/// Reads a time of `flag` as Go writes it, `1m30s` or `500ms`; `None` for 0, by which docker means its default.
///
/// # Errors
/// [`InvalidFlag`] for what is none, for less than a millisecond and more than a year.
pub fn read_health_time(flag: &'static str, text: &OsStr) -> Result<Option<Duration>, InvalidFlag> {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let fault = |fault| FlagFault::Form {
        fault,
        hint: Some("write `30s`, `1m30s` or `500ms`"),
    };
    let time = text.to_str().and_then(duration).ok_or(fault("it is not a time"));
    let time = time.and_then(|time| match time {
        Duration::ZERO => Ok(None),
        time if time < Duration::from_millis(1) => Err(fault("it is less than a millisecond")),
        time if time > LONGEST => Err(fault("it is more than a year")),
        time => Ok(Some(time)),
    });
    time.map_err(|fault| InvalidFlag::new(flag, text, fault))
}

/// Reads `--health-retries N`; `None` for 0, by which docker means its default.
///
/// # Errors
/// [`InvalidFlag`] for what is not a whole number.
pub fn read_health_retries(text: &OsStr) -> Result<Option<u32>, InvalidFlag> {
    const FLAG: &str = "--health-retries";
    let retries = read_word(FLAG, text)?.parse::<u32>();
    let retries =
        retries.map_err(|_| InvalidFlag::new(FLAG, text, FlagFault::form("it is not a whole number")))?;
    Ok((retries > 0).then_some(retries))
}

/// Reads `--health-on-failure none|kill|stop`.
///
/// # Errors
/// [`InvalidFlag`] for anything else.
pub fn read_health_on_failure(text: &OsStr) -> Result<OnUnhealthy, InvalidFlag> {
    const FLAG: &str = "--health-on-failure";
    match read_word(FLAG, text)?.as_str() {
        "none" => Ok(OnUnhealthy::Nothing),
        "kill" => Ok(OnUnhealthy::Kill),
        "stop" => Ok(OnUnhealthy::Stop),
        "restart" => {
            let fault = FlagFault::Unsupported {
                what: "restart".to_owned(),
                hint: "write `kill`, and `--restart on-failure` or `--restart always` beside it",
            };
            Err(InvalidFlag::new(FLAG, text, fault))
        }
        other => {
            let fault = FlagFault::value("ACTION", shown(other), "`none`, `kill` or `stop`");
            Err(InvalidFlag::new(FLAG, text, fault))
        }
    }
}

/// A duration as Go's `time.ParseDuration` reads it: numbers, each with a unit, without a sign; `0` needs none.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let after_point = after.strip_prefix('.').unwrap_or(after);
        let (part, after) = match after.len() - after_point.len() {
            0 => ("", after),
            _ => after_point.split_at(digits(after_point)),
        };
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return None,
        };
        let number = |digits: &str| match digits {
            "" => Some(0),
            digits => digits.parse::<u64>().ok().map(u128::from),
        };
        // More digits than a nanosecond has make no difference.
        let part = part.get(..9).unwrap_or(part);
        let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
        nanoseconds += number(whole)? * unit + number(part)? * unit / scale;
        rest = after;
    }
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
    let nanoseconds = u32::try_from(nanoseconds % 1_000_000_000).ok()?;
    (!text.is_empty()).then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn reads_gos_durations() {
        for (text, expected) in [
            ("30s", ms(30_000)),
            ("1m30s", ms(90_000)),
            ("500ms", ms(500)),
            ("1.5s", ms(1_500)),
            (".5h", ms(1_800_000)),
            ("1.s", ms(1_000)),
            ("0", ms(0)),
            ("0s", ms(0)),
            ("2h0m1s", ms(7_201_000)),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            ".s",
            "-1s",
            "+1s",
            "1d",
            "1 s",
            "1s1",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_sensible() {
        let read = |text: &str| read_health_time("--health-interval", OsStr::new(text));
        assert_eq!(read("0s"), Ok(None));
        assert_eq!(read("1ms"), Ok(ms(1)));
        for text in ["1us", "9000h", "soon"] {
            let error = read(text).unwrap_err();
            assert_eq!(error.hint().unwrap(), "write `30s`, `1m30s` or `500ms`");
        }
    }

    #[test]
    fn what_a_failure_leads_to() {
        let read = |text: &str| read_health_on_failure(OsStr::new(text));
        assert_eq!(read("none"), Ok(OnUnhealthy::Nothing));
        assert_eq!(read("kill"), Ok(OnUnhealthy::Kill));
        assert_eq!(read("stop"), Ok(OnUnhealthy::Stop));
        let refused = read("restart").unwrap_err();
        assert_eq!(refused.fault.to_string(), "`restart` is not supported");
        assert!(refused.hint().unwrap().contains("--restart on-failure"));
        assert!(read("reboot").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.a-zµ-]{0,24}") {
            let _ = duration(&text);
        }
    }
}
