//! `isopod update`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use isopod_plan::apps::update::{NO_LIMIT, Update as AppUpdate};
use isopod_runtime::Settings;
use isopod_runtime::control::Request;
use isopod_runtime::pods::PodEntry;
use isopod_runtime::pods::files::Stdin;
use isopod_spec::flags::{self, InvalidFlag};
use isopod_spec::{AppName, Resources, RestartPolicy};

use crate::args::{app_name, invalid_flag};
use crate::failure::Failure;
use crate::output::Report;
use crate::pods::{ask, check_live, each, meant_app};

const NOTES: &str = "\
A change takes effect at once, and stays when the pod is started again. The VM keeps its size: an app whose limit is \
larger gets what there is. The memory that an app keeps, which CPUs it runs on and its disk are decided at the start: \
`isopod run --replace`.
";

/// Change the limits or the restart policy of a running app
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Update {
    /// The pods
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// The app; a pod's only one needs no name
    #[arg(long, value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// Kill the app when it needs more memory than this, such as 64m
    #[arg(short, long, value_name = "SIZE", value_parser = by(|text| flags::read_memory_bytes("--memory", text.as_ref())))]
    memory: Option<u64>,
    /// Give the app at most the time of N CPUs, such as 0.5
    #[arg(long, value_name = "N", value_parser = by(|text| flags::read_cpu_millis(text.as_ref())))]
    cpus: Option<u32>,
    /// The app's weight where CPU time is short; an app without this flag has 1024
    #[arg(short, long, value_name = "N", value_parser = by(|text| flags::read_cpu_shares(text.as_ref())))]
    cpu_shares: Option<u32>,
    /// Let the app have at most N processes and threads; -1 is no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = by(|text| {
        flags::read_pids_limit(text.as_ref()).map(|limit| limit.unwrap_or(NO_LIMIT))
    }))]
    pids_limit: Option<u64>,
    /// Restart the app: no, always, unless-stopped, or on-failure[:MAX]
    #[arg(long, value_name = "POLICY", value_parser = by(|text| flags::read_restart(text.as_ref())))]
    restart: Option<RestartPolicy>,
}

/// Reads a value as `run` does.
fn by<T: Clone + Send + Sync + 'static>(
    read: impl Fn(OsString) -> Result<T, InvalidFlag> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |text| read(text).map_err(invalid_flag))
}

impl Update {
    /// Changes each, and prints the name by which it was asked for.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let update = self.update();
        update.check().map_err(Report::text)?;
        each(&self.pods, settings, |_, pod| self.change(&pod, update))
    }

    fn update(&self) -> AppUpdate {
        AppUpdate {
            resources: Resources {
                memory_limit_bytes: self.memory,
                cpu_limit_millis: self.cpus,
                cpu_request_millis: self.cpu_shares,
                pids_limit: self.pids_limit,
                ..Resources::default()
            },
            restart: self.restart,
        }
    }

    fn change(&self, pod: &PodEntry, update: AppUpdate) -> Result<(), Report> {
        check_live(pod)?;
        let app = meant_app(pod, self.app.as_ref(), "name one with `--app`")?;
        let record = pod
            .record
            .as_ref()
            .filter(|record| record.stdin == Stdin::Attached);
        let policy = record
            .and_then(|record| record.apps.get(usize::from(app)))
            .map(|app| app.restart);
        // Its input is not kept for another life.
        if policy == Some(RestartPolicy::No)
            && self.restart.is_some_and(|restart| restart != RestartPolicy::No)
        {
            let text = format!(
                "pod `{}`: an app with input and without a restart policy cannot get one while it runs",
                pod.label()
            );
            return Err(Report::text(text).hint(Some(
                "recreate the pod: `isopod run --replace --restart POLICY`".into(),
            )));
        }
        ask(pod, &Request::UpdateApp { app, update })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn values_are_those_of_run() {
        let line = "update -m 1g --cpus 0.5 -c 512 --pids-limit -1 --restart unless-stopped --app a web db";
        let OtherCommand::Update(update) = command(line) else {
            panic!()
        };
        let expected = AppUpdate {
            resources: Resources {
                memory_limit_bytes: Some(1 << 30),
                cpu_limit_millis: Some(500),
                cpu_request_millis: Some(500),
                pids_limit: Some(NO_LIMIT),
                ..Resources::default()
            },
            restart: Some(RestartPolicy::Always),
        };
        assert_eq!((update.update(), update.pods.len()), (expected, 2));
    }
}
