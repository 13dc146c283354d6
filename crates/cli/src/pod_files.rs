//! Pod files: from `--file` to pods. Here they are read from disk or standard input.

use std::path::{Path, PathBuf};

use isopod_plan::vm::network;
use isopod_runtime::{Settings, pods};
use isopod_spec::kube::{self, KubeSurroundings, PodFile, Unsupported};
use isopod_spec::located::FaultKind;
use isopod_spec::{Network, PodName, PodSpec};

use crate::args::FileArgs;
use crate::failure::Failure;
use crate::lock;
use crate::output::{self, Report};
use crate::text_file::read;

/// A UUID that no pod has, for what is only shown.
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// What a pod is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It will be prepared.
    Preparation,
    /// It is only shown.
    Show,
}

/// Reads the pods of `args`; `name` is the one that the only one is given in place of the file's.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn pods(
    args: &FileArgs,
    name: Option<&PodName>,
    purpose: &Purpose,
    settings: &Settings,
) -> Result<Vec<PodFile>, Failure> {
    let texts = texts(&args.files, settings)?;
    of_texts(&texts, args, name, purpose, settings)
}

/// As [`pods`], of files that were read, each with its name in messages.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn of_texts(
    texts: &[(String, String)],
    args: &FileArgs,
    name: Option<&PodName>,
    purpose: &Purpose,
    settings: &Settings,
) -> Result<Vec<PodFile>, Failure> {
    let files: Vec<kube::File<'_>> = texts
        .iter()
        .map(|(name, text)| kube::File { name, text })
        .collect();
    let has_network = matches!(args.flags.net, Network::User { .. });
    let surroundings = KubeSurroundings {
        new_uuid: match purpose {
            Purpose::Preparation => pods::new_uuid,
            Purpose::Show => || NO_UUID.to_owned(),
        },
        name: name.cloned(),
        node_name: node_name(),
        pod_ip: has_network.then_some(network::ADDRESS.into()),
        host_ip: has_network.then_some(network::GATEWAY.into()),
        claims_dir: isopod_runtime::named_volume::dir(&settings.state_dir),
        memory_mib: args.flags.vm.memory_mib,
        cpus: args.flags.vm.cpus,
    };
    let unsupported = match args.ignore_unsupported {
        true => Unsupported::Ignore,
        false => Unsupported::Refuse,
    };
    let mut read =
        kube::read(&files, &surroundings, unsupported).map_err(|errors| Failure::of(&errors.faults))?;
    for fault in &read.left_out {
        match fault.kind {
            FaultKind::Notice(_) => output::note(&fault.to_string()),
            _ => output::warning(&fault.to_string()),
        }
    }
    for volume in read.pods.iter().flat_map(|file| &file.volumes_left_out) {
        output::warning(&format!("the pod is without volume `{volume}` and its mounts"));
    }
    if read.pods.len() > 1 {
        check_flags(args, name, read.pods.len())?;
    }
    for file in &mut read.pods {
        change(&mut file.pod, args)?;
    }
    if args.locked {
        let pods = read.pods.iter_mut().map(|file| &mut file.pod);
        lock::apply(&args.files, pods, settings)?;
    }
    Ok(read.pods)
}

/// The flags that are one pod's are for files of one.
fn check_flags(args: &FileArgs, name: Option<&PodName>, count: usize) -> Result<(), Failure> {
    let flags = [
        ("--name", name.is_some()),
        ("--hostname", args.flags.hostname.is_some()),
        ("--publish", args.flags.publishes()),
    ];
    let given = flags.into_iter().filter(|(_, given)| *given);
    let report = |(flag, _)| {
        Report::text(format!("`{flag}` is for one pod, and the files have {count}"))
            .hint(Some("write it in that pod's file".into()))
    };
    Failure::unless_empty(given.map(report).collect())
}

/// Why what publishes ports cannot have that network, and what to leave out.
pub(crate) fn unpublished(network: &Network, what: &str, ports: &str) -> Report {
    let reason = match network {
        Network::Namespace { .. } => "those of a network namespace are published by its maker",
        Network::None | Network::User { .. } | Network::Named { .. } => {
            "`--network none` leaves the pod without a network"
        }
    };
    Report::text(format!("{what} publishes ports, and {reason}"))
        .hint(Some(format!("leave `--network` out, or {ports}")))
}

/// What the flags say of a pod beside its file.
fn change(pod: &mut PodSpec, args: &FileArgs) -> Result<(), Failure> {
    pod.vm = args.flags.vm.over(&pod.vm);
    pod.implicit_volumes = args.flags.implicit_volumes;
    pod.on_failure = args.flags.on_failure;
    if args.flags.hostname.is_some() {
        pod.hostname.clone_from(&args.flags.hostname);
    }
    if let Network::Named { joins, .. } = &args.flags.net {
        let mut ports = pod.network.ports().to_vec();
        ports.extend(args.flags.ports.iter().cloned());
        pod.network = Network::Named {
            joins: joins.clone(),
            ports,
        };
        pod.named_ports.extend(args.flags.named_ports.iter().cloned());
        return check_ports(pod);
    }
    match &mut pod.network {
        network if !matches!(args.flags.net, Network::User { .. }) => {
            if !network.ports().is_empty() {
                return Err(unpublished(&args.flags.net, "the pod file", "the file's `hostPort`s").into());
            }
            *network = args.flags.net.clone();
        }
        Network::User { ports, options } => {
            ports.extend(args.flags.ports.iter().cloned());
            if let Network::User { options: asked, .. } = args.flags.net {
                *options = asked;
            }
            pod.named_ports.extend(args.flags.named_ports.iter().cloned());
            check_ports(pod)?;
        }
        Network::None | Network::Namespace { .. } | Network::Named { .. } => {}
    }
    Ok(())
}

/// The ports of flags beside those of the files.
fn check_ports(pod: &PodSpec) -> Result<(), Failure> {
    let faults = isopod_spec::check::check(pod);
    Failure::unless_empty(faults.iter().map(Report::of).collect())
}

/// The host's name, as the kernel has it.
fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The files, each with its name in messages.
///
/// # Errors
/// A [`Failure`] for each that cannot be read.
pub(crate) fn texts(files: &[PathBuf], settings: &Settings) -> Result<Vec<(String, String)>, Failure> {
    let mut reports = Vec::new();
    let mut texts = Vec::new();
    let stdin = Path::new("-");
    if files.iter().filter(|file| *file == stdin).count() > 1 {
        return Err(Report::text("standard input (`-f -`) can be read once only").into());
    }
    for file in files {
        let is_stdin = file == stdin;
        let (name, text) = if is_stdin {
            ("<stdin>".to_owned(), read(std::io::stdin()))
        } else {
            let open = std::fs::File::open(settings.working_dir.join(file));
            let text = open.map_err(|error| error.to_string()).and_then(read);
            (file.display().to_string(), text)
        };
        match text {
            Ok(text) => texts.push((name, text)),
            Err(why) => reports.push(Report::text(format!("cannot read the pod file `{name}`: {why}"))),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(texts)
}
