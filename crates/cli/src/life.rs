//! The commands that change pods which are there: `start`, `stop`, `kill`, `restart`, `rm`, `gc`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use isopod_runtime::Settings;
use isopod_runtime::control::{self, ControlError, Request};
use isopod_runtime::pods::files::{AppState, Now};
use isopod_runtime::pods::state::{PodState, Verb};
use isopod_runtime::pods::{ClaimError, PodEntry, Pods};
use isopod_spec::AppName;

use crate::args::{LifeCommand, Outputs};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::show::{self, Until, find, pods};
use crate::{attach, cp, detach, events, exec, list, logs, run, stats, volume};

/// How long a supervisor that was told to kill its pod may take before it is killed itself.
const FORCE_AFTER: Duration = Duration::from_secs(10);

/// Does it.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn life(command: &LifeCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    use LifeCommand as C;
    match command {
        C::Start { pods, attach } => start(pods, *attach, settings),
        C::List {
            quiet,
            filters,
            format,
        } => list::list(
            &list::Wanted {
                all: true,
                quiet: *quiet,
                filters,
                format: *format,
            },
            settings,
        ),
        C::Ps {
            all,
            quiet,
            filters,
            format,
        } => list::list(
            &list::Wanted {
                all: *all,
                quiet: *quiet,
                filters,
                format: *format,
            },
            settings,
        ),
        C::Port { pod, port } => list::port(pod, *port, settings),
        C::Wait { pods } => list::wait(pods, settings),
        C::Status {
            pod,
            wait,
            wait_ready,
            format,
        } => {
            let until = match (wait, wait_ready) {
                (true, _) => Some(Until::Exited),
                (_, true) => Some(Until::Ready),
                _ => None,
            };
            show::status(pod, until, *format, settings)
        }
        C::Inspect { pod } => show::inspect(pod, settings),
        C::CatManifest { pod } => show::asked(pod, settings),
        C::Events {
            follow,
            since,
            until,
            filters,
            format,
        } => events::events(
            &events::Wanted {
                follow: *follow,
                since: since.as_deref(),
                until: until.as_deref(),
                filters,
                format: *format,
            },
            settings,
        ),
        C::Logs {
            pod,
            follow,
            since,
            tail,
            apps,
            timestamps,
        } => logs::logs(
            &logs::Wanted {
                pod,
                follow: *follow,
                since: since.as_deref(),
                tail: *tail,
                apps,
                timestamps: *timestamps,
            },
            settings,
        ),
        C::Exec {
            pod,
            app,
            interactive,
            tty,
            detach_keys,
            env,
            user,
            workdir,
            command,
        } => {
            let wanted = exec::Wanted {
                pod,
                app: app.as_ref(),
                interactive: *interactive,
                tty: *tty,
                detach_keys,
                env,
                user: user.as_deref(),
                working_dir: workdir.as_deref(),
                command,
            };
            exec::exec(&wanted, settings)
        }
        C::Attach {
            pod,
            app,
            no_stdin,
            detach_keys,
            sig_proxy,
        } => attach::attach(
            &attach::Wanted {
                pod,
                app: app.as_ref(),
                no_stdin: *no_stdin,
                sig_proxy: *sig_proxy,
                detach_keys,
            },
            settings,
        ),
        C::Cp { source, target } => cp::cp(source, target, settings),
        C::Stats { pod, format } => stats::stats(pod, *format, settings),
        C::Stop { pods, time, force } => each(pods, settings, |all, pod| match force {
            true => force_stop(all, pod),
            false => stop(all, pod, *time),
        }),
        C::Kill { pod, app, signal } => kill(pod, app.as_ref(), *signal, settings),
        C::Restart { pods, time } => restart(pods, *time, settings),
        C::Rm { pods, force, .. } => each(pods, settings, |all, pod| remove(all, pod, *force)),
        C::Gc { grace } => gc(*grace, settings),
        C::Volume { command } => volume::volume(command, settings),
        C::Supervise { uuid } => detach::supervise(uuid, settings),
    }
}

/// Does something with each pod, also when it failed with another, and prints the name by which each was asked for.
fn each(
    queries: &[String],
    settings: &Settings,
    action: impl Fn(&Pods, PodEntry) -> Result<(), Report>,
) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    let mut reports = Vec::new();
    for query in queries {
        match find(&pods, query).and_then(|pod| action(&pods, pod)) {
            Ok(()) => output::data(&format!("{query}\n")),
            Err(report) => reports.push(report),
        }
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

fn start(queries: &[String], attach: bool, settings: &Settings) -> Result<ExitCode, Failure> {
    if let (true, [query]) = (attach, queries) {
        let begun = Instant::now();
        let pods = pods(settings)?;
        let claim = pods.claim(&find(&pods, query)?.uuid, Verb::Start)?;
        return run::foreground(
            vec![claim],
            Outputs::default(),
            &DetachKeys::default(),
            begun.elapsed(),
            settings,
        );
    }
    if attach {
        return Err(Report::text("`--attach` is for one pod").into());
    }
    each(queries, settings, |pods, pod| start_one(pods, &pod, settings))
}

fn start_one(pods: &Pods, pod: &PodEntry, settings: &Settings) -> Result<(), Report> {
    let claim = pods.claim(&pod.uuid, Verb::Start)?;
    let Some(failures) = detach::start(claim, settings)? else {
        return Ok(());
    };
    output::notice(&failures);
    Err(
        Report::text(format!("pod `{}` did not start as it should", pod.label())).hint(Some(format!(
            "`isopod status {}` and `isopod logs` tell more",
            pod.label()
        ))),
    )
}

/// Whether requests can be sent to a pod.
///
/// # Errors
/// A [`Report`] when it does not run.
pub(crate) fn check_live(pod: &PodEntry) -> Result<(), Report> {
    match pod.state.refusal(Verb::Speak) {
        Some(reason) => Err(Report::text(format!("pod `{}`: {reason}", pod.label()))),
        None => Ok(()),
    }
}

/// Asks a pod's supervisor.
///
/// # Errors
/// [`ControlError`].
pub(crate) fn ask(pod: &PodEntry, request: &Request) -> Result<(), ControlError> {
    speak(pod, control::ask(&pod.path, request))
}

fn speak(pod: &PodEntry, asked: impl Future<Output = Result<(), ControlError>>) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ControlError::Connect {
        path: pod.path.clone(),
        source,
    })?;
    runtime.block_on(asked)
}

/// Stops a pod in order and waits for its end. One that does not run is stopped already.
///
/// # Errors
/// A [`Report`] when it does not end.
pub(crate) fn stop(pods: &Pods, pod: PodEntry, time: Option<Duration>) -> Result<(), Report> {
    if pod.state == PodState::Exited {
        return Ok(());
    }
    check_live(&pod)?;
    let grace_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    if let Err(error) = ask(&pod, &Request::Stop { grace_ms }) {
        // It may have ended meanwhile.
        let live = pods.entry(&pod.uuid).is_some_and(|pod| pod.state.is_live());
        return if live { Err(error.into()) } else { Ok(()) };
    }
    show::wait(pods, pod, Until::Exited).map(drop)
}

/// Kills a pod's apps, and its supervisor where that does not end; its VM ends with it.
fn force_stop(pods: &Pods, pod: PodEntry) -> Result<(), Report> {
    if pod.state == PodState::Exited {
        return Ok(());
    }
    check_live(&pod)?;
    let begun = Instant::now();
    let order = Request::Stop { grace_ms: Some(0) };
    let heard = speak(&pod, control::ask_within(&pod.path, &order, FORCE_AFTER)).is_ok();
    let patience = if heard { FORCE_AFTER } else { Duration::ZERO };
    while pods.entry(&pod.uuid).is_some_and(|pod| pod.state.is_live()) {
        if begun.elapsed() > patience {
            kill_supervisor(&pod)?;
            return show::wait(pods, pod, Until::Exited).map(drop);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Kills the process that listens on the pod's socket.
fn kill_supervisor(pod: &PodEntry) -> Result<(), Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(control::supervisor(&pod.path));
    let pid = found?;
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| Report::text(format!("cannot tell who supervises pod `{}`", pod.label())))?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    handle
        .and_then(|handle| rustix::process::pidfd_send_signal(handle, rustix::process::Signal::KILL))
        .map_err(|e| {
            Report::text(format!(
                "cannot kill the supervisor of pod `{}`: {e}",
                pod.label()
            ))
        })
}

fn kill(query: &str, name: Option<&AppName>, signal: u8, settings: &Settings) -> Result<ExitCode, Failure> {
    let pod = find(&pods(settings)?, query)?;
    check_live(&pod)?;
    let app = name.map(|app| app_number(&pod, app)).transpose()?;
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
        let what = match name {
            Some(name) => format!("app `{name}` does not run"),
            None => "none of its apps runs".to_owned(),
        };
        return Err(Report::text(format!("pod `{}`: {what}", pod.label())).into());
    }
    ask(&pod, &Request::Signal { app, signal })?;
    output::data(&format!("{query}\n"));
    Ok(ExitCode::SUCCESS)
}

/// The app that is meant: the pod's only one needs no name.
///
/// # Errors
/// A [`Report`] when there are several.
pub(crate) fn meant_app(pod: &PodEntry, app: Option<&AppName>, how: &str) -> Result<u16, Report> {
    let apps = pod
        .record
        .as_ref()
        .map(|record| &record.apps[..])
        .unwrap_or_default();
    match (app, apps) {
        (Some(app), _) => app_number(pod, app),
        (None, [_]) => Ok(0),
        (None, _) => {
            let names: Vec<String> = apps.iter().map(|app| format!("`{}`", app.name)).collect();
            Err(Report::text(format!("pod `{}` has several apps", pod.label()))
                .hint(Some(format!("{how}: {}", names.join(", ")))))
        }
    }
}

/// The number of an app of the pod.
///
/// # Errors
/// A [`Report`] when it has none of this name.
pub(crate) fn app_number(pod: &PodEntry, app: &AppName) -> Result<u16, Report> {
    let apps = pod
        .record
        .as_ref()
        .map(|record| &record.apps[..])
        .unwrap_or_default();
    let position = apps.iter().position(|known| known.name == *app);
    position.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
        let names: Vec<String> = apps.iter().map(|app| format!("`{}`", app.name)).collect();
        Report::text(format!("pod `{}` has no app `{app}`", pod.label()))
            .hint(Some(format!("its apps are {}", names.join(", "))))
    })
}

fn restart(queries: &[String], time: Option<Duration>, settings: &Settings) -> Result<ExitCode, Failure> {
    each(queries, settings, |pods, pod| {
        if pod.state.is_live() {
            stop(pods, pod.clone(), time)?;
        }
        start_one(pods, &pod, settings)
    })
}

/// Stops a pod where it runs, and removes it.
///
/// # Errors
/// A [`Report`] when it is still there.
pub(crate) fn stop_and_remove(pods: &Pods, pod: PodEntry, time: Option<Duration>) -> Result<(), Report> {
    let uuid = pod.uuid.clone();
    if pod.state.is_live() {
        stop(pods, pod.clone(), time)?;
    }
    match pods.entry(&uuid) {
        Some(pod) => remove(pods, pod, false),
        // It was to be removed when it ended.
        None => Ok(()),
    }
}

fn remove(pods: &Pods, pod: PodEntry, force: bool) -> Result<(), Report> {
    let uuid = pod.uuid.clone();
    if pod.state.is_live() && force {
        force_stop(pods, pod)?;
        // One that was to be removed when it ended may be gone.
        if pods.entry(&uuid).is_none() {
            return Ok(());
        }
    }
    let claim = pods.claim(&uuid, Verb::Remove).map_err(|error| match error {
        ClaimError::State { .. } => {
            Report::of(&error).hint(Some("stop it before, or remove it with `--force`".into()))
        }
        error => error.into(),
    })?;
    Ok(claim.remove()?)
}

fn gc(grace: Duration, settings: &Settings) -> Result<ExitCode, Failure> {
    let pods = pods(settings)?;
    for uuid in pods.sweep() {
        output::data(&format!("{uuid}\n"));
    }
    let found = pods.list()?;
    let now = Now::read();
    let mut guests: BTreeSet<String> = BTreeSet::new();
    let mut reports = Vec::new();
    for pod in found {
        if pod.state == PodState::Exited && exited_for(&pod, &now) >= grace {
            let label = pod.uuid.clone();
            match remove(&pods, pod, false) {
                Ok(()) => output::data(&format!("{label}\n")),
                Err(report) => reports.push(report),
            }
        } else if let Some(record) = pod.record {
            guests.insert(record.guest);
        }
    }
    guests.extend(fresh_guests(settings));
    // A store that is not there has nothing to remove.
    if let Ok(store) = isopod_image::Store::open(&settings.state_dir) {
        store.remove_leftovers();
    }
    if let Err(error) = isopod_guest::gc(&settings.state_dir, &guests) {
        reports.push(error.into());
    }
    Failure::unless_empty(reports)?;
    Ok(ExitCode::SUCCESS)
}

/// How long ago a pod exited, or was last heard of. One that never said anything is as old as it can be.
fn exited_for(pod: &PodEntry, now: &Now) -> Duration {
    pod.status
        .as_ref()
        .map_or(Duration::MAX, |status| status.age(now))
}

/// A guest image that is younger is kept: a pod that is being prepared may have chosen it.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys of guest images that were built lately, and of the newest, which the next pod will most likely boot.
fn fresh_guests(settings: &Settings) -> Vec<String> {
    let entries = std::fs::read_dir(settings.state_dir.join("guest"))
        .into_iter()
        .flatten()
        .flatten();
    let mut guests: Vec<(SystemTime, String)> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let modified = entry.metadata().and_then(|m| m.modified()).ok()?;
            Some((modified, entry.file_name().into_string().ok()?))
        })
        .collect();
    guests.sort();
    let newest = guests.len().saturating_sub(1);
    let is_fresh = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default() < FRESH;
    let kept = guests
        .into_iter()
        .enumerate()
        .filter(|(i, (time, _))| *i == newest || is_fresh(*time));
    kept.map(|(_, (_, key))| key).collect()
}
