//! `isopod run` and `isopod prepare`: from arguments to pods that are there, and on to their ends. A pod file may have
//! several; each has a VM of its own, and in the foreground all of them one supervisor.

use std::io::IsTerminal as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use futures::future::join_all;
use isopod_plan::PodPlan;
use isopod_runtime::Settings;
use isopod_runtime::gather::{self, Gathered};
use isopod_runtime::pods::files::{Keep, PodRecord, Stdin};
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::prepare::{self, Wishes};
use isopod_runtime::run::{self, AppEnd, Caller, Outcome, Timings};
use isopod_spec::AppName;
use isopod_vm::agent::{ExitStatus, FailureCause, MemoryBound};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::{Ground, Outputs, PodSource, RunArgs};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::{detach, id_files, kube, life, publish, relay, supervisor};

/// Runs the pods; in the foreground, the exit status is that of the first app to fail.
///
/// # Errors
/// A [`Report`] when they could not be run to their end.
pub(crate) fn run(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let begun = std::time::Instant::now();
    let keep = match (args.ground, args.remove) {
        (Ground::Back, false) => Keep::UntilRemoved,
        _ => Keep::UntilEnded,
    };
    let claims = make(args, keep, settings)?;
    match args.ground {
        Ground::Fore => {
            if let Some(file) = &args.pidfile {
                id_files::write_pid(file, std::process::id(), settings)?;
            }
            foreground(claims, args.outputs, &args.detach_keys, begun.elapsed(), settings)
        }
        Ground::Back => background(claims, args.pidfile.as_deref(), settings),
    }
}

/// Starts each pod in the background, also when another did not start, and prints its UUID.
fn background(claims: Vec<Claim>, pidfile: Option<&Path>, settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = Pods::open(&settings.state_dir)?;
    let mut status = ExitCode::SUCCESS;
    for claim in claims {
        let uuid = claim.uuid().to_owned();
        let failures = match detach::start(claim, settings) {
            Ok(failures) => failures,
            Err(report) => {
                status = output::fail(&report);
                continue;
            }
        };
        if let Some(failures) = failures {
            output::notice(&failures);
            status = ExitCode::from(crate::FAILURE);
        }
        output::data(&format!("{uuid}\n"));
        let supervisor = || pods.entry(&uuid)?.status?.supervisor;
        if let (Some(file), Some(supervisor)) = (pidfile, supervisor()) {
            id_files::write_pid(file, supervisor.pid, settings)?;
        }
    }
    Ok(status)
}

/// Prepares the pods and prints their UUIDs.
///
/// # Errors
/// A [`Report`] when it could not be.
pub(crate) fn prepare(args: &RunArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    for claim in make(args, Keep::UntilRemoved, settings)? {
        output::data(&format!("{}\n", claim.uuid()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prepared pods. All of them are planned before the first is prepared, and where one cannot be none is left.
fn make(args: &RunArgs, keep: Keep, settings: &Settings) -> Result<Vec<Claim>, Failure> {
    if let Some(file) = &args.cidfile {
        id_files::check(file, settings)?;
    }
    let mut asked = manifest::pods(args, &manifest::Purpose::Preparation, settings)?;
    if let (Some(name), [pod]) = (&args.name, &mut asked[..]) {
        pod.spec.name = Some(name.clone());
    }
    if args.pidfile.is_some() && asked.len() != 1 {
        let what = format!("`--pidfile` is for one pod, and the files have {}", asked.len());
        let hint = "leave it out: `isopod inspect` has the numbers";
        return Err(Report::text(what).hint(Some(hint.into())).into());
    }
    let mut planned = Vec::new();
    for mut pod in asked {
        let (gathered, plan) = gather_and_plan(&mut pod, args, settings)?;
        if args.stdin == Stdin::Attached && plan.apps.len() != 1 {
            let what = "`--interactive` is for a pod of one app: several would read the same input";
            let hint = "leave it out, or run that app in a pod of its own";
            return Err(Report::text(what).hint(Some(hint.into())).into());
        }
        refuse_without_terminal(args, &plan)?;
        if args.replace && pod.spec.name.is_none() {
            let report = Report::text("`--replace` is for a pod with a name");
            return Err(report.hint(Some("give it `--name`".into())).into());
        }
        tell_what_is_made(&gathered);
        plan.notices.iter().for_each(|notice| output::note(notice));
        planned.push((pod, gathered, plan));
    }
    let pods = Pods::open(&settings.state_dir)?;
    let mut claims: Vec<Claim> = Vec::new();
    for (pod, gathered, plan) in planned {
        let prepared = replaced(&pod, args.replace, &pods).and_then(|()| {
            let wishes = Wishes {
                uuid: pod.uuid.clone(),
                name: pod.spec.name.clone(),
                keep,
                stdin: stdin_of(args, &plan),
                boot_timeout: args.boot_timeout,
                silent_kill: args.silent_kill,
            };
            // It is read from elsewhere, later.
            let mut asked = pod.spec.clone();
            asked.map_host_paths(|path| absolute(path, settings));
            Ok(prepare::prepare(&pods, &asked, &plan, &gathered, &wishes)?)
        });
        match prepared {
            Ok(claim) => claims.push(claim),
            Err(report) => {
                // Nothing is left of a start that was none.
                claims.into_iter().for_each(|claim| drop(claim.remove()));
                return Err(report.into());
            }
        }
    }
    if let Some(file) = &args.cidfile
        && let Err(report) = id_files::write(file, &claims, settings)
    {
        claims.into_iter().for_each(|claim| drop(claim.remove()));
        return Err(report.into());
    }
    Ok(claims)
}

/// What the app reads. A pod file says whether an app has a terminal, and not whether this command's is connected with it: it is.
fn stdin_of(args: &RunArgs, plan: &PodPlan) -> Stdin {
    match (&args.source, args.ground, &plan.apps[..]) {
        (PodSource::Files(_), Ground::Fore, [app]) if app.process.tty && std::io::stdin().is_terminal() => {
            Stdin::Attached
        }
        _ => args.stdin,
    }
}

/// docker's rule: where both are asked for, the one terminal needs the other. Whoever is connected with one is not the
/// supervisor.
fn refuse_without_terminal(args: &RunArgs, plan: &PodPlan) -> Result<(), Report> {
    let asked = args.ground == Ground::Fore && args.stdin == Stdin::Attached;
    let has_terminal = plan.apps.iter().any(|app| app.process.tty);
    if !(asked && has_terminal) {
        return Ok(());
    }
    if args.pidfile.is_some() {
        let what = "`--pidfile` is for a pod whose terminal is not connected with this command";
        return Err(Report::text(what).hint(Some("add `-d`, then `isopod attach`".into())));
    }
    match std::io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Report::text("standard input is no terminal")
            .hint(Some("leave `--tty` out, or `--interactive`".into()))),
    }
}

/// Stops and removes the pod that has the name of `pod`, where that is wished.
fn replaced(pod: &Asked, replace: bool, pods: &Pods) -> Result<(), Report> {
    let name = pod.spec.name.as_ref().filter(|_| replace);
    let other = name.map(|name| kube::named(pods, name)).transpose()?;
    match other.flatten() {
        Some(other) => life::stop_and_remove(pods, other, None),
        None => Ok(()),
    }
}

/// Says which sources of volumes are not there and are made when the pod is prepared.
pub(crate) fn tell_what_is_made(gathered: &Gathered) {
    for missing in gathered.missing.iter().filter(|missing| !missing.is_kept()) {
        output::note(&format!(
            "`{}` is not there, and is made: an empty {}",
            missing.path().display(),
            missing.kind_word()
        ));
    }
}

/// A path that is the same from anywhere: without `..`, which only the file system can tell.
fn absolute(path: &Path, settings: &Settings) -> PathBuf {
    let path = settings.working_dir.join(path);
    let up = path.components().any(|part| part == Component::ParentDir);
    let real = up.then(|| path.canonicalize().ok()).flatten();
    real.unwrap_or_else(|| path.components().collect())
}

/// Runs pods with the caller's standard streams, to their ends; each is removed then, where that was wished.
///
/// # Errors
/// A [`Report`] when none could be run to its end.
pub(crate) fn foreground(
    mut claims: Vec<Claim>,
    outputs: Outputs,
    keys: &DetachKeys,
    prepared: std::time::Duration,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    if let [claim] = &mut claims[..] {
        let record = claim.record()?;
        if relay::is_for(&record)
            && let Some(claim) = claims.pop()
        {
            return relay::run(claim, keys, settings);
        }
    }
    let count = claims.len();
    let mut results = supervise(claims, settings, || {
        let milestones = supervisor::milestones(count);
        move |record: &PodRecord, stop, signals| Caller {
            // Several would read the same input.
            stdin: (count == 1 && record.stdin == Stdin::Attached).then(|| Box::new(tokio::io::stdin()) as _),
            output: Some([
                match outputs.stdout {
                    true => Box::new(tokio::io::stdout()) as _,
                    false => Box::new(tokio::io::sink()) as _,
                },
                match outputs.stderr {
                    true => Box::new(tokio::io::stderr()) as _,
                    false => Box::new(tokio::io::sink()) as _,
                },
            ]),
            stop,
            signals,
            milestones: Some(milestones.clone()),
            started: None,
        }
    })?;
    if let (1, Some(result)) = (results.len(), results.pop()) {
        let outcome = result?;
        log_timings(prepared, &outcome.timings);
        return Ok(report(&outcome));
    }
    let mut status = ExitCode::SUCCESS;
    for result in results {
        let own = match result {
            Ok(outcome) => report(&outcome),
            Err(report) => output::fail(&report),
        };
        if status == ExitCode::SUCCESS {
            status = own;
        }
    }
    Ok(status)
}

/// Supervises pods side by side to their ends, and removes each where that was wished. `callers` is called once there is a
/// runtime, and what it gives once for each pod.
///
/// # Errors
/// A [`Report`] when none could be begun.
pub(crate) fn supervise<C: FnMut(&PodRecord, Stops, Signals) -> Caller>(
    mut claims: Vec<Claim>,
    settings: &Settings,
    callers: impl FnOnce() -> C,
) -> Result<Vec<Result<Outcome, Report>>, Report> {
    let mut records = Vec::new();
    for claim in &mut claims {
        records.push(claim.record()?);
        claim.begin()?;
    }
    // One thread: the VM's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let results: Result<Vec<Result<Outcome, Report>>, Report> = runtime.block_on(async {
        let mut next = callers();
        let mut runs = Vec::new();
        for (claim, record) in claims.iter().zip(&records) {
            let caller = next(record, stops()?, forwarded()?);
            runs.push(async move { Ok(run::run(claim, record, settings, caller).await?) });
        }
        Ok(join_all(runs).await)
    });
    // A read of the terminal cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    for (claim, record) in claims.into_iter().zip(&records) {
        if record.keep == Keep::UntilEnded
            && let Err(error) = claim.remove()
        {
            tracing::warn!("{}", Report::of(&error).line());
        }
    }
    results
}

/// What asks for a stop.
type Stops = mpsc::UnboundedReceiver<()>;

/// The signals that the apps get.
type Signals = mpsc::UnboundedReceiver<u8>;

/// Gathers the facts and plans.
///
/// # Errors
/// All that stands against it.
pub(crate) fn gather_and_plan(
    pod: &mut Asked,
    args: &RunArgs,
    settings: &Settings,
) -> Result<(Gathered, PodPlan), Failure> {
    let mut quiet = settings.clone();
    let settings = match args.quiet {
        true => {
            quiet.registries = quiet.registries.without_progress();
            &quiet
        }
        false => settings,
    };
    let gathered = gather::gather(&pod.spec, settings).map_err(|error| pod.not_gathered(&error))?;
    publish::complete(&mut pod.spec, &args.publish, &gathered)?;
    let plan = isopod_plan::plan(&pod.spec, &gathered.facts).map_err(|error| pod.not_planned(&error))?;
    Ok((gathered, plan))
}

/// A message for each signal that asks for a stop.
fn stops() -> std::io::Result<mpsc::UnboundedReceiver<()>> {
    let (sender, stop) = mpsc::unbounded_channel();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(()).is_ok() {} });
    }
    Ok(stop)
}

/// The signals that the apps get (signal(7)): those of docker's `--sig-proxy` that do not ask for a stop here.
fn forwarded() -> std::io::Result<mpsc::UnboundedReceiver<u8>> {
    let (sender, forwarded) = mpsc::unbounded_channel();
    for (kind, number) in [
        (SignalKind::quit(), 3),
        (SignalKind::user_defined1(), 10),
        (SignalKind::user_defined2(), 12),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move { while signals.recv().await.is_some() && sender.send(number).is_ok() {} });
    }
    Ok(forwarded)
}

/// Says which apps did not start or were killed, and gives the pod's exit status.
fn report(outcome: &Outcome) -> ExitCode {
    for (app, end) in &outcome.apps {
        match end {
            AppEnd::Failed(FailureCause::Stopped) => {
                tracing::info!("app `{app}` did not start: the pod was stopped while it waited for others");
            }
            AppEnd::Failed(cause) => {
                output::fail(&failure(app.as_str(), cause));
            }
            AppEnd::Exited(ExitStatus::Signal { signal, .. }) => {
                tracing::info!("app `{app}` was ended by signal {signal}");
            }
            AppEnd::Exited(ExitStatus::Code(code)) => tracing::info!("app `{app}` exited with status {code}"),
        }
    }
    if let Some(error) = &outcome.unwritten {
        output::fail(
            &Report::text("cannot write what the apps wrote; the pod was stopped").because(error.to_string()),
        );
    }
    remarks(outcome).iter().for_each(|remark| output::note(remark));
    ExitCode::from(outcome.exit_status())
}

/// What the user should know of how the pod ended.
pub(crate) fn remarks(outcome: &Outcome) -> Vec<String> {
    let killed = |((app, _), within): (&(AppName, AppEnd), &Option<MemoryBound>)| {
        let why = match within.as_ref()? {
            MemoryBound::Guest => "there was no memory left for it; `--vm-memory` gives the VM more",
            MemoryBound::App => "it needed more memory than it may have; `--memory` gives it more",
        };
        Some(format!("app `{app}` was killed: {why}"))
    };
    let unsynced = |share: &String| format!("the guest could not write a share back to the host: {share}");
    let killed = outcome.apps.iter().zip(&outcome.out_of_memory).filter_map(killed);
    killed.chain(outcome.unsynced.iter().map(unsynced)).collect()
}

/// Why an app did not start.
pub(crate) fn failure(app: &str, cause: &FailureCause) -> Report {
    let (what, result, log) = match cause {
        FailureCause::Mount {
            unit,
            volume: Some(volume),
            result,
            log,
        } => (
            format!("app `{app}` did not start: volume `{volume}` was not mounted (`{unit}`)"),
            result,
            log,
        ),
        FailureCause::Mount {
            unit,
            volume: None,
            result,
            log,
        } => (
            format!("app `{app}` did not start: a part of its root filesystem was not mounted (`{unit}`)"),
            result,
            log,
        ),
        FailureCause::Dependency { unit, result, log } => (
            format!("app `{app}` did not start: `{unit}`, which it needs, failed"),
            result,
            log,
        ),
        FailureCause::Unit { unit, result, log } => (
            format!("app `{app}` did not start: `{unit}` failed before its program ran"),
            result,
            log,
        ),
        FailureCause::Stopped => {
            return Report::text(format!(
                "app `{app}` did not start: the pod was stopped while it waited for others"
            ));
        }
    };
    let lines: String = log.iter().map(|line| format!("\n    {line}")).collect();
    Report::text(format!("{what}: {result}{lines}"))
}

/// One line for benchmarks: milliseconds by phase.
fn log_timings(prepared: std::time::Duration, timings: &Timings) {
    let boot = &timings.boot;
    tracing::debug!(
        "timings: prepare_ms={} ready_ms={} ended_ms={} synced_ms={} gone_ms={} guest_init_ms={} \
         guest_systemd_begun_ms={} guest_agent_ms={} guest_systemd_ms={} guest_connected_ms={} guest_first_app_ms={}",
        prepared.as_millis(),
        timings.ready.as_millis(),
        timings.ended.as_millis(),
        timings.synced.as_millis(),
        timings.gone.as_millis(),
        boot.init_ms,
        boot.systemd_begun_ms,
        boot.agent_started_ms,
        boot.systemd_ms,
        boot.connected_ms,
        timings.first_app_ms,
    );
}
