//! The pods of the state directory, as commands find them, ask them and wait for them.

use std::process::ExitCode;
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::control::{self, ControlError, Request};
use isopod_runtime::events::EventKind;
use isopod_runtime::pods::files::{AppRecord, Asked, Status};
use isopod_runtime::pods::state::{Phase, PodState, Verb};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::{AppName, PodName};

use crate::failure::Failure;
use crate::output::{self, Report};

/// How often a pod is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The pods of the state directory.
///
/// # Errors
/// A [`Report`] when they cannot be had.
pub(crate) fn pods(settings: &Settings) -> Result<Pods, Report> {
    Ok(Pods::open(&settings.state_dir)?)
}

/// The pod that `query` names.
///
/// # Errors
/// A [`Report`] when it is none, or not one.
pub(crate) fn find(pods: &Pods, query: &str) -> Result<PodEntry, Report> {
    Ok(pods.find(query)?)
}

/// The pod of just that name.
///
/// # Errors
/// A [`Report`] when the pods cannot be read.
pub(crate) fn named(pods: &Pods, name: &PodName) -> Result<Option<PodEntry>, Report> {
    let all = pods.list()?;
    let is_named = |pod: &PodEntry| {
        let record = pod.record.as_ref();
        record.and_then(|record| record.name.as_ref()) == Some(name)
    };
    Ok(all.into_iter().find(is_named))
}

/// Does something with each pod, also when it failed with another, and prints the name by which each was asked for.
///
/// # Errors
/// A [`Failure`] for each pod with which it failed.
pub(crate) fn each(
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

/// Whether a pod has ever been started.
///
/// # Errors
/// A [`Report`] when it has not.
pub(crate) fn check_started(pod: &PodEntry) -> Result<(), Report> {
    match pod.state {
        PodState::Prepared => Err(Report::text(format!("pod `{}` was never started", pod.label()))
            .hint(Some(format!("start it: `isopod start {}`", pod.label())))),
        _ => Ok(()),
    }
}

/// Asks a pod's supervisor.
///
/// # Errors
/// [`ControlError`].
pub(crate) fn ask(pod: &PodEntry, request: &Request) -> Result<(), ControlError> {
    block_on(pod, control::ask(&pod.path, request))
}

/// As [`ask`], with another patience.
///
/// # Errors
/// [`ControlError`].
pub(crate) fn ask_within(pod: &PodEntry, request: &Request, patience: Duration) -> Result<(), ControlError> {
    block_on(pod, control::ask_within(&pod.path, request, patience))
}

pub(crate) fn block_on(
    pod: &PodEntry,
    asked: impl Future<Output = Result<(), ControlError>>,
) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ControlError::Connect {
        path: pod.path.clone(),
        source,
    })?;
    runtime.block_on(asked)
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
    let mut present = apps.iter().enumerate().filter(|(_, app)| !app.gone);
    match (app, present.next(), present.next()) {
        (Some(app), ..) => app_number(pod, app),
        (None, Some((only, _)), None) => Ok(u16::try_from(only).unwrap_or(u16::MAX)),
        (None, None, _) => Err(Report::text(format!("pod `{}` has no app", pod.label()))
            .hint(Some(format!("add one: `isopod app add {} IMAGE`", pod.label())))),
        (None, ..) => {
            let names = names_of(apps);
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
    let position = apps.iter().position(|known| known.name == *app && !known.gone);
    position.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
        let names = names_of(apps);
        Report::text(format!("pod `{}` has no app `{app}`", pod.label()))
            .hint(Some(format!("its apps are {}", names.join(", "))))
    })
}

/// The names of the apps that are there.
fn names_of(apps: &[AppRecord]) -> Vec<String> {
    let present = apps.iter().filter(|app| !app.gone);
    present.map(|app| format!("`{}`", app.name)).collect()
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Exited,
    /// Every app has been ready, or it has exited.
    Ready,
}

/// Waits until a pod has come so far; as it was last when it was removed meanwhile.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn wait(pods: &Pods, mut pod: PodEntry, until: Until) -> Result<PodEntry, Report> {
    loop {
        let ready = pod
            .status
            .as_ref()
            .is_some_and(|status| status.ready_ms.is_some());
        let done = match until {
            Until::Exited => !pod.state.is_live(),
            Until::Ready => !pod.state.is_live() || ready,
        };
        if done {
            return Ok(pod);
        }
        std::thread::sleep(LOOK_EVERY);
        match pods.entry(&pod.uuid) {
            Some(seen) => pod = seen,
            None => {
                pod.state = PodState::Exited;
                // One that is not kept goes as soon as it has ended, which may be between two looks.
                if let Some(status) = pod.status.as_mut().filter(|status| status.phase != Phase::Exited) {
                    end_by_events(pods, &pod.uuid, status);
                }
                return Ok(pod);
            }
        }
    }
}

/// Completes the status of a pod that is gone by what its events say of its end.
fn end_by_events(pods: &Pods, uuid: &str, status: &mut Status) {
    let mut last = None;
    if let Ok(mut events) = pods.events().read() {
        while let Ok(Some(event)) = events.next_event() {
            if event.uuid == uuid && event.kind == EventKind::Exited {
                last = Some(event);
            }
        }
    }
    match last {
        Some(event) => {
            status.phase = Phase::Exited;
            status.exit_status = event.exit_status;
            status.ended_ms = Some(event.time_ms);
            status.reason = event.reason;
        }
        None => status.reason = Some("it has ended and was removed, and how it ended was not kept".into()),
    }
}

/// What was asked for, with the values of secrets.
///
/// # Errors
/// A [`Report`] where it was not kept.
pub(crate) fn kept(pod: &PodEntry) -> Result<Asked, Report> {
    let asked = pod.asked()?;
    asked.ok_or_else(|| {
        Report::text(format!("how pod `{}` was made is not recorded", pod.label())).hint(Some(
            "it is being prepared, or comes from another version of isopod; `isopod inspect` shows its state"
                .into(),
        ))
    })
}
