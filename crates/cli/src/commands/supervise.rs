//! `isopod internal-supervise`, which supervises a pod in the background ([`supervisor`](crate::supervisor)).

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use isopod_plan::layout;
use isopod_runtime::Settings;
use isopod_runtime::bounded_log::BoundedLog;
use isopod_runtime::pods::files::PodRecord;
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::run::{AppFailure, Caller, Outcome};

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::relay::{self, MessageKind};
use crate::supervision::{self, failure};
use crate::supervisor::STARTED;

/// Supervise a pod, for `--detach`
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Supervise {
    /// The pod's UUID
    uuid: String,
}

impl Supervise {
    /// Supervises it to its end.
    ///
    /// # Errors
    /// A [`Failure`] when it was not started by isopod, or the pod could not be run to its end.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let own = |error: std::io::Error| {
            Report::text(format!(
                "`isopod internal-supervise` is started by isopod: {error}"
            ))
        };
        let lock = std::io::stdin().as_fd().try_clone_to_owned().map_err(own)?;
        let caller = std::io::stdout().as_fd().try_clone_to_owned().map_err(own)?;
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(own)?;
        rustix::stdio::dup2_stdin(&null).map_err(|e| own(e.into()))?;
        rustix::stdio::dup2_stdout(&null).map_err(|e| own(e.into()))?;
        // A terminal that is closed is nothing to this process any more.
        let _ = rustix::process::setsid();
        let pods = Pods::open(&settings.state_dir)?;
        let claim = Claim::inherited(&pods, &self.uuid, lock)?;
        output::log_to(BoundedLog::new(claim.path(), layout::SUPERVISOR_LOG).map_err(own)?);
        if let Some(connected) = relay::end_of(&caller) {
            return Ok(supervise_connected(claim, &connected, settings));
        }
        // Closed by whoever speaks first: the apps' start, or the end before that.
        let caller = Arc::new(Mutex::new(Some(File::from(caller))));
        let take = |caller: &Mutex<Option<File>>| caller.lock().ok().and_then(|mut caller| caller.take());
        let starting = caller.clone();
        let results = supervision::supervise(vec![claim], settings, move || {
            move |_: &PodRecord, stop, signals| {
                let starting = starting.clone();
                Caller {
                    stdin: None,
                    output: None,
                    stop,
                    signals,
                    milestones: None,
                    watcher: None,
                    started: Some(Box::new(move |failures: &[AppFailure]| {
                        take(&starting)
                            .into_iter()
                            .for_each(|file| report(file, failures));
                    })),
                }
            }
        });
        let Err(report) = results.and_then(|results| results.into_iter().collect::<Result<Vec<_>, _>>())
        else {
            return Ok(ExitCode::SUCCESS);
        };
        if let Some(mut caller) = take(&caller) {
            let _ = writeln!(caller, "{}", report.render());
        }
        Err(report.into())
    }
}

/// Supervises a pod whose app is connected with a command; the exit status is the pod's.
fn supervise_connected(claim: Claim, connected: &UnixDatagram, settings: &Settings) -> ExitCode {
    let ended = supervision::supervise(vec![claim], settings, || {
        |_: &PodRecord, stop, signals| {
            let starting = connected.try_clone();
            let sink = |kind| Box::new(relay::Sink::of(connected, kind)) as _;
            Caller {
                stdin: None,
                output: Some([sink(MessageKind::Output), sink(MessageKind::Error)]),
                stop,
                signals,
                milestones: None,
                watcher: None,
                started: Some(Box::new(move |failures: &[AppFailure]| {
                    let _ = starting.map(|socket| MessageKind::Started.send(&socket, &words(failures)));
                })),
            }
        }
    });
    match ended.and_then(|results| results.into_iter().collect::<Result<Vec<_>, _>>()) {
        Ok(outcomes) => {
            let remarks = outcomes.iter().flat_map(supervision::remarks);
            remarks.for_each(|remark| MessageKind::Remark.send(connected, &output::note_text(&remark)));
            ExitCode::from(outcomes.first().map_or(crate::FAILURE, Outcome::exit_status))
        }
        Err(report) => {
            MessageKind::Remark.send(connected, &report.render());
            output::fail(&report)
        }
    }
}

/// Why apps did not start, as it is printed.
fn words(failures: &[AppFailure]) -> String {
    let failures = failures.iter();
    let render = |one: &AppFailure| failure(one.app.as_str(), &one.cause).render() + "\n";
    failures.map(render).collect()
}

fn report(mut caller: File, failures: &[AppFailure]) {
    let text = STARTED.to_owned() + &words(failures);
    let _ = caller.write_all(text.as_bytes());
}
