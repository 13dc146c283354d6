//! `isopod compose up`.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::{AppState, AppStatus, HealthState};
use isopod_runtime::pods::state::PodState;
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::compose::Project;
use isopod_spec::flags::{read_cpus, read_memory_mib};
use isopod_spec::{AppName, PodSpec, PullPolicy};
use tokio::signal::unix::{SignalKind, signal};

use super::pod_of;
use crate::args::{PodSource, RunArgs, RunMode, VmFlags, invalid_flag, seconds};
use crate::background;
use crate::commands::logs::Logs;
use crate::commands::run;
use crate::commands::volume::named;
use crate::compose_file::{Extent, ProjectArgs, missing_volumes};
use crate::ending;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{self, Until, wait};

const NOTES: &str = "\
A project that runs as the file describes it stays as it is; if the file has changed, the project is stopped and \
recreated, and keeps its named volumes. Without `--detach` the command shows what the services write, and stops the \
project at Ctrl-C.

Examples:
  isopod compose up -d
  isopod compose -f shop.yaml -p shop up --vm-memory 2g
";

/// Start the services of a project
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Up {
    /// The services, with those that they depend on [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Leave the project running, and print its pod's UUID
    #[arg(short, long)]
    detach: bool,
    /// Wait until all services are ready, and healthy where they have a health check; implies --detach
    #[arg(long)]
    wait: bool,
    /// Recreate the project even if nothing has changed
    #[arg(long)]
    force_recreate: bool,
    /// How long the services have to stop, when the project is recreated
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Ask registries for images: always, missing or never
    #[arg(long, value_name = "POLICY", value_parser = pull)]
    pull: Option<PullPolicy>,
    /// The VM's memory [default: 2g; if every service has a limit, their sum and 128m]
    #[arg(long, value_name = "SIZE", value_parser = memory_mib)]
    vm_memory: Option<u32>,
    /// The VM's CPUs [default: 1, or the sum of the services' limits]
    #[arg(long, value_name = "N", value_parser = cpus)]
    vm_cpus: Option<u32>,
}

pub(super) fn pull(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err("write always, missing or never".to_owned()),
    }
}

fn memory_mib(text: &str) -> Result<u32, String> {
    read_memory_mib(text.as_ref()).map_err(invalid_flag)
}

fn cpus(text: &str) -> Result<u32, String> {
    read_cpus(text.as_ref()).map_err(invalid_flag)
}

/// Whether the named volumes are there that the file says are.
///
/// # Errors
/// A [`Failure`] with those that are not.
pub(super) fn check_volumes(project: &Project, settings: &Settings) -> Result<(), Failure> {
    let missing = missing_volumes(project, &named::names(settings)?);
    let report = |name: &String| {
        Report::text(format!(
            "volume `{name}` does not exist, and the file says that it is external"
        ))
        .hint(Some(format!("make it: `isopod volume create {name}`")))
    };
    Failure::unless_empty(missing.iter().map(report).collect())
}

impl Up {
    /// Starts it.
    ///
    /// # Errors
    /// A [`Failure`] with all that stands against it.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let mut project = project.read(Extent::ToStart(&self.services), settings)?;
        check_volumes(&project, settings)?;
        let flags = VmFlags {
            memory_mib: self.vm_memory,
            cpus: self.vm_cpus,
            ..VmFlags::default()
        };
        project.pod.vm = flags.sized(&project.pod.vm);
        let pods = pods::pods(settings)?;
        let status = self.start(&project, &pods, settings)?;
        match (self.detach || self.wait, self.wait) {
            (true, false) => Ok(status),
            (true, true) => {
                let pod = wait(&pods, pod_of(&project, settings)?, Until::Ready)?;
                until_healthy(&pods, pod, project.name.as_str())?;
                Ok(status)
            }
            (false, _) => follow(&project, settings),
        }
    }

    /// Starts the project in the background, unless it is up as it should be.
    fn start(&self, project: &Project, pods: &Pods, settings: &Settings) -> Result<ExitCode, Failure> {
        let existing = pods::named(pods, &project.name)?;
        if let Some(pod) = existing
            .as_ref()
            .filter(|pod| !self.force_recreate && is_as_described(pod, project))
        {
            if pod.state.is_live() {
                output::note(&format!("project `{}` is already up", project.name.as_str()));
            } else {
                background::restart(pods, pod, settings)?;
            }
            output::data(&format!("{}\n", pod.uuid));
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(pod) = existing {
            ending::stop_and_remove(pods, pod, self.timeout)?;
        }
        let source = PodSource::Apps {
            spec: Box::new(project.pod.clone()),
            env_files: Vec::new(),
            volumes_from: Vec::new(),
            label_files: Vec::new(),
        };
        let args = RunArgs {
            pull: self.pull,
            mode: RunMode::Detached,
            ..RunArgs::of(source)
        };
        run::run(&args, settings)
    }
}

/// How often the health of services is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until the services of a project that was ready are healthy, as far as that is asked.
///
/// # Errors
/// A [`Report`] where one is unhealthy, or the project has ended before.
fn until_healthy(pods: &Pods, mut pod: PodEntry, name: &str) -> Result<(), Report> {
    let failed = |what: String| {
        let hint = "see their output: `isopod compose logs`";
        Report::text(what).hint(Some(hint.to_owned()))
    };
    loop {
        let ready = pod.status.as_ref().filter(|status| status.ready_ms.is_some());
        let Some(status) = ready.filter(|_| pod.state.is_live()) else {
            return Err(failed(format!(
                "project `{name}` ended before its services were ready"
            )));
        };
        match standing(&status.apps) {
            Standing::Healthy => return Ok(()),
            Standing::Unhealthy(service) => {
                return Err(failed(format!(
                    "project `{name}`: service `{service}` is unhealthy"
                )));
            }
            Standing::Ended(service, status) => {
                return Err(failed(format!(
                    "project `{name}`: service `{service}` ended with status {status} before all were ready"
                )));
            }
            Standing::Unknown => std::thread::sleep(LOOK_EVERY),
        }
        match pods.entry(&pod.uuid) {
            Some(seen) => pod = seen,
            None => {
                return Err(failed(format!(
                    "project `{name}` was removed before its services were ready"
                )));
            }
        }
    }
}

/// How the services are.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Healthy,
    Unhealthy(AppName),
    /// One ended, and not well.
    Ended(AppName, u8),
    Unknown,
}

fn standing(apps: &[AppStatus]) -> Standing {
    let ended = |app: &&AppStatus| app.state == AppState::Exited && app.exit_status != Some(0);
    if let Some(app) = apps.iter().find(ended) {
        return Standing::Ended(app.name.clone(), app.exit_status.unwrap_or(u8::MAX));
    }
    if apps.iter().any(|app| app.state == AppState::Restarting) {
        return Standing::Unknown;
    }
    let of = |health| apps.iter().find(|app| app.health == Some(health));
    match (of(HealthState::Unhealthy), of(HealthState::Starting)) {
        (Some(app), _) => Standing::Unhealthy(app.name.clone()),
        (None, Some(_)) => Standing::Unknown,
        (None, None) => Standing::Healthy,
    }
}

/// Whether a pod is what the file describes.
fn is_as_described(pod: &PodEntry, project: &Project) -> bool {
    let known = matches!(
        pod.state,
        PodState::Starting | PodState::Running | PodState::Exited
    );
    let asked = pod.asked_at_first().ok().flatten();
    known && asked.is_some_and(|asked| same(&asked.spec, &project.pod))
}

/// Whether two pods are one, whichever free ports were chosen for the first.
fn same(made: &PodSpec, described: &PodSpec) -> bool {
    let mut made = made.clone();
    if let Some(ports) = made.network.ports_mut() {
        for (port, described) in ports
            .iter_mut()
            .zip(described.network.ports())
            .filter(|(_, described)| described.is_open())
        {
            (port.host_port, port.host_last) = (described.host_port, described.host_last);
        }
    }
    made == *described
}

/// Shows what the services write, and stops the project when the user wants that.
fn follow(project: &Project, settings: &Settings) -> Result<ExitCode, Failure> {
    let pod = pod_of(project, settings)?;
    let pods = pods::pods(settings)?;
    let (stopped, query) = (pod.clone(), pod.uuid.clone());
    let state_dir = settings.state_dir.clone();
    // It ends with this process, whatever it waits for.
    std::thread::spawn(move || {
        let asked = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asked = asked.and_then(|runtime| {
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                Ok(())
            })
        });
        if asked.is_ok()
            && let Ok(pods) = Pods::open(&state_dir)
            && let Err(report) = ending::stop(&pods, stopped, None)
        {
            output::fail(&report);
        }
    });
    Logs::following(query).execute(settings)?;
    let pod = wait(&pods, pod, Until::Exited)?;
    Ok(crate::show::exit_status(&pod).map_or(ExitCode::SUCCESS, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use isopod_spec::flags::read_publish;

    use isopod_spec::Network;

    use super::*;

    #[test]
    fn one_that_is_unhealthy_is_enough() {
        let names = ["a", "b"].map(|name| AppName::new(name).unwrap());
        let mut apps = isopod_runtime::pods::files::Status::starting(names.clone().into_iter()).apps;
        assert_eq!(standing(&apps), Standing::Healthy, "nobody asks");
        apps[0].health = Some(HealthState::Starting);
        assert_eq!(standing(&apps), Standing::Unknown);
        apps[1].health = Some(HealthState::Unhealthy);
        assert_eq!(standing(&apps), Standing::Unhealthy(names[1].clone()));
        (apps[0].health, apps[1].health) = (Some(HealthState::Healthy), None);
        assert_eq!(standing(&apps), Standing::Healthy);
        (apps[1].state, apps[1].exit_status) = (AppState::Exited, Some(0));
        assert_eq!(standing(&apps), Standing::Healthy);
        apps[0].state = AppState::Restarting;
        assert_eq!(standing(&apps), Standing::Unknown);
        apps[1].exit_status = Some(3);
        assert_eq!(standing(&apps), Standing::Ended(names[1].clone(), 3));
    }

    #[test]
    fn a_port_that_was_chosen_is_no_change() {
        let pod = |port: &str| PodSpec {
            network: Network::user(read_publish(port.as_ref()).unwrap()),
            ..PodSpec::new(Vec::new())
        };
        assert!(same(&pod("40001:80"), &pod("80")));
        assert!(same(&pod("8003:80"), &pod("8000-8010:80")));
        assert!(!same(&pod("8080:80"), &pod("8081:80")));
        assert!(!same(&pod("8080:80"), &pod("81")));
    }
}
