//! Pod files: from `--file` to a pod. Here they are read from disk or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_plan::network;
use isopod_runtime::{Settings, pods};
use isopod_spec::kube::{self, PodFile, PodFileErrors, Surroundings, Unsupported};
use isopod_spec::{Network, PodName};

use crate::args::{FileArgs, Net};
use crate::lock;
use crate::manifest::Purpose;
use crate::output::{self, Report};

/// More than any pod file: the most that the values of a thousand ConfigMaps hold.
const MAX_BYTES: u64 = 64 << 20;

/// The directory of claims without a volume, below the state directory.
pub(crate) const CLAIMS: &str = "claims";

/// A UUID that no pod has, for what is only shown.
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// A pod, and the UUID that it was read with.
pub(crate) struct Found {
    pub(crate) file: PodFile,
    pub(crate) uuid: String,
}

/// Reads the pod of `args`; `name` is the one it is given in place of the file's. What is wrong with it is printed, all of
/// it, and the exit status given.
///
/// # Errors
/// The exit status, when everything was told already.
pub(crate) fn pod(
    args: &FileArgs,
    name: Option<&PodName>,
    purpose: &Purpose,
    settings: &Settings,
) -> Result<Found, ExitCode> {
    let texts = texts(&args.files, settings).map_err(|reports| output::fail_all(&reports))?;
    of_texts(&texts, args, name, purpose, settings)
}

/// As [`pod`], of files that were read, each with its name in messages.
///
/// # Errors
/// The exit status, when everything was told already.
pub(crate) fn of_texts(
    texts: &[(String, String)],
    args: &FileArgs,
    name: Option<&PodName>,
    purpose: &Purpose,
    settings: &Settings,
) -> Result<Found, ExitCode> {
    let files: Vec<kube::File<'_>> = texts
        .iter()
        .map(|(name, text)| kube::File { name, text })
        .collect();
    let uuid = match purpose {
        Purpose::Preparation => pods::new_uuid(),
        Purpose::Show => NO_UUID.to_owned(),
    };
    let has_network = args.net == Net::User;
    let surroundings = Surroundings {
        uuid: uuid.clone(),
        name: name.cloned(),
        node_name: node_name(),
        pod_ip: has_network.then_some(network::ADDRESS.into()),
        host_ip: has_network.then_some(network::GATEWAY.into()),
        claims_dir: settings.state_dir.join(CLAIMS),
        memory_mib: args.machine.memory_mib,
        cpus: args.machine.cpus,
    };
    let unsupported = match args.ignore_unsupported {
        true => Unsupported::Ignore,
        false => Unsupported::Refuse,
    };
    let mut file = kube::read(&files, &surroundings, unsupported).map_err(|errors| refuse(&errors))?;
    for fault in &file.left_out {
        output::warning(&fault.to_string());
    }
    for volume in &file.volumes_left_out {
        output::warning(&format!("the pod is without volume `{volume}` and its mounts"));
    }
    let pod = &mut file.pod;
    pod.machine = args.machine.over(&pod.machine);
    pod.implicit_volumes = args.implicit_volumes;
    pod.on_failure = args.on_failure;
    if args.hostname.is_some() {
        pod.hostname.clone_from(&args.hostname);
    }
    match &mut pod.network {
        network if !has_network => {
            if let Network::User { ports } = network
                && !ports.is_empty()
            {
                let report = Report::text(
                    "the pod file publishes ports, and `--net none` leaves the pod without a network",
                );
                return Err(output::fail(
                    &report.hint(Some("leave `--net` out, or the file's `hostPort`s".into())),
                ));
            }
            *network = Network::None;
        }
        Network::User { ports } => {
            ports.extend(args.ports.iter().cloned());
            check_ports(pod)?;
        }
        Network::None => {}
    }
    if args.locked {
        lock::apply(&args.files, pod, settings).map_err(|reports| output::fail_all(&reports))?;
    }
    Ok(Found { file, uuid })
}

/// The ports of flags beside those of the files.
fn check_ports(pod: &isopod_spec::PodSpec) -> Result<(), ExitCode> {
    let faults = isopod_spec::check::check(pod);
    let reports: Vec<Report> = faults
        .iter()
        .map(|fault| Report::new(fault).hint(fault.hint()))
        .collect();
    match reports.is_empty() {
        true => Ok(()),
        false => Err(output::fail_all(&reports)),
    }
}

fn refuse(PodFileErrors { faults }: &PodFileErrors) -> ExitCode {
    let report = |fault: &kube::Fault| Report::new(fault).hint(fault.hint());
    output::fail_all(&faults.iter().map(report).collect::<Vec<_>>())
}

/// The host's name, as the kernel has it.
fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The files, each with its name in messages.
fn texts(files: &[PathBuf], settings: &Settings) -> Result<Vec<(String, String)>, Vec<Report>> {
    let mut reports = Vec::new();
    let mut texts = Vec::new();
    let stdin = Path::new("-");
    if files.iter().filter(|file| *file == stdin).count() > 1 {
        return Err(vec![Report::text(
            "standard input (`-f -`) can be read once only",
        )]);
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
    match reports.is_empty() {
        true => Ok(texts),
        false => Err(reports),
    }
}

/// The text of a file of a bounded size.
pub(crate) fn read(file: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(|error| error.to_string())? as u64 > MAX_BYTES {
        return Err("it is larger than 64 MiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}
