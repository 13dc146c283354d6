//! How a probe or a handler went.

use std::time::Duration;

use isopod_contract::in_one_line;
use isopod_contract::message::MAX_HEALTH_BYTES;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) success: bool,
    /// What is to be said of it, in one line.
    pub(crate) text: String,
}

impl Done {
    pub(super) fn new(success: bool, text: impl Into<String>) -> Self {
        Self {
            success,
            text: one_line(&text.into()),
        }
    }

    /// What took longer than `limit`.
    pub(crate) fn too_long(limit: Duration) -> Self {
        Self::new(false, format!("it took longer than {} s", limit.as_secs_f32()))
    }

    /// What could not be tried.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(false, text)
    }
}

/// Text as one line that is not too long: what comes last is kept.
pub(super) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" | ");
    let excess = line.len().saturating_sub(MAX_HEALTH_BYTES / 2);
    let from = (excess..).find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line[from..].to_owned()
}

/// What an error says, with its causes.
pub(super) fn failure(error: &dyn std::error::Error) -> Done {
    Done::failed(in_one_line(error))
}
