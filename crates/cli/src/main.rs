//! The command `isopod`: reads its arguments, asks the libraries, prints. A module for each command, one for output.

mod args;
mod attach;
mod complete;
mod cp;
mod detach;
mod detach_keys;
mod docs;
mod env_files;
mod events;
mod exec;
mod failure;
mod generate;
mod id_files;
mod image;
mod kube;
mod life;
mod list;
mod lock;
mod logs;
mod manifest;
mod named_volume;
mod output;
mod patience;
mod plan;
mod pod_files;
mod progress;
mod publish;
mod registries;
mod relay;
mod run;
mod settings;
mod show;
mod stats;
mod supervisor;
mod table;
mod terminal;
mod volume;
mod volumes_from;

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_vm::launch;
use isopod_vm::stage::change::{self, Change};
use isopod_vm::stage::{self, Stage};

use crate::args::{ArgsError, Command, ToolCommand};
use crate::failure::Failure;
use crate::output::Report;

/// The exit status of a failure of isopod's own (docker's and podman's).
const FAILURE: u8 = 125;

fn main() -> ExitCode {
    if let Err(error) = launch::close_on_exec() {
        let what = "cannot keep what its caller left open from the processes of a pod";
        return output::fail(&Report::text(what).because(error.to_string()));
    }
    let mut argv = std::env::args_os();
    match argv.nth(1) {
        Some(first) if first == stage::STAGE => return become_process(argv),
        Some(first) if first == change::CHANGE => return change_shares(argv),
        _ => {}
    }
    if let Some(status) = complete::answer() {
        return status;
    }
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    output::log(cli.global.log_level);
    let result = match &cli.command {
        Command::Tool(tool) => act_on_nothing(tool),
        command => settings::from_environment(&cli.global)
            .map_err(Failure::from)
            .and_then(|settings| act(command, &settings)),
    };
    output::end(result.unwrap_or_else(|failure| failure.print()))
}

/// Does what a command on pods and images says.
fn act(command: &Command, settings: &Settings) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(args, settings),
        Command::Prepare(args) => run::prepare(args, settings),
        Command::Life(command) => life::life(command, settings),
        Command::Plan(args) => plan::plan(args, settings),
        Command::PodLock(files) => lock::write(files, settings),
        Command::Image(command) => image::image(command, settings),
        Command::Generate(command) => generate::generate(command, settings),
        Command::Kube(command) => kube::kube(command, settings),
        Command::Tool(tool) => act_on_nothing(tool),
    }
}

/// Does what needs no state.
fn act_on_nothing(tool: &ToolCommand) -> Result<ExitCode, Failure> {
    match tool {
        ToolCommand::Completion { shell } => complete::print_script(*shell),
        ToolCommand::Docs { dir } => docs::write(dir),
    }
}

/// Becomes a process of a pod's VM.
fn become_process(argv: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match Stage::read(argv).and_then(Stage::run) {
        Ok(status) => status,
        Err(error) => output::fail(&Report::new(&error).exit_status(stage::FAILED)),
    }
}

/// Changes what a running file server serves.
fn change_shares(argv: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match Change::read(argv).and_then(|change| change.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor reads it, and shows it as a part of a line.
            output::notice(&Report::new(&error).line());
            ExitCode::from(stage::FAILED)
        }
    }
}

/// Prints why the arguments make no command, or the help that they ask for.
fn refuse(error: &ArgsError) -> ExitCode {
    match error {
        ArgsError::Asked(text) => {
            output::document(&text.ansi().to_string());
            ExitCode::SUCCESS
        }
        ArgsError::Usage(text) => {
            output::notice(text.ansi().to_string().trim_end());
            ExitCode::from(FAILURE)
        }
        ArgsError::Faults(faults) => {
            let reports = faults.iter().map(|fault| Report::new(fault).hint(fault.hint()));
            Failure::from(reports.collect::<Vec<_>>()).print()
        }
    }
}
