//! `isopod generate`: a pod of the state directory, or of a file, in another form.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use isopod_plan::output::host_unit::{HostUnit, Manager, host_unit};
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Keep;
use isopod_runtime::{Settings, signals};
use isopod_spec::kube::{self, Unsupported};
use isopod_spec::{PodSpec, Written};

use crate::args::{FileArgs, GenerateArgs, GenerateCommand, Subject};
use crate::failure::Failure;
use crate::manifest::{self, Purpose};
use crate::output::{self, Report};
use crate::{pod_files, settings, show};

/// The signal that asks an app to stop whose image names none.
const TERM: u8 = 15;

/// Prints a pod in the form that is asked for.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn generate(command: &GenerateCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    use GenerateCommand::{Kube, Systemd};
    let (Kube(args) | Systemd(args)) = command;
    let is_unit = matches!(command, Systemd(_));
    if is_unit && args.subject == Subject::File("-".into()) {
        return Err(
            Report::text("a unit needs a file that stays, and standard input is none")
                .hint(Some("write it to a file, and name that".into()))
                .into(),
        );
    }
    let found = find(args, settings)?;
    let unsupported = match args.ignore_unsupported {
        true => Unsupported::Ignore,
        false => Unsupported::Refuse,
    };
    match command {
        Kube(_) => {
            let written = kube::write(&found.spec, unsupported);
            print(&written.map_err(|unsaid| Failure::of(&unsaid))?);
            Ok(ExitCode::SUCCESS)
        }
        Systemd(_) => systemd(&found, args, settings),
    }
}

/// A pod and where it is from.
struct Found {
    spec: PodSpec,
    origin: Origin,
}

enum Origin {
    Pod(Box<PodEntry>),
    /// A file, or `-`, and the flag of `run` that takes it.
    File(PathBuf, &'static str),
}

fn find(args: &GenerateArgs, settings: &Settings) -> Result<Found, Failure> {
    match &args.subject {
        Subject::Pod(query) => {
            let pod = show::find(&show::pods(settings)?, query)?;
            let spec = show::kept(&pod)?.spec;
            note_attached(&pod);
            let origin = Origin::Pod(Box::new(pod));
            Ok(Found { spec, origin })
        }
        Subject::File(path) => read(path, args.ignore_unsupported, settings),
    }
}

/// What a pod has only as long as it runs is said by no form.
fn note_attached(pod: &PodEntry) {
    let status = pod.status.iter().filter(|_| pod.state.is_live());
    for attached in status.flat_map(|status| &status.attached) {
        let name = &attached.volume.name;
        output::note(&format!(
            "volume `{name}` was attached to the running pod, goes when that stops, and is left out"
        ));
    }
}

fn read(path: &Path, ignore_unsupported: bool, settings: &Settings) -> Result<Found, Failure> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "<stdin>".to_owned(),
        false => path.display().to_string(),
    };
    let read = match is_stdin {
        true => pod_files::read(std::io::stdin()),
        false => std::fs::File::open(settings.working_dir.join(path))
            .map_err(|error| error.to_string())
            .and_then(pod_files::read),
    };
    let text = read.map_err(|why| Report::text(format!("cannot read the pod file `{name}`: {why}")))?;
    let is_manifest = text.trim_start().starts_with('{') && text.contains("\"acKind\"");
    let (spec, flag) = if is_manifest {
        (manifest::read_text(&text, &name)?, "--pod-manifest")
    } else {
        let args = FileArgs {
            ignore_unsupported,
            ..FileArgs::default()
        };
        let pods = pod_files::of_texts(&[(name, text)], &args, None, &Purpose::Show, settings)?;
        let count = pods.len();
        let mut pods = pods.into_iter();
        let (Some(file), None) = (pods.next(), pods.next()) else {
            let report = Report::text(format!("the file has {count} pods, and one is printed at a time"));
            let hint = "put the one that is meant into a file of its own";
            return Err(report.hint(Some(hint.into())).into());
        };
        (file.pod, "--file")
    };
    Ok(Found {
        spec,
        origin: Origin::File(path.to_owned(), flag),
    })
}

/// Prints what was written, and on standard error what was left out.
fn print(written: &Written) {
    for unsaid in &written.left_out {
        output::warning(&unsaid.to_string());
    }
    output::document(&written.text);
}

/// Prints a unit that runs the pod.
fn systemd(found: &Found, args: &GenerateArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let mut command = vec![text(&settings.isopod)?];
    // A user's manager may know nothing of the shell's own directories.
    let is_moved = settings.env.contains_key("XDG_DATA_HOME") && !rustix::process::geteuid().is_root();
    if is_moved || settings::default_dir().ok().as_ref() != Some(&settings.state_dir) {
        command.extend(["--dir".to_owned(), text(&settings.state_dir)?]);
    }
    let is_pod_file = matches!(found.origin, Origin::File(_, "--file"));
    if args.ignore_unsupported && !is_pod_file {
        return Err(Report::text(
            "a unit says all that there is to say of the pod, and `--ignore-unsupported` leaves out nothing",
        )
        .into());
    }
    let mut working_dir = None;
    let description = match &found.origin {
        Origin::Pod(pod) => {
            check_kept(pod)?;
            let name = pod.record.as_ref().and_then(|record| record.name.as_ref());
            let name = name.map_or_else(|| pod.uuid.clone(), ToString::to_string);
            command.extend(["start".to_owned(), "--attach".to_owned(), name.clone()]);
            format!("Pod {name}")
        }
        Origin::File(path, flag) => {
            command.push("run".to_owned());
            if args.ignore_unsupported {
                command.push("--ignore-unsupported".to_owned());
            }
            command.extend([(*flag).to_owned(), text(&settings.working_dir.join(path))?]);
            working_dir = is_relative(&found.spec).then(|| settings.working_dir.clone());
            match &found.spec.name {
                Some(name) => format!("Pod {name}"),
                None => format!("Pod of {}", path.display()),
            }
        }
    };
    let unit = HostUnit {
        manager: match rustix::process::geteuid().is_root() {
            true => Manager::System,
            false => Manager::User,
        },
        description,
        command,
        working_dir,
        environment: agent(settings),
        pod: &found.spec,
        stop_signals: stop_signals(&found.spec),
    };
    let text =
        host_unit(&unit).map_err(|error| Report::text("cannot write the unit").because(error.to_string()))?;
    output::document(&text);
    Ok(ExitCode::SUCCESS)
}

/// A pod that is removed when it ends can be started by no unit.
fn check_kept(pod: &PodEntry) -> Result<(), Report> {
    match pod.record.as_ref().map(|record| record.keep) {
        Some(Keep::UntilEnded) => Err(Report::text(format!(
            "pod `{}` is removed when it ends, and a unit starts it again and again",
            pod.label()
        ))
        .hint(Some(
            "make one that stays: `isopod prepare`, or `isopod run --detach` without `--rm`".into(),
        ))),
        _ => Ok(()),
    }
}

/// The agent, where the environment names one: a unit has another environment.
fn agent(settings: &Settings) -> Vec<(String, String)> {
    let named = settings.env.get("ISOPOD_AGENT");
    let named = named.map(|agent| ("ISOPOD_AGENT".to_owned(), agent.clone()));
    named.into_iter().collect()
}

/// The signals by which the apps are asked to stop.
fn stop_signals(pod: &PodSpec) -> BTreeSet<u8> {
    let own = pod
        .apps
        .iter()
        .filter_map(|app| app.overrides.stop_signal.as_deref());
    own.filter_map(|signal| signals::parse(signal).ok())
        .chain([TERM])
        .collect()
}

/// Whether something of the pod depends on where the command starts.
fn is_relative(pod: &PodSpec) -> bool {
    let mut relative = false;
    pod.clone().map_host_paths(|path| {
        relative |= path.is_relative();
        path.to_owned()
    });
    relative
}

fn text(path: &Path) -> Result<String, Report> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Report::text(format!(
            "cannot write the unit: `{}` is not UTF-8",
            path.display()
        ))
        .hint(Some("give it another path".into()))
    })
}
