//! `isopod logs`: what the apps of a pod wrote, read from its files. Nobody is held up by it.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use isopod_plan::layout::LOGS;
use isopod_runtime::Settings;
use isopod_runtime::logs::{LogReader, Options, Record, Stream, parse_stamp, stamp};
use isopod_spec::AppName;

use crate::args::duration;
use crate::failure::Failure;
use crate::life::app_number;
use crate::output::Report;
use crate::show::{find, pods};

/// What is to be shown.
pub(crate) struct Wanted<'a> {
    pub(crate) pod: &'a str,
    pub(crate) follow: bool,
    pub(crate) since: Option<&'a str>,
    pub(crate) tail: Option<u64>,
    pub(crate) apps: &'a [AppName],
    pub(crate) timestamps: bool,
}

/// Prints them, each stream to its own.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn logs(wanted: &Wanted<'_>, settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let pod = find(&pods, wanted.pod)?;
    for app in wanted.apps {
        app_number(&pod, app)?;
    }
    let all: Vec<AppName> = pod
        .record
        .iter()
        .flat_map(|record| record.apps.iter().map(|app| app.name.clone()))
        .collect();
    let apps = if wanted.apps.is_empty() {
        &all[..]
    } else {
        wanted.apps
    };
    let options = Options {
        since: wanted.since.map(|text| time("since", text)).transpose()?,
        // Without a number nothing needs to be counted.
        tail: wanted.tail.filter(|lines| *lines < u64::MAX),
        follow: wanted.follow,
        ..Options::default()
    };
    let mut reader = LogReader::open(&pod.path.join(LOGS), apps, options)?;
    let mut printer = Printer {
        names: apps.len() > 1,
        timestamps: wanted.timestamps,
        begun: Vec::new(),
        error: None,
    };
    let ended = || !pods.entry(&pod.uuid).is_some_and(|pod| pod.state.is_live());
    reader.follow(ended, |record| printer.print(&record))?;
    match printer.error {
        // Who reads no more wants no more.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Report::text(format!("cannot print the log: {error}")).into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A time that `--FLAG` names: RFC 3339, or how long ago.
///
/// # Errors
/// A [`Report`] when it is neither.
pub(crate) fn time(flag: &str, text: &str) -> Result<SystemTime, Report> {
    let ago = |text| {
        let ago = duration(text).ok()?;
        SystemTime::now().checked_sub(ago)
    };
    universal(text).or_else(|| ago(text)).ok_or_else(|| {
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

/// Prints records, with what stands before each line.
struct Printer {
    names: bool,
    timestamps: bool,
    /// The lines that have begun and not ended: app and stream.
    begun: Vec<(AppName, Stream)>,
    error: Option<io::Error>,
}

impl Printer {
    fn print(&mut self, record: &Record<'_>) -> ControlFlow<()> {
        let printed = match record.stream {
            Stream::Stdout => self.print_to(record, &mut io::stdout().lock()),
            Stream::Stderr => self.print_to(record, &mut io::stderr().lock()),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn print_to(&mut self, record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
        let begun = self
            .begun
            .iter()
            .position(|(app, stream)| app == record.app && *stream == record.stream);
        if begun.is_none() {
            if self.timestamps {
                write!(out, "{} ", stamp(record.time))?;
            }
            if self.names {
                write!(out, "{} ", record.app)?;
            }
        }
        record.write_content(out)?;
        match (begun, record.kind) {
            (None, isopod_runtime::logs::Kind::Piece) => self.begun.push((record.app.clone(), record.stream)),
            (Some(at), kind) if kind != isopod_runtime::logs::Kind::Piece => drop(self.begun.swap_remove(at)),
            _ => {}
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
