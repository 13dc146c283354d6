//! `isopod app add`.

use std::ffi::OsString;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::Stdin;
use isopod_spec::{PodSpec, Vm};

use crate::args::{RunArgs, RunMode, read_words};
use crate::arrival;
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::pod_files::Purpose;
use crate::pods::pods;

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
        arrival::add(&pods(settings)?, &self.pod, &asked, self.no_start, settings)?;
        let names = asked.spec.apps.iter().map(|app| format!("{}\n", app.name));
        output::data(&names.collect::<String>());
        Ok(ExitCode::SUCCESS)
    }

    /// The app, as the words of `isopod run` are read.
    fn read(&self, settings: &Settings) -> Result<Asked, Failure> {
        let args = read_words(self.words.iter().cloned())?;
        if let Some(flag) = of_pod(&args) {
            return Err(of_pods(flag).into());
        }
        let mut asked = manifest::pods(&args, &Purpose::Preparation, settings)?;
        let mut asked = asked
            .pop()
            .ok_or_else(|| Report::text("there is no app to add"))?;
        if args.stdin == Stdin::Attached {
            let apps = &mut asked.spec.apps;
            apps.iter_mut().for_each(|app| app.overrides.stdin = true);
        }
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

/// How a user names a pod, who may mean the app.
const NAME: &str = "`--name`";

/// The flag of a pod that is there.
fn of_pod(args: &RunArgs) -> Option<&'static str> {
    match () {
        () if args.name.is_some() => Some(NAME),
        () if args.mode == RunMode::Detached => Some("`-d`"),
        () if args.remove => Some("`--rm`"),
        () if args.replace => Some("`--replace`"),
        () if args.stop_timeout.is_some() => Some("`--stop-timeout`"),
        () => None,
    }
}

fn of_pods(flag: &str) -> Report {
    let hint = match flag {
        NAME => "`--app-name` names the app",
        _ => "`isopod app add` takes the flags of an app, which `isopod run --help` lists",
    };
    Report::text(format!("{flag} is a flag of the whole pod, which already runs")).hint(Some(hint.into()))
}
