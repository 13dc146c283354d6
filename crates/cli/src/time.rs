//! Points in time, as `--since` and `--until` name them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_runtime::logs::parse_stamp;

use crate::args::duration;
use crate::output::Report;

/// The least number that is a time and not how long ago: a number of seconds since 1970, as docker's users write with `date +%s`.
const UNIX_TIMES: f64 = 1e9;

/// A time that `--FLAG` names: RFC 3339, seconds since 1970, or how long ago.
///
/// # Errors
/// A [`Report`] when it is neither.
pub(crate) fn time(flag: &str, text: &str) -> Result<SystemTime, Report> {
    let ago = |text| {
        let ago = duration(text).ok()?;
        SystemTime::now().checked_sub(ago)
    };
    let unix = || {
        let seconds = text.parse().ok().filter(|seconds| *seconds >= UNIX_TIMES)?;
        UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    };
    universal(text)
        .or_else(unix)
        .or_else(|| ago(text))
        .ok_or_else(|| {
            Report::text(format!("invalid value `{}` of `--{flag}`", text.escape_debug())).hint(Some(
                "such as 90s, 5m, 2h, 1d, 2026-11-23T20:08:36Z or 2026-11-23".into(),
            ))
        })
}

/// A time of RFC 3339's, with any number of a second's digits, or a date, whose day begins in UTC.
fn universal(text: &str) -> Option<SystemTime> {
    if !text.contains(['T', 't', ' ']) {
        return universal(&format!("{text}T00:00:00Z"));
    }
    let (text, ahead): (_, i64) = match text.strip_suffix(['Z', 'z']) {
        Some(text) => (text, 0),
        None => {
            let (rest, offset) = text.split_at(text.rfind(['+', '-'])?);
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let number = |text: &str, limit| -> Option<i64> {
                let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|number| digits && *number < limit)
            };
            let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
            (
                rest,
                if offset.starts_with('-') {
                    -seconds
                } else {
                    seconds
                },
            )
        }
    };
    let (seconds, digits) = text.split_once('.').unwrap_or((text, "0"));
    let known = !digits.is_empty() && digits.len() <= 9;
    let seconds = seconds.replace(['t', ' '], "T");
    let local = known.then(|| parse_stamp(format!("{seconds}.{digits:0<9}Z").as_bytes()))??;
    let off = Duration::from_secs(ahead.unsigned_abs());
    match ahead > 0 {
        true => local.checked_sub(off),
        false => local.checked_add(off),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_printed() {
        let at = |nanos| UNIX_EPOCH + Duration::new(1_795_464_516, nanos);
        for (text, nanos) in [
            ("2026-11-23T20:08:36Z", 0),
            ("2026-11-23T20:08:36.5Z", 500_000_000),
            ("2026-11-23T20:08:36.123Z", 123_000_000),
            ("2026-11-23T20:08:36.123456789Z", 123_456_789),
            // date -Is, date --rfc-3339=ns
            ("2026-11-23T21:08:36+01:00", 0),
            ("2026-11-23T16:38:36.5-03:30", 500_000_000),
            ("2026-11-23 20:08:36.123456789+00:00", 123_456_789),
        ] {
            assert_eq!(time("since", text).unwrap(), at(nanos), "{text}");
        }
        let midnight = at(0) - Duration::from_secs(20 * 3600 + 8 * 60 + 36);
        assert_eq!(time("since", "2026-11-23").unwrap(), midnight);
        assert_eq!(time("since", "1795464516").unwrap(), at(0));
        assert!(time("since", "1795464516.5").unwrap() > at(400_000_000));
        assert!(time("since", "1e400").is_err());
        assert!(time("since", "90s").unwrap() < SystemTime::now());
        for text in [
            "",
            "Z",
            "yesterday",
            "2026-11-23T20:08:36",
            "2026-11-23T20:08:36+1:00",
            "2026-11-23T20:08:36+24:00",
            "2026-11-23T20:08:36+é1:00",
            "2026-11-23T20:08:36.Z",
            "2026-11-23T20:08:36.1234567890Z",
            "2026-11-23T20:08:36.5.5Z",
        ] {
            assert!(time("since", text).is_err(), "{text}");
        }
    }
}
