//! `isopod internal-docs`, for `cargo xtask docs`: `cli.md`, a page of man(1) for each command, and the shells' scripts.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::completion::{Shell, script};
use crate::failure::Failure;
use crate::manual;
use crate::output::Report;

/// Write the manual, for `cargo xtask docs`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Docs {
    /// The directory
    dir: PathBuf,
}

impl Docs {
    /// Writes the manual of the commands below `root`.
    ///
    /// # Errors
    /// A [`Failure`] when a file cannot be written.
    pub(crate) fn execute(&self, root: clap::Command) -> Result<ExitCode, Failure> {
        let dir = &self.dir;
        let failed = |error: io::Error| {
            Report::text(format!("cannot write the manual to `{}`: {error}", dir.display()))
        };
        let commands = manual::describe(root);
        for below in ["man", "completions"] {
            fs::create_dir_all(dir.join(below)).map_err(failed)?;
        }
        fs::write(dir.join("cli.md"), manual::markdown(&commands)).map_err(failed)?;
        for command in &commands {
            let name = format!("{}.1", command.name.replace(' ', "-"));
            let page = manual::page(command).map_err(failed)?;
            fs::write(dir.join("man").join(name), page).map_err(failed)?;
        }
        for shell in Shell::ALL {
            let name = format!("isopod.{}", shell.as_str());
            fs::write(dir.join("completions").join(name), script(shell)?).map_err(failed)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
