//! The commands about isopod itself, which need no state: completions and documents.

use std::path::PathBuf;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand, ValueEnum};

const COMPLETION_NOTES: &str = "\
Examples:
  isopod completion bash > /usr/share/bash-completion/completions/isopod
  isopod completion zsh > /usr/share/zsh/vendor-completions/_isopod
  isopod completion fish > /usr/share/fish/vendor_completions.d/isopod.fish
";

/// A command about isopod itself.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ToolCommand {
    /// Print what completes isopod's commands, flags, pods, apps and images in a shell
    #[command(after_help = COMPLETION_NOTES)]
    Completion {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual, for `cargo xtask docs`
    #[command(name = "internal-docs", hide = true)]
    Docs {
        /// The directory
        dir: PathBuf,
    },
}

/// A shell that can be completed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// All of them.
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

/// `root` with these commands.
pub(super) fn augment(root: Command) -> Command {
    ToolCommand::augment_subcommands(root)
}

/// The command that `matches` holds, if it is one of these.
pub(super) fn read(matches: &ArgMatches) -> Option<Result<ToolCommand, clap::Error>> {
    let own = augment(Command::new("isopod"));
    let name = matches.subcommand_name()?;
    own.find_subcommand(name)?;
    Some(ToolCommand::from_arg_matches(matches))
}
