//! From the flags of `run`, `prepare` and `plan` to a pod.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use isopod_runtime::pods::files::Stdin;
use isopod_spec::check::{self, PodFault};
use isopod_spec::flags::{self as values, Stream, VolumeFlag, VolumesFrom};
use isopod_spec::words::shown;
use isopod_spec::{
    App, AppName, AppRoot, HealthTest, ImageReference, ImageSource, Mount, Network, PodSpec, Resolver, Vm,
    Volume,
};

use super::flags::{self, AppDraft, Flag, For, PlanDraft, PodDraft};
use super::{
    ArgFault, ArgsError, FileArgs, Outputs, PodSource, Publish, RunArgs, RunMode, nearest, pod_command,
};

/// `--boot-timeout` where it is not given: an emulated guest on a busy host takes half a minute at worst.
pub(super) const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// Flags with their values, in order.
type Given = Vec<(&'static Flag, OsString)>;

/// One app as it was written: the flags before its image, and the words from there on.
struct Group {
    flags: Given,
    words: Vec<OsString>,
}

impl Group {
    fn of(command: For, matches: &ArgMatches) -> Self {
        Self {
            flags: flags::given(command, matches),
            words: matches.get_many("words").unwrap_or_default().cloned().collect(),
        }
    }

    /// The image, and what follows it but for a `--` that ends the flags.
    fn image(&self) -> Option<(&OsString, Option<&[OsString]>)> {
        let (image, rest) = self.words.split_first()?;
        let command = match rest.split_first() {
            Some((end, command)) if end == "--" => Some(command),
            Some(_) => Some(rest),
            None => None,
        };
        Some((image, command))
    }
}

/// Reads the pod that a command is given: its own matches, and the words of the groups behind `---`.
pub(super) fn read_run(
    command: For,
    matches: &ArgMatches,
    others: &[&[OsString]],
) -> Result<(RunArgs, PlanDraft), ArgsError> {
    let mut faults = Vec::new();
    let mut pod = PodDraft::default();
    let first = Group::of(command, matches);
    let mut app = AppDraft::default();
    flags::apply(&first.flags, &mut pod, &mut app, &mut faults);
    pod.flags
        .settle_network()
        .unwrap_or_else(|fault| faults.push(fault));
    let beside = beside_file(&first, others);
    let source = if !pod.files.is_empty() {
        refuse_beside("-f", beside, pod.manifest.is_some(), &mut faults);
        PodSource::Files(FileArgs {
            files: std::mem::take(&mut pod.files),
            ignore_unsupported: pod.ignore_unsupported,
            locked: pod.locked,
            flags: pod.flags.clone(),
        })
    } else {
        for (given, flag) in [
            (pod.ignore_unsupported, "--ignore-unsupported"),
            (pod.locked, "--locked"),
        ] {
            if given {
                faults.push(ArgFault::WithoutFile { flag });
            }
        }
        match pod.manifest.take() {
            Some(path) => {
                refuse_beside("--pod-manifest", beside, pod.flags.publishes(), &mut faults);
                let flags = pod.flags.clone();
                PodSource::Manifest { path, flags }
            }
            None => {
                let mut reader = Reader::new(command, &mut faults);
                if !pod.held || first.image().is_some() {
                    reader.first(app, &first);
                }
                for words in others {
                    reader.other(words)?;
                }
                let env_files = std::mem::take(&mut reader.env_files);
                let volumes_from = std::mem::take(&mut reader.volumes_from);
                let spec = Box::new(reader.finish(&pod));
                let label_files = pod.label_files.clone();
                PodSource::Apps {
                    spec,
                    env_files,
                    volumes_from,
                    label_files,
                }
            }
        }
    };
    if pod.publish_all || pod.flags.publishes() {
        match pod.flags.net {
            Network::None => faults.push(ArgFault::PublishWithoutNetwork),
            Network::Namespace { .. } => faults.push(ArgFault::PublishIntoNamespace),
            Network::User { .. } | Network::Named { .. } => {}
        }
    }
    match faults.is_empty() {
        true => Ok((run_args(&pod, source), pod.plan)),
        false => Err(ArgsError::Faults(faults)),
    }
}

fn run_args(pod: &PodDraft, source: PodSource) -> RunArgs {
    RunArgs {
        source,
        pull: pod.pull,
        name: pod.name.clone(),
        mode: match pod.detach {
            true => RunMode::Detached,
            false => RunMode::Foreground,
        },
        stdin: match pod.interactive || pod.attach.contains(&Stream::Stdin) {
            true => Stdin::Attached,
            false => Stdin::Empty,
        },
        outputs: Outputs {
            stdout: pod.attach.is_empty() || pod.attach.contains(&Stream::Stdout),
            stderr: pod.attach.is_empty() || pod.attach.contains(&Stream::Stderr),
        },
        detach_keys: pod.detach_keys.clone(),
        sig_proxy: !pod.keeps_signals,
        remove: pod.remove,
        replace: pod.replace,
        cidfile: pod.cidfile.clone(),
        pidfile: pod.pidfile.clone(),
        publish: Publish {
            all: pod.publish_all,
            exposed: pod.exposed.clone(),
        },
        quiet: pod.quiet,
        stop_timeout: pod.stop_timeout,
        boot_timeout: pod.boot_timeout.unwrap_or(BOOT_TIMEOUT),
        silent_kill: pod.silent_kill,
    }
}

/// The first thing of the command line that says something of an app, or that a file has in its own way.
fn beside_file(first: &Group, others: &[&[OsString]]) -> Option<String> {
    let word = first.words.first().map(shown);
    let flag = first.flags.iter().map(|(flag, _)| flag);
    let flag = flag.into_iter().find(|flag| !flag.goes_beside_file());
    flag.map(|flag| flag.name())
        .or(word)
        .or_else(|| others.first().map(|_| "---".to_owned()))
}

fn refuse_beside(file: &'static str, beside: Option<String>, more: bool, faults: &mut Vec<ArgFault>) {
    let more = more.then(|| match file {
        "-f" => "--pod-manifest".to_owned(),
        _ => "--publish".to_owned(),
    });
    if let Some(what) = beside.or(more) {
        faults.push(ArgFault::BesideFile { what, file });
    }
}

/// Reads the apps of a pod one after the other.
struct Reader<'a> {
    command: For,
    faults: &'a mut Vec<ArgFault>,
    /// The volumes: first the declared ones, then those that mounts bring along.
    volumes: Vec<Volume>,
    declared: usize,
    apps: Vec<App>,
    /// The files of variables of each app.
    env_files: Vec<Vec<PathBuf>>,
    /// The other pods whose volumes each app takes over.
    volumes_from: Vec<Vec<VolumesFrom>>,
    /// Whether everything could be read that other parts may refer to.
    all_volumes_read: bool,
    all_apps_read: bool,
}

impl<'a> Reader<'a> {
    fn new(command: For, faults: &'a mut Vec<ArgFault>) -> Self {
        Self {
            command,
            faults,
            volumes: Vec::new(),
            declared: 0,
            apps: Vec::new(),
            env_files: Vec::new(),
            volumes_from: Vec::new(),
            all_volumes_read: true,
            all_apps_read: true,
        }
    }

    fn first(&mut self, mut draft: AppDraft, group: &Group) {
        self.volumes = declared(&mut draft);
        self.declared = self.volumes.len();
        self.all_volumes_read = !draft.has_unread_volume;
        self.app(draft, group, "to run");
    }

    /// An app behind `---`.
    fn other(&mut self, words: &[OsString]) -> Result<(), ArgsError> {
        let matches = match pod_command::group(self.command).try_get_matches_from(words) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                return Err(ArgsError::Asked(pod_command::pod_help(self.command)));
            }
            Err(error) => {
                self.faults.push(usage_fault(&error));
                self.all_apps_read = false;
                return Ok(());
            }
        };
        let group = Group::of(self.command, &matches);
        let (mut pod, mut draft) = (PodDraft::default(), AppDraft::default());
        let (pods, own): (Given, Given) = group.flags.iter().cloned().partition(|(flag, _)| flag.is_pods());
        let late = |flag: &Flag| ArgFault::PodFlagOfLaterApp { flag: flag.name() };
        self.faults.extend(pods.iter().map(|(flag, _)| late(flag)));
        flags::apply(&own, &mut pod, &mut draft, self.faults);
        for volume in declared(&mut draft) {
            self.faults
                .push(ArgFault::VolumeOfLaterApp { volume: volume.name });
            self.all_volumes_read = false;
        }
        self.app(draft, &group, "after `---`");
        Ok(())
    }

    /// Reads one app; `place` says where its image must be.
    fn app(&mut self, mut draft: AppDraft, group: &Group, place: &'static str) {
        let before = self.faults.len();
        let Some((image, command)) = group.image() else {
            self.faults.push(ArgFault::NoImage { place });
            self.all_apps_read = false;
            return;
        };
        let env_files = std::mem::take(&mut draft.env_files);
        let volumes_from = std::mem::take(&mut draft.volumes_from);
        let app = self.read_app(draft, image, command);
        self.all_apps_read &= self.faults.len() == before;
        if let Some(mut app) = app {
            let others = self.take_over(&mut app, volumes_from);
            self.apps.push(app);
            self.env_files.push(env_files);
            self.volumes_from.push(others);
        }
    }

    /// Gives `app` the volumes of earlier apps; the names that are none of theirs are those of other pods.
    fn take_over(&self, app: &mut App, from: Vec<VolumesFrom>) -> Vec<VolumesFrom> {
        let mut others = Vec::new();
        for from in from {
            match self.apps.iter().find(|other| other.name.as_str() == from.name) {
                Some(other) => values::take_over(app, other.mounts.iter().cloned(), from.read_only),
                None => others.push(from),
            }
        }
        others
    }

    fn read_app(&mut self, mut draft: AppDraft, image: &OsStr, command: Option<&[OsString]>) -> Option<App> {
        let root = match draft.of_directory {
            true => values::read_rootfs(image)
                .map(AppRoot::Directory)
                .map_err(ArgFault::from),
            false => ImageReference::parse(image)
                .map(|reference| AppRoot::Image(ImageSource::Reference(reference)))
                .map_err(ArgFault::Reference),
        };
        let root = root.map_err(|fault| self.faults.push(fault)).ok();
        if let Err(fault) = draft.settle_limits() {
            self.faults.push(fault);
        }
        let mut overrides = draft.overrides;
        if draft.group.is_some() && overrides.group.is_some() {
            self.faults.push(ArgFault::DoubledGroup { image: shown(image) });
        }
        overrides.group = draft.group.or(overrides.group);
        overrides.args = command.map(|words| self.read_command(words));
        if !draft.entrypoint_args.is_empty() {
            let first = draft.entrypoint_args.into_iter();
            overrides.args = Some(first.chain(overrides.args.unwrap_or_default()).collect());
        }
        if draft.no_health_check {
            if overrides.health_check != isopod_spec::HealthCheck::default() {
                self.faults.push(ArgFault::HealthCheckAndNone);
            }
            overrides.health_check.test = Some(HealthTest::Nothing);
        }
        let (mounts, anonymous) = self.mounts(draft.mounts);
        let name = match draft.name {
            Some(name) => Some(name),
            None => root.as_ref().and_then(|root| self.default_name(root, image)),
        };
        let (name, root) = (name?, root?);
        Some(App {
            restart: draft.restart,
            on_unhealthy: draft.on_unhealthy,
            readiness: draft.readiness,
            depends_on: draft.depends_on,
            overrides,
            mounts,
            anonymous,
            rootfs: draft.rootfs,
            ..App::of_root(name, root)
        })
    }

    fn read_command(&mut self, words: &[OsString]) -> Vec<String> {
        let read = |word: &OsString| {
            let text = values::read_text("COMMAND", word);
            text.map_err(|fault| self.faults.push(fault.into())).ok()
        };
        words.iter().filter_map(read).collect()
    }

    fn default_name(&mut self, root: &AppRoot, word: &OsStr) -> Option<AppName> {
        let name = match root {
            AppRoot::Image(ImageSource::Reference(reference)) => reference.default_app_name(),
            AppRoot::Image(ImageSource::Locked { .. } | ImageSource::Stored { .. }) => None,
            AppRoot::Directory(directory) => values::rootfs_app_name(directory),
        };
        if name.is_none() {
            self.faults.push(ArgFault::NoDefaultName { image: shown(word) });
        }
        name
    }

    /// The mounts of an app, in their order, and its anonymous volumes. Of two at one target the later one is mounted, as
    /// with rkt.
    fn mounts(&mut self, flags: Vec<VolumeFlag>) -> (Vec<Mount>, Vec<PathBuf>) {
        let mut mounts: Vec<Mount> = Vec::new();
        let mut anonymous: Vec<PathBuf> = Vec::new();
        for flag in flags {
            let (target, mount) = match flag {
                VolumeFlag::Brought(brought) => {
                    let mount = brought.add_to(&mut self.volumes, self.declared);
                    (mount.target.clone(), Some(mount))
                }
                VolumeFlag::Mount(mount) => (mount.target.clone(), Some(mount)),
                VolumeFlag::Anonymous(target) => (target, None),
                VolumeFlag::Declared(_) => continue,
            };
            mounts.retain(|earlier| check::clean(&earlier.target) != check::clean(&target));
            anonymous.retain(|earlier| check::clean(earlier) != check::clean(&target));
            match mount {
                Some(mount) => mounts.push(mount),
                None => anonymous.push(target),
            }
        }
        (mounts, anonymous)
    }

    /// The pod of these apps; what is wrong between its parts is a fault.
    fn finish(self, draft: &PodDraft) -> PodSpec {
        let vm = draft.flags.vm.over(&Vm::holding(&self.apps));
        let resolver = draft.resolver.clone().map(|resolver| Resolver {
            with_host: resolver.nameservers.is_empty(),
            ..resolver
        });
        let pod = PodSpec {
            volumes: self.volumes,
            vm,
            hostname: draft.flags.hostname.clone(),
            network: draft.flags.network(),
            named_ports: draft.flags.named_ports.clone(),
            implicit_volumes: draft.flags.implicit_volumes,
            on_failure: draft.flags.on_failure,
            sysctls: draft.sysctls.clone(),
            host_aliases: draft.host_aliases.clone(),
            resolver,
            shm_bytes: draft.shm_bytes,
            storage_bytes: draft.storage_bytes,
            held: draft.held,
            deadline: draft.deadline,
            pid_mode: draft.pid_mode,
            user_mapping: draft.user_mapping,
            labels: draft.labels.clone(),
            annotations: draft.annotations.clone(),
            ..PodSpec::new(self.apps)
        };
        for fault in check::check(&pod) {
            match fault {
                // The volume that is missing may be the one that could not be read.
                PodFault::UnknownVolume { .. } if !self.all_volumes_read => {}
                PodFault::UnknownDependency { .. } if !self.all_apps_read => {}
                fault => self.faults.push(ArgFault::Pod(fault)),
            }
        }
        pod
    }
}

/// Takes the volumes that an app's flags declare for the pod.
fn declared(draft: &mut AppDraft) -> Vec<Volume> {
    let (declared, others) = std::mem::take(&mut draft.mounts)
        .into_iter()
        .partition(|flag| matches!(flag, VolumeFlag::Declared(_)));
    draft.mounts = others;
    let declared: Vec<VolumeFlag> = declared;
    let volume = |flag| match flag {
        VolumeFlag::Declared(volume) => Some(volume),
        _ => None,
    };
    declared.into_iter().filter_map(volume).collect()
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

/// The fault that clap found in the flags of an app behind `---`.
fn usage_fault(error: &clap::Error) -> ArgFault {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => {
            let flag = flag_name(OsStr::new(word));
            let nearest = flag.strip_prefix("--").and_then(|name| {
                let names: Vec<&str> = flags::names().collect();
                nearest(name, &names).map(|name| format!("--{name}"))
            });
            ArgFault::UnknownFlag { flag, nearest }
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            let message = line.trim_start_matches("error: ").replace('\'', "`");
            ArgFault::AppUsage { message }
        }
    }
}
