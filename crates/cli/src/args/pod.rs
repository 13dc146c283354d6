//! From the flags of `run` and `plan` to a pod.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use isopod_runtime::pods::files::Stdin;
use isopod_spec::check::{self, PodFault};
use isopod_spec::flags::{self, InvalidFlag, SecurityOption};
use isopod_spec::words::shown;
use isopod_spec::{
    App, AppName, ImageReference, ImageSource, ImplicitVolumes, Machine, Mount, Network, Overrides, PodSpec,
    PortForward, Readiness, Resources, RootfsAccess, Volume,
};

use super::group::{Group, Groups, is_flag};
use super::unknown;
use super::{
    ArgFault, ArgsError, FileArgs, Ground, MachineFlags, Net, PodSource, RunArgs, chosen, commands, health,
};

/// `--boot-timeout` where it is not given: an emulated guest on a busy machine takes half a minute at worst.
pub(super) const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// Reads the pod that `run` or `plan` is given.
pub(super) fn read_run(
    command: &'static str,
    matches: &ArgMatches,
    groups: Groups,
) -> Result<RunArgs, ArgsError> {
    let seconds = |flag| {
        let seconds: Option<u32> = matches.get_one(flag).copied();
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    };
    let mut faults = Faults::default();
    let machine = read_machine(matches, &mut faults);
    let words: Vec<OsString> = matches.get_many("words").unwrap_or_default().cloned().collect();
    let files: Vec<PathBuf> = matches.get_many("file").unwrap_or_default().cloned().collect();
    let source = match matches.get_one::<PathBuf>("pod-manifest") {
        _ if !files.is_empty() => {
            if let Some(word) = word_beside_manifest(&words, &groups) {
                faults.0.push(ArgFault::BesideManifest { word });
            }
            PodSource::Files(read_files(matches, files, machine, &mut faults))
        }
        Some(path) => {
            if let Some(word) = word_beside_manifest(&words, &groups) {
                faults.0.push(ArgFault::BesideManifest { word });
            }
            PodSource::Manifest {
                path: path.clone(),
                machine,
                implicit_volumes: implicit_volumes(matches),
                on_failure: chosen(matches, "on-app-failure"),
                net: chosen(matches, "net"),
                hostname: faults.one(matches, "hostname", flags::read_hostname),
            }
        }
        None => {
            let first = Group {
                words,
                args: groups.first_args,
            };
            let groups: Vec<Group> = std::iter::once(first).chain(groups.others).collect();
            PodSource::Apps(Box::new(read_pod(
                command,
                matches,
                machine.over(&Machine::default()),
                &groups,
                &mut faults,
            )?))
        }
    };
    for (id, flag) in [
        ("ignore-unsupported", "--ignore-unsupported"),
        ("locked", "--locked"),
    ] {
        if matches.get_flag(id) && !matches.contains_id("file") {
            faults.0.push(ArgFault::WithoutFile { flag });
        }
    }
    let name = faults.one(matches, "pod-name", flags::read_pod_name);
    // Not every command has these.
    let is_set = |flag| matches.try_get_one::<bool>(flag).ok().flatten() == Some(&true);
    if faults.0.is_empty() {
        Ok(RunArgs {
            source,
            pull: matches.get_one("pull").copied(),
            name,
            ground: match is_set("detach") {
                true => Ground::Back,
                false => Ground::Fore,
            },
            stdin: match is_set("interactive") {
                true => Stdin::Attached,
                false => Stdin::Empty,
            },
            remove: is_set("rm"),
            replace: is_set("replace"),
            stop_timeout: seconds("stop-timeout"),
            boot_timeout: seconds("boot-timeout").unwrap_or(BOOT_TIMEOUT),
            silent_kill: matches
                .get_one("on-silent")
                .copied()
                .filter(|after: &Duration| !after.is_zero()),
        })
    } else {
        Err(ArgsError::Faults(faults.0))
    }
}

fn read_files(
    matches: &ArgMatches,
    files: Vec<PathBuf>,
    machine: MachineFlags,
    faults: &mut Faults,
) -> FileArgs {
    let network = read_network(matches, faults);
    FileArgs {
        files,
        ignore_unsupported: matches.get_flag("ignore-unsupported"),
        locked: matches.get_flag("locked"),
        machine,
        implicit_volumes: implicit_volumes(matches),
        on_failure: chosen(matches, "on-app-failure"),
        net: chosen(matches, "net"),
        ports: match network {
            Network::User { ports } => ports,
            Network::None => Vec::new(),
        },
        hostname: faults.one(matches, "hostname", flags::read_hostname),
    }
}

fn implicit_volumes(matches: &ArgMatches) -> ImplicitVolumes {
    match matches.get_flag("no-implicit-volumes") {
        true => ImplicitVolumes::Refuse,
        false => ImplicitVolumes::Create,
    }
}

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<ArgFault>);

impl Faults {
    /// The value, or `None` and a fault more.
    fn keep<T>(&mut self, result: Result<T, InvalidFlag>) -> Option<T> {
        result.map_err(|error| self.0.push(ArgFault::Flag(error))).ok()
    }

    /// Reads every value of the flag `id`.
    fn each<T>(
        &mut self,
        matches: &ArgMatches,
        id: &str,
        read: impl Fn(&OsStr) -> Result<T, InvalidFlag>,
    ) -> Vec<T> {
        let values = matches.get_many::<OsString>(id).unwrap_or_default();
        values.filter_map(|value| self.keep(read(value))).collect()
    }

    /// Reads the value of the flag `id`, where it is given.
    pub(super) fn one<T>(
        &mut self,
        matches: &ArgMatches,
        id: &str,
        read: impl Fn(&OsStr) -> Result<T, InvalidFlag>,
    ) -> Option<T> {
        self.each(matches, id, read).pop()
    }
}

fn word_beside_manifest(words: &[OsString], groups: &Groups) -> Option<String> {
    if let Some(word) = words.first() {
        return Some(shown(word));
    }
    if groups.first_args.is_some() {
        return Some("--".to_owned());
    }
    groups.others.first().map(|_| "---".to_owned())
}

fn read_machine(matches: &ArgMatches, faults: &mut Faults) -> MachineFlags {
    MachineFlags {
        memory_mib: faults.one(matches, "memory", flags::read_memory_mib),
        cpus: faults.one(matches, "cpus", flags::read_cpus),
        accel: chosen(matches, "accel"),
        transport: chosen(matches, "transport"),
    }
}

fn read_network(matches: &ArgMatches, faults: &mut Faults) -> Network {
    let read = faults.each(matches, "publish", flags::read_publish);
    let ports: Vec<PortForward> = read.into_iter().flatten().collect();
    match chosen(matches, "net") {
        Net::User => Network::User { ports },
        Net::None => {
            if matches.contains_id("publish") {
                faults.0.push(ArgFault::PublishWithoutNetwork);
            }
            Network::None
        }
    }
}

fn read_pod(
    command: &'static str,
    matches: &ArgMatches,
    machine: Machine,
    groups: &[Group],
    faults: &mut Faults,
) -> Result<PodSpec, ArgsError> {
    let before = faults.0.len();
    let volumes = faults.each(matches, "volume", flags::read_volume);
    let all_volumes_read = faults.0.len() == before;
    let mut draft = Draft {
        command,
        declared: volumes.len(),
        volumes,
        mounts: faults.each(matches, "mount", flags::read_mount),
    };
    let mut apps = Vec::new();
    let before = faults.0.len();
    for (index, group) in groups.iter().enumerate() {
        let place = if index == 0 { "to run" } else { "after `---`" };
        apps.extend(read_app(group, place, &mut draft, faults)?);
    }
    let all_apps_read = faults.0.len() == before;
    let pod = PodSpec {
        volumes: draft.volumes,
        machine,
        hostname: faults.one(matches, "hostname", flags::read_hostname),
        network: read_network(matches, faults),
        implicit_volumes: implicit_volumes(matches),
        on_failure: chosen(matches, "on-app-failure"),
        sysctls: faults.each(matches, "sysctl", flags::read_sysctl),
        ..PodSpec::new(apps)
    };
    for fault in check::check(&pod) {
        match fault {
            // The volume that is missing may be the one that could not be read.
            PodFault::UnknownVolume { .. } if !all_volumes_read => {}
            PodFault::UnknownDependency { .. } if !all_apps_read => {}
            PodFault::DoubledApp { name, .. } => faults.0.push(ArgFault::DoubledApp { name }),
            fault => faults.0.push(ArgFault::Pod(fault)),
        }
    }
    Ok(pod)
}

/// What the apps of a pod share while they are read.
struct Draft {
    /// `run` or `plan`, for help.
    command: &'static str,
    /// The volumes: first the declared ones, then those of `-v`.
    volumes: Vec<Volume>,
    /// How many are declared.
    declared: usize,
    /// The mounts for every app.
    mounts: Vec<Mount>,
}

/// Reads one app; `place` says where its image must be.
fn read_app(
    group: &Group,
    place: &'static str,
    draft: &mut Draft,
    faults: &mut Faults,
) -> Result<Option<App>, ArgsError> {
    let Some((image, words)) = group.words.split_first() else {
        faults.0.push(ArgFault::NoImage { place });
        return Ok(None);
    };
    if is_flag(image) {
        faults.0.push(flag_before_image(image));
        return Ok(None);
    }
    let matches = match commands::app().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Err(ArgsError::Asked(commands::pod_help(draft.command)));
        }
        Err(error) => {
            faults.0.push(flag_after_image(&error, &shown(image)));
            return Ok(None);
        }
    };
    let reference = ImageReference::parse(image)
        .map_err(|error| faults.0.push(ArgFault::Reference(error)))
        .ok();
    let overrides = read_overrides(&matches, group, &shown(image), faults);
    let mounts = read_mounts(&matches, draft, faults);
    let name = match matches.contains_id("name") {
        true => faults.one(&matches, "name", flags::read_app_name),
        false => reference
            .as_ref()
            .and_then(|reference| default_name(reference, faults)),
    };
    let (Some(name), Some(reference)) = (name, reference) else {
        return Ok(None);
    };
    let rootfs = match matches.get_flag("readonly-rootfs") {
        true => RootfsAccess::ReadOnly,
        false => RootfsAccess::Writable,
    };
    let image = ImageSource::Reference(reference);
    let restart = faults.one(&matches, "restart", flags::read_restart);
    let on_unhealthy = faults.one(&matches, "health-on-failure", flags::read_health_on_failure);
    Ok(Some(App {
        restart: restart.unwrap_or_default(),
        on_unhealthy: on_unhealthy.unwrap_or_default(),
        readiness: match matches.get_flag("notify") {
            true => Readiness::Notify,
            false => Readiness::Started,
        },
        depends_on: faults.each(&matches, "depends-on", flags::read_depends_on),
        overrides,
        mounts,
        rootfs,
        ..App::new(name, image)
    }))
}

fn default_name(reference: &ImageReference, faults: &mut Faults) -> Option<AppName> {
    let name = reference.default_app_name();
    if name.is_none() {
        faults.0.push(ArgFault::NoDefaultName {
            image: shown(reference.to_string()),
        });
    }
    name
}

fn read_overrides(matches: &ArgMatches, group: &Group, image: &str, faults: &mut Faults) -> Overrides {
    let (user, user_group) = match faults.one(matches, "user", flags::read_user) {
        Some((user, group)) => (Some(user), group),
        None => (None, None),
    };
    let group_flag = faults.one(matches, "group", |text| flags::read_word("--group", text));
    if user_group.is_some() && group_flag.is_some() {
        faults.0.push(ArgFault::DoubledGroup {
            image: image.to_owned(),
        });
    }
    let args = group.args.as_ref().map(|args| {
        args.iter()
            .filter_map(|arg| faults.keep(flags::read_text("ARG", arg)))
            .collect()
    });
    Overrides {
        exec: faults.one(matches, "exec", |text| flags::read_word("--exec", text)),
        args,
        user,
        group: group_flag.or(user_group),
        working_dir: faults.one(matches, "working-dir", flags::read_working_dir),
        env: faults.each(matches, "env", flags::read_env),
        cap_add: faults.each(matches, "cap-add", |text| {
            flags::read_capability("--cap-add", text)
        }),
        cap_drop: faults.each(matches, "cap-drop", |text| {
            flags::read_capability("--cap-drop", text)
        }),
        privileged: matches.get_flag("privileged"),
        devices: faults.each(matches, "device", flags::read_device),
        health_check: health::read(matches, faults),
        ..read_limits(matches, faults)
    }
}

/// What an app may take and do.
fn read_limits(matches: &ArgMatches, faults: &mut Faults) -> Overrides {
    let mut limits = Overrides {
        resources: Resources {
            memory_limit_bytes: faults.one(matches, "memory", |text| {
                flags::read_memory_bytes("--memory", text)
            }),
            memory_request_bytes: faults.one(matches, "memory-reservation", |text| {
                flags::read_memory_bytes("--memory-reservation", text)
            }),
            cpu_limit_millis: faults.one(matches, "cpus", flags::read_cpu_millis),
            cpu_request_millis: faults.one(matches, "cpu-shares", flags::read_cpu_shares),
            pids_limit: faults
                .one(matches, "pids-limit", flags::read_pids_limit)
                .flatten(),
            oom_score_adj: faults.one(matches, "oom-score-adj", flags::read_oom_score_adj),
        },
        group_add: faults.each(matches, "group-add", |text| flags::read_word("--group-add", text)),
        rlimits: faults.each(matches, "ulimit", flags::read_ulimit),
        ..Overrides::default()
    };
    for option in faults.each(matches, "security-opt", flags::read_security_opt) {
        match option {
            SecurityOption::NoNewPrivileges(value) => limits.no_new_privileges = Some(value),
            SecurityOption::Seccomp(seccomp) => limits.seccomp = Some(seccomp),
        }
    }
    limits
}

/// The mounts of an app: those of the pod, then its own in their order. Of two at one target the later one is mounted, as
/// with rkt.
fn read_mounts(matches: &ArgMatches, draft: &mut Draft, faults: &mut Faults) -> Vec<Mount> {
    let mut words: Vec<(usize, &str, &OsString)> = Vec::new();
    for id in ["app-mount", "bind"] {
        let indices = matches.indices_of(id).unwrap_or_default();
        let values = matches.get_many::<OsString>(id).unwrap_or_default();
        words.extend(indices.zip(values).map(|(index, value)| (index, id, value)));
    }
    words.sort_by_key(|(index, ..)| *index);
    let mut own = Vec::new();
    for (_, id, value) in words {
        own.extend(match id {
            "bind" => faults
                .keep(flags::read_bind(value))
                .map(|bind| bind.add_to(&mut draft.volumes, draft.declared)),
            _ => faults.keep(flags::read_mount(value)),
        });
    }
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in draft.mounts.iter().cloned().chain(own) {
        mounts.retain(|earlier| check::clean(&earlier.target) != check::clean(&mount.target));
        mounts.push(mount);
    }
    mounts
}

/// A flag of `word`, without its value.
fn flag_name(word: &OsStr) -> String {
    let text = shown(word);
    if text.starts_with("--") {
        text.split('=').next().unwrap_or(&text).to_owned()
    } else {
        text.chars().take(2).collect()
    }
}

/// The fault of a flag that stands where the image must be.
fn flag_before_image(word: &OsStr) -> ArgFault {
    let flag = flag_name(word);
    if commands::is_app_flag(&flag) {
        return ArgFault::AppFlagFirst { flag };
    }
    if commands::is_pod_flag(&flag) {
        return ArgFault::PodFlagAfterImage { flag };
    }
    let nearest = nearest_flag(&flag);
    ArgFault::UnknownFlag { flag, nearest }
}

/// The fault that clap found in the flags after an image.
fn flag_after_image(error: &clap::Error, image: &str) -> ArgFault {
    let image = image.to_owned();
    let message = || {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").replace('\'', "`")
    };
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => {
            ArgFault::StrayWord {
                word: shown(word),
                image,
            }
        }
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => {
            let flag = flag_name(OsStr::new(word));
            if commands::is_pod_flag(&flag) {
                return ArgFault::PodFlagAfterImage { flag };
            }
            let nearest = nearest_flag(&flag);
            ArgFault::UnknownFlag { flag, nearest }
        }
        _ => ArgFault::AppUsage {
            image,
            message: message(),
        },
    }
}

fn nearest_flag(flag: &str) -> Option<String> {
    let names = commands::flag_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    unknown::nearest(flag.strip_prefix("--")?, &names).map(|name| format!("--{name}"))
}
