//! `isopod attach`: a running pod's output from now on, its input and its signals, and its exit status at the end.
//!
//! The output is read from the pod's logs: so whoever attaches and does not read holds up neither the app nor another
//! reader, and what is lost to a slow one, because the log was rotated meanwhile, is said by the log's reader. Input and
//! signals go to the supervisor. Where the app has a terminal and this command does, the two are one: every key goes to the
//! app but those to detach with. Elsewhere, without `--sig-proxy`, Ctrl-C ends this command alone.

use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use isopod_plan::layout::LOGS;
use isopod_runtime::Settings;
use isopod_runtime::control::{self, ControlError};
use isopod_runtime::events::EventKind;
use isopod_runtime::logs::{LogReader, Options, Record, Stream};
use isopod_runtime::pods::files::{AppState, Stdin};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_spec::AppName;
use isopod_spec::words::shown;
use tokio::runtime::Runtime;

use crate::args::{app_name, switch};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::pods::{app_number, check_live, find, pods};
use crate::show::{exit_reason, exit_status};
use crate::signals;
use crate::terminal::{Raw, TypingEnd, follow_size, type_to};

/// How often the log and the pod's status are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the log of an app with a terminal is.
const ECHO_WITHIN: Duration = Duration::from_millis(10);

const ATTACH_NOTES: &str = "\
A pod has input if it was started with `--interactive`. The app does not see where one input ends: the next one that \
attaches continues it. If the app has a terminal, it is connected to this command's, and Ctrl-P Ctrl-Q ends this command \
alone; otherwise Ctrl-C does with `--sig-proxy=false`.
";

/// Connect to a running pod: show what it writes from now on, and pass input and signals to it, until it ends
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = ATTACH_NOTES)]
#[command(mut_arg("sig_proxy", switch::on))]
pub(crate) struct Attach {
    /// The pod
    #[arg(value_name = "POD")]
    pod: String,
    /// Only this app; the exit status is its own then
    #[arg(value_name = "APP", value_parser = app_name)]
    app: Option<AppName>,
    /// Give the pod no input
    #[arg(long)]
    no_stdin: bool,
    /// End this command alone by these keys, where the app has a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
    detach_keys: DetachKeys,
    /// Pass signals on to the apps
    #[arg(long)]
    sig_proxy: bool,
}

impl Attach {
    /// Attaches, up to the end of the app or of the pod; the exit status is that one's.
    ///
    /// # Errors
    /// A [`Failure`] when that cannot be, or the pod was lost.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pods = pods(settings)?;
        let pod = find(&pods, &self.pod)?;
        check_live(&pod)?;
        let number = self.app.as_ref().map(|app| app_number(&pod, app)).transpose()?;
        let has_terminal = terminal_of(&pod, number).is_some();
        let mut log = at_its_end(&pod, self.app.as_ref(), has_terminal)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (given_up, detached) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = reader_of(&pod, number);
        let terminal =
            terminal_of(&pod, number).filter(|_| io::stdin().is_terminal() || io::stdout().is_terminal());
        let types = terminal.filter(|_| reader.is_some() && !self.no_stdin && io::stdin().is_terminal());
        // As it was before when this function returns, whatever ends it.
        let raw = types.map(|_| Raw::enter()).transpose()?;
        if self.sig_proxy || raw.is_some() {
            let whom = self.sig_proxy.then_some((pod.path.as_path(), number));
            let forwarded = runtime.block_on(async { signals::forward(whom, &given_up) });
            forwarded?;
        }
        if let Some(app) = terminal {
            runtime.spawn(follow_size(pod.path.clone(), app));
        }
        if let Some(reader) = reader.filter(|_| !self.no_stdin) {
            let keys = types.map(|_| (self.detach_keys.clone(), detached.clone()));
            feed(&runtime, &pod, reader, keys)?;
        }
        // It ends with the process: a read of standard input cannot be cancelled.
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));

        let mut target = Target {
            pods: &pods,
            pod,
            app: number.map(usize::from),
        };
        let mut failed = None;
        let mut looked: Option<Instant> = None;
        log.follow(
            || {
                let left = given_up.load(Ordering::Relaxed) != 0 || detached.load(Ordering::Relaxed);
                // It reads files, and a terminal's log is looked at often.
                left || (looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) && {
                    looked = Some(Instant::now());
                    target.has_ended()
                })
            },
            |record| match print(&record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        drop(raw);
        if detached.load(Ordering::Relaxed) {
            return Ok(ExitCode::SUCCESS);
        }
        let signal = given_up.load(Ordering::Relaxed);
        if signal != 0 && !target.has_ended() {
            return Err(Report::text("given up waiting for the pod, which continues")
                .exit_status(128 + signal)
                .into());
        }
        match failed {
            // Who reads no more wants no more.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Some(error) => Err(Report::text(format!("cannot write the apps' output: {error}")).into()),
            None => target.exit_code(),
        }
    }
}

/// The log of an app, or of all, behind all that is there.
fn at_its_end(pod: &PodEntry, app: Option<&AppName>, has_terminal: bool) -> Result<LogReader, Report> {
    let all = pod.record.iter().flat_map(|record| &record.apps);
    let apps: Vec<AppName> = match app {
        Some(app) => vec![app.clone()],
        None => all.map(|app| app.name.clone()).collect(),
    };
    let options = Options {
        follow: true,
        // Somebody waits for each key that he types to be shown.
        look_every: if has_terminal { ECHO_WITHIN } else { LOOK_EVERY },
        ..Options::default()
    };
    let mut log = LogReader::open(&pod.path.join(LOGS), &apps, options)?;
    // Read rather than skipped: a line that has begun, such as a prompt, continues as one.
    while log.read()?.is_some() {}
    Ok(log)
}

/// Prints what an app wrote, and nothing else on standard output.
fn print(record: &Record<'_>) -> io::Result<()> {
    if !record.is_output() {
        let text = String::from_utf8_lossy(record.content);
        output::note(&format!("app `{}`: {}", record.app, shown(&*text)));
        return Ok(());
    }
    let to = |out: &mut dyn Write, record: &Record<'_>| {
        let mut bytes = Vec::with_capacity(record.content.len() + 1);
        record.write_content(&mut bytes)?;
        out.write_all(&bytes)?;
        out.flush()
    };
    match record.stream {
        Stream::Stdout => to(&mut io::stdout().lock(), record),
        Stream::Stderr => to(&mut io::stderr().lock(), record),
    }
}

/// The number of the app whose terminal is connected: the one that is named, or the pod's only one.
fn terminal_of(pod: &PodEntry, app: Option<u16>) -> Option<u16> {
    let apps = &pod.record.as_ref()?.apps;
    let app = app.or((apps.len() == 1).then_some(0))?;
    apps.get(usize::from(app))?.tty.then_some(app)
}

/// The number of the app that reads what this command does: the one that came later with an input, or the pod's only one.
fn reader_of(pod: &PodEntry, app: Option<u16>) -> Option<u16> {
    let record = pod.record.as_ref()?;
    let number = app.unwrap_or_default();
    let came_with_one = app.is_some() && record.apps.get(usize::from(number))?.stdin;
    let is_only = number == 0 && record.stdin == Stdin::Attached;
    (came_with_one || is_only).then_some(number)
}

/// Gives the app this command's standard input; when that ends, the app waits for the next who attaches. With keys to detach
/// with, says when they were typed.
fn feed(
    runtime: &Runtime,
    pod: &PodEntry,
    app: u16,
    keys: Option<(DetachKeys, Arc<AtomicBool>)>,
) -> Result<(), ControlError> {
    let mut input = runtime.block_on(control::open_stdin(&pod.path, app, false))?;
    runtime.spawn(async move {
        let mut stdin = tokio::io::stdin();
        // It ends early when the app reads no more, which is no fault.
        match keys {
            None => drop(tokio::io::copy(&mut stdin, &mut input).await),
            Some((keys, detached)) => {
                let end = type_to(stdin, input, keys).await;
                detached.store(end == TypingEnd::Detached, Ordering::Relaxed);
            }
        }
    });
    Ok(())
}

/// What is attached to.
struct Target<'a> {
    pods: &'a Pods,
    /// As it was seen last.
    pod: PodEntry,
    app: Option<usize>,
}

impl Target<'_> {
    fn has_ended(&mut self) -> bool {
        let Some(pod) = self.pods.entry(&self.pod.uuid) else {
            return true;
        };
        self.pod = pod;
        let status = self.pod.status.as_ref();
        let app = self.app.and_then(|app| status?.apps.get(app));
        let ended = app.is_some_and(|app| matches!(app.state, AppState::Exited | AppState::Failed));
        ended || !self.pod.state.is_live()
    }

    fn exit_code(&self) -> Result<ExitCode, Failure> {
        let status = match self.pods.entry(&self.pod.uuid) {
            Some(pod) => self.status_of(&pod),
            None => self.status_by_events(),
        };
        let (status, reason) = status;
        match (status, reason) {
            (Some(status), None) => Ok(ExitCode::from(status)),
            (_, reason) => Err(Report::text(format!(
                "pod `{}` has ended{}",
                self.pod.label(),
                reason.map(|reason| format!(": {reason}")).unwrap_or_default()
            ))
            .into()),
        }
    }

    /// The exit status, or the reason why there is none.
    fn status_of(&self, pod: &PodEntry) -> (Option<u8>, Option<String>) {
        let app = self.app.and_then(|app| pod.status.as_ref()?.apps.get(app));
        match (app.and_then(|app| app.exit_status), exit_status(pod)) {
            (Some(status), _) => (Some(status), None),
            (None, Some(crate::FAILURE) | None) => (None, exit_reason(pod)),
            (None, status) => (status, None),
        }
    }

    /// The same, of a pod that is gone.
    fn status_by_events(&self) -> (Option<u8>, Option<String>) {
        let name = self
            .app
            .and_then(|app| Some(&self.pod.record.as_ref()?.apps.get(app)?.name));
        let mut found = (None, Some("it was removed".to_owned()));
        let Ok(mut events) = self.pods.events().read() else {
            return found;
        };
        while let Ok(Some(event)) = events.next_event() {
            let is = match name {
                Some(_) => {
                    event.app.as_ref() == name
                        && matches!(event.kind, EventKind::AppExited | EventKind::AppFailed)
                }
                None => event.kind == EventKind::Exited,
            };
            if !is || event.uuid != self.pod.uuid {
                continue;
            }
            found = match event.exit_status {
                Some(status) if status != crate::FAILURE => (Some(status), None),
                _ => (None, event.reason),
            };
        }
        found
    }
}
