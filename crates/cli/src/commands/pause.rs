//! `isopod pause` and `isopod unpause`.

use std::process::ExitCode;

use clap::Arg;
use isopod_contract::change::AppChange;
use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::{AppState, AppStatus};
use isopod_runtime::pods::state::PodState;
use isopod_spec::AppName;

use super::selection::{Missing, Selection};
use crate::args::app_name;
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{app_number, ask, check_live};
use crate::show::is_paused;

const PAUSE_NOTES: &str = "\
An app that is paused does not run, nor do its probes; its memory stays. A signal to it, `isopod stop` and `isopod \
unpause` let it continue; until then no command starts in it.
";

/// Pause all processes of pods
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = PAUSE_NOTES)]
pub(crate) struct Pause {
    #[command(flatten)]
    whose: Whose,
}

/// Resume the processes of paused pods
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Unpause {
    #[command(flatten)]
    whose: Whose,
}

/// Whose processes are meant.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(mut_arg("all", |arg: Arg| arg.short('a')), mut_arg("filters", |arg: Arg| arg.short('f')))]
struct Whose {
    #[command(flatten)]
    selection: Selection,
    /// Only this app's
    #[arg(long, value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
}

impl Pause {
    /// Holds them, and prints the name by which each pod was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let app = self.whose.app.as_ref();
        let can = |pod: &PodEntry| pod.state == PodState::Running && !is_paused(pod);
        let selection = &self.whose.selection;
        selection.each(settings, Missing::Fails, can, |_, pod| {
            change(&pod, app, &AppChange::Pause)
        })
    }
}

impl Unpause {
    /// Lets them continue, and prints the name by which each pod was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let app = self.whose.app.as_ref();
        let selection = &self.whose.selection;
        selection.each(settings, Missing::Fails, is_paused, |_, pod| {
            change(&pod, app, &AppChange::Unpause)
        })
    }
}

/// Pauses the app, or each of the pod that runs, or lets it continue.
///
/// # Errors
/// A [`Report`] with the reason: also where there is none to which that can be done.
pub(super) fn change(pod: &PodEntry, app: Option<&AppName>, change: &AppChange) -> Result<(), Report> {
    check_live(pod)?;
    let only = app.map(|app| app_number(pod, app)).transpose()?;
    let apps = pod.status.as_ref().map(|status| &status.apps[..]);
    let meant = meant(apps.unwrap_or_default(), only, change).map_err(|what| {
        let app = app.map(|app| format!(", app `{app}`")).unwrap_or_default();
        Report::text(format!("pod `{}`{app}: {what}", pod.label()))
    })?;
    for app in meant {
        let change = change.clone();
        ask(pod, &Request::ChangeApp { app, change })?;
    }
    Ok(())
}

/// The numbers of the apps that are to be changed.
fn meant(apps: &[AppStatus], only: Option<u16>, change: &AppChange) -> Result<Vec<u16>, &'static str> {
    let runs = (0..)
        .zip(apps)
        .filter(|(i, app)| only.is_none_or(|only| only == *i) && app.state == AppState::Running);
    let running: Vec<(u16, &AppStatus)> = runs.collect();
    let pauses = *change == AppChange::Pause;
    let meant: Vec<u16> = running
        .iter()
        .filter(|(_, app)| app.paused != pauses)
        .map(|(i, _)| *i)
        .collect();
    match (running.is_empty(), meant.is_empty(), pauses) {
        (true, ..) => Err("none of its apps is running"),
        (_, true, true) => Err("it is already paused"),
        (_, true, false) => Err("it is not paused"),
        _ => Ok(meant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_runtime::pods::files::Status;

    #[test]
    fn what_cannot_be_paused_is_said() {
        let names = ["a", "b", "c"].map(|name| AppName::new(name).unwrap());
        let mut apps = Status::starting(names.into_iter()).apps;
        assert_eq!(
            meant(&apps, None, &AppChange::Pause),
            Err("none of its apps is running")
        );
        for app in &mut apps[..2] {
            app.state = AppState::Running;
        }
        assert_eq!(meant(&apps, None, &AppChange::Pause), Ok(vec![0, 1]));
        assert_eq!(
            meant(&apps, Some(2), &AppChange::Pause),
            Err("none of its apps is running")
        );
        assert_eq!(meant(&apps, None, &AppChange::Unpause), Err("it is not paused"));
        apps[0].paused = true;
        assert_eq!(meant(&apps, None, &AppChange::Pause), Ok(vec![1]));
        assert_eq!(
            meant(&apps, Some(0), &AppChange::Pause),
            Err("it is already paused")
        );
        assert_eq!(meant(&apps, None, &AppChange::Unpause), Ok(vec![0]));
    }
}
