//! `isopod events`: what happened to pods and their apps, from the log that every process of isopod's appends to.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_runtime::Settings;
use isopod_runtime::events::{Event, EventKind};
use isopod_runtime::logs::stamp;
use isopod_spec::AppName;
use isopod_spec::words::shown;

use crate::args::{Format, app_name};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::time::time;

/// How often is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Show what happened to pods and their apps
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Events {
    /// Go on with what happens
    #[arg(short, long)]
    follow: bool,
    /// Only what happened since: seconds or 90s, 5m, 2h, 1d ago, or a time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what happened before; with --follow, end then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only these: pod=POD, app=APP or type=TYPE; of several with one key any, of several keys all
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// How to print them: for people, or one JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl Events {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let since = self
            .since
            .as_deref()
            .map(|text| time("since", text))
            .transpose()?;
        let until = self
            .until
            .as_deref()
            .map(|text| time("until", text))
            .transpose()?;
        let log = pods(settings)?.events();
        let mut reader = log.read()?;
        loop {
            // Asked before the last look: what came before that is shown.
            let over = until.is_some_and(|until| SystemTime::now() >= until);
            while let Some(event) = reader.next_event()? {
                let at = UNIX_EPOCH + Duration::from_millis(event.time_ms);
                let in_time = since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until);
                if !in_time || !matches(&self.filters, &event) {
                    continue;
                }
                match print(&event, self.format) {
                    Ok(()) => {}
                    // Who reads no more wants no more.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    Err(error) => {
                        return Err(Report::text(format!("cannot print the events: {error}")).into());
                    }
                }
            }
            if over || !self.follow {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if reader.skipped() > 0 {
            output::note(&format!(
                "{} lines of the events were left out: they are torn, or another version's",
                reader.skipped()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Which events are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Those of a pod: its name, its UUID or the beginning of it.
    Pod(String),
    /// Those of apps of this name.
    App(AppName),
    /// Those of this type.
    Type(EventKind),
}

fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "pod" if !value.is_empty() => Ok(Filter::Pod(value.to_owned())),
        "app" => app_name(value).map(Filter::App),
        "type" => {
            let kinds = EventKind::ALL.into_iter();
            let kind = kinds.clone().find(|kind| kind.as_str() == value);
            kind.map(Filter::Type).ok_or_else(|| {
                let words: Vec<&str> = kinds.map(EventKind::as_str).collect();
                format!("the types are {}", words.join(", "))
            })
        }
        _ => Err("the keys are pod, app and type".to_owned()),
    }
}

/// Whether an event is one of those: of several filters with one key any, of several keys all.
fn matches(filters: &[Filter], event: &Event) -> bool {
    let is = |filter: &Filter| match filter {
        Filter::Pod(pod) => {
            event.uuid.starts_with(pod) || event.name.as_ref().is_some_and(|name| name.as_str() == pod)
        }
        Filter::App(app) => event.app.as_ref() == Some(app),
        Filter::Type(kind) => event.kind == *kind,
    };
    filters.iter().all(|filter| {
        let same_key = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
        filters.iter().filter(same_key).any(is)
    })
}

fn print(event: &Event, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => writeln!(out, "{}", shown(text(event)))?,
        Format::Json => {
            writeln!(out, "{}", output::json_text(&serde_json::to_string(event)?))?;
        }
    }
    out.flush()
}

/// `2026-11-23T20:08:36.123Z web a app-exited, exit status 3`.
fn text(event: &Event) -> String {
    let time = stamp(UNIX_EPOCH + Duration::from_millis(event.time_ms));
    let pod = match &event.name {
        Some(name) => name.as_str(),
        None => event.uuid.get(..8).unwrap_or(&event.uuid),
    };
    let mut text = format!("{}Z {pod}", &time[..23]);
    if let Some(app) = &event.app {
        text += &format!(" {app}");
    }
    text += &format!(" {}", event.kind.as_str());
    if let Some(volume) = &event.volume {
        text += &format!(" {volume}");
    }
    if let Some(status) = event.exit_status {
        text += &format!(", exit status {status}");
    }
    if let Some(signal) = event.signal {
        text += &format!(", signal {signal}");
    }
    if let Some(count) = event.restarts {
        text += &format!(", restart {count}");
    }
    if let Some(count) = event.left_out {
        text += &format!(", {count} before it were left out");
    }
    if let Some(reason) = &event.reason {
        // One line per event: the rest of a reason is in `isopod status`.
        text += &format!(": {}", reason.lines().next().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use isopod_spec::PodName;

    use super::*;

    fn event() -> Event {
        let name = PodName::new("web").unwrap();
        let mut event = Event::now(EventKind::AppExited, "0123456789", Some(&name));
        event.app = Some(AppName::new("a").unwrap());
        event.time_ms = 1_795_464_516_123;
        event
    }

    #[test]
    fn filters_of_one_key_widen_and_keys_narrow() {
        let pod = |pod: &str| Filter::Pod(pod.into());
        let app = |app: &str| Filter::App(AppName::new(app).unwrap());
        let kind = Filter::Type;
        for (filters, shown) in [
            (vec![], true),
            (vec![pod("web")], true),
            (vec![pod("0123")], true),
            (vec![pod("we")], false),
            (vec![pod("db"), pod("web")], true),
            (vec![app("a"), kind(EventKind::AppExited)], true),
            (vec![app("b"), kind(EventKind::AppExited)], false),
            (
                vec![kind(EventKind::Exited), kind(EventKind::AppExited), pod("web")],
                true,
            ),
        ] {
            assert_eq!(matches(&filters, &event()), shown, "{filters:?}");
        }
    }

    #[test]
    fn events_are_lines() {
        let mut event = event();
        event.exit_status = Some(137);
        event.signal = Some(9);
        event.left_out = Some(2);
        event.reason = Some("first\nsecond".into());
        assert_eq!(
            text(&event),
            "2026-11-23T20:08:36.123Z web a app-exited, exit status 137, signal 9, 2 before it were left out: first"
        );
        event = Event::now(EventKind::Prepared, "0123456789", None);
        assert!(text(&event).ends_with("Z 01234567 prepared"));
    }
}
