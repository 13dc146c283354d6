//! `isopod compose`: the project of a compose file, which is one pod.

mod config;
mod down;
mod exec;
mod logs;
mod ps;
mod pull;
mod restart;
mod start;
mod stop;
mod up;

use std::process::ExitCode;

use clap::Subcommand;
use isopod_runtime::Settings;
use isopod_runtime::pods::PodEntry;
use isopod_spec::AppName;
use isopod_spec::compose::Project;
use isopod_spec::words::nearest;

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
    Ps(ps::Ps),
    Logs(logs::Logs),
    Exec(exec::Exec),
    Config(config::Config),
    Pull(pull::Pull),
    Start(start::Start),
    Stop(stop::Stop),
    Restart(restart::Restart),
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
