//! An app that comes to a pod which runs: `isopod app add`, and `isopod compose run`, which is connected with it.
//!
//! ```text
//! add, waiting ── its outputs are this command's ── start ── its input, its terminal ── its end, and both outputs'
//! ```
//!
//! What it writes is not read from its log, which is bounded: `isopod compose run db pg_dump > file` loses nothing.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use isopod_runtime::Settings;
use isopod_runtime::app::{self, AddError, PlannedApp};
use isopod_runtime::control::{self, ControlError, Request};
use isopod_runtime::logs::Stream;
use isopod_runtime::pods::files::{AppState, AppStatus};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::AppName;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::manifest::Asked;
use crate::output::{self, Report};
use crate::pods::{app_number, block_on, check_live, find};
use crate::preparation::note_what_is_made;
use crate::signals;
use crate::terminal::{Raw, TypingEnd, follow_size, type_to};

/// How often an app is planned again, since something came or went at the same time.
const ATTEMPTS: usize = 16;

/// How often the app's status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the outputs of an app that has ended may take to end.
const OUTPUT_WITHIN: Duration = Duration::from_secs(10);

/// The pod, which runs.
///
/// # Errors
/// A [`Report`] where there is none, or it does not.
pub(crate) fn live(pods: &Pods, query: &str) -> Result<PodEntry, Report> {
    let pod = find(pods, query)?;
    check_live(&pod)?;
    Ok(pod)
}

/// Adds the one app of `asked` to a pod, where it waits to be started if that is wished; the pod as it is then.
///
/// # Errors
/// A [`Failure`] with all that stands against it.
pub(crate) fn add(
    pods: &Pods,
    query: &str,
    asked: &Asked,
    waits: bool,
    settings: &Settings,
) -> Result<PodEntry, Failure> {
    let name = of_one_app(asked)?;
    let mut pod = live(pods, query)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let planned = app::plan(&pod, &asked.spec, waits, settings);
        let planned = planned.map_err(|error| not_planned(asked, error))?;
        let PlannedApp {
            add,
            files,
            notices,
            made,
        } = planned;
        note_what_is_made(&made);
        match block_on(&pod, control::add_app(&pod.path, &add, &files)) {
            Ok(()) => {
                notices.iter().for_each(|notice| output::note(notice));
                return Ok(live(pods, query)?);
            }
            // Something came or went at the same time: planned again, on what is now.
            Err(ControlError::Outdated) if attempt < ATTEMPTS => pod = live(pods, query)?,
            Err(error) => return Err(failed("add", name, &pod, &error).into()),
        }
    }
}

/// Why the supervisor did not do it.
pub(crate) fn failed(verb: &str, app: &AppName, pod: &PodEntry, error: &ControlError) -> Report {
    let report = Report::text(format!("cannot {verb} app `{app}` of pod `{}`", pod.label()));
    let report = match error {
        ControlError::Refused { reason, .. } => report.because(reason.clone()),
        error => report.because(error.to_string()),
    };
    report.hint(error.hint())
}

/// The name of the one app.
fn of_one_app(asked: &Asked) -> Result<&AppName, Report> {
    match &asked.spec.apps[..] {
        [app] => Ok(&app.name),
        _ => Err(Report::text("one app is added at a time")
            .hint(Some("add the others by commands of their own".into()))),
    }
}

fn not_planned(asked: &Asked, error: AddError) -> Failure {
    match error {
        AddError::Gather(error) => asked.not_gathered(&error),
        AddError::Plan(error) => asked.not_planned(&error),
        error => Report::new(&error).into(),
    }
}

/// Starts an app that waits, connected with this command's standard streams as far as it has any, and waits for its end; the
/// exit status is its own.
///
/// # Errors
/// A [`Failure`] when it did not run to its end, or its output cannot be written.
pub(crate) fn run(
    pods: &Pods,
    pod: &PodEntry,
    app: &AppName,
    keys: &DetachKeys,
) -> Result<ExitCode, Failure> {
    let number = app_number(pod, app)?;
    let record = pod
        .record
        .as_ref()
        .and_then(|record| record.apps.get(usize::from(number)));
    let (tty, stdin) = record.map_or((false, false), |app| (app.tty, app.stdin));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connected = ConnectedApp {
        pods,
        pod,
        app,
        number,
        tty,
        stdin,
        keys,
    };
    let result = runtime.block_on(connected.follow());
    // A read of standard input cannot be cancelled, and must not be waited for.
    runtime.shutdown_background();
    result
}

/// An app, connected with this command.
struct ConnectedApp<'a> {
    pods: &'a Pods,
    pod: &'a PodEntry,
    app: &'a AppName,
    number: u16,
    tty: bool,
    stdin: bool,
    keys: &'a DetachKeys,
}

impl ConnectedApp<'_> {
    async fn follow(mut self) -> Result<ExitCode, Failure> {
        let dir = &self.pod.path;
        let failed = |error| failed("run", self.app, self.pod, &error);
        let mut outputs = JoinSet::new();
        let stdout = control::open_output(dir, self.number, Stream::Stdout);
        outputs.spawn(copy(stdout.await.map_err(failed)?, tokio::io::stdout()));
        if !self.tty {
            let stderr = control::open_output(dir, self.number, Stream::Stderr);
            outputs.spawn(copy(stderr.await.map_err(failed)?, tokio::io::stderr()));
        }
        let given_up = Arc::new(AtomicU8::new(0));
        signals::forward(Some((dir, Some(self.number))), &given_up)?;
        let start = Request::StartApp { app: self.number };
        control::ask(dir, &start).await.map_err(failed)?;
        let mut raw = None;
        let mut detached: Option<oneshot::Receiver<()>> = None;
        let mut look = tokio::time::interval(LOOK_EVERY);
        let end = loop {
            let left = async {
                match &mut detached {
                    Some(detached) => detached.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                left = left => match left {
                    Ok(()) => return Ok(ExitCode::SUCCESS),
                    Err(_) => detached = None,
                },
                Some(copied) = outputs.join_next() => written(copied.map_err(io::Error::other).and_then(|it| it))?,
                _ = look.tick() => {
                    let signal = given_up.load(Ordering::Relaxed);
                    if signal != 0 {
                        let what = format!("given up waiting for app `{}`, which continues", self.app);
                        return Err(Report::text(what).exit_status(128 + signal).into());
                    }
                    if let Some(end) = self.end() {
                        break end;
                    }
                    // It has an input as soon as it runs.
                    if self.stdin && let Ok(input) = control::open_stdin(dir, self.number, !self.tty).await {
                        self.stdin = false;
                        (raw, detached) = self.feed(input)?;
                    }
                }
            }
        };
        if end.as_ref().is_ok_and(|status| status.state == AppState::Exited) {
            let rest = async {
                while let Some(copied) = outputs.join_next().await {
                    written(copied.map_err(io::Error::other).and_then(|it| it))?;
                }
                Ok::<(), Report>(())
            };
            if let Ok(written) = tokio::time::timeout(OUTPUT_WITHIN, rest).await {
                written?;
            }
        }
        drop(raw);
        let status = end?;
        match (status.state, status.exit_status) {
            (AppState::Exited, Some(status)) => Ok(ExitCode::from(status)),
            _ => {
                let report = Report::text(format!("app `{}` did not start", self.app));
                Err(match status.error {
                    Some(error) => report.because(error),
                    None => report,
                }
                .into())
            }
        }
    }

    /// How the app has ended, or that it went with its pod; `None` while it runs.
    fn end(&self) -> Option<Result<AppStatus, Report>> {
        let seen = self.pods.entry(&self.pod.uuid);
        let live = seen.as_ref().is_some_and(|pod| pod.state.is_live());
        let status = seen.and_then(|pod| pod.status);
        let app = status.and_then(|status| status.apps.into_iter().nth(self.number.into()));
        match app {
            Some(app) if matches!(app.state, AppState::Exited | AppState::Failed) => Some(Ok(app)),
            _ if live => None,
            _ => Some(Err(Report::text(format!(
                "pod `{}` has ended, and app `{}` with it",
                self.pod.label(),
                self.app
            )))),
        }
    }

    /// Gives the app this command's input; with a terminal every key, until those to detach with.
    fn feed(&self, mut input: UnixStream) -> Result<(Option<Raw>, Option<oneshot::Receiver<()>>), Report> {
        if !(self.tty && io::stdin().is_terminal()) {
            tokio::spawn(async move {
                // It ends early when the app reads no more, which is no fault.
                let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut input).await;
                drop(copied);
                let _ = input.shutdown().await;
            });
            return Ok((None, None));
        }
        let raw = Raw::enter()?;
        let (detach, detached) = oneshot::channel();
        let keys = self.keys.clone();
        tokio::spawn(follow_size(self.pod.path.clone(), self.number));
        tokio::spawn(async move {
            if type_to(tokio::io::stdin(), input, keys).await == TypingEnd::Detached {
                let _ = detach.send(());
            }
        });
        Ok((Some(raw), Some(detached)))
    }
}

async fn copy(mut from: UnixStream, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.flush().await
}

/// Who reads no more wants no more; the app continues.
fn written(copied: io::Result<()>) -> Result<(), Report> {
    match copied {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Report::text(format!("cannot write the app's output: {error}")))
        }
        _ => Ok(()),
    }
}
