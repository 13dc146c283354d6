//! A pod in the background: its supervisor is a process of its own, which takes the pod's lock over.
//!
//! ```text
//! isopod run -d ── spawns ──> isopod internal-supervise UUID
//!      │                        standard input: the pod's directory, whose lock came along
//!      │ <── how it began ────  standard output: a pipe, closed when that is said
//!      └ ends                   standard error: supervisor.log in the pod's directory, of a bounded size
//! ```

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use isopod_plan::layout;
use isopod_runtime::Settings;
use isopod_runtime::bounded_log::BoundedLog;
use isopod_runtime::pods::files::PodRecord;
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::run::{AppFailure, Caller, Outcome};
use isopod_vm::launch;

use crate::failure::Failure;
use crate::output::{self, Report};
use crate::relay::{self, Said};
use crate::run;

/// Said when every app has started.
const STARTED: &str = "started\n";

/// Starts a pod in the background, and waits until its apps have started. What the supervisor reports of those that did not
/// is given, as it is printed.
///
/// # Errors
/// A [`Report`] when there is no supervisor.
pub(crate) fn start(mut claim: Claim, settings: &Settings) -> Result<Option<String>, Report> {
    let spawned = supervisor(&mut claim, settings, Stdio::piped())?.spawn();
    let mut child = spawned.map_err(|e| failed("execute it", &e))?;
    // From here on the lock is the supervisor's alone.
    drop(claim);
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut said);
    }
    match said.strip_prefix(STARTED) {
        Some("") => Ok(None),
        _ if said.is_empty() => Err(Report::text("the pod's supervisor ended before the pod ran")),
        failures => Ok(Some(failures.unwrap_or(&said).trim_end().to_owned())),
    }
}

fn failed(what: &str, error: &dyn std::error::Error) -> Report {
    Report::text(format!(
        "cannot start the pod's supervisor: cannot {what}: {error}"
    ))
}

/// The supervisor of a pod, to be executed: it takes the lock over, and says to `stdout` how the pod began.
///
/// # Errors
/// A [`Report`] when there can be none.
pub(crate) fn supervisor(claim: &mut Claim, settings: &Settings, stdout: Stdio) -> Result<Command, Report> {
    claim.begin()?;
    let log = claim.path().join(layout::SUPERVISOR_LOG);
    let mut options = File::options();
    // Its bound is the supervisor's to keep, which writes to the same file by another descriptor.
    let options = options.append(true).create(true).mode(0o600);
    let log = options.open(&log).and_then(|log| log.set_len(0).map(|()| log));
    let log = log.map_err(|e| failed("create its log", &e))?;
    let lock = claim.handle().map_err(|e| failed("give it the lock", &e))?;
    let mut command = launch::command(&settings.isopod);
    command
        .arg("--dir")
        .arg(&settings.state_dir)
        .args(["internal-supervise", claim.uuid()])
        .current_dir("/")
        .stdin(Stdio::from(lock))
        .stdout(stdout)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

/// Is the supervisor.
///
/// # Errors
/// A [`Report`] when it was not started by [`start`].
pub(crate) fn supervise(uuid: &str, settings: &Settings) -> Result<ExitCode, Failure> {
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
    let claim = Claim::inherited(&pods, uuid, lock)?;
    output::log_to(BoundedLog::new(claim.path(), layout::SUPERVISOR_LOG).map_err(own)?);
    if let Some(connected) = relay::end_of(&caller) {
        return Ok(supervise_connected(claim, &connected, settings));
    }
    // Closed by whoever speaks first: the apps' start, or the end before that.
    let caller = Arc::new(Mutex::new(Some(File::from(caller))));
    let take = |caller: &Mutex<Option<File>>| caller.lock().ok().and_then(|mut caller| caller.take());
    let told = caller.clone();
    let results = run::supervise(vec![claim], settings, move || {
        move |_: &PodRecord, stop, signals| {
            let told = told.clone();
            Caller {
                stdin: None,
                output: None,
                stop,
                signals,
                milestones: None,
                started: Some(Box::new(move |failures: &[AppFailure]| {
                    take(&told).into_iter().for_each(|file| tell(file, failures));
                })),
            }
        }
    });
    let Err(report) = results.and_then(|results| results.into_iter().collect::<Result<Vec<_>, _>>()) else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(mut caller) = take(&caller) {
        let _ = writeln!(caller, "{}", report.render());
    }
    Err(report.into())
}

/// Supervises a pod whose app is connected with a command's terminal; the exit status is the pod's.
fn supervise_connected(claim: Claim, connected: &UnixDatagram, settings: &Settings) -> ExitCode {
    let ended = run::supervise(vec![claim], settings, || {
        |_: &PodRecord, stop, signals| {
            let told = connected.try_clone();
            let sink = || relay::Sink::of(connected);
            Caller {
                stdin: None,
                output: Some([Box::new(sink()), Box::new(sink())]),
                stop,
                signals,
                milestones: None,
                started: Some(Box::new(move |failures: &[AppFailure]| {
                    let _ = told.map(|socket| Said::Started.to(&socket, &words(failures)));
                })),
            }
        }
    });
    match ended.and_then(|results| results.into_iter().collect::<Result<Vec<_>, _>>()) {
        Ok(outcomes) => {
            let remarks = outcomes.iter().flat_map(run::remarks);
            remarks.for_each(|remark| Said::Remark.to(connected, &output::note_text(&remark)));
            ExitCode::from(outcomes.first().map_or(crate::FAILURE, Outcome::exit_status))
        }
        Err(report) => {
            Said::Remark.to(connected, &report.render());
            output::fail(&report)
        }
    }
}

/// Why apps did not start, as it is printed.
fn words(failures: &[AppFailure]) -> String {
    let failures = failures.iter();
    let render = |failure: &AppFailure| run::failure(failure.app.as_str(), &failure.cause).render() + "\n";
    failures.map(render).collect()
}

fn tell(mut caller: File, failures: &[AppFailure]) {
    let text = STARTED.to_owned() + &words(failures);
    let _ = caller.write_all(text.as_bytes());
}
