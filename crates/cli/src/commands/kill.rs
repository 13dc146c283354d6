//! `isopod kill`.

use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::pods::files::AppState;
use isopod_spec::AppName;

use crate::args::app_name;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{app_number, ask, check_live, find, pods};

/// Send a signal to a pod's apps
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Kill {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Only to this app
    #[arg(value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// The signal, by its name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = isopod_runtime::signals::parse)]
    signal: u8,
}

impl Kill {
    /// Sends it, and prints the name by which the pod was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        check_live(&pod)?;
        let app = self.app.as_ref().map(|app| app_number(&pod, app)).transpose()?;
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
            let what = match &self.app {
                Some(name) => format!("app `{name}` does not run"),
                None => "none of its apps runs".to_owned(),
            };
            return Err(Report::text(format!("pod `{}`: {what}", pod.label())).into());
        }
        ask(
            &pod,
            &Request::Signal {
                app,
                signal: self.signal,
            },
        )?;
        output::data(&format!("{}\n", self.pod));
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn signals_have_names() {
        let OtherCommand::Kill(kill) = command("kill -s usr1 web") else {
            panic!()
        };
        assert_eq!(kill.signal, 10);
    }
}
