//! The manual, which `isopod` itself writes from the definitions of its commands.

use std::fs;

use crate::command::{self, command};
use crate::failure::Failure;
use crate::{out, place};

/// Where the list of the commands is kept.
const LIST: &str = "docs/cli.md";

/// Writes all of it below the target directory, and the list of the commands to its place in the checkout.
pub(crate) fn write() -> Result<(), Failure> {
    let dir = place::target().join("docs");
    let mut write = command("cargo", ["run", "--quiet", "-p", "isopod-cli", "--"]);
    command::run(write.arg("internal-docs").arg(&dir))?;
    let list = dir.join("cli.md");
    fs::copy(&list, LIST).map_err(|error| {
        Failure::new(format!("cannot copy `{}` to `{LIST}`", list.display())).caused_by(error)
    })?;
    out::say(&format!(
        "written: {LIST}, the man pages to {0}/man, the completions to {0}/completions",
        dir.display()
    ));
    Ok(())
}
