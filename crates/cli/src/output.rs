//! All that the command prints: data on standard output, everything else on standard error. Colours are left out
//! where the stream is no terminal or `NO_COLOR` is set.
//!
//! Much of it comes from a guest, an image or a registry, by however many errors and records: so it is here, where it is
//! printed, that what controls a terminal is escaped.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anstream::eprintln;
use isopod_runtime::bounded_log::BoundedLog;
use isopod_spec::located::Location;
use isopod_spec::words::{for_terminal, is_terminal_control, message_for_terminal};
use tracing_subscriber::filter::LevelFilter;

use crate::FAILURE;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// And what the user should know.
    #[default]
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// And every message between host and guest.
    Trace,
}

/// The exit status of a command whose output nobody reads any more, as that of a pipe is: 128 and SIGPIPE's number.
pub(crate) const NOT_READ: u8 = 128 + 13;

/// A failure as the user reads it: what, why, what to do.
#[derive(Debug)]
pub(crate) struct Report {
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
    exit_status: u8,
}

impl Report {
    /// The report of `error` and its sources, without what to do about it.
    pub(crate) fn new(error: &dyn Error) -> Self {
        let causes = std::iter::successors(error.source(), |e: &&dyn Error| (*e).source())
            .map(ToString::to_string)
            .collect();
        Self {
            what: error.to_string(),
            causes,
            hint: None,
            exit_status: FAILURE,
        }
    }

    /// A report without an error value.
    pub(crate) fn text(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            causes: Vec::new(),
            hint: None,
            exit_status: FAILURE,
        }
    }

    /// With what caused it.
    #[must_use]
    pub(crate) fn because(mut self, cause: String) -> Self {
        self.causes.push(cause);
        self
    }

    /// With the place of a file that it is about.
    #[must_use]
    pub(crate) fn at(mut self, location: Option<Location>) -> Self {
        if let Some(location) = location {
            self.what = format!("{location}: {}", self.what);
        }
        self
    }

    /// With what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// With the exit status that the command ends with.
    #[must_use]
    pub(crate) fn exit_status(mut self, status: u8) -> Self {
        self.exit_status = status;
        self
    }

    /// The exit status that the command ends with.
    pub(crate) fn status(&self) -> u8 {
        self.exit_status
    }

    /// It in one line, for a log.
    pub(crate) fn line(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        message_for_terminal(&(self.what.clone() + &causes.collect::<String>()))
    }

    /// The same with what to do about it, for a warning.
    pub(crate) fn line_with_hint(&self) -> String {
        let hint = self.hint.iter().map(|hint| format!("; {hint}"));
        self.line() + &message_for_terminal(&hint.collect::<String>())
    }

    /// It as it is printed, with colours.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("\x1b[1;31merror\x1b[0m: {}", message_for_terminal(&self.what));
        for cause in &self.causes {
            let _ = write!(
                text,
                "\n  \x1b[31mcaused by\x1b[0m: {}",
                message_for_terminal(cause)
            );
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\n\x1b[1;32mhint\x1b[0m: {}", message_for_terminal(hint));
        }
        text
    }
}

/// Prints a failure; the exit status is its own.
pub(crate) fn fail(report: &Report) -> ExitCode {
    eprintln!("{}", report.render());
    ExitCode::from(report.exit_status)
}

/// Prints what was asked for, as a terminal may see it.
pub(crate) fn data(text: &str) {
    document(&for_terminal(text));
}

/// JSON as a terminal may see it, with the same meaning: what controls it is in strings only, where it has escapes
/// (RFC 8259, section 7).
pub(crate) fn json_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_terminal_control(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Prints what was asked for, byte by byte: a document for a program, or what has colours of its own. Where that cannot be
/// done the command fails, silently where nobody reads (`| head`).
pub(crate) fn document(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else {
        return;
    };
    if error.kind() != io::ErrorKind::BrokenPipe {
        fail(&Report::text("cannot write to standard output").because(error.to_string()));
    }
    UNWRITTEN.store(true, Ordering::Relaxed);
}

/// Whether something that was asked for could not be printed.
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// What the command ends with whose work ended with `status`: a failure, where it could not say what it was to.
pub(crate) fn end(status: ExitCode) -> ExitCode {
    match UNWRITTEN.load(Ordering::Relaxed) {
        true => ExitCode::from(FAILURE),
        false => status,
    }
}

/// Prints a line for the user to know, as it is: what another process of isopod's has rendered.
pub(crate) fn notice(text: &str) {
    eprintln!("{text}");
}

/// Prints something that does not keep the pod from running.
pub(crate) fn note(text: &str) {
    eprintln!("{}", note_text(text));
}

/// It as it is printed, with colours.
pub(crate) fn note_text(text: &str) -> String {
    format!("\x1b[1;33mnote\x1b[0m: {}", message_for_terminal(text))
}

/// Prints something that the user asked for and will not have.
pub(crate) fn warning(text: &str) {
    eprintln!("\x1b[1;33mwarning\x1b[0m: {}", message_for_terminal(text));
}

/// Where log lines go in place of standard error, once that is known.
static LOG: OnceLock<Mutex<BoundedLog>> = OnceLock::new();

/// Writes the log to that file from now on, of which standard error is to be the end, too: what is written there when this
/// process fails.
pub(crate) fn log_to(log: BoundedLog) {
    let _ = LOG.set(Mutex::new(log));
}

/// Takes log lines.
struct LogLines;

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(log) = LOG.get() else {
            return io::stderr().write(bytes);
        };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.write(bytes) {
            rustix::stdio::dup2_stderr(log.file())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to log to standard error.
pub(crate) fn log(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| LogLines)
        .with_target(false)
        .without_time()
        .with_ansi(
            std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none(),
        )
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Hostile(&'static str, #[source] Option<Box<Hostile>>);

    /// Whoever wrote a part of an error, and however deep it is.
    #[test]
    fn no_error_reaches_the_terminal_unescaped() {
        let deep = Hostile("c\u{9b}2J", None);
        let error = Hostile(
            "a\x1b[2J",
            Some(Box::new(Hostile("b\u{202e}\n  d", Some(Box::new(deep))))),
        );
        let report = Report::new(&error).hint(Some("e\x07".into()));
        let rendered = anstream::adapter::strip_str(&report.render()).to_string();
        assert_eq!(
            rendered,
            "error: a\\u{1b}[2J\n  caused by: b\\u{202e}\n  d\n  caused by: c\\u{9b}2J\nhint: e\\u{7}"
        );
        assert!(
            !report
                .line()
                .contains(|c: char| is_terminal_control(c) && c != '\n')
        );
    }

    #[test]
    fn json_stays_the_same_and_is_harmless() {
        let value =
            serde_json::json!({ "a\u{202e}": "\x1b[2J \u{9b}2J \u{7f} \n \u{2028} é 日本 \u{1f600}" });
        let text = json_text(&format!("{value:#}"));
        assert!(
            !text.contains(|c: char| is_terminal_control(c) && c != '\n'),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
