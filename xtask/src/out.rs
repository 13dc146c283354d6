//! All printing. A reader that went away is no reason to stop, so nothing here fails.

use std::error::Error as _;
use std::io::{IsTerminal as _, Write as _, stderr, stdin, stdout};

use crate::failure::Failure;

/// Prints a line of text.
pub(crate) fn say(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// Prints the head of a part.
pub(crate) fn part(text: &str) {
    let _ = writeln!(stdout(), "\n== {text}");
}

/// Prints a command that is about to run.
pub(crate) fn command(text: &str) {
    let _ = writeln!(stdout(), "$ {text}");
}

/// Prints why a task failed, on standard error.
pub(crate) fn failure(failure: &Failure) {
    let mut text = format!("error: {failure}\n");
    let mut cause = failure.source();
    while let Some(error) = cause {
        text += &format!("  caused by: {error}\n");
        cause = error.source();
    }
    if let Some(hint) = failure.advice() {
        text += &format!("hint: {hint}\n");
    }
    let _ = stderr().write_all(text.as_bytes());
}

/// Asks a question; `None` where nobody is there to answer. Anything but `y` and `yes` is no.
pub(crate) fn ask(question: &str) -> Option<bool> {
    if !stdin().is_terminal() {
        return None;
    }
    let _ = write!(stdout(), "{question} [y/N] ");
    let _ = stdout().flush();
    let mut answer = String::new();
    stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
