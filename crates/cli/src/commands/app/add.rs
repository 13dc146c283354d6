//! `isopod app add`.

use std::ffi::OsString;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::app::{self, AddError, Planned};
use isopod_runtime::control::{self, ControlError};
use isopod_spec::{AppName, PodSpec, Vm};

use super::{failed, live};
use crate::args::{ArgFault, ArgsError, Ground, RunArgs};
use crate::command_line::{self, Command};
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::pod_files::Purpose;
use crate::pods::{block_on, pods};

/// How often an app is planned anew, since something came or went at the same time.
const ATTEMPTS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  A pod that waits for apps, and two of them:
    isopod run -d --hold --name work
    isopod app add work --app-name build -v ./src:/src oci:/images/rust cargo build
    isopod app add work --app-name shell oci:/images/alpine sleep 1000

  One that is started later:
    isopod app add --no-start work --app-name check oci:/images/alpine true
    isopod app start work check
";

/// Add an app to a pod that runs: the flags of an app are those of `run`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "isopod app add [--no-start] POD [APP FLAGS] IMAGE [COMMAND [ARG...]]"
)]
pub(crate) struct AppAdd {
    /// Do not start it: `isopod app start` does
    #[arg(long)]
    no_start: bool,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The app, as for `isopod run`
    #[arg(
        value_name = "IMAGE",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

impl AppAdd {
    /// Adds the app, and prints its name.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let asked = self.read(settings)?;
        let name = of_one_app(&asked.spec)?;
        let pods = pods(settings)?;
        let mut pod = live(&pods, &self.pod)?;
        for attempt in 1.. {
            let planned = app::plan(&pod, &asked.spec, self.no_start, settings);
            let Planned { add, files, notices } = planned.map_err(|error| not_planned(&asked, error))?;
            match block_on(&pod, control::add_app(&pod.path, &add, &files)) {
                Ok(()) => {
                    notices.iter().for_each(|notice| output::note(notice));
                    output::data(&format!("{name}\n"));
                    return Ok(ExitCode::SUCCESS);
                }
                // Something came or went at the same time: planned anew, on what is now.
                Err(ControlError::Outdated) if attempt < ATTEMPTS => pod = live(&pods, &self.pod)?,
                Err(error) => return Err(failed("add", &name, &pod, &error).into()),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The app, as the words of `isopod run` are read.
    fn read(&self, settings: &Settings) -> Result<Asked, Failure> {
        let words = ["isopod", "run"].map(OsString::from);
        let words = words.into_iter().chain(self.words.iter().cloned());
        let Command::Run(args) = command_line::parse(words).map_err(not_read)?.command else {
            return Err(Report::text("the words after the pod are no app").into());
        };
        if let Some(flag) = of_pod(&args) {
            return Err(of_pods(flag).into());
        }
        let mut asked = manifest::pods(&args, &Purpose::Preparation, settings)?;
        let asked = asked
            .pop()
            .ok_or_else(|| Report::text("there is no app to add"))?;
        let of_app = PodSpec {
            vm: asked.spec.vm.clone(),
            stop_timeout: asked.spec.stop_timeout,
            volumes: asked.spec.volumes.clone(),
            ..PodSpec::new(asked.spec.apps.clone())
        };
        match asked.spec == of_app && asked.spec.vm == Vm::holding(&asked.spec.apps) {
            true => Ok(asked),
            false => Err(of_pods("a flag").into()),
        }
    }
}

/// Why the words are no app.
fn not_read(error: ArgsError) -> Failure {
    match error {
        ArgsError::Faults(faults) => {
            let report = |fault: &ArgFault| Report::new(fault).hint(fault.hint());
            faults.iter().map(report).collect::<Vec<_>>().into()
        }
        ArgsError::Usage(text) | ArgsError::Asked(text) => {
            Report::text(text.to_string().trim_end().to_owned()).into()
        }
    }
}

/// The flag of a pod's that is there.
fn of_pod(args: &RunArgs) -> Option<&'static str> {
    match () {
        () if args.name.is_some() => Some("`--name`"),
        () if args.ground == Ground::Back => Some("`-d`"),
        () if args.remove => Some("`--rm`"),
        () if args.replace => Some("`--replace`"),
        () if args.stop_timeout.is_some() => Some("`--stop-timeout`"),
        () => None,
    }
}

fn of_pods(flag: &str) -> Report {
    Report::text(format!(
        "{flag} says something of a whole pod, which the pod was started with"
    ))
    .hint(Some(
        "`isopod app add` takes the flags of an app: `isopod run --help` has them".into(),
    ))
}

/// The name of the one app.
fn of_one_app(spec: &PodSpec) -> Result<AppName, Report> {
    match &spec.apps[..] {
        [app] => Ok(app.name.clone()),
        _ => Err(Report::text("one app is added at a time")
            .hint(Some("add the others by commands of their own".into()))),
    }
}

fn not_planned(asked: &Asked, error: AddError) -> Failure {
    match error {
        AddError::Gather(error) => asked.not_gathered(&error),
        AddError::Plan(error) => asked.not_planned(&error),
        error => Report::new(&error).into(),
    }
}
