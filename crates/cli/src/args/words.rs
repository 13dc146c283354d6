//! Words that are read as the flags, the image and the command of `isopod run`, by commands that take them as their own last words.

use std::ffi::OsString;

use clap::error::ErrorKind;

use super::{
    ArgFault, ArgsError, For, HELP_WIDTH, RunArgs, global_flags, in_own_words, pod_command, pod_help,
    read_run, split, to_read, unknown,
};
use crate::failure::Failure;
use crate::output::Report;

/// Reads words as the flags, the image and the command of `isopod run`.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn read_words(words: impl IntoIterator<Item = OsString>) -> Result<RunArgs, Failure> {
    let argv = ["isopod", "run"].map(OsString::from).into_iter().chain(words);
    read(argv.collect()).map_err(not_read)
}

fn read(argv: Vec<OsString>) -> Result<RunArgs, ArgsError> {
    let argv = in_own_words(argv)?;
    let root = || {
        clap::Command::new("isopod")
            .bin_name("isopod")
            .term_width(HELP_WIDTH)
            .args(global_flags())
            .subcommand(to_read(For::Run))
    };
    let (head, others) = split(&argv);
    let matches = root()
        .try_get_matches_from(head)
        .map_err(|error| refused(error, &argv, root()))?;
    let (_, sub) = matches.subcommand().expect("its second word is a command");
    read_run(For::Run, sub, &others)
}

/// What clap says about `argv`, whose commands `root` has.
pub(crate) fn refused(error: clap::Error, argv: &[OsString], root: clap::Command) -> ArgsError {
    match (error.kind(), pod_command(argv)) {
        (ErrorKind::DisplayHelp, Some((_, command))) => ArgsError::Asked(pod_help(command)),
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => ArgsError::Asked(error.render()),
        (ErrorKind::UnknownArgument, _) => match unknown::of_theirs(&error, argv, root.clone()) {
            Some(fault) => fault.into(),
            None => ArgsError::Usage(unknown::explain(error, argv, root).render()),
        },
        _ => ArgsError::Usage(error.render()),
    }
}

fn not_read(error: ArgsError) -> Failure {
    match error {
        ArgsError::Faults(faults) => {
            let report = |fault: &ArgFault| Report::new(fault).hint(fault.hint());
            faults.iter().map(report).collect::<Vec<_>>().into()
        }
        ArgsError::Usage(text) | ArgsError::Asked(text) => {
            Report::text(text.to_string().trim_end().to_owned()).into()
        }
    }
}
