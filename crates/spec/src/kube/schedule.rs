//! The schedule of a CronJob, held against what the API takes (cron's five fields, as `robfig/cron` reads them). A job is run
//! once, now, so nothing is made of it.

/// The fields: what each is called, its least and greatest number, and the names that stand for numbers.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (
        "day of the week",
        0,
        6,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

/// What stands for five fields.
const NAMED: [&str; 7] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];

/// What is wrong with a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        return Err("a time zone is `timeZone`".to_owned());
    }
    if let Some(every) = schedule.strip_prefix("@every ") {
        return match is_duration(every) {
            true => Ok(()),
            false => Err("`@every` takes a duration such as `1h30m`".to_owned()),
        };
    }
    if schedule.starts_with('@') {
        return match NAMED.contains(&schedule) {
            true => Ok(()),
            false => Err(format!("of names there are {}", NAMED.join(", "))),
        };
    }
    let words: Vec<&str> = schedule.split_whitespace().collect();
    if words.len() != FIELDS.len() {
        return Err(format!("it has {} fields in place of five", words.len()));
    }
    for (word, field) in words.into_iter().zip(FIELDS) {
        if !word.split(',').all(|part| is_part(part, field)) {
            return Err(format!("its {} cannot be `{word}`", field.0));
        }
    }
    Ok(())
}

/// `*`, `?`, a number or name, a range of those, and after each the step.
fn is_part(part: &str, (_, least, most, names): (&str, u32, u32, &[&str])) -> bool {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)),
        None => (part, Some(1)),
    };
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| Some(u32::try_from(at).ok()? + least));
        let number = named.or_else(|| text.parse().ok());
        number.filter(|number| (least..=most).contains(number))
    };
    let is_range = match (range, range.split_once('-')) {
        ("*" | "?", _) => true,
        (_, Some((first, last))) => number(first)
            .zip(number(last))
            .is_some_and(|(first, last)| first <= last),
        (one, None) => number(one).is_some(),
    };
    is_range && step.is_some()
}

/// A duration as Go reads it: numbers, each with its unit.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        let unit = ["ns", "us", "ms", "s", "m", "h"]
            .into_iter()
            .find(|unit| digits.starts_with(unit));
        let (Ok(_), Some(unit)) = (number.parse::<f64>(), unit) else {
            return false;
        };
        rest = &digits[unit.len()..];
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_what_the_api_takes_for_them() {
        for good in [
            "* * * * *",
            "*/5 0-6/2 1,15 * MON-FRI",
            "0 3 ? jan 0",
            "@hourly",
            "@every 1h30m",
            "  0  0 * * *",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "every day",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@now",
            "@every",
            "@every 5",
            "TZ=UTC * * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
