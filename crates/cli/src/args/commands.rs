//! The commands, as clap takes them: for reading a command line and for help. The flags of a pod's command line are
//! rows of [`flags`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::{Arg, ArgAction, Command, value_parser};

use super::flags::{self, For};
use super::{LogLevel, group};

/// Help is this wide at most, in columns; clap would ask the terminal and the environment otherwise.
const HELP_WIDTH: usize = 100;

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

What follows an image is the app's command, word by word, in place of the image's own; `---` ends it and begins the
next app. A `--` right after the image is left out.
";

const RUN_EXAMPLES: &str = "
Examples:
  One app, with a command in place of the image's own:
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

  A Kubernetes pod, or several, or what has them as its template:
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

/// All commands, for reading a command line. Of those that take a pod, `words` begin with the first image.
pub(super) fn root() -> Command {
    root_with(|command| {
        let own = of_pod(command).args(flags::parsed(command)).arg(words());
        own.arg(help_flag())
    })
}

/// All commands, for completion: those that take a pod have what can be written in that part of it.
pub(crate) fn root_to_complete(part: PodPart) -> Command {
    let image = || {
        Arg::new("image")
            .value_name("IMAGE")
            .num_args(0..)
            .allow_hyphen_values(true)
    };
    root_with(|command| match part {
        PodPart::First => of_pod(command)
            .args(flags::described(command))
            .arg(image())
            .arg(help_flag()),
        PodPart::Later => of_pod(command)
            .args(flags::described_of_app())
            .arg(image())
            .arg(help_flag()),
        PodPart::Command => of_pod(command).arg(words()),
    })
}

fn root_with(pod_command: impl Fn(For) -> Command) -> Command {
    let root = Command::new("isopod")
        .bin_name("isopod")
        .version(env!("CARGO_PKG_VERSION"))
        .term_width(HELP_WIDTH)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args(global_flags())
        .subcommands([For::Run, For::Prepare, For::Plan].map(pod_command));
    super::tool::augment(super::life::augment(root))
        .subcommand(pod())
        .subcommand(super::generate::command())
        .subcommand(super::kube::command())
        .subcommand(super::image::command())
        .after_help("`pull`, `images`, `rmi` and `tag` are `image fetch`, `list`, `rm` and `tag`.")
        .about("Runs pods of container images, each pod in a virtual machine of its own")
}

/// An image and its command.
fn words() -> Arg {
    Arg::new("words")
        .num_args(0..)
        .trailing_var_arg(true)
        .value_parser(value_parser!(OsString))
}

/// A group behind `---`, for reading.
pub(super) fn group(command: For) -> Command {
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

/// Which part of a pod's command line `words` end in, the program's name first; of other commands, nothing.
pub(crate) fn part_of(argv: &[OsString]) -> PodPart {
    let Some((_, command)) = group::pod_command(argv) else {
        return PodPart::First;
    };
    let has_image = |matches: &clap::ArgMatches| {
        matches.try_contains_id("words").unwrap_or(false) && matches.contains_id("words")
    };
    let (head, others) = group::split(argv);
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

/// A command as the manual describes it: its flags, what comes behind them, and its help as it is printed.
pub(crate) struct Described {
    /// Its name with those above it: `isopod image import`.
    pub(crate) name: String,
    /// How it is used, where clap does not know.
    pub(crate) usage: Option<&'static str>,
    /// The command, with its flags.
    pub(crate) command: Command,
    /// What stands behind the flags.
    pub(crate) notes: String,
    /// What `--help` prints.
    pub(crate) help: StyledStr,
}

/// Every command that is not hidden, the root first.
pub(crate) fn manual() -> Vec<Described> {
    let mut root = root();
    root.build();
    let mut described = Vec::new();
    describe(&root, &mut described);
    described
}

fn describe(command: &Command, described: &mut Vec<Described>) {
    let name = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let pods = match &*name {
        "isopod run" => Some(For::Run),
        "isopod prepare" => Some(For::Prepare),
        "isopod plan" => Some(For::Plan),
        _ => None,
    };
    let shown = match pods {
        Some(pods) => described_pod(pods),
        None => command.clone().term_width(HELP_WIDTH),
    };
    let notes = shown.get_after_help().map(ToString::to_string);
    described.push(Described {
        name,
        usage: pods.map(usage),
        notes: notes.unwrap_or_default(),
        help: shown.clone().render_help(),
        command: shown,
    });
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    below.for_each(|sub| describe(sub, described));
}

/// The help of a command that takes a pod.
pub(super) fn pod_help(command: For) -> StyledStr {
    described_pod(command).render_help()
}

fn described_pod(command: For) -> Command {
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

fn usage(command: For) -> &'static str {
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
            .about("Prepare a pod, for `start` to run it"),
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

fn pod() -> Command {
    let files = Arg::new("files")
        .value_name("FILE")
        .required(true)
        .num_args(1..)
        .value_parser(value_parser!(PathBuf))
        .help("The pod file, or several that belong together; the lock is beside the first one");
    Command::new("pod")
        .about("Work with pod files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("lock")
                .about("Write the digests of a pod file's images to FILE.lock, for `run --locked`")
                .arg(files),
        )
}

fn global_flags() -> Vec<Arg> {
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
