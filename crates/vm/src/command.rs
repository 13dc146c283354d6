//! Programs with nothing of the caller's.

use std::path::Path;
use std::process::{Command, Stdio};

/// A command with an empty environment and no standard input.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}
