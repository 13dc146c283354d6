//! The commands and their flags, as clap takes them: one table for reading and for help.
//!
//! The flags of `run` and `plan` are two tables: the pod's, which end at the first image, and an app's, which follow it.
//! For reading, clap gets them apart; for help, together.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::{Arg, ArgAction, Command, value_parser};
use isopod_spec::{Accel, FailurePolicy, PullPolicy, ShareTransport};

use super::{Hypervisor, LogLevel, Net, PlanFormat, Profile};

/// Help is this wide at most, in columns; clap would ask the terminal and the environment otherwise.
const HELP_WIDTH: usize = 100;

const POD_HEADING: &str = "Pod flags (before the first image)";
const PLAN_HEADING: &str = "Plan flags (before the first image)";
const APP_HEADING: &str = "App flags (each after the image that it is for)";
const GLOBAL_HEADING: &str = "Global flags";

const RUN_USAGE: &str = "\
isopod run [POD FLAGS] IMAGE [APP FLAGS] [-- ARG...] [--- IMAGE [APP FLAGS] [-- ARG...]]...
       isopod run [POD FLAGS] -f FILE...
       isopod run [POD FLAGS] --pod-manifest FILE";

const PLAN_USAGE: &str = "\
isopod plan [PLAN FLAGS] [POD FLAGS] IMAGE [APP FLAGS] [-- ARG...] [--- IMAGE ...]...
       isopod plan [PLAN FLAGS] [POD FLAGS] -f FILE...
       isopod plan [PLAN FLAGS] [POD FLAGS] --pod-manifest FILE";

const PREPARE_USAGE: &str = "\
isopod prepare [POD FLAGS] IMAGE [APP FLAGS] [-- ARG...] [--- IMAGE [APP FLAGS] [-- ARG...]]...
       isopod prepare [POD FLAGS] -f FILE...
       isopod prepare [POD FLAGS] --pod-manifest FILE";

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

`---` ends an app and begins the next; `--` separates an app's flags from its arguments.
";

const RUN_EXAMPLES: &str = "
Examples:
  One app, with arguments in place of the image's own:
    isopod run oci:/images/alpine -- echo hello

  A host directory, read-only:
    isopod run oci:/images/web -v ./site:/usr/share/web:ro

  Two apps that share a volume:
    isopod run --volume data,kind=host,source=/srv/data \\
      oci:/images/writer --mount volume=data,target=/data \\
      --- oci:/images/reader --mount volume=data,target=/in,readOnly

  A server that the host reaches at port 8080:
    isopod run -p 127.0.0.1:8080:80 oci:/images/web

  An empty volume of 64 MiB in every app:
    isopod run --volume tmp,kind=empty,mode=1777,size=64m --mount volume=tmp,target=/tmp \\
      oci:/images/a --- oci:/images/b

  A Kubernetes pod, or several, or what has them as its template:
    isopod run -f pod.yaml

  A path with a comma in it, quoted as in CSV:
    isopod run --volume 'data,kind=host,\"source=/srv/a,b\"' \\
      oci:/images/a --mount volume=data,target=/d
";

const PLAN_EXAMPLES: &str = "
Examples:
  What `isopod run` would do with the same arguments:
    isopod plan oci:/images/web -v ./site:/usr/share/web:ro

  As rkt's kvm flavour laid it out, for lkvm:
    isopod plan --profile rkt --hypervisor lkvm --pod-manifest pod.json

  The units, written to a directory and read by systemd:
    isopod plan --write ./plan --verify oci:/images/web
";

/// All commands, for reading a command line: of `run` and `plan` the pod's flags only, and `words`, which begin with the
/// first image.
pub(super) fn root() -> Command {
    let words = || {
        Arg::new("words")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
    };
    let words = || words().value_parser(value_parser!(OsString));
    let root = Command::new("isopod")
        .bin_name("isopod")
        .version(env!("CARGO_PKG_VERSION"))
        .term_width(HELP_WIDTH)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args(global_flags())
        .subcommand(run().args(run_flags()).args(pod_flags()).arg(words()))
        .subcommand(prepare().args(prepare_flags()).args(pod_flags()).arg(words()))
        .subcommand(plan().args(plan_flags()).args(pod_flags()).arg(words()));
    super::tool::augment(super::life::augment(root))
        .subcommand(pod())
        .subcommand(super::generate::command())
        .subcommand(super::kube::command())
        .subcommand(super::image::command())
        .about("Runs pods of container images, each pod in a virtual machine of its own")
}

/// All commands, for completion: those that take a pod have the flags of what is being written, and one image or more.
pub(crate) fn root_to_complete(part: PodPart) -> Command {
    let image = || {
        Arg::new("image")
            .value_name("IMAGE")
            .num_args(0..)
            .allow_hyphen_values(true)
    };
    let app = |command: Command| command.args(app_flags()).arg(image());
    let pod = |command: Command, flags: Vec<Arg>| command.args(flags).args(pod_flags()).arg(image());
    let root = root().mut_subcommand("run", |_| match part {
        PodPart::Pod => pod(run(), run_flags()),
        PodPart::App => app(run()),
    });
    let root = root.mut_subcommand("prepare", |_| match part {
        PodPart::Pod => pod(prepare(), prepare_flags()),
        PodPart::App => app(prepare()),
    });
    root.mut_subcommand("plan", |_| match part {
        PodPart::Pod => pod(plan(), plan_flags()),
        PodPart::App => app(plan()),
    })
}

/// Which part of a pod's command line is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodPart {
    /// What stands before the first image.
    Pod,
    /// An app.
    App,
}

/// Which part of a pod's command line `words` end in, the program's name first; of other commands, nothing.
pub(crate) fn part_of(words: &[OsString]) -> PodPart {
    if super::group::pod_command(words).is_none() {
        return PodPart::Pod;
    }
    let (head, groups) = super::group::split(words);
    let matches = root().ignore_errors(true).try_get_matches_from(head);
    let image = matches.ok().is_some_and(|matches| {
        let sub = matches.subcommand().map(|(_, sub)| sub);
        sub.is_some_and(|sub| sub.try_contains_id("words").unwrap_or(false) && sub.contains_id("words"))
    });
    match image || !groups.others.is_empty() {
        true => PodPart::App,
        false => PodPart::Pod,
    }
}

/// A command as the manual describes it: its flags, what comes behind them, and its help as it is printed.
pub(crate) struct Described {
    /// Its name with those above it: `isopod image import`.
    pub(crate) name: String,
    /// How it is used, where clap does not know.
    pub(crate) usage: Option<&'static str>,
    /// The commands whose flags are its own, in this order: of those with apps there are two.
    pub(crate) flags: Vec<Command>,
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
    let own = |flags: Vec<Arg>, command: Command| vec![command.args(flags).args(pod_flags()), app()];
    let (usage, flags, notes) = match &*name {
        "isopod run" => (Some(RUN_USAGE), own(run_flags(), run()), RUN_EXAMPLES),
        "isopod prepare" => (
            Some(PREPARE_USAGE),
            own(prepare_flags(), prepare()),
            PREPARE_EXAMPLES,
        ),
        "isopod plan" => (Some(PLAN_USAGE), own(plan_flags(), plan()), PLAN_EXAMPLES),
        _ => (None, vec![command.clone()], ""),
    };
    let (notes, help) = match usage {
        Some(_) => (format!("{IMAGES}{notes}"), pod_help(command.get_name())),
        None => {
            let notes = command.get_after_help().map(ToString::to_string);
            (
                notes.unwrap_or_default(),
                command.clone().term_width(HELP_WIDTH).render_help(),
            )
        }
    };
    described.push(Described {
        name,
        usage,
        flags,
        notes,
        help,
    });
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    below.for_each(|sub| describe(sub, described));
}

/// The help of `run` or `plan`: the pod's flags, the app's flags and examples.
pub(super) fn pod_help(command: &str) -> StyledStr {
    let (command, flags, examples) = match command {
        "plan" => (plan(), plan_flags(), PLAN_EXAMPLES),
        "prepare" => (prepare(), prepare_flags(), PREPARE_EXAMPLES),
        _ => (run(), run_flags(), RUN_EXAMPLES),
    };
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help("Print this help");
    // Two tables, since `--mount` is in both.
    let app_help = app()
        .term_width(HELP_WIDTH)
        .disable_help_flag(true)
        .help_template("{all-args}")
        .render_help();
    command
        .term_width(HELP_WIDTH)
        .disable_help_flag(true)
        .args(flags)
        .args(pod_flags())
        .args(global_flags())
        .arg(help.help_heading(GLOBAL_HEADING))
        .after_help(format!("{}\n{IMAGES}{examples}", app_help.ansi()))
        .render_help()
}

/// The flags of one app, which follow its image.
pub(super) fn app() -> Command {
    Command::new("app")
        .no_binary_name(true)
        .term_width(HELP_WIDTH)
        .args(app_flags())
}

/// Whether `flag` (`--name`, `-n`) belongs before the first image.
pub(super) fn is_pod_flag(flag: &str) -> bool {
    has_flag(
        &[
            pod_flags(),
            run_flags(),
            prepare_flags(),
            plan_flags(),
            global_flags(),
        ]
        .concat(),
        flag,
    )
}

/// Whether `flag` (`--name`, `-n`) belongs after an image.
pub(super) fn is_app_flag(flag: &str) -> bool {
    has_flag(&app_flags(), flag)
}

fn has_flag(flags: &[Arg], flag: &str) -> bool {
    let is = |arg: &Arg| match (flag.strip_prefix("--"), flag.strip_prefix('-')) {
        (Some(long), _) => arg.get_long() == Some(long),
        (None, Some(short)) => arg.get_short().is_some_and(|c| short == c.to_string()),
        _ => false,
    };
    flags.iter().any(is)
}

/// The long names of all flags of pods and apps, without the dashes.
pub(super) fn flag_names() -> Vec<String> {
    let flags = [pod_flags(), app_flags()].concat();
    flags
        .iter()
        .filter_map(|flag| flag.get_long())
        .map(str::to_owned)
        .collect()
}

/// How long the guest may be silent before it is killed; 0: for ever.
fn silence(text: &str) -> Result<Duration, String> {
    /// It is heard every three seconds, and an emulated guest on a busy host stands still for some.
    const LEAST: u64 = 10;
    let seconds = match text.split_once(':') {
        None if text == "report" => return Ok(Duration::ZERO),
        None if text == "kill" => Some(60),
        Some(("kill", seconds)) => seconds.parse().ok().filter(|seconds| *seconds >= LEAST),
        _ => None,
    };
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("not `report`, `kill` or `kill:SECONDS` with {LEAST} or more"))
}

fn run() -> Command {
    Command::new("run")
        .about("Run a pod and wait for it")
        .override_usage(RUN_USAGE)
}

fn prepare() -> Command {
    Command::new("prepare")
        .about("Prepare a pod, for `start` to run it")
        .override_usage(PREPARE_USAGE)
}

fn plan() -> Command {
    Command::new("plan")
        .about("Show what `run` would do")
        .override_usage(PLAN_USAGE)
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

/// The flags of a pod, which stand before its first image.
fn pod_flags() -> Vec<Arg> {
    let accels = choice(&[("auto", Accel::Auto), ("kvm", Accel::Kvm), ("tcg", Accel::Tcg)]);
    let transports = choice(&[
        ("auto", ShareTransport::Auto),
        ("virtiofs", ShareTransport::Virtiofs),
        ("9p", ShareTransport::NineP),
    ]);
    let nets = choice(&[("user", Net::User), ("none", Net::None)]);
    let flags = [
        raw("pod-name", "NAME")
            .long("name")
            .help("The pod's name, by which other commands find it"),
        many("volume", "NAME,kind=...").help(
            "Declare a volume: NAME,kind=host,source=PATH[,readOnly=BOOL][,recursive=BOOL]\
             [,propagation=private|rslave] or NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,size=BYTES]\
             [,medium=memory|disk] or NAME,kind=image,image=IMAGE, read-only",
        ),
        many("mount", "volume=NAME,target=PATH")
            .help("Mount a volume in every app; an app's own mount at the same target wins"),
        value_flag("pull", "POLICY").value_parser(pull_policies()).help(
            "Ask registries for images, those of volumes too: missing (when the store has none), always, newer (always, but without an \
             answer the store's will do) or never [default: missing]",
        ),
        raw("memory", "SIZE").help("The machine's memory, such as 512m or 2g [default: 512m]"),
        raw("cpus", "N").help("The machine's virtual CPUs [default: 1]"),
        value_flag("accel", "ACCEL")
            .value_parser(accels)
            .help("KVM or emulation [default: auto]"),
        value_flag("transport", "TRANSPORT")
            .value_parser(transports)
            .help("How host volumes are shared [default: auto]"),
        value_flag("net", "NETWORK")
            .value_parser(nets)
            .help("QEMU's user network, or none but the loopback interface [default: user]"),
        many("publish", "[IP:]HOST:POD[/PROTOCOL]").short('p').help(
            "Lead a port of the host's into the pod, or a range of them; PROTOCOL is tcp or udp [default: tcp]",
        ),
        raw("hostname", "NAME").help("The pod's host name [default: made of its first app's name]"),
        many("sysctl", "NAME=VALUE").help("Set a parameter of the pod's kernel"),
        Arg::new("no-implicit-volumes")
            .long("no-implicit-volumes")
            .action(ArgAction::SetTrue)
            .help("Refuse an image's mount point without a volume, rather than give it an empty one"),
        value_flag("on-app-failure", "POLICY")
            .value_parser(choice(&[
                ("continue", FailurePolicy::Continue),
                ("stop", FailurePolicy::Stop),
            ]))
            .help("When an app has failed for good, let the others run or stop them [default: continue]"),
        value_flag("stop-timeout", "SECONDS")
            .value_parser(value_parser!(u32))
            .help("How long the apps have to stop [default: 10]"),
        value_flag("boot-timeout", "SECONDS")
            .value_parser(value_parser!(u32).range(1..))
            .help("How long the guest may take to come up [default: 120]"),
        value_flag("on-silent", "POLICY").value_parser(silence).help(
            "When the guest is not heard any more, show it or kill the pod: report, or kill[:SECONDS] after so long \
             (10 or more, 60 where not given) [default: report]",
        ),
        Arg::new("file")
            .long("file")
            .short('f')
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .action(ArgAction::Append)
            .conflicts_with_all(["volume", "mount", "pod-manifest"])
            .help("Read the pod from a Kubernetes pod file, or several that belong together; `-` is standard input"),
        Arg::new("ignore-unsupported")
            .long("ignore-unsupported")
            .action(ArgAction::SetTrue)
            .help("Run a pod file without what cannot be honoured, with a warning for each"),
        Arg::new("locked")
            .long("locked")
            .action(ArgAction::SetTrue)
            .help("Run just the images that `isopod pod lock` wrote to FILE.lock"),
        value_flag("pod-manifest", "FILE")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with_all(["volume", "mount", "publish", "sysctl"])
            .help("Read apps, volumes and ports from an appc pod manifest"),
    ];
    flags.map(|flag| flag.help_heading(POD_HEADING)).into()
}

fn pull_policies() -> impl TypedValueParser<Value = PullPolicy> {
    choice(&[
        ("missing", PullPolicy::Missing),
        ("always", PullPolicy::Always),
        ("newer", PullPolicy::Newer),
        ("never", PullPolicy::Never),
    ])
}

/// The flags that `run` has beyond those of `prepare`.
fn run_flags() -> Vec<Arg> {
    let flags = [
        interactive(),
        Arg::new("detach")
            .long("detach")
            .short('d')
            .action(ArgAction::SetTrue)
            .help("Leave the pod running when its apps have started, and print its UUID; it is kept when it has exited"),
        Arg::new("rm")
            .long("rm")
            .action(ArgAction::SetTrue)
            .help("Remove the pod when it has exited, as every pod in the foreground is"),
        replace(),
    ];
    flags.map(|flag| flag.help_heading(POD_HEADING)).into()
}

/// The flags that `prepare` has beyond the pod's.
fn prepare_flags() -> Vec<Arg> {
    [interactive(), replace()]
        .map(|flag| flag.help_heading(POD_HEADING))
        .into()
}

fn replace() -> Arg {
    Arg::new("replace")
        .long("replace")
        .action(ArgAction::SetTrue)
        .help("Stop and remove the pod that has this one's name, when this one can be planned")
}

fn interactive() -> Arg {
    Arg::new("interactive")
        .long("interactive")
        .short('i')
        .action(ArgAction::SetTrue)
        .help("In the background, let `isopod attach` write what the pod's only app reads; otherwise it reads nothing")
}

/// The flags that `plan` has beyond those of `run`.
fn plan_flags() -> Vec<Arg> {
    let formats = choice(&[
        ("text", PlanFormat::Text),
        ("json", PlanFormat::Json),
        ("dot", PlanFormat::Dot),
        ("svg", PlanFormat::Svg),
    ]);
    let flags = [
        value_flag("profile", "PROFILE")
            .value_parser(choice(&[("default", Profile::Default), ("rkt", Profile::Rkt)]))
            .help("Lay the pod out in the project's own way, or as rkt's kvm flavour did [default: default]"),
        value_flag("hypervisor", "HYPERVISOR")
            .value_parser(choice(&[("qemu", Hypervisor::Qemu), ("lkvm", Hypervisor::Lkvm)]))
            .help("Whose command line to plan [default: qemu]"),
        value_flag("format", "FORMAT")
            .value_parser(formats)
            .help("How to print the plan [default: text]"),
        value_flag("write", "DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Write the pod's files to DIR"),
        Arg::new("verify")
            .long("verify")
            .action(ArgAction::SetTrue)
            .help("Let systemd read the units, and compare"),
    ];
    flags.map(|flag| flag.help_heading(PLAN_HEADING)).into()
}

/// The flags of an app, which stand after its image.
fn app_flags() -> Vec<Arg> {
    let mut flags = vec![
        raw("name", "NAME").help("The app's name [default: made of the image's]"),
        raw("exec", "PROGRAM").help("Run PROGRAM in place of the image's entry point and command"),
        raw("user", "USER[:GROUP]").help("Run as this user: a number, a name, or a path whose owner it is"),
        raw("group", "GROUP").help("Run as this group"),
        raw("working-dir", "PATH").short('w').help("Start in PATH"),
        many("env", "NAME[=VALUE]")
            .short('e')
            .help("Set a variable; without a value, to the caller's own"),
        many("app-mount", "volume=NAME,target=PATH").long("mount").help(
            "Mount a volume: volume=NAME,target=PATH[,readOnly][,subPath=PATH][,nosuid][,nodev][,noexec]",
        ),
        raw_list("bind", "SOURCE:TARGET[:OPTIONS]")
            .short('v')
            .help("Mount a host path; OPTIONS are ro, rw, nosuid, nodev, noexec, private, rslave"),
        Arg::new("readonly-rootfs")
            .long("readonly-rootfs")
            .action(ArgAction::SetTrue)
            .help("Let the app write to volumes only"),
        raw("restart", "POLICY").help(
            "Start the app anew when it has ended: no, on-failure[:N] or always, after 100 ms, then twice as \
             long each time up to 5 minutes [default: no]",
        ),
        Arg::new("notify")
            .long("notify")
            .action(ArgAction::SetTrue)
            .help("The app says when it is ready (sd_notify); without it, it is as soon as it has started"),
        many("depends-on", "APP[=CONDITION]").help(
            "Start the app when another has started (APP or APP=started), has ended with status 0 \
             (APP=succeeded) or is healthy (APP=healthy); they stop in the reverse order",
        ),
        many("cap-add", "CAPABILITY").help("Give the app a capability, or ALL"),
        many("cap-drop", "CAPABILITY").help("Take a capability from the app, or ALL"),
        many("device", "PATH").help("Give the app a device of the guest: /dev/net/tun or /dev/fuse"),
        Arg::new("privileged")
            .long("privileged")
            .action(ArgAction::SetTrue)
            .help("Give the app every capability and every device of the guest, and its /proc and /sys unmasked"),
        raw("memory", "SIZE").help("Kill the app when it needs more memory than this, such as 64m"),
        raw("memory-reservation", "SIZE").help("Take memory from others before the app has less than this"),
        raw("cpus", "N").help("Give the app no more processor time than of N CPUs, such as 0.5"),
        raw("cpu-shares", "N")
            .help("The app's share where processor time is short, against 1024 of an app that says nothing"),
        raw("pids-limit", "N").allow_hyphen_values(true).help("Let the app have no more processes and threads than N"),
        raw("oom-score-adj", "N")
            .allow_hyphen_values(true)
            .help("How gladly the kernel kills it when the machine's memory runs out: -1000 to 1000"),
        many("ulimit", "NAME=SOFT[:HARD]").help("Set a limit of setrlimit(2), such as nofile=1024"),
        many("group-add", "GROUP").help("Put the app into a further group: a number or a name"),
        many("security-opt", "OPTION").help(
            "no-new-privileges, seccomp=unconfined, seccomp=builtin, or seccomp=FILE with a profile as docker has it",
        ),
    ];
    flags.extend(super::health::flags());
    flags
        .into_iter()
        .map(|flag| flag.help_heading(APP_HEADING))
        .collect()
}

/// A flag with one value.
pub(super) fn value_flag(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// A flag whose value is read later, with all others.
pub(super) fn raw(name: &'static str, value: &'static str) -> Arg {
    value_flag(name, value).value_parser(value_parser!(OsString))
}

fn raw_list(id: &'static str, value: &'static str) -> Arg {
    Arg::new(id)
        .value_name(value)
        .value_parser(value_parser!(OsString))
        .action(ArgAction::Append)
}

/// A flag that may be repeated, whose values are read later.
fn many(name: &'static str, value: &'static str) -> Arg {
    raw_list(name, value).long(name)
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
