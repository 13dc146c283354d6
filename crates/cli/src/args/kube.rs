//! `isopod kube`: the pods of pod files all together, a table for reading and for help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};
use isopod_runtime::pods::files::Stdin;

use super::{FileArgs, Ground, Outputs, PodSource, Publish, RunArgs};
use crate::detach_keys::DetachKeys;

const PLAY_NOTES: &str = "\
This is `isopod run --detach -f FILE`, which takes the flags of a pod.

Examples:
  isopod kube play shop.yaml
  isopod kube play --replace shop.yaml
";

const DOWN_NOTES: &str = "\
A pod is found by the name that the files give it, and one that is not there is none to remove. Claims are kept.

Examples:
  isopod kube down shop.yaml
  kubectl kustomize overlay | isopod kube down -
";

/// What is done with all pods of pod files.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum KubeCommand {
    /// Start the pods of pod files in the background, and print their UUIDs
    #[command(after_help = PLAY_NOTES)]
    Play {
        #[command(flatten)]
        files: Files,
        /// Stop and remove pods of the same names first
        #[arg(long)]
        replace: bool,
        /// Run the pods without what cannot be honoured, with a warning for each
        #[arg(long)]
        ignore_unsupported: bool,
    },
    /// Stop the pods of pod files, and remove them
    #[command(visible_alias = "rm", after_help = DOWN_NOTES)]
    Down {
        #[command(flatten)]
        files: Files,
        /// How long the apps have to stop [default: as the pod says]
        #[arg(short, long, value_name = "SECONDS", value_parser = super::life::seconds)]
        time: Option<Duration>,
    },
}

/// Pod files, as kubectl and as podman have them.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(required = true)]
pub(crate) struct Files {
    /// A pod file, or several that belong together; `-` is standard input
    #[arg(value_name = "FILE")]
    plain: Vec<PathBuf>,
    /// The same
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    named: Vec<PathBuf>,
}

impl Files {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        self.plain.iter().chain(&self.named).cloned().collect()
    }
}

/// What `isopod run` is given for `kube play`.
pub(crate) fn run_args(files: &Files, replace: bool, ignore_unsupported: bool) -> RunArgs {
    let source = FileArgs {
        files: files.all(),
        ignore_unsupported,
        ..FileArgs::default()
    };
    RunArgs {
        source: PodSource::Files(source),
        pull: None,
        name: None,
        ground: Ground::Back,
        stdin: Stdin::Empty,
        outputs: Outputs::default(),
        detach_keys: DetachKeys::default(),
        remove: false,
        replace,
        cidfile: None,
        pidfile: None,
        publish: Publish::default(),
        quiet: false,
        stop_timeout: None,
        boot_timeout: super::pod::BOOT_TIMEOUT,
        silent_kill: None,
    }
}

/// The command `kube`, with all of them.
pub(super) fn command() -> Command {
    let command = Command::new("kube").about("Start and remove the pods of pod files all together");
    let command = command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    KubeCommand::augment_subcommands(command)
}

/// The command that `matches` holds, which is one of these.
pub(super) fn read(matches: &ArgMatches) -> Result<KubeCommand, clap::Error> {
    KubeCommand::from_arg_matches(matches)
}
