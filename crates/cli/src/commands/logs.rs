//! `isopod logs`: what the apps of a pod wrote, read from its files. Nobody is held up by it.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use isopod_plan::layout::LOGS;
use isopod_runtime::Settings;
use isopod_runtime::logs::{LogReader, Options, Record, Stream, stamp};
use isopod_spec::AppName;

use crate::args::app_name;
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{app_number, find, pods};
use crate::time::time;

/// Show what the apps of a pod wrote
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Logs {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Only this app's; may be repeated
    #[arg(short = 'c', long = "app", visible_alias = "container", value_name = "APP", value_parser = app_name)]
    apps: Vec<AppName>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which part of the logs is shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Wanted {
    /// Continue until the pod has ended
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since: seconds or 90s, 5m, 2h, 1d ago, or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written before: as `--since`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only the last N lines; `all` or -1 for every one
    #[arg(short = 'n', long, value_name = "N", value_parser = lines, allow_hyphen_values = true)]
    tail: Option<u64>,
    /// No effect: a line has no details
    #[arg(long)]
    details: bool,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
}

impl Logs {
    /// Prints them, each stream to its own.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        show(&self.pod, &self.apps, &self.wanted, settings)
    }

    /// What a pod writes up to its end, from its beginning.
    pub(super) fn following(pod: String) -> Self {
        Self {
            pod,
            apps: Vec::new(),
            wanted: Wanted {
                follow: true,
                ..Wanted::default()
            },
        }
    }
}

/// Prints what those apps of a pod wrote; none: all of them.
///
/// # Errors
/// A [`Failure`] with the reason.
pub(super) fn show(
    query: &str,
    meant: &[AppName],
    wanted: &Wanted,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let pod = find(&pods, query)?;
    for app in meant {
        app_number(&pod, app)?;
    }
    let all: Vec<AppName> = pod
        .record
        .iter()
        .flat_map(|record| record.present().map(|(_, app)| app.name.clone()))
        .collect();
    let apps = if meant.is_empty() { &all[..] } else { meant };
    let read = |flag, text: &Option<String>| text.as_deref().map(|text| time(flag, text)).transpose();
    let options = Options {
        since: read("since", &wanted.since)?,
        until: read("until", &wanted.until)?,
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

/// A number of lines, or one of docker and kubectl's words for all of them.
fn lines(text: &str) -> Result<u64, String> {
    match text {
        "all" | "-1" => Ok(u64::MAX),
        _ => text
            .parse()
            .map_err(|_| "not a number of lines, or `all`".to_owned()),
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
