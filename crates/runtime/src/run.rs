//! Supervises a pod: starts its processes, speaks with the agent, writes down what becomes of it, and sees to it that no
//! process is left when it returns.
//!
//! ```text
//! listen ─> spawn virtiofsd, QEMU ─> agent answers ─> apps run ─> all ended ─> shares written back ─> machine killed
//!                 │                      │               │
//!                 └── one of them ends, or the deadline passes, or a third signal: machine killed, an error
//! ```
//!
//! The machine is killed rather than powered off: when the agent has written the shares back, all that it still holds
//! is lost by intent, and the guest's own shutdown would take longer than everything before it.

mod allowance;
mod capture;
mod host_memory;
mod journal;
mod machine;
mod streams;
mod volumes;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus as ProcessStatus;
use std::time::{Duration, Instant};
use std::{fmt, io};

use allowance::Allowance;
use isopod_spec::{AppName, AppRole, FailurePolicy};
use isopod_vm::agent::{
    Agent, AgentError, BootTimes, Event, Events, ExitStatus, FailureCause, Health, MemoryBound,
};
use machine::Machine;
use streams::{Outputs, feed};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
pub(crate) use volumes::Wanted;
use volumes::{Changed, Volumes};
use watch::{Found, Watch};

use crate::Settings;
use crate::control::{self, Order, SharedInput};
use crate::logs::Stream;
use crate::pods::Claim;
use crate::pods::files::{PodRecord, Stdin};
use crate::ports::PortError;
use journal::Journal;

/// In the pod's directory: the apps' logs.
pub const LOGS: &str = "logs";

/// Longer than any pod is asked to run.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why a pod ended that was asked to.
const STOPPED: &str = "it was stopped";

/// How long the guest may take to write its shares back. The data of a share over a slow disk may be that slow.
const SYNC_DEADLINE: Duration = Duration::from_secs(60);

/// How long the agent may take beyond the grace to report apps that it killed.
const KILL_SLACK: Duration = Duration::from_secs(30);

/// How many lines the log has at once of what the guest brings about, and how long it takes until there is one more: about
/// 9,000 a day, in files of a bounded size where the supervisor writes them.
const LINES_AT_ONCE: u32 = 30;
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What the caller does with a running pod.
pub struct Caller {
    /// Where a single app's standard input comes from; `None`: it has none.
    pub stdin: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Where standard output and standard error go; `None`: to the logs alone.
    pub output: Option<[Box<dyn AsyncWrite + Unpin + Send>; 2]>,
    /// Each message asks for a stop: the first in order, the second at once, the third kills the machine.
    pub stop: mpsc::UnboundedReceiver<()>,
    /// Signals for every app that runs, by their numbers (signal(7)).
    pub signals: mpsc::UnboundedReceiver<u8>,
    /// Where it is told how far the pod is.
    pub milestones: Option<mpsc::UnboundedSender<Milestone>>,
    /// Told once, when every app has started, or which ones could not.
    pub started: Option<Told>,
}

/// What is told which apps could not be started, once all others have.
pub type Told = Box<dyn FnOnce(&[AppFailure]) + Send>;

/// An app that could not be started.
#[derive(Clone, Debug)]
pub struct AppFailure {
    /// The app.
    pub app: AppName,
    /// Why.
    pub cause: FailureCause,
}

/// How far a pod is. Each is told at most once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Every app has been ready at least once.
    Ready,
    /// The apps are asked to stop.
    Stopping,
}

/// How a pod ended.
#[derive(Debug)]
pub struct Outcome {
    /// Each app's end, in the order of declaration.
    pub apps: Vec<(AppName, AppEnd)>,
    /// Which app failed first, if one did.
    pub first_failed: Option<usize>,
    /// How often each app was started anew.
    pub restarts: Vec<u32>,
    /// Which apps the guest's kernel killed because there was no memory left, and what it had run out in the last time.
    pub out_of_memory: Vec<Option<MemoryBound>>,
    /// Whether it was stopped because it had run as long as it may.
    pub past_deadline: bool,
    /// Why it was stopped, where what its apps wrote could not be written to the caller's streams.
    pub unwritten: Option<io::Error>,
    /// Shares whose data may not have reached the host, with the reason.
    pub unsynced: Vec<String>,
    /// When what happened.
    pub timings: Timings,
}

/// How an app ended.
#[derive(Debug)]
pub enum AppEnd {
    /// Its process ended.
    Exited(ExitStatus),
    /// It never ran.
    Failed(FailureCause),
}

impl AppEnd {
    /// The exit status a shell would show: 128 and the signal's number for a killed process, 125 for an app that did
    /// not start, and 0 where that is because the pod was stopped.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            AppEnd::Exited(ExitStatus::Code(code)) => u8::try_from(code & 0xff).unwrap_or(125),
            AppEnd::Exited(ExitStatus::Signal { signal, .. }) => {
                u8::try_from(signal.saturating_add(128) & 0xff).unwrap_or(125)
            }
            AppEnd::Failed(FailureCause::Stopped) => 0,
            AppEnd::Failed(_) => 125,
        }
    }
}

/// The exit status of a pod that `isopod` could not run as it was to.
const NOT_RUN: u8 = 125;

/// The exit status of a pod that ran longer than it may (timeout(1)).
const TIMED_OUT: u8 = 124;

impl Outcome {
    /// The pod's exit status: timeout(1)'s where it ran longer than it may, that of the app that failed first, otherwise
    /// 0.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        if self.past_deadline {
            return TIMED_OUT;
        }
        if self.unwritten.is_some() {
            return NOT_RUN;
        }
        self.first_failed
            .and_then(|app| self.apps.get(app))
            .map_or(0, |(_, end)| end.exit_status())
    }
}

/// When what happened, for benchmarks: host times since the processes were spawned, guest times since its kernel ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// The guest's own words.
    pub boot: BootTimes,
    /// Host: the agent had answered.
    pub ready: Duration,
    /// Guest: the first app's process ran, in milliseconds of guest uptime.
    pub first_app_ms: u64,
    /// Host: every app had ended.
    pub ended: Duration,
    /// Host: the shares were written back.
    pub synced: Duration,
    /// Host: the machine was gone.
    pub gone: Duration,
}

/// Why a pod could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A socket or process could not be made.
    #[error("cannot {action}")]
    Start {
        /// What was to be done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A port of the host's cannot be had.
    #[error(transparent)]
    Port(PortError),
    /// A process of the machine's ended before the pod did.
    #[error("{process} ended with {status}{}", Lines(.log))]
    Process {
        /// Which.
        process: &'static str,
        /// How.
        status: ProcessStatus,
        /// The last lines that it said.
        log: Vec<String>,
    },
    /// The host's kernel killed a process of the machine's for want of memory.
    #[error(
        "the host's kernel killed {process}: the host, or the cgroup that the pod runs in, had no memory left"
    )]
    HostMemory {
        /// Which.
        process: &'static str,
    },
    /// The machine ended by itself.
    #[error("the guest ended before its apps did{}{}", cause(.console), Lines(.console))]
    GuestEnded {
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The guest did not come up in time.
    #[error("the guest did not come up within {} s{}", .after.as_secs_f32(), Lines(.console))]
    NoGuest {
        /// The deadline.
        after: Duration,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The conversation with the agent broke.
    #[error("lost the agent in the guest{}", Lines(.console))]
    Agent {
        /// Why.
        source: AgentError,
        /// The console's last lines.
        console: Vec<String>,
    },
    /// The apps did not end although they were killed.
    #[error("the guest did not stop its apps within {} s", .0.as_secs())]
    NotStopped(Duration),
    /// It did not say that it had heard of its stop.
    #[error("the guest did not answer to its stop within {} s, and was killed", .0.as_secs())]
    StopUnheard(Duration),
    /// It was silent for longer than it may.
    #[error("the guest was not heard for {} s, and was killed as `--on-silent kill` asks for", .0.as_secs())]
    Silent(Duration),
    /// A stop before there was anything to stop.
    #[error("the pod was stopped before its guest had come up")]
    StoppedEarly,
    /// The third signal.
    #[error("the machine was killed on request; what its apps had not written yet is lost")]
    Killed,
}

impl RunError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoGuest { console, .. } if lacks_memory(console) => Some(MORE_MEMORY.into()),
            Self::NoGuest { .. } => {
                Some("give it more time with `--boot-timeout`; `--accel tcg` avoids KVM".into())
            }
            Self::GuestEnded { console } if lacks_memory(console) => Some(MORE_MEMORY.into()),
            Self::HostMemory { .. } => Some(
                "let the pods of the host have less (`--vm-memory`), or give the host more: a pod takes some 100 MiB beside its guest's \
                 memory"
                    .into(),
            ),
            Self::Agent { source, .. } => source.hint(),
            Self::Port(error) => error.hint(),
            _ => None,
        }
    }
}

/// What to do about a guest that has too little of it.
const MORE_MEMORY: &str = "give the VM more memory: `--vm-memory`";

/// Whether the console says that the guest had too little memory.
fn lacks_memory(console: &[String]) -> bool {
    const SIGNS: [&str; 7] = [
        // mm/oom_kill.c, mm/page_alloc.c, init/initramfs.c: an image that does not fit into memory.
        "Out of memory",
        "out of memory",
        "System is deadlocked on memory",
        "page allocation failure",
        "Initramfs unpacking failed: write error",
        // What the first process says then.
        "Cannot allocate memory",
        "No space left on device",
    ];
    console
        .iter()
        .any(|line| SIGNS.iter().any(|sign| line.contains(sign)))
}

/// What the console says that ended a guest, in words.
fn cause(console: &[String]) -> &'static str {
    const CAUSES: [(&str, &str); 4] = [
        // mm/oom_kill.c, kernel/panic.c, kernel/reboot.c
        (
            "Kernel panic - not syncing: System is deadlocked on memory",
            ": it ran out of memory",
        ),
        ("Kernel panic", ": its kernel panicked"),
        (
            "reboot: Restarting system",
            ": it restarted, as it does when its agent has ended",
        ),
        ("reboot: Power down", ": it powered itself off"),
    ];
    let said = |words: &str| console.iter().any(|line| line.contains(words));
    let cause = CAUSES.iter().find(|(words, _)| said(words));
    cause.map_or("", |(_, cause)| cause)
}

/// Log lines behind an error, indented; nothing where there are none.
struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("; its last lines:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Runs a pod that was begun ([`Claim::begin`]) to its end. Its directory stays.
///
/// # Errors
/// [`RunError`]; the machine is gone then, too.
pub async fn run(
    claim: &Claim,
    record: &PodRecord,
    settings: &Settings,
    caller: Caller,
) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let mut journal = Journal::begin(claim, record);
    let orders = control::listen(claim.path()).map_err(|source| RunError::Start {
        action: "listen for commands",
        source,
    });
    let result = match orders {
        Ok(orders) => supervise(claim, record, settings, caller, started, orders, &mut journal).await,
        Err(error) => Err(error),
    };
    journal.end(&result);
    result
}

async fn supervise(
    claim: &Claim,
    record: &PodRecord,
    settings: &Settings,
    mut caller: Caller,
    started: Instant,
    mut orders: control::Orders,
    journal: &mut Journal,
) -> Result<Outcome, RunError> {
    let dir = claim.path();
    let (mut machine, port) = Machine::start(record, dir, settings)?;
    let deadline = Duration::from_millis(record.boot_timeout_ms);
    let connected = tokio::select! {
        biased;
        connected = machine.connect(record, port, deadline) => connected,
        // There is nothing in order yet that could end in order.
        Some(()) = caller.stop.recv() => Err(RunError::StoppedEarly),
        done = orders.stop() => {
            done.answer(Ok(()));
            Err(RunError::StoppedEarly)
        }
    };
    let result = match connected {
        Ok((agent, events)) => {
            let pod = Pod::new(record, dir, agent, started, journal);
            let volumes = Volumes::begin(record, dir, settings, pod.agent.clone(), machine.file_server());
            pod.supervise(&mut machine, events, caller, orders, volumes).await
        }
        Err(error) => Err(error),
    };
    machine.kill().await;
    result.map(|mut outcome| {
        outcome.timings.gone = started.elapsed();
        outcome
    })
}

/// Sleeps until then, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A pod whose agent has answered.
struct Pod<'a> {
    record: &'a PodRecord,
    dir: &'a Path,
    agent: Agent,
    started: Instant,
    ends: Vec<Option<AppEnd>>,
    first_failed: Option<usize>,
    restarts: Vec<u32>,
    out_of_memory: Vec<Option<MemoryBound>>,
    /// What apps said of their ends, which have not come yet.
    last_words: BTreeMap<usize, String>,
    /// Which apps have been ready.
    ready: Vec<bool>,
    milestones: Option<mpsc::UnboundedSender<Milestone>>,
    timings: Timings,
    copies: JoinSet<()>,
    /// What the app reads, where those who attach write it.
    input: Option<SharedInput>,
    journal: &'a mut Journal,
    /// When the apps must have ended, and after what time that is.
    deadline: Option<(Instant, Duration)>,
    /// Whether it was stopped because it had run as long as it may.
    past_deadline: bool,
    unwritten: Option<io::Error>,
    /// Of lines that the guest brings about.
    lines: Allowance,
    watch: Watch,
}

impl<'a> Pod<'a> {
    fn new(
        record: &'a PodRecord,
        dir: &'a Path,
        agent: Agent,
        started: Instant,
        journal: &'a mut Journal,
    ) -> Self {
        let ends = record.apps.iter().map(|_| None).collect();
        let timings = Timings {
            ready: started.elapsed(),
            ..Timings::default()
        };
        Self {
            record,
            dir,
            agent,
            started,
            ends,
            first_failed: None,
            restarts: vec![0; record.apps.len()],
            out_of_memory: vec![None; record.apps.len()],
            last_words: BTreeMap::new(),
            ready: vec![false; record.apps.len()],
            milestones: None,
            timings,
            copies: JoinSet::new(),
            input: None,
            journal,
            deadline: None,
            past_deadline: false,
            unwritten: None,
            lines: Allowance::new(LINES_AT_ONCE, LINE_EVERY),
            watch: Watch::new(Instant::now(), record.silent_kill_ms.map(Duration::from_millis)),
        }
    }

    /// Whether the log has room for a line that the guest brings about.
    fn may_log(&mut self) -> bool {
        let left_out = self.lines.take(Instant::now());
        if let Some(left_out @ 1..) = left_out {
            tracing::warn!("{left_out} lines about the guest were left out: there were too many");
        }
        left_out.is_some()
    }

    async fn supervise(
        mut self,
        machine: &mut Machine<'_>,
        mut events: Events,
        caller: Caller,
        mut orders: control::Orders,
        mut volumes: Volumes,
    ) -> Result<Outcome, RunError> {
        let Caller {
            mut stdin,
            output,
            mut stop,
            mut signals,
            milestones,
            started,
        } = caller;
        self.milestones = milestones;
        self.journal.told = started;
        self.journal.running();
        let (broken, mut unread) = mpsc::unbounded_channel();
        let outputs = Outputs::new(&self.dir.join(LOGS), self.record, output, &broken);
        let grace = Duration::from_millis(self.record.stop_timeout_ms);
        let allowed = self.record.deadline_ms.map(Duration::from_millis);
        // Far enough where it is not said, and nothing that a clock cannot hold.
        let expiry = Instant::now() + allowed.unwrap_or(YEAR).min(YEAR);
        let mut stops = 0;
        let synced = loop {
            let deadline = self.deadline;
            let timeout = sleep_until(deadline.map(|(at, _)| at));
            let look = self.watch.due();
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                error = machine.ended() => return Err(error),
                () = timeout => return Err(RunError::NotStopped(deadline.map_or(grace, |(_, after)| after))),
                () = sleep_until(look) => {
                    self.look()?;
                    continue;
                }
                Some(()) = stop.recv() => {
                    stops += 1;
                    match stops {
                        1 => self.stop(grace, STOPPED).await,
                        2 => self.stop(Duration::ZERO, STOPPED).await,
                        _ => return Err(RunError::Killed),
                    }
                    continue;
                }
                Some(signal) = signals.recv() => {
                    self.signal(None, signal).await;
                    continue;
                }
                Some(order) = orders.next() => {
                    self.obey(order, grace, &volumes).await;
                    continue;
                }
                Some(changed) = volumes.changed() => {
                    let Changed { attached, count, done, result } = changed;
                    // Written first: whoever has the answer finds it so.
                    self.journal.volumes(attached, count);
                    done.answer(result);
                    continue;
                }
                // An app has failed, and the pod is to end with it.
                () = std::future::ready(()), if stops == 0 && self.is_to_fail() => {
                    stops = 1;
                    self.stop(grace, "an app has failed, and the others were stopped").await;
                    continue;
                }
                // Those for which the others ran have ended.
                () = std::future::ready(()), if stops == 0 && self.serves_nobody() => {
                    stops = 1;
                    self.stop(grace, "its main apps have ended").await;
                    continue;
                }
                () = tokio::time::sleep_until(expiry.into()), if stops == 0 && allowed.is_some() => {
                    stops = 1;
                    self.past_deadline = true;
                    self.stop(grace, "it ran as long as it may").await;
                    continue;
                }
                // Nobody reads what the apps write (`| head`): as if they had been asked to stop.
                Some(error) = unread.recv(), if stops == 0 => {
                    stops = 1;
                    let why = match error.kind() {
                        io::ErrorKind::BrokenPipe => "nobody read what its apps wrote any more",
                        _ => {
                            self.unwritten = Some(error);
                            "what its apps wrote could not be written"
                        }
                    };
                    self.stop(grace, why).await;
                    continue;
                }
            };
            match event {
                Ok(Event::AllEnded) => {
                    self.timings.ended = self.started.elapsed();
                    // Everything was read from the apps; it is written before anything else is said.
                    while self.copies.join_next().await.is_some() {}
                    self.journal.stopping();
                    self.deadline = Some((Instant::now() + SYNC_DEADLINE, SYNC_DEADLINE));
                    let _ = self.agent.finish().await;
                }
                Ok(Event::Synced { failed }) => break failed,
                Ok(event) => self.hear(event, &mut stdin, &outputs),
                Err(source) => return Err(machine.lost(source).await),
            }
        };
        self.timings.synced = self.started.elapsed();
        Ok(self.outcome(
            synced
                .into_iter()
                .map(|f| format!("{}: {}", f.mount_point, f.error))
                .collect(),
        ))
    }

    /// Asks the apps to stop within `grace`; an earlier deadline stays.
    async fn stop(&mut self, grace: Duration, why: &'static str) {
        tracing::debug!("stopping the apps, with {} s of grace", grace.as_secs());
        if self.journal.stopping_because(why) {
            self.tell(Milestone::Stopping);
        }
        // An agent that is gone is told of by its events.
        let _ = self.agent.stop(grace).await;
        self.watch.stopping(Instant::now(), grace);
        let after = grace + KILL_SLACK;
        let at = Instant::now() + after;
        if self.deadline.is_none_or(|(earlier, _)| at < earlier) {
            self.deadline = Some((at, after));
        }
    }

    /// Looks whether the guest is heard.
    fn look(&mut self) -> Result<(), RunError> {
        match self.watch.look(Instant::now()) {
            None => {}
            Some(Found::Silent) => {
                if self.may_log() {
                    tracing::warn!(
                        "the guest has not been heard for {} s",
                        watch::SILENT_AFTER.as_secs()
                    );
                }
                self.journal.silent(self.watch.heard().elapsed());
            }
            Some(Found::TooLong(after)) => return Err(RunError::Silent(after)),
            Some(Found::StopUnheard(within)) => return Err(RunError::StopUnheard(within)),
        }
        Ok(())
    }

    fn beat(&mut self) {
        if self.watch.beat(Instant::now()) {
            if self.may_log() {
                tracing::warn!("the guest is heard again");
            }
            self.journal.heard();
        }
    }

    async fn obey(&mut self, order: Order, grace: Duration, volumes: &Volumes) {
        match order {
            Order::Volume { change, done } => volumes.want(change, done),
            Order::Stop { grace: asked, done } => {
                self.stop(asked.unwrap_or(grace), STOPPED).await;
                done.answer(Ok(()));
            }
            // A client that has gone needs no agent.
            Order::Agent(reply) => drop(reply.send(self.agent.clone())),
            Order::Stdin(reply) => drop(reply.send(self.input.clone())),
            Order::Signal { app, signal, done } => {
                self.signal(app, signal).await;
                done.answer(Ok(()));
            }
        }
    }

    /// Sends a signal to an app, or to all, where they have not ended.
    async fn signal(&mut self, app: Option<usize>, signal: u8) {
        let apps = match app {
            Some(app) => app..app + 1,
            None => 0..self.ends.len(),
        };
        for app in apps {
            if self.ends.get(app).is_some_and(Option::is_none) {
                let _ = self.agent.signal(app, signal).await;
            }
        }
    }

    fn hear(
        &mut self,
        event: Event,
        stdin: &mut Option<Box<dyn AsyncRead + Unpin + Send>>,
        outputs: &Outputs,
    ) {
        match event {
            Event::Ready(boot) => self.timings.boot = boot,
            Event::AppReady { app } => self.ready(app),
            Event::AppUnready { app } => self.journal.app_unready(app),
            Event::OutOfMemory { app, within } => {
                if let Some(app) = self.out_of_memory.get_mut(app) {
                    *app = Some(within);
                }
                self.journal.app_out_of_memory(app, within);
            }
            Event::Started { app, uptime_ms } => {
                if self.timings.first_app_ms == 0 {
                    self.timings.first_app_ms = uptime_ms;
                }
                let probed = self.record.apps.get(app).is_some_and(|app| app.probed);
                self.journal.app_started(app, probed);
                if self.record.apps.get(app).is_some_and(|app| !app.tells_readiness) {
                    self.ready(app);
                }
            }
            Event::Stdin { mut input, .. } => {
                // Not among the copies: it ends when the caller's input does, which nobody waits for.
                match stdin.take() {
                    Some(stdin) => drop(tokio::spawn(feed(stdin, input))),
                    None if self.record.stdin == Stdin::Attached => {
                        self.input = Some(SharedInput::new(input));
                    }
                    None => drop(tokio::spawn(async move { input.shutdown().await })),
                }
            }
            Event::Stdout { app, output } => {
                drop(self.copies.spawn(outputs.copy(app, Stream::Stdout, output)))
            }
            Event::Stderr { app, output } => {
                drop(self.copies.spawn(outputs.copy(app, Stream::Stderr, output)))
            }
            Event::Restarting {
                app,
                status,
                after,
                count,
            } => {
                self.tell_last_words(app, status, outputs);
                self.restarting(app, status, after, count);
            }
            Event::Failed { app, cause } => {
                self.journal.app_failed(app, &cause);
                self.end(app, AppEnd::Failed(cause));
            }
            Event::LastWords { app, text } => {
                self.last_words.insert(app, text);
            }
            Event::Exited { app, status } => {
                self.tell_last_words(app, status, outputs);
                self.journal.app_exited(app, status);
                self.end(app, AppEnd::Exited(status));
            }
            Event::Health { app, health, text } => self.health(app, health, text),
            Event::Ending { app, reason } => {
                if let Some(record) = self.record.apps.get(app)
                    && self.may_log()
                {
                    tracing::warn!("app `{}` is ended: {reason}", record.name);
                }
                self.journal.app_ending(app, reason);
            }
            Event::Warning(text) => {
                if self.may_log() {
                    tracing::warn!("the agent in the guest: {text}");
                }
            }
            Event::Beat => self.beat(),
            Event::AllEnded | Event::Synced { .. } => {}
        }
    }

    /// Writes down what an app said of its end; where it failed and said nothing, the end of its log, where that is asked.
    fn tell_last_words(&mut self, app: usize, status: ExitStatus, outputs: &Outputs) {
        let (said, end) = (self.last_words.remove(&app), outputs.take_end(app));
        let from_log = self.record.apps.get(app).is_some_and(|app| app.words_from_log);
        let end = end.filter(|_| from_log && status != ExitStatus::Code(0));
        self.journal.app_last_words(app, said.or(end));
    }

    fn health(&mut self, app: usize, health: Health, text: String) {
        let Some(record) = self.record.apps.get(app) else {
            return;
        };
        let name = &record.name;
        match health {
            _ if !self.may_log() => {}
            Health::Unhealthy => tracing::warn!("app `{name}` is unhealthy: {text}"),
            Health::Healthy => tracing::info!("app `{name}` is healthy"),
            Health::Starting => tracing::info!("app `{name}` is not known to be healthy yet"),
        }
        self.journal.app_health(app, health, text);
    }

    fn restarting(&mut self, app: usize, status: ExitStatus, after: Duration, count: u32) {
        let (Some(record), Some(slot)) = (self.record.apps.get(app), self.restarts.get_mut(app)) else {
            return;
        };
        *slot = count;
        if self.may_log() {
            tracing::info!(
                "app `{}` has ended ({status:?}); it is started anew in {} ms, for the {count}. time",
                record.name,
                after.as_millis()
            );
        }
        self.journal.app_restarting(app, status, count);
    }

    /// An app is ready; when it was the last, the pod is.
    fn ready(&mut self, app: usize) {
        let Some(ready) = self.ready.get_mut(app) else {
            return;
        };
        let before = std::mem::replace(ready, true);
        let all = self.ready.iter().all(|ready| *ready);
        self.journal.app_ready(app, all);
        if !before && all {
            self.tell(Milestone::Ready);
        }
    }

    fn tell(&mut self, milestone: Milestone) {
        if let Some(milestones) = &self.milestones {
            let _ = milestones.send(milestone);
        }
    }

    /// Whether an app's failure ends the pod.
    fn is_to_fail(&self) -> bool {
        self.record.on_failure == FailurePolicy::Stop
            && self.first_failed.is_some()
            && self.ends.iter().any(Option::is_none)
    }

    /// Whether only sidecars are left.
    fn serves_nobody(&self) -> bool {
        let apps = || self.record.apps.iter().zip(&self.ends);
        let left = |role| apps().any(|(app, end)| app.role == role && end.is_none());
        left(AppRole::Sidecar) && !left(AppRole::Main)
    }

    fn end(&mut self, app: usize, end: AppEnd) {
        let role = self.record.apps.get(app).map(|app| app.role);
        if end.exit_status() != 0 && self.first_failed.is_none() && role == Some(AppRole::Main) {
            self.first_failed = Some(app);
        }
        if let Some(slot) = self.ends.get_mut(app) {
            *slot = Some(end);
        }
    }

    fn outcome(self, unsynced: Vec<String>) -> Outcome {
        let unknown = || AppEnd::Exited(ExitStatus::Code(125));
        let ends = self.ends.into_iter().map(|end| end.unwrap_or_else(unknown));
        let apps = self
            .record
            .apps
            .iter()
            .map(|app| app.name.clone())
            .zip(ends)
            .collect();
        Outcome {
            apps,
            first_failed: self.first_failed,
            past_deadline: self.past_deadline,
            unwritten: self.unwritten,
            restarts: self.restarts,
            out_of_memory: self.out_of_memory,
            unsynced,
            timings: self.timings,
        }
    }
}
