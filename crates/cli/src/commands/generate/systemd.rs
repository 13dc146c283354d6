//! `isopod generate systemd`: a unit that runs a pod on this host.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use isopod_plan::output::host_unit::{HostUnit, Manager, host_unit};
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Keep;
use isopod_runtime::{Settings, signals};
use isopod_spec::PodSpec;

use super::{Origin, SUBJECTS, Subject, SubjectArgs};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::settings;

/// The signal that asks an app to stop whose image names none.
const TERM: u8 = 15;

const SYSTEMD_NOTES: &str = "\
Examples:
  isopod prepare --name web oci:/images/web
  isopod generate systemd web > /etc/systemd/system/web.service
  systemctl daemon-reload && systemctl enable --now web

  isopod generate systemd ./pod.yaml > ~/.config/systemd/user/pod.service
";

/// Print a systemd unit that runs a pod on this host
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = format!("{SUBJECTS}\n{SYSTEMD_NOTES}"))]
pub(crate) struct GenerateSystemd {
    #[command(flatten)]
    args: SubjectArgs,
}

impl GenerateSystemd {
    /// Prints it.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        if self.args.subject == Subject::File("-".into()) {
            let report = Report::text("a unit needs a file that stays, and standard input does not");
            return Err(report
                .hint(Some("write it to a file, and name that".into()))
                .into());
        }
        let found = self.args.find(settings)?;
        let mut command = vec![text(&settings.isopod)?];
        // A user's manager may know nothing of the shell's own directories.
        let is_moved = settings.env.contains_key("XDG_DATA_HOME") && !rustix::process::geteuid().is_root();
        if is_moved || settings::default_dir().ok().as_ref() != Some(&settings.state_dir) {
            command.extend(["--dir".to_owned(), text(&settings.state_dir)?]);
        }
        let is_pod_file = matches!(found.origin, Origin::File(_, "--file"));
        if self.args.ignore_unsupported && !is_pod_file {
            return Err(Report::text(
                "a unit describes all of the pod, so `--ignore-unsupported` has nothing to leave out",
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
                if self.args.ignore_unsupported {
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
        let text = host_unit(&unit)
            .map_err(|error| Report::text("cannot write the unit").because(error.to_string()))?;
        output::document(&text);
        Ok(ExitCode::SUCCESS)
    }
}

/// A pod that is removed when it ends can be started by no unit.
fn check_kept(pod: &PodEntry) -> Result<(), Report> {
    match pod.record.as_ref().map(|record| record.keep) {
        Some(Keep::UntilEnded | Keep::UntilRun) => Err(Report::text(format!(
            "pod `{}` is removed when it ends, and a unit starts it again and again",
            pod.label()
        ))
        .hint(Some(
            "make one that stays: `isopod prepare`, or `isopod run --detach` without `--rm`".into(),
        ))),
        _ => Ok(()),
    }
}

/// The agent and the guest's kernel, where the environment names them: a unit has another environment.
fn agent(settings: &Settings) -> Vec<(String, String)> {
    let named = ["ISOPOD_AGENT", "ISOPOD_KERNEL", "ISOPOD_MODULES"].into_iter();
    named
        .filter_map(|name| Some((name.to_owned(), settings.env.get(name)?.clone())))
        .collect()
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
