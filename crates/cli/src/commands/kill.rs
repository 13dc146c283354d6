//! `isopod kill`.

use std::process::ExitCode;

use clap::Arg;
use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::AppState;
use isopod_runtime::pods::state::PodState;
use isopod_spec::AppName;

use super::selection::{Missing, Selection};
use crate::args::app_name;
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{app_number, ask, check_live};

/// Send a signal to the apps of pods
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("all", |arg: Arg| arg.short('a')))]
pub(crate) struct Kill {
    #[command(flatten)]
    selection: Selection,
    /// Only to this app
    #[arg(long, value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// The signal, by its name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = isopod_runtime::signals::parse)]
    signal: u8,
}

impl Kill {
    /// Sends it, and prints the name by which each pod was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let runs = |pod: &PodEntry| pod.state == PodState::Running;
        let send = |pod: &PodEntry| send(pod, self.app.as_ref(), self.signal);
        self.selection
            .each(settings, Missing::Fails, runs, |_, pod| send(&pod))
    }
}

/// Sends a signal to that app, or to each.
fn send(pod: &PodEntry, only: Option<&AppName>, signal: u8) -> Result<(), Report> {
    check_live(pod)?;
    let app = only.map(|app| app_number(pod, app)).transpose()?;
    let apps = pod
        .status
        .as_ref()
        .map(|status| &status.apps[..])
        .unwrap_or_default();
    let mut meant = apps
        .iter()
        .enumerate()
        .filter(|(i, _)| app.is_none_or(|app| usize::from(app) == *i));
    if !apps.is_empty() && !meant.any(|(_, app)| app.state == AppState::Running) {
        let what = match only {
            Some(name) => format!("app `{name}` is not running"),
            None => "none of its apps is running".to_owned(),
        };
        return Err(Report::text(format!("pod `{}`: {what}", pod.label())));
    }
    Ok(ask(pod, &Request::Signal { app, signal })?)
}

#[cfg(test)]
mod tests {
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn signals_have_names() {
        let OtherCommand::Kill(kill) = command("kill -s usr1 web db") else {
            panic!()
        };
        assert_eq!((kill.signal, kill.selection.named().len()), (10, 2));
    }
}
