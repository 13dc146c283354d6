//! Times as a record has them: RFC 3339, UTC, nine digits of a second, always 30 bytes. Nothing else is read.

use std::time::{Duration, SystemTime};

/// How long a stamp is.
pub(super) const STAMP_BYTES: usize = 30;

const DAY_SECONDS: u64 = 86_400;

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// `time` as `2026-11-23T20:08:36.123456789Z`. A time before 1970 is shown as 1970's first moment, one after 9999 as its
/// last second.
#[must_use]
pub fn stamp(time: SystemTime) -> String {
    String::from_utf8_lossy(&bytes(time)).into_owned()
}

pub(super) fn bytes(time: SystemTime) -> [u8; STAMP_BYTES] {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND);
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let of_day = seconds % DAY_SECONDS;
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    for (at, digits, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, of_day / 3600),
        (14, 2, of_day / 60 % 60),
        (17, 2, of_day % 60),
        (20, 9, u64::from(since.subsec_nanos())),
    ] {
        let mut rest = value;
        for place in out[at..at + digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    out
}

/// Reads what [`stamp`] writes, and nothing else; `None` where it is not a time.
#[must_use]
pub fn parse_stamp(text: &[u8]) -> Option<SystemTime> {
    let text: &[u8; STAMP_BYTES] = text.try_into().ok()?;
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (29, b'Z'),
    ];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let number = |at: usize, digits: usize| {
        text[at..at + digits].iter().try_fold(0_u64, |n, digit| {
            digit.is_ascii_digit().then(|| n * 10 + u64::from(digit - b'0'))
        })
    };
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds =
        days(number(0, 4)?, number(5, 2)?, number(8, 2)?)? * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, u32::try_from(number(20, 9)?).ok()?))
}

/// Year, month and day of the day number `days` since 1970, by years that begin in March: the leap day is their last
/// (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`date`]; `None` for a day that is in no calendar, or before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, of_era) = (march_year / 400, march_year % 400);
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (date(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn known_times() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_795_464_516, 123_456_789, "2026-11-23T20:08:36.123456789Z"),
            (LAST_SECOND, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(stamp(at(seconds, nanos)), text);
            assert_eq!(parse_stamp(text.as_bytes()), Some(at(seconds, nanos)));
        }
        assert_eq!(
            stamp(SystemTime::UNIX_EPOCH - Duration::from_secs(9)),
            "1970-01-01T00:00:00.000000000Z"
        );
        for text in [
            "2026-02-29T00:00:00.000000000Z",
            "2026-11-31T00:00:00.000000000Z",
            "2026-13-01T00:00:00.000000000Z",
            "1969-12-31T23:59:59.000000000Z",
            "2026-11-23T24:00:00.000000000Z",
            "2026-11-23T20:08:36.12345678Z",
            "2026-11-23 20:08:36.123456789Z",
            "2026-11-23T20:08:36.+23456789Z",
            "",
        ] {
            assert_eq!(parse_stamp(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn comes_back(seconds in 0..=LAST_SECOND, nanos in 0..1_000_000_000_u32) {
            let text = stamp(at(seconds, nanos));
            prop_assert_eq!(parse_stamp(text.as_bytes()), Some(at(seconds, nanos)));
        }

        #[test]
        fn sorts_as_text(a in 0..=LAST_SECOND, b in 0..=LAST_SECOND) {
            prop_assert_eq!(a.cmp(&b), stamp(at(a, 0)).cmp(&stamp(at(b, 0))));
        }
    }
}
