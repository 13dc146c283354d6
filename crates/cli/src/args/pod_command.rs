//! The commands that take a pod, as clap takes them: for reading a command line, for help and for completion. Their flags are
//! rows of [`flags`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::{Arg, ArgAction, Command, value_parser};

use super::flags::{self, For};
use crate::output::LogLevel;

/// Help is this wide at most, in columns; clap would ask the terminal and the environment otherwise.
pub(crate) const HELP_WIDTH: usize = 100;

const GLOBAL_HEADING: &str = "Global flags";

const RUN_USAGE: &str = "\
isopod run [FLAGS] IMAGE [COMMAND [ARG...]] [--- [APP FLAGS] IMAGE [COMMAND [ARG...]]]...
       isopod run [FLAGS] -f FILE...
       isopod run [FLAGS] --pod-manifest FILE";

const PLAN_USAGE: &str = "\
isopod plan [FLAGS] IMAGE [COMMAND [ARG...]] [--- [APP FLAGS] IMAGE [COMMAND [ARG...]]]...
       isopod plan [FLAGS] -f FILE...
       isopod plan [FLAGS] --pod-manifest FILE";

const PREPARE_USAGE: &str = "\
isopod prepare [FLAGS] IMAGE [COMMAND [ARG...]] [--- [APP FLAGS] IMAGE [COMMAND [ARG...]]]...
       isopod prepare [FLAGS] -f FILE...
       isopod prepare [FLAGS] --pod-manifest FILE";

const PREPARE_EXAMPLES: &str = "
Examples:
  A pod that is ready to start, and its start:
    isopod prepare --name web oci:/images/web
    isopod start web
";

const IMAGES: &str = "\
Images:
  [REGISTRY/]NAME[:TAG][@DIGEST]    a name in the store, or in a registry
  docker://REGISTRY/NAME[:TAG]      a name in that registry
  oci:DIR[:TAG]                     a directory with an OCI image layout
  oci-archive:FILE[:TAG]            a tar file of one
  docker-archive:FILE[:NAME[:TAG]]  the output of `docker save`
  aci:FILE                          an App Container Image, as rkt ran them
  dir:DIR                           a directory that skopeo wrote

What follows an image is the app's command, word by word, instead of the image's own; `---` ends it and begins \
the next app. A `--` right after the image is left out.
";

const RUN_EXAMPLES: &str = "
Examples:
  One app, with a command instead of the image's own:
    isopod run oci:/images/alpine echo hello

  A host directory, read-only:
    isopod run -v ./site:/usr/share/web:ro oci:/images/web

  Two apps that share a volume:
    isopod run --volume data,kind=host,source=/srv/data \\
      --mount volume=data,target=/data oci:/images/writer \\
      --- --mount volume=data,target=/in,readOnly oci:/images/reader

  A server that the host reaches at port 8080, and its database:
    isopod run -d --name shop -p 127.0.0.1:8080:80 oci:/images/web \\
      --- --app-name db -e PASSWORD=example oci:/images/postgres

  Kubernetes pods, or objects with a pod template:
    isopod run -f pod.yaml

  A path with a comma in it, quoted as in CSV:
    isopod run --volume 'data,kind=host,\"source=/srv/a,b\"' \\
      --mount volume=data,target=/d oci:/images/a
";

const PLAN_EXAMPLES: &str = "
Examples:
  What `isopod run` would do with the same arguments:
    isopod plan -v ./site:/usr/share/web:ro oci:/images/web

  As rkt's kvm flavour laid it out, for lkvm:
    isopod plan --profile rkt --hypervisor lkvm --pod-manifest pod.json

  The units, written to a directory and read by systemd:
    isopod plan --write ./plan --verify oci:/images/web
";

/// The command, for reading a command line: its words begin with the first image.
pub(crate) fn to_read(command: For) -> Command {
    let own = of_pod(command).args(flags::parsed(command)).arg(words());
    own.arg(help_flag())
}

/// A group behind `---`, for reading.
pub(crate) fn group(command: For) -> Command {
    Command::new("app")
        .no_binary_name(true)
        .term_width(HELP_WIDTH)
        .disable_help_flag(true)
        .arg(help_flag())
        .args(flags::parsed(command))
        .arg(words())
}

/// Which part of a pod's command line is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodPart {
    /// What stands before the first image, or that image.
    First,
    /// What stands before another image, or that image.
    Later,
    /// The command of an app.
    Command,
}

/// The command, for completion: with what can be written in that part of it.
pub(crate) fn to_complete(command: For, part: PodPart) -> Command {
    let image = || {
        Arg::new("image")
            .value_name("IMAGE")
            .num_args(0..)
            .allow_hyphen_values(true)
    };
    match part {
        PodPart::First => of_pod(command)
            .args(flags::described(command))
            .arg(image())
            .arg(help_flag()),
        PodPart::Later => of_pod(command)
            .args(flags::described_of_app())
            .arg(image())
            .arg(help_flag()),
        PodPart::Command => of_pod(command).arg(words()),
    }
}

/// An image and its command.
fn words() -> Arg {
    Arg::new("words")
        .num_args(0..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString))
}

/// The help of a command that takes a pod.
pub(crate) fn pod_help(command: For) -> StyledStr {
    described(command).render_help()
}

/// The command with its flags, as help and the manual describe it.
pub(crate) fn described(command: For) -> Command {
    let examples = match command {
        For::Run => RUN_EXAMPLES,
        For::Prepare => PREPARE_EXAMPLES,
        For::Plan => PLAN_EXAMPLES,
    };
    of_pod(command)
        .term_width(HELP_WIDTH)
        .args(flags::described(command))
        .args(global_flags())
        .arg(help_flag())
        .after_help(format!("{IMAGES}{examples}"))
}

/// How it is used.
pub(crate) fn usage(command: For) -> &'static str {
    match command {
        For::Run => RUN_USAGE,
        For::Prepare => PREPARE_USAGE,
        For::Plan => PLAN_USAGE,
    }
}

/// A command that takes a pod, without its flags.
fn of_pod(command: For) -> Command {
    let named = match command {
        For::Run => Command::new("run").about("Run a pod and wait for it"),
        For::Prepare => Command::new("prepare")
            .visible_alias("create")
            .about("Prepare a pod, which `start` then runs"),
        For::Plan => Command::new("plan").about("Show what `run` would do"),
    };
    named.override_usage(usage(command)).disable_help_flag(true)
}

/// `--help` alone, since docker's `-h` is the host's name.
fn help_flag() -> Arg {
    Arg::new("help")
        .long("help")
        .action(ArgAction::Help)
        .help("Print this help")
        .help_heading(GLOBAL_HEADING)
}

/// The flags of every command.
pub(crate) fn global_flags() -> Vec<Arg> {
    let levels = choice(&[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ]);
    let flags = [
        value_flag("dir", "DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Keep images and pods in DIR"),
        value_flag("log-level", "LEVEL")
            .value_parser(levels)
            .help("Log this much [default: warn]"),
    ];
    flags
        .map(|flag| flag.global(true).help_heading(GLOBAL_HEADING))
        .into()
}

/// A flag with one value.
fn value_flag(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// A value that is one of `choices`.
fn choice<T: Copy + Send + Sync + 'static, const N: usize>(
    choices: &'static [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let chosen = |name: String| {
        choices
            .iter()
            .find(|(word, _)| *word == name)
            .map(|(_, value)| *value)
    };
    PossibleValuesParser::new(choices.iter().map(|(word, _)| *word))
        .map(move |name| chosen(name).expect("clap accepts the choices only"))
}
