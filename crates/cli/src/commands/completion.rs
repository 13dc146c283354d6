//! `isopod completion`: the script of a shell, which asks `isopod` itself for what completes a word.

use std::process::ExitCode;

use clap::ValueEnum;
use clap_complete::env::Shells;

use crate::failure::Failure;
use crate::output::{self, Report};

/// Set by the scripts, to the shell's name.
pub(crate) const VARIABLE: &str = "ISOPOD_COMPLETE";

const COMPLETION_NOTES: &str = "\
Examples:
  isopod completion bash > /usr/share/bash-completion/completions/isopod
  isopod completion zsh > /usr/share/zsh/vendor-completions/_isopod
  isopod completion fish > /usr/share/fish/vendor_completions.d/isopod.fish
";

/// Print a shell's completion of isopod's commands, flags, pods, apps and images
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = COMPLETION_NOTES)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// A shell that can be completed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU bash.
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) const ALL: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }
}

impl Completion {
    /// Prints the script.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot be made.
    pub(crate) fn execute(&self) -> Result<ExitCode, Failure> {
        output::document(&script(self.shell)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// The shell's script.
///
/// # Errors
/// A [`Report`] when it cannot be made.
pub(crate) fn script(shell: Shell) -> Result<String, Report> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell.as_str())
        .ok_or_else(|| Report::text("there are no completions for this shell"))?;
    completer.write_registration(VARIABLE, "isopod", "isopod", "isopod", &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in Shell::ALL {
            let script = script(shell).unwrap();
            assert!(script.contains("ISOPOD_COMPLETE"), "{script}");
        }
    }
}
