//! `isopod events`: what happens to pods and their apps, from the log that every process of isopod's appends to.

mod filter;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isopod_runtime::Settings;
use isopod_runtime::events::Event;
use isopod_runtime::logs::stamp;
use isopod_spec::words::shown;

use crate::args::switch;
use crate::as_docker::{self, Layout, layout};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::pods;
use crate::time::time;
use filter::Filter;

/// How often is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Show what happens to pods and their apps, until Ctrl-C
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("stream", switch::on))]
pub(crate) struct Events {
    /// Continue with what happens [false: end with what has happened, all of it without `--since`]
    #[arg(long)]
    stream: bool,
    /// Begin with what happened since: seconds or 90s, 5m, 2h, 1d ago, or a time (RFC 3339) [default: now; the oldest with
    /// `--until` or `--stream=false`]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End with what happened before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only these: container=POD, app=APP, event=KIND or type=container|volume; with one key given twice either matches, with two keys both must
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter::read)]
    filters: Vec<Filter>,
    /// No effect: nothing is cut off
    #[arg(long)]
    no_trunc: bool,
    /// How to print them: text, json (an object a line), or a Go template over docker's fields
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = template)]
    format: Layout,
}

impl Events {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        // The log knows milliseconds: what happens within this one is shown.
        let now = SystemTime::now() - Duration::from_millis(1);
        let given = |name, text: &Option<String>| text.as_deref().map(|text| time(name, text)).transpose();
        let until = given("until", &self.until)?;
        let from_now = self.stream && until.is_none();
        let since = given("since", &self.since)?.or(from_now.then_some(now));
        let log = pods(settings)?.events();
        let mut reader = log.read()?;
        loop {
            // Asked before the last look: what came before that is shown.
            let over = until.is_some_and(|until| SystemTime::now() >= until);
            while let Some(event) = reader.next_event()? {
                let at = UNIX_EPOCH + Duration::from_millis(event.time_ms);
                let in_time = since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until);
                if !in_time || !filter::matches(&self.filters, &event) {
                    continue;
                }
                match print(&line(&event, &self.format)?) {
                    Ok(()) => {}
                    // Who reads no more wants no more.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                    Err(error) => {
                        return Err(Report::text(format!("cannot print the events: {error}")).into());
                    }
                }
            }
            if over || !self.stream {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        if reader.skipped() > 0 {
            output::note(&format!(
                "{} lines of the events were left out: they are incomplete, or from another version",
                reader.skipped()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A table has no width before its end.
fn template(text: &str) -> Result<Layout, String> {
    match layout(text)? {
        Layout::Table(_) => Err("write text, json, or a Go template such as '{{.Action}}'".to_owned()),
        layout => Ok(layout),
    }
}

/// An event as a line, its end included.
fn line(event: &Event, format: &Layout) -> Result<String, Failure> {
    match format {
        Layout::Text => Ok(format!("{}\n", shown(text(event)))),
        Layout::Json => Ok(format!("{}\n", output::json_text(&serde_json::to_string(event)?))),
        layout => Ok(as_docker::rows(layout, &[as_docker::event_row(event)])?),
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
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
pub(crate) mod tests {
    use isopod_runtime::events::EventKind;
    use isopod_spec::{AppName, PodName};

    use super::*;

    pub(crate) fn event() -> Event {
        let name = PodName::new("web").unwrap();
        let mut event = Event::now(EventKind::AppExited, "0123456789", Some(&name));
        event.app = Some(AppName::new("a").unwrap());
        event.time_ms = 1_795_464_516_123;
        event
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
