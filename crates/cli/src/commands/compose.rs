//! `isopod compose`: the project of a compose file, which is one pod.

mod config;
mod down;
mod exec;
mod logs;
mod ps;
mod pull;
mod restart;
mod run;
mod start;
mod stop;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use isopod_runtime::Settings;
use isopod_runtime::pods::files::{AppState, AppStatus, HealthState};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::compose::Project;
use isopod_spec::words::nearest;
use isopod_spec::{AppName, Dependency, DependencyCondition};

use crate::compose_file::ProjectArgs;
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{named, pods};

/// Run the services of a compose file as one pod
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Compose {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(subcommand)]
    command: ComposeCommand,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[command(disable_help_subcommand = true)]
enum ComposeCommand {
    Up(up::Up),
    Down(down::Down),
    Ps(ps::ComposePs),
    Logs(logs::ComposeLogs),
    Exec(exec::ComposeExec),
    Run(run::Run),
    Config(config::Config),
    Pull(pull::ComposePull),
    Start(start::ComposeStart),
    Stop(stop::ComposeStop),
    Restart(restart::ComposeRestart),
}

impl Compose {
    /// Executes the command.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = &self.project;
        match &self.command {
            ComposeCommand::Up(command) => command.execute(project, settings),
            ComposeCommand::Down(command) => command.execute(project, settings),
            ComposeCommand::Ps(command) => command.execute(project, settings),
            ComposeCommand::Logs(command) => command.execute(project, settings),
            ComposeCommand::Exec(command) => command.execute(project, settings),
            ComposeCommand::Run(command) => command.execute(project, settings),
            ComposeCommand::Config(command) => command.execute(project, settings),
            ComposeCommand::Pull(command) => command.execute(project, settings),
            ComposeCommand::Start(command) => command.execute(project, settings),
            ComposeCommand::Stop(command) => command.execute(project, settings),
            ComposeCommand::Restart(command) => command.execute(project, settings),
        }
    }
}

/// The pod of a project.
///
/// # Errors
/// A [`Report`] where there is none.
fn pod_of(project: &Project, settings: &Settings) -> Result<PodEntry, Report> {
    let found = named(&pods(settings)?, &project.name)?;
    found.ok_or_else(|| {
        Report::text(format!("project `{}` is not up", project.name.as_str()))
            .hint(Some("`isopod compose up -d` starts it".into()))
    })
}

/// The app of a service.
///
/// # Errors
/// A [`Report`] where the project has no such service.
fn app_of(project: &Project, service: &str) -> Result<AppName, Report> {
    let found = project.services.iter().find(|(name, _)| name == service);
    found.map(|(_, app)| app.clone()).ok_or_else(|| {
        let names = project.services.iter().map(|(name, _)| name.as_str());
        let nearest = nearest(service, names).map(|name| format!("did you mean `{name}`?"));
        Report::text(format!(
            "project `{}` has no service `{service}`",
            project.name.as_str()
        ))
        .hint(nearest)
    })
}

/// How often services that are waited for are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until services are as far as another one needs them to be; the pod as it is then.
///
/// # Errors
/// A [`Report`] where one will not be.
fn awaited(pods: &Pods, pod: &PodEntry, needed: &[Dependency]) -> Result<PodEntry, Report> {
    loop {
        let seen = pods.entry(&pod.uuid).filter(|pod| pod.state.is_live());
        let Some(seen) = seen else {
            return Err(Report::text(format!(
                "project `{}` ended before its services were ready",
                pod.label()
            ))
            .hint(Some("see their output: `isopod compose logs`".into())));
        };
        let apps = seen
            .status
            .as_ref()
            .map(|status| &status.apps[..])
            .unwrap_or_default();
        let mut waits = false;
        for dependency in needed {
            match come(dependency, apps) {
                Come::Yes => {}
                Come::NotYet => waits = true,
                Come::Never(why) => {
                    let hint = format!("see its output: `isopod compose logs {}`", dependency.app);
                    return Err(Report::text(format!(
                        "service `{}`, which is needed, {why}",
                        dependency.app
                    ))
                    .hint(Some(hint)));
                }
            }
        }
        if !waits {
            return Ok(seen);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// How far a service is that another one needs.
#[derive(Debug, PartialEq, Eq)]
enum Come {
    Yes,
    NotYet,
    Never(String),
}

fn come(dependency: &Dependency, apps: &[AppStatus]) -> Come {
    let Some(app) = apps.iter().rfind(|app| app.name == dependency.app) else {
        return Come::NotYet;
    };
    let ended = app.exit_status.filter(|_| app.state == AppState::Exited);
    match (dependency.condition, app.state, ended) {
        (_, AppState::Failed, _) => {
            let why = app
                .error
                .clone()
                .unwrap_or_else(|| "no reason is known".to_owned());
            Come::Never(format!("did not start: {why}"))
        }
        (DependencyCondition::Started, AppState::Exited, _) => Come::Yes,
        (DependencyCondition::Started, ..) if app.ready => Come::Yes,
        (DependencyCondition::Succeeded, _, Some(0)) => Come::Yes,
        (DependencyCondition::Succeeded | DependencyCondition::Healthy, _, Some(status)) => {
            Come::Never(format!("has ended with status {status}"))
        }
        (DependencyCondition::Healthy, ..) if app.health == Some(HealthState::Healthy) => Come::Yes,
        (DependencyCondition::Healthy, ..) if app.health == Some(HealthState::Unhealthy) => {
            Come::Never("is unhealthy".to_owned())
        }
        _ => Come::NotYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_waited_for_as_its_condition_says() {
        let name = AppName::new("db").unwrap();
        let mut apps = isopod_runtime::pods::files::Status::starting([name.clone()].into_iter()).apps;
        let of = |condition, apps: &[AppStatus]| {
            let app = name.clone();
            come(&Dependency { app, condition }, apps)
        };
        use DependencyCondition::{Healthy, Started, Succeeded};
        assert_eq!(of(Started, &[]), Come::NotYet, "it is yet to come");
        for condition in [Started, Succeeded, Healthy] {
            assert_eq!(of(condition, &apps), Come::NotYet);
        }
        (apps[0].state, apps[0].ready) = (AppState::Running, true);
        assert_eq!(
            [of(Started, &apps), of(Healthy, &apps)],
            [Come::Yes, Come::NotYet]
        );
        apps[0].health = Some(HealthState::Healthy);
        assert_eq!(
            [of(Healthy, &apps), of(Succeeded, &apps)],
            [Come::Yes, Come::NotYet]
        );
        apps[0].health = Some(HealthState::Unhealthy);
        assert!(matches!(of(Healthy, &apps), Come::Never(_)));
        (apps[0].state, apps[0].exit_status, apps[0].health) = (AppState::Exited, Some(0), None);
        assert_eq!([of(Started, &apps), of(Succeeded, &apps)], [Come::Yes, Come::Yes]);
        assert!(matches!(of(Healthy, &apps), Come::Never(_)));
        apps[0].exit_status = Some(3);
        assert!(matches!(of(Succeeded, &apps), Come::Never(_)));
        apps[0].state = AppState::Failed;
        assert!(matches!(of(Started, &apps), Come::Never(_)));
    }
}
