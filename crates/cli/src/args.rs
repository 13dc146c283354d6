//! The arguments of the commands that make a pod, and values that several commands read.
//!
//! ```text
//! isopod [GLOBAL] run [FLAGS] IMAGE [COMMAND [ARG...]] [--- [APP FLAGS] IMAGE [COMMAND [ARG...]]]...
//!                     flags.rs: a row per flag         group.rs: the groups between `---`
//!                     pod.rs: flags and groups -> PodSpec
//! ```
//!
//! The grammar is docker's: all that follows an image is its app's command, word by word, up to a `---`, which ends the app
//! as with rkt; a `--` right after the image is left out. The flags of the first group are the pod's and the first app's,
//! those of another group its app's. What is wrong with the flags of a pod is reported all at once; only what clap finds
//! (a missing value, a word that is not one of the choices) ends the reading at the first fault.

mod copy_place;
mod error;
mod flags;
mod group;
mod nearest;
mod pod;
mod pod_command;
pub(crate) mod switch;
mod their_flags;
mod theirs;
mod unknown;
mod values;
mod words;

pub(crate) use copy_place::CopyPlace;
pub(crate) use error::{ArgFault, ArgsError};
pub(crate) use flags::For;
pub(crate) use group::{is_flag, pod_command, split};
pub(crate) use nearest::nearest;
pub(crate) use pod_command::{
    HELP_WIDTH, PodPart, described, global_flags, group, to_complete, to_read, usage,
};
pub(crate) use theirs::in_own_words;
pub(crate) use values::{Format, app_name, duration, invalid, invalid_flag, invalid_name, seconds};
pub(crate) use words::{read_words, refused};

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use isopod_runtime::pods::files::{Keep, Stdin};
use isopod_spec::flags::VolumesFrom;
use isopod_spec::{
    Accel, Architecture, FailurePolicy, GuestKernel, ImplicitVolumes, MacAddress, NamedPort, Network,
    NetworkJoin, PodName, PodSpec, PortForward, PortProtocol, PullPolicy, ShareTransport, SizedBy, StartMode,
    Vm,
};

use pod_command::pod_help;

use crate::detach_keys::DetachKeys;

/// Reads the pod that `run` or `prepare` is given: its own matches, and the words of the groups behind `---`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_run(
    command: For,
    matches: &ArgMatches,
    others: &[&[OsString]],
) -> Result<RunArgs, ArgsError> {
    Ok(pod::read_run(command, matches, others)?.0)
}

/// The arguments of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunArgs {
    /// What to run.
    pub(crate) source: PodSource,
    /// `--pull`: for every app, in place of what the pod's source says.
    pub(crate) pull: Option<PullPolicy>,
    /// `--name`: the pod's name.
    pub(crate) name: Option<PodName>,
    /// Whether the command waits for the pod.
    pub(crate) mode: RunMode,
    /// `--interactive`: whether its app has an input; in the foreground it is the command's own.
    pub(crate) stdin: Stdin,
    /// Where its output goes in the foreground.
    pub(crate) outputs: Outputs,
    /// `--detach-keys`: what is typed to end this command alone.
    pub(crate) detach_keys: DetachKeys,
    /// `--sig-proxy`: whether what ends this command in the foreground ends the pod.
    pub(crate) sig_proxy: bool,
    /// `--rm`: remove it when it has exited.
    pub(crate) remove: bool,
    /// `--replace`: stop and remove the pod of its name before.
    pub(crate) replace: bool,
    /// `--cidfile`: where its UUID is written.
    pub(crate) cidfile: Option<PathBuf>,
    /// `--pidfile`: where the number of its supervisor's process is written.
    pub(crate) pidfile: Option<PathBuf>,
    /// `--publish-all` and `--expose`.
    pub(crate) publish: Publish,
    /// `--quiet`: without the progress of downloads.
    pub(crate) quiet: bool,
    /// `--stop-timeout`: how long the apps have to stop, where it is given.
    pub(crate) stop_timeout: Option<Duration>,
    /// `--boot-timeout`: how long the guest may take to boot.
    pub(crate) boot_timeout: Duration,
    /// `--on-silent`: how long the guest may be silent before it is killed.
    pub(crate) silent_kill: Option<Duration>,
}

impl RunArgs {
    /// What becomes of the pod when it has ended. In the foreground it is kept for those who can name it: `logs`, `start`, `cp`,
    /// `commit` and `rm` are for what has a name, or a file with its UUID.
    pub(crate) fn keep(&self) -> Keep {
        let can_be_named = self.name.is_some() || self.cidfile.is_some();
        match self.mode {
            _ if self.remove => Keep::UntilEnded,
            RunMode::Foreground if !can_be_named => Keep::UntilEnded,
            RunMode::Foreground | RunMode::Detached => Keep::UntilRemoved,
        }
    }

    /// Those of pods of these files, in the background.
    pub(crate) fn in_background(files: FileArgs) -> Self {
        Self::of(PodSource::Files(files))
    }

    /// Those of these pods, in the background.
    pub(crate) fn of(source: PodSource) -> Self {
        Self {
            source,
            pull: None,
            name: None,
            mode: RunMode::Detached,
            stdin: Stdin::Empty,
            outputs: Outputs::default(),
            detach_keys: DetachKeys::default(),
            sig_proxy: true,
            remove: false,
            replace: false,
            cidfile: None,
            pidfile: None,
            publish: Publish::default(),
            quiet: false,
            stop_timeout: None,
            boot_timeout: pod::BOOT_TIMEOUT,
            silent_kill: None,
        }
    }
}

/// Which ports are published without being named one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish {
    /// `--publish-all`: those that the images expose, and `exposed`.
    pub(crate) all: bool,
    /// `--expose`.
    pub(crate) exposed: Vec<(u16, PortProtocol)>,
}

/// Which of its standard outputs a command in the foreground connects the apps to (`--attach`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            stdout: true,
            stderr: true,
        }
    }
}

/// Whether a command waits for the pod that it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RunMode {
    /// It does, and its standard streams are the apps'.
    #[default]
    Foreground,
    /// It does not (`--detach`).
    Detached,
}

/// Where the pod comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodSource {
    /// The command line.
    Apps {
        spec: Box<PodSpec>,
        /// `--env-file` of each app: files that the caller reads.
        env_files: Vec<Vec<PathBuf>>,
        /// `--volumes-from` of each app: other pods, which the caller looks at.
        volumes_from: Vec<Vec<VolumesFrom>>,
        /// `--label-file`, which the caller reads.
        label_files: Vec<PathBuf>,
    },
    /// `--file`: pod files that the caller reads.
    Files(FileArgs),
    /// `--pod-manifest`: a file that the caller reads.
    Manifest {
        path: PathBuf,
        /// The flags that change it.
        flags: PodFlags,
    },
}

/// A pod in files, and the flags that change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileArgs {
    /// `--file`, in order; `-` is the standard input.
    pub(crate) files: Vec<PathBuf>,
    /// `--ignore-unsupported`.
    pub(crate) ignore_unsupported: bool,
    /// `--locked`.
    pub(crate) locked: bool,
    /// The flags that change it.
    pub(crate) flags: PodFlags,
}

/// The flags of a pod that also hold beside a file which describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodFlags {
    /// What the flags say of the VM.
    pub(crate) vm: VmFlags,
    /// `--no-implicit-volumes`.
    pub(crate) implicit_volumes: ImplicitVolumes,
    /// `--on-app-failure`.
    pub(crate) on_failure: FailurePolicy,
    /// `--network`.
    pub(crate) net: Network,
    /// Networks with names that it names.
    pub(crate) joins: Vec<NetworkJoin>,
    /// What the pod is to have in the only one of them.
    pub(crate) in_network: InNetwork,
    /// `--publish`, beside the ports of the files.
    pub(crate) ports: Vec<PortForward>,
    /// Those that are published by the names of images.
    pub(crate) named_ports: Vec<NamedPort>,
    /// `--hostname`.
    pub(crate) hostname: Option<String>,
}

/// What a pod is to have in its network: `--ip`, `--ip6`, `--mac-address`; `--network-alias` in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InNetwork {
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) aliases: Vec<String>,
}

impl PodFlags {
    /// Makes one network of what the flags say, which may each be right and not together.
    fn settle_network(&mut self) -> Result<(), ArgFault> {
        let asked = std::mem::take(&mut self.in_network);
        let mut joins = std::mem::take(&mut self.joins);
        let of_one = [
            (asked.ipv4.is_some(), "--ip"),
            (asked.ipv6.is_some(), "--ip6"),
            (asked.mac.is_some(), "--mac-address"),
        ];
        let of_one = of_one.iter().find_map(|(given, flag)| given.then_some(*flag));
        match (&mut joins[..], of_one) {
            ([], Some(flag)) => return Err(ArgFault::WithoutNamedNetwork { flag }),
            ([], None) if !asked.aliases.is_empty() => {
                return Err(ArgFault::WithoutNamedNetwork {
                    flag: "--network-alias",
                });
            }
            ([], None) => return Ok(()),
            ([_, _, ..], Some(flag)) => return Err(ArgFault::InWhichNetwork { flag }),
            ([only], _) => {
                only.ipv4 = asked.ipv4.or(only.ipv4);
                only.ipv6 = asked.ipv6.or(only.ipv6);
                only.mac = asked.mac.or(only.mac);
            }
            ([_, _, ..], None) => {}
        }
        for join in &mut joins {
            join.aliases.extend(asked.aliases.iter().cloned());
        }
        if self.net != Network::default() {
            return Err(ArgFault::NetworksBeside);
        }
        self.net = Network::Named {
            joins,
            ports: Vec::new(),
        };
        Ok(())
    }

    /// The network, with the ports.
    pub(crate) fn network(&self) -> Network {
        match &self.net {
            Network::None | Network::Namespace { .. } => self.net.clone(),
            Network::Named { joins, .. } => Network::Named {
                joins: joins.clone(),
                ports: self.ports.clone(),
            },
            Network::User { options, .. } => Network::User {
                ports: self.ports.clone(),
                options: *options,
            },
        }
    }

    /// Whether they publish a port.
    pub(crate) fn publishes(&self) -> bool {
        !(self.ports.is_empty() && self.named_ports.is_empty())
    }
}

/// What the flags say of the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmFlags {
    /// `--vm-memory`.
    pub(crate) memory_mib: Option<u32>,
    /// `--vm-cpus`.
    pub(crate) cpus: Option<u32>,
    /// `--accel`.
    pub(crate) accel: Accel,
    /// `--transport`.
    pub(crate) transport: ShareTransport,
    /// `--start`.
    pub(crate) start: StartMode,
    /// `--platform`, or `--arch`.
    pub(crate) architecture: Option<Architecture>,
    /// `--kernel`, `--modules` and `--guest-root`.
    pub(crate) kernel: GuestKernel,
}

impl VmFlags {
    /// `base` with the memory and the CPUs of these flags, where they say them.
    pub(crate) fn sized(&self, base: &Vm) -> Vm {
        Vm {
            memory_mib: self.memory_mib.unwrap_or(base.memory_mib),
            cpus: self.cpus.unwrap_or(base.cpus),
            memory_by: self.memory_mib.map_or(base.memory_by, |_| SizedBy::Pod),
            cpus_by: self.cpus.map_or(base.cpus_by, |_| SizedBy::Pod),
            ..base.clone()
        }
    }

    /// The VM of these flags, as large as `base` where they say nothing.
    pub(crate) fn over(&self, base: &Vm) -> Vm {
        Vm {
            accel: self.accel,
            transport: self.transport,
            start: self.start,
            architecture: self.architecture,
            kernel: self.kernel.clone(),
            ..self.sized(base)
        }
    }
}

/// The arguments of `plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanArgs {
    /// What to plan: the arguments of `run`.
    pub(crate) run: RunArgs,
    /// `--profile`.
    pub(crate) profile: Profile,
    /// `--hypervisor`.
    pub(crate) hypervisor: Hypervisor,
    /// `--format`.
    pub(crate) format: PlanFormat,
    /// `--write`: the directory to write the pod's files to.
    pub(crate) write: Option<PathBuf>,
    /// `--verify`: let systemd read the units that were planned.
    pub(crate) verify: bool,
}

/// How the units of a pod are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The project's own way.
    #[default]
    Default,
    /// As rkt's kvm flavour did.
    Rkt,
}

/// Whose command line the plan shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hypervisor {
    #[default]
    Qemu,
    /// kvmtool's `lkvm`, which cannot be run, only planned.
    Lkvm,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PlanFormat {
    /// For people.
    #[default]
    Text,
    /// Versioned JSON.
    Json,
    /// A graph, for graphviz.
    Dot,
    /// A graph, drawn.
    Svg,
}

/// Reads what `plan` is given.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_plan(matches: &ArgMatches, others: &[&[OsString]]) -> Result<PlanArgs, ArgsError> {
    let (run, plan) = pod::read_run(For::Plan, matches, others)?;
    Ok(PlanArgs {
        run,
        profile: plan.profile,
        hypervisor: plan.hypervisor,
        format: plan.format,
        write: plan.write,
        verify: plan.verify,
    })
}
