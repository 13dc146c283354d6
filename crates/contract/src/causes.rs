//! Errors where there is one line for them: in a message, a status, a log.

use std::error::Error;

/// An error and its causes in one line.
#[must_use]
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
