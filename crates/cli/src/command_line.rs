//! The command line: from arguments to a command with its values, without a look at the environment, the terminal or any
//! file. A command that is about pods which are there reads its arguments itself ([`commands`]); the flags of a
//! new pod are rows of a table, and its apps groups between `---` ([`args`](crate::args)).

use std::ffi::OsString;

use clap::{ArgMatches, FromArgMatches as _, Subcommand as _};

use crate::args::{
    self, ArgsError, For, HELP_WIDTH, PlanArgs, PodPart, RunArgs, global_flags, group, in_own_words,
    pod_command, refused, split, to_complete, to_read,
};
use crate::commands;
use crate::settings::Global;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cli {
    /// What applies to every command.
    pub(crate) global: Global,
    pub(crate) command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `run`: run a pod.
    Run(RunArgs),
    /// `prepare`: make a pod that can be started.
    Prepare(RunArgs),
    /// `plan`: show what `run` would do.
    Plan(PlanArgs),
    /// One that makes no pod.
    Other(commands::OtherCommand),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// [`ArgsError::Asked`] where help or the version is asked for, otherwise what is wrong with it.
pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, ArgsError> {
    let argv = in_own_words(argv.into_iter().collect())?;
    let (head, others) = match pod_command(&argv) {
        Some(_) => split(&argv),
        None => (argv.as_slice(), Vec::new()),
    };
    let matches = root()
        .try_get_matches_from(head)
        .map_err(|error| refused(error, &argv, root()))?;
    let (name, sub) = matches.subcommand().expect("clap requires a subcommand");
    let command = match name {
        "run" => Command::Run(args::read_run(For::Run, sub, &others)?),
        "prepare" => Command::Prepare(args::read_run(For::Prepare, sub, &others)?),
        "plan" => Command::Plan(args::read_plan(sub, &others)?),
        _ => {
            let command = commands::OtherCommand::from_arg_matches(&matches);
            Command::Other(command.map_err(|error| refused(error, &argv, root()))?)
        }
    };
    Ok(Cli {
        global: read_global(&matches),
        command,
    })
}

fn read_global(matches: &ArgMatches) -> Global {
    Global {
        dir: matches.get_one("dir").cloned(),
        log_level: matches.get_one("log-level").copied().unwrap_or_default(),
    }
}

/// All commands, for reading a command line. Of those that take a pod, `words` begin with the first image.
pub(crate) fn root() -> clap::Command {
    root_with(to_read)
}

/// All commands, for completion: those that take a pod have what can be written in that part of it.
pub(crate) fn root_to_complete(part: PodPart) -> clap::Command {
    root_with(|command| to_complete(command, part))
}

fn root_with(pod_command: impl Fn(For) -> clap::Command) -> clap::Command {
    let root = clap::Command::new("isopod")
        .bin_name("isopod")
        .version(env!("CARGO_PKG_VERSION"))
        .term_width(HELP_WIDTH)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args(global_flags())
        .subcommands([For::Run, For::Prepare, For::Plan].map(pod_command));
    commands::OtherCommand::augment_subcommands(root)
        .after_help("`pull`, `images`, `rmi` and `tag` are `image fetch`, `list`, `rm` and `tag`.")
        .about("Runs pods of container images, each pod in a virtual machine of its own")
}

/// Which part of a pod's command line `words` end in, the program's name first; of other commands, nothing.
pub(crate) fn part_of(argv: &[OsString]) -> PodPart {
    let Some((_, command)) = pod_command(argv) else {
        return PodPart::First;
    };
    let has_image = |matches: &clap::ArgMatches| {
        matches.try_contains_id("words").unwrap_or(false) && matches.contains_id("words")
    };
    let (head, others) = split(argv);
    let (part, image) = match others.last() {
        Some(last) => {
            let matches = group(command).ignore_errors(true).try_get_matches_from(*last);
            (PodPart::Later, matches.is_ok_and(|matches| has_image(&matches)))
        }
        None => {
            let matches = root().ignore_errors(true).try_get_matches_from(head);
            let own = |matches: clap::ArgMatches| matches.subcommand().is_some_and(|(_, sub)| has_image(sub));
            (PodPart::First, matches.is_ok_and(own))
        }
    };
    match image {
        true => PodPart::Command,
        false => part,
    }
}

#[cfg(test)]
mod readmes;
#[cfg(test)]
pub(crate) mod tests;
