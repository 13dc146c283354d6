//! `isopod compose exec`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use isopod_runtime::Settings;

use super::{app_of, pod_of};
use crate::commands::exec::{self, variable};
use crate::compose_file::{Extent, ProjectArgs};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;

/// Execute a command in a service that runs
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct ComposeExec {
    /// Leave it running, without its output
    #[arg(short, long)]
    detach: bool,
    /// Give it no terminal; without this flag it has one if this command has one
    #[arg(short = 'T', long, visible_alias = "no-TTY")]
    no_tty: bool,
    /// Set an environment variable; without a value, to this command's own
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable)]
    env: Vec<(String, Option<String>)>,
    /// Run it as this user [default: the service's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Give it every capability, over the guest's kernel
    #[arg(long)]
    privileged: bool,
    /// Which of the service's containers: there is one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=1))]
    index: u8,
    /// As it always is: it has this command's standard input
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// As it always is where this command has a terminal
    #[arg(short, long, hide = true, conflicts_with = "no_tty")]
    tty: bool,
    /// Start it there [default: where the service starts]
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ComposeExec {
    /// Executes it; the exit status is the command's.
    ///
    /// # Errors
    /// A [`Failure`] when it could not be executed, or was lost.
    pub(super) fn execute(&self, project: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let project = project.read(Extent::Whole, settings)?;
        let exec = exec::Exec {
            app: Some(app_of(&project, &self.service)?),
            pod: pod_of(&project, settings)?.uuid,
            interactive: !self.detach,
            tty: !self.no_tty && !self.detach && (self.tty || std::io::stdin().is_terminal()),
            detach: self.detach,
            detach_keys: DetachKeys::default(),
            env_file: Vec::new(),
            env: self.env.clone(),
            user: self.user.clone(),
            privileged: self.privileged,
            workdir: self.workdir.clone(),
            command: self.command.clone(),
        };
        exec.execute(settings)
    }
}
