//! The command `isopod`: reads its arguments, asks the libraries, prints. A file for each command is in
//! [`commands`], what they print goes through [`output`].

mod args;
mod arrival;
mod as_docker;
mod background;
mod command_line;
mod commands;
mod complete;
mod compose_file;
mod detach_keys;
mod ending;
mod env_files;
mod failure;
mod foreground;
mod glob;
mod id_files;
mod image_change;
mod label_filter;
mod lock;
mod manifest;
mod manual;
mod output;
mod patience;
mod pod_files;
mod pods;
mod preparation;
mod progress;
mod prune_filter;
mod publish;
mod reach;
mod registries;
mod relay;
mod room;
mod root_of_app;
mod service_manager;
mod settings;
mod show;
mod signals;
mod supervision;
mod supervisor;
mod table;
mod terminal;
mod text_file;
mod time;
mod volumes_from;

use std::process::ExitCode;

use isopod_runtime::joining::within;
use isopod_runtime::networks::forward;
use isopod_vm::launch;
use isopod_vm::launcher::change::{self, Change};
use isopod_vm::launcher::{self, Launcher};
use isopod_vm::rootless;

use crate::args::ArgsError;
use crate::command_line::{Cli, Command};
use crate::failure::Failure;
use crate::output::Report;

/// The exit status of a failure of isopod's own (docker's and podman's).
const FAILURE: u8 = 125;

fn main() -> ExitCode {
    let mut argv = std::env::args_os();
    let first = argv.nth(1);
    let closed = match &first {
        Some(first) if first == launcher::LAUNCHER => launch::close_on_exec_in_launcher(),
        _ => launch::close_on_exec(),
    };
    if let Err(error) = closed {
        let what = "cannot keep files that its caller left open from the processes of a pod";
        return output::fail(&Report::text(what).because(error.to_string()));
    }
    match first {
        Some(first) if first == launcher::LAUNCHER => return become_process(argv),
        Some(first) if first == change::CHANGE => return change_shares(argv),
        Some(first) if first == rootless::HOLDER => return ended(&rootless::hold(argv)),
        Some(first) if first == within::WITHIN => return ended(&within::serve(argv)),
        Some(first) if first == forward::FORWARD => return ended(&forward::serve(argv)),
        _ => {}
    }
    if let Some(status) = complete::answer() {
        return status;
    }
    let cli = match command_line::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    output::log(cli.global.log_level);
    let result = dispatch(&cli);
    output::end(result.unwrap_or_else(|failure| failure.print()))
}

/// Executes the command, with what it needs to know of the environment.
fn dispatch(cli: &Cli) -> Result<ExitCode, Failure> {
    use commands::OtherCommand as C;
    let settings = || settings::from_environment(&cli.global);
    match &cli.command {
        Command::Run(args) => commands::run::run(args, &settings()?),
        Command::Prepare(args) => commands::prepare::prepare(args, &settings()?),
        Command::Plan(args) => commands::plan::plan(args, &settings()?),
        Command::Other(command) => match command {
            C::Start(command) => command.execute(&settings()?),
            C::Ps(command) => command.execute(&settings()?),
            C::Port(command) => command.execute(&settings()?),
            C::Wait(command) => command.execute(&settings()?),
            C::List(command) => command.execute(&settings()?),
            C::Status(command) => command.execute(&settings()?),
            C::Inspect(command) => command.execute(&settings()?),
            C::CatManifest(command) => command.execute(&settings()?),
            C::Events(command) => command.execute(&settings()?),
            C::Logs(command) => command.execute(&settings()?),
            C::Stop(command) => command.execute(&settings()?),
            C::Kill(command) => command.execute(&settings()?),
            C::Pause(command) => command.execute(&settings()?),
            C::Unpause(command) => command.execute(&settings()?),
            C::Exec(command) => command.execute(&settings()?),
            C::Attach(command) => command.execute(&settings()?),
            C::Cp(command) => command.execute(&settings()?),
            C::Diff(command) => command.execute(&settings()?),
            C::Export(command) => command.execute(&settings()?),
            C::Commit(command) => command.execute(&settings()?),
            C::Exists(command) => command.execute(&settings()?),
            C::Top(command) => command.execute(&settings()?),
            C::Stats(command) => command.execute(&settings()?),
            C::Restart(command) => command.execute(&settings()?),
            C::Update(command) => command.execute(&settings()?),
            C::Rename(command) => command.execute(&settings()?),
            C::Rm(command) => command.execute(&settings()?),
            C::Gc(command) => command.execute(&settings()?),
            C::App(command) => command.execute(&settings()?),
            C::Volume(command) => command.execute(&settings()?),
            C::Network(command) => command.execute(&settings()?),
            C::Supervise(command) => command.execute(&settings()?),
            C::Login(command) => command.execute(&settings()?),
            C::Logout(command) => command.execute(&settings()?),
            C::System(command) => command.execute(&settings()?),
            C::Template(command) => command.execute(&settings()?),
            C::Version(command) => command.execute(&settings()?),
            C::Info(command) => command.execute(&settings()?),
            C::Doctor(command) => command.execute(&settings()?),
            C::BootReport(command) => command.execute(&settings()?),
            C::Completion(command) => command.execute(),
            C::Docs(command) => command.execute(command_line::root()),
            C::Pod(command) => command.execute(&settings()?),
            C::Generate(command) => command.execute(&settings()?),
            C::Compose(command) => command.execute(&settings()?),
            C::Kube(command) => command.execute(&settings()?),
            C::Image(command) => command.execute(&settings()?),
        },
    }
}

/// Becomes a process of a pod's VM.
fn become_process(argv: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match Launcher::read(argv).and_then(Launcher::run) {
        Ok(status) => status,
        Err(error) => output::fail(&Report::new(&error).exit_status(launcher::FAILED)),
    }
}

/// How a process of an ordinary user's networks ended.
fn ended<E: std::error::Error>(result: &Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&Report::new(error).exit_status(launcher::FAILED)),
    }
}

/// Changes what a running file server serves.
fn change_shares(argv: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    match Change::read(argv).and_then(|change| change.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor reads it, and shows it as a part of a line.
            output::notice(&Report::new(&error).line());
            ExitCode::from(launcher::FAILED)
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
