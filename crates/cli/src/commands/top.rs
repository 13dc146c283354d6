//! `isopod top`: the processes of a pod's apps, as docker's `top` and ps(1) show them.

mod columns;

use std::process::ExitCode;

use isopod_contract::message::HostStream;
use isopod_contract::processes::{AppProcess, ProcessMessage};
use isopod_protocol::codec::read_message;
use isopod_runtime::Settings;
use isopod_runtime::control::{self, ANSWER_WITHIN, ControlError};
use isopod_runtime::pods::PodEntry;
use isopod_spec::AppName;
use serde_json::{Value, json};

use crate::args::{Format, app_name};
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{app_number, check_live, find, pods};
use crate::show::{JSON_VERSION, pretty};
use columns::Columns;

/// More than any guest has (`PID_MAX_LIMIT`).
const MAX_PROCESSES: usize = 1 << 22;

const NOTES: &str = "\
PIDs are those that the app itself sees; STIME and START are UTC. Of ps(1) there are `-ef`, `aux` (without the share of the \
memory) and `-o COLUMN,...`: pid, ppid, user, uid, comm, args, time, etime, stime, tty, stat, rss, vsz, nlwp, pcpu, app.

Examples:
  isopod top web
  isopod top web -o pid,user,args
";

/// Show the processes of a pod's apps
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Top {
    /// Only this app's
    #[arg(long, value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// The columns, as for ps(1)
    #[arg(value_name = "PS OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Top {
    /// Prints them.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let columns = Columns::parse(&self.options).map_err(|reason| {
            Report::text(format!("`{}`: {reason}", self.options.join(" ").escape_debug()))
                .hint(Some("`isopod top --help` lists them".into()))
        })?;
        let pod = find(&pods(settings)?, &self.pod)?;
        check_live(&pod)?;
        let only = self.app.as_ref().map(|app| app_number(&pod, app)).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut processes = runtime.block_on(ask(&pod))?;
        processes.retain(|process| only.is_none_or(|app| app == process.app));
        let apps = pod.record.iter().flat_map(|record| &record.apps);
        let apps: Vec<&str> = apps.map(|app| app.name.as_str()).collect();
        output::data(&match self.format {
            Format::Text => columns.text(&processes, &apps),
            Format::Json => {
                let processes: Vec<Value> = processes.iter().map(|process| json(process, &apps)).collect();
                pretty(&json!({ "version": JSON_VERSION, "processes": processes }))
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}

async fn ask(pod: &PodEntry) -> Result<Vec<AppProcess>, Report> {
    let mut stream = control::open(&pod.path, HostStream::Processes).await?;
    let mut processes = Vec::new();
    let read = async {
        while let Some(ProcessMessage::Process(process)) = read_message(&mut stream).await? {
            if processes.len() < MAX_PROCESSES {
                processes.push(process);
            }
        }
        Ok::<_, Report>(())
    };
    let read = tokio::time::timeout(ANSWER_WITHIN, read).await;
    read.map_err(|_| ControlError::Silent(ANSWER_WITHIN))??;
    Ok(processes)
}

fn json(process: &AppProcess, apps: &[&str]) -> Value {
    json!({
        "app": apps.get(usize::from(process.app)),
        "pid": process.pid,
        "parent": process.parent,
        "uid": process.uid,
        "user": process.user,
        "state": process.state,
        "threads": process.threads,
        "cpuMs": process.cpu_ms,
        "ageMs": process.age_ms,
        "residentBytes": process.resident_bytes,
        "virtualBytes": process.virtual_bytes,
        "tty": process.tty,
        "name": process.name,
        "command": process.command,
    })
}
