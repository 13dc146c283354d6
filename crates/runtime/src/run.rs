//! Supervises a pod: starts its processes, speaks with the agent, writes down what becomes of it, and sees to it that no
//! process is left when it returns.
//!
//! ```text
//! listen ─> spawn passt, virtiofsd, QEMU ─> agent answers ─> the pod comes ─> apps run ─> all ended ─> shares written back ─> VM killed
//!                 │                             │                               │
//!                 └── one of them ends, or the deadline passes, or a third signal: VM killed, an error
//! ```
//!
//! What is done about whatever happens is decided by [`supervision`], which performs nothing; here is what performs it.
//!
//! The VM is killed rather than powered off: when the agent has written the shares back, all that it still holds
//! is lost by intent, and the guest's own shutdown would take longer than everything before it.

mod allowance;
mod app_changes;
mod arrivals;
mod error;
mod host_memory;
mod interfaces;
pub mod opened;
mod origin;
mod outcome;
mod report;
mod status_writer;
mod streams;
mod supervision;
mod vm;
mod volumes;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allowance::Allowance;
use app_changes::{AppChanges, What};
use arrivals::{Arrivals, Came};
use isopod_contract::message::WriteBack;
use isopod_plan::layout::LOGS;
use isopod_vm::agent::{Agent, Event, Events};
use streams::{Outputs, feed};
use supervision::{Action, AppTerms, GuestLine, Input, Supervision, SupervisionEnd, Terms};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vm::{Purpose, Vm};
use volumes::{ChangedVolumes, OfApp, Volumes};

pub use error::RunError;
pub use outcome::{AppEnd, Outcome, Timings};
pub use report::{AppFailure, AppNews, Milestone, OnStarted, Watcher};

use crate::Settings;
use crate::control::{self, AppOrder, Done, Order, Refusal, SharedInput, VolumeChange};
use crate::logs::Stream;
use crate::pods::Claim;
use crate::pods::files::{Keep, PodRecord, Stdin};
use crate::pods::start_times::StartTimes;
use interfaces::Interfaces;
use status_writer::StatusWriter;

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
    /// Each message asks for a stop: the first in order, the second at once, the third kills the VM.
    pub stop: mpsc::UnboundedReceiver<()>,
    /// Signals for every app that runs, by their numbers (signal(7)).
    pub signals: mpsc::UnboundedReceiver<u8>,
    /// Where it is reported how far the pod is.
    pub milestones: Option<mpsc::UnboundedSender<Milestone>>,
    /// OnStarted once, when every app has started, or which ones could not.
    pub started: Option<OnStarted>,
    /// Who has each app's streams, and receives what becomes of it.
    pub watcher: Option<Arc<dyn Watcher>>,
}

/// Runs a pod that was begun ([`Claim::begin`]) to its end. Its directory stays.
///
/// # Errors
/// [`RunError`]; the VM is gone then, too.
pub async fn run(
    claim: &Claim,
    record: &PodRecord,
    settings: &Settings,
    caller: Caller,
) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let mut status = StatusWriter::begin(claim, record);
    let orders = control::listen(claim.path()).map_err(|source| RunError::Start {
        action: "listen for commands",
        source,
    });
    let result = match orders {
        Ok(orders) => supervise(claim, record, settings, caller, started, orders, &mut status).await,
        Err(error) => Err(error),
    };
    status.end(&result);
    result
}

async fn supervise(
    claim: &Claim,
    record: &PodRecord,
    settings: &Settings,
    mut caller: Caller,
    started: Instant,
    mut orders: control::Orders,
    status: &mut StatusWriter,
) -> Result<Outcome, RunError> {
    let dir = claim.path();
    let deadline = Duration::from_millis(record.boot_timeout_ms);
    let mut template = origin::template(record, settings).await?;
    let was_there = template.is_some();
    let (mut vm, connected) = loop {
        let restored = template.is_some();
        let (mut vm, port) = Vm::start(record, dir, dir, settings, template.take())?;
        let connected = tokio::select! {
            biased;
            connected = vm.connect(record, port, deadline, Purpose::Run) => connected,
            // There is nothing in order yet that could end in order.
            Some(()) = caller.stop.recv() => Err(RunError::StoppedEarly),
            done = orders.stop() => {
                done.answer(Ok(()));
                Err(RunError::StoppedEarly)
            }
        };
        match &connected {
            Err(error) if restored && origin::boots_instead(error, record, settings) => vm.kill().await,
            Ok(_) => {
                // One that was dropped is not made at once: what was wrong with it may be so still.
                if !was_there {
                    origin::make_for_the_next(record, settings);
                }
                break (vm, connected);
            }
            Err(_) => break (vm, connected),
        }
    };
    let result = match connected {
        Ok((agent, events, arrival)) => {
            let volumes = Volumes::begin(record, dir, settings, agent.clone(), vm.file_server());
            let (broken, unread) = mpsc::unbounded_channel();
            status.on_started = caller.started;
            status.came(StartTimes::of_arrival(
                started.elapsed(),
                vm.is_restored(),
                arrival,
            ));
            status.watcher.clone_from(&caller.watcher);
            let app_changes = AppChanges::again(record, dir, &agent);
            let interfaces = vm.interfaces(record, &agent);
            let mut pod = Pod {
                record,
                interfaces,
                agent,
                events,
                orders,
                volumes,
                app_changes,
                arrivals: Arrivals::default(),
                waiting: 0,
                outputs: Outputs::new(
                    &dir.join(LOGS),
                    record,
                    caller.output,
                    caller.watcher.clone(),
                    &broken,
                ),
                watcher: caller.watcher,
                stdin: caller.stdin,
                inputs: BTreeMap::new(),
                copies: JoinSet::new(),
                draining: false,
                unread,
                stop: caller.stop,
                signals: caller.signals,
                milestones: caller.milestones,
                lines: Allowance::new(LINES_AT_ONCE, LINE_EVERY),
                status,
            };
            let ended = pod.supervise(&mut vm, started).await;
            ended.map(|mut outcome| {
                outcome.timings.arrival = arrival;
                outcome
            })
        }
        Err(error) => Err(error),
    };
    vm.kill().await;
    result.map(|mut outcome| {
        outcome.timings.gone = started.elapsed();
        outcome
    })
}

/// What a pod whose agent has answered consists of, and what the supervision's actions are performed with.
struct Pod<'a> {
    record: &'a PodRecord,
    agent: Agent,
    events: Events,
    orders: control::Orders,
    volumes: Volumes,
    interfaces: Interfaces,
    app_changes: AppChanges,
    arrivals: Arrivals,
    /// How many changes of what has come are not done yet.
    waiting: usize,
    outputs: Outputs,
    /// What the app reads, where the caller writes it.
    stdin: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// What apps read, by their numbers, where those who attach write it.
    inputs: BTreeMap<usize, SharedInput>,
    copies: JoinSet<()>,
    /// Whether the end of `copies` is waited for.
    draining: bool,
    /// Takes a message when what the apps write can be written no more.
    unread: mpsc::UnboundedReceiver<std::io::Error>,
    stop: mpsc::UnboundedReceiver<()>,
    signals: mpsc::UnboundedReceiver<u8>,
    milestones: Option<mpsc::UnboundedSender<Milestone>>,
    watcher: Option<Arc<dyn Watcher>>,
    /// Of lines that the guest brings about.
    lines: Allowance,
    status: &'a mut StatusWriter,
}

impl Pod<'_> {
    async fn supervise(&mut self, vm: &mut Vm<'_>, started: Instant) -> Result<Outcome, RunError> {
        let mut supervision = Supervision::new(Terms::from(self.record), started, Instant::now());
        let (mut actions, mut done) = (supervision.begin(), None::<Done>);
        loop {
            for action in actions {
                if let Some(end) = self.perform(action).await {
                    return outcome(end, supervision);
                }
            }
            // Whoever asked for it has the answer when it is done.
            if let Some(done) = done {
                done.answer(Ok(()));
            }
            let input;
            (input, done) = self.next(vm, supervision.due()).await?;
            actions = supervision.on(input, Instant::now());
        }
    }

    /// What happens next, with where its answer goes: reports of the guest first, and `due` last of all that has happened
    /// already.
    async fn next(
        &mut self,
        vm: &mut Vm<'_>,
        due: Option<Instant>,
    ) -> Result<(Input, Option<Done>), RunError> {
        loop {
            let order = tokio::select! {
                biased;
                event = self.events.next() => match event {
                    Ok(event) => match self.connect(event) {
                        Some(event) => return Ok((Input::Guest(event), None)),
                        None => continue,
                    },
                    Err(source) => return Err(vm.lost(source).await),
                },
                error = vm.ended() => return Err(error),
                () = drained(&mut self.copies), if self.draining => {
                    self.draining = false;
                    return Ok((Input::OutputWritten, None));
                }
                Some(()) = self.stop.recv() => return Ok((Input::CallerStop, None)),
                Some(signal) = self.signals.recv() => return Ok((Input::Signal { app: None, signal }, None)),
                Some(order) = self.orders.next() => order,
                Some(changed) = self.volumes.changed() => {
                    self.waiting = self.waiting.saturating_sub(1);
                    match self.take_change(changed) {
                        Some(input) => return Ok((input, None)),
                        None => continue,
                    }
                }
                came = self.arrivals.came() => match self.take_arrival(came) {
                    Some(input) => return Ok((input, None)),
                    None => continue,
                },
                changed = self.app_changes.changed() => {
                    self.changed(changed);
                    continue;
                }
                () = sleep_until(due) => return Ok((Input::Due, None)),
                Some(error) = self.unread.recv() => return Ok((Input::OutputBroken(error), None)),
            };
            match order {
                Order::App { app, change, done } => {
                    self.app_changes
                        .want(&self.agent, app, What::Change(change), Some(done));
                }
                Order::Update { app, update, done } => {
                    self.app_changes
                        .want(&self.agent, app, What::Update(update), Some(done));
                }
                Order::Volume { change, done } => self.want(change, done),
                Order::Network { change, done } => self.interfaces.want(change, done),
                Order::OneApp { order, done } => self.of_one_app(order, done).await,
                // A client that has gone needs no agent.
                Order::Agent(reply) => drop(reply.send(self.agent.clone())),
                Order::Stdin { app, reply } => drop(reply.send(self.inputs.get(&app).cloned())),
                Order::Output {
                    app,
                    stream,
                    to,
                    done,
                } => done.answer(self.outputs.give(app, stream, to)),
                Order::Stop { grace, done } => {
                    return Ok((Input::Stop(grace), Some(done)));
                }
                Order::Resize { app, size, done } => {
                    let _ = self.agent.resize(app, size).await;
                    done.answer(Ok(()));
                }
                Order::Signal { app, signal, done } => {
                    return Ok((Input::Signal { app, signal }, Some(done)));
                }
            }
        }
    }

    /// Writes down that an app runs in another way, and answers; what failed of an earlier life of the pod is logged.
    fn changed(&mut self, changed: app_changes::ChangedApps) {
        let app_changes::ChangedApps {
            app,
            what,
            done,
            result,
        } = changed;
        let result = match (result, what) {
            (Ok(()), What::Change(change)) => {
                self.status.app_changed(app, &change);
                Ok(())
            }
            (Ok(()), What::Update(update)) if done.is_some() => self
                .status
                .app_updated(app, update)
                .map_err(|error| format!("it is done, but not recorded: {error}").into()),
            (result, _) => result,
        };
        match (done, result) {
            (Some(done), result) => done.answer(result),
            (None, Err(reason)) => {
                tracing::warn!("an app does not have what it was given by `isopod update`: {reason}");
            }
            (None, Ok(())) => {}
        }
    }

    fn want(&mut self, change: VolumeChange, done: Done) {
        self.waiting = self.waiting.saturating_add(1);
        self.volumes.want(change, done);
    }

    async fn of_one_app(&mut self, order: AppOrder, done: Done) {
        let refuse = |done: Done, why: &str| done.answer(Err(why.to_owned().into()));
        match order {
            AppOrder::Add(add, files) => {
                // Planned on what was then: not the same any more, or about to be.
                let as_planned = add.first == self.status.apps();
                if !as_planned || self.waiting > 0 || self.arrivals.any() {
                    return done.answer(Err(Refusal::Outdated));
                }
                self.want(VolumeChange::Bind(add, files), done);
            }
            AppOrder::Start(app) => {
                let _ = self.agent.start_app(app).await;
                done.answer(Ok(()));
            }
            AppOrder::Stop(app, grace) => {
                let grace = grace.unwrap_or(Duration::from_millis(self.record.stop_timeout_ms));
                let _ = self.agent.stop_app(app, grace).await;
                self.status.apps_continue(Some(app));
                done.answer(Ok(()));
            }
            AppOrder::Remove(app) => match self.status.removable(app) {
                Ok(arrived) => {
                    let arrived = Box::new(arrived.clone());
                    self.want(VolumeChange::Remove { app, arrived }, done);
                }
                Err(why) => refuse(done, why),
            },
        }
    }

    /// Something has come or gone, or was to; what that is to the supervision.
    fn take_change(&mut self, changed: ChangedVolumes) -> Option<Input> {
        let ChangedVolumes {
            attached,
            count,
            app,
            done,
            result,
        } = changed;
        // Written first: whoever has the answer finds it so.
        self.status.volumes(attached, count);
        match (app, result) {
            (Some(OfApp::Bound(add, files)), Ok(())) => {
                let terms = AppTerms::from(&add.arrived.app);
                self.status.comes(&add.arrived);
                self.outputs.add(&add.arrived.app);
                self.arrivals.send(&self.agent, add, files, done);
                return Some(Input::Comes(terms));
            }
            (Some(OfApp::Gone(app)), Ok(())) => {
                if let Some(name) = self.status.gone(app) {
                    self.outputs.remove(app, &name);
                }
                done.answer(Ok(()));
            }
            (_, result) => done.answer(result),
        }
        None
    }

    /// An app was sent to the guest, which has it or not.
    fn take_arrival(&mut self, came: Came) -> Option<Input> {
        let Came { add, done, result } = came;
        match result {
            Ok(()) => {
                done.answer(Ok(()));
                None
            }
            Err(why) => {
                done.answer(Err(why.clone().into()));
                self.status.gone(add.first);
                let (nobody, _) = Done::unanswered();
                self.want(VolumeChange::Unbind(add.arrived.serials), nobody);
                Some(Input::NotCome(add.first, why))
            }
        }
    }

    /// Connects an app's stream where the event brings one; otherwise it is returned.
    fn connect(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Stdin { app, mut input } => {
                // Not among the copies: it ends when the caller's input does, which nobody waits for.
                match self.stdin.take().or_else(|| self.watched_stdin(app)) {
                    Some(stdin) => drop(tokio::spawn(feed(stdin, input))),
                    None if self.record.stdin == Stdin::Attached || app >= self.record.apps.len() => {
                        self.inputs.insert(app, SharedInput::new(input));
                    }
                    None => drop(tokio::spawn(async move { input.shutdown().await })),
                }
                None
            }
            Event::Stdout { app, output } => {
                self.copies.spawn(self.outputs.copy(app, Stream::Stdout, output));
                None
            }
            Event::Stderr { app, output } => {
                self.copies.spawn(self.outputs.copy(app, Stream::Stderr, output));
                None
            }
            event => Some(event),
        }
    }

    /// What the watcher has for an app to read.
    fn watched_stdin(&self, app: usize) -> Option<Box<dyn AsyncRead + Unpin + Send>> {
        self.watcher.as_ref()?.stdin(self.status.name_of(app)?)
    }

    /// Performs an action; how the supervision ends, where it does.
    async fn perform(&mut self, action: Action) -> Option<SupervisionEnd> {
        // An agent that is gone is reported by its events.
        match action {
            Action::Stop(grace) => {
                tracing::debug!("stopping the apps, with {} s of grace", grace.as_secs());
                let _ = self.agent.stop(grace).await;
                self.status.apps_continue(None);
            }
            Action::Signal { app, signal } => {
                let _ = self.agent.signal(app, signal).await;
                self.status.apps_continue(Some(app));
            }
            Action::AwaitOutput => self.draining = true,
            Action::Finish => {
                let write_back = match self.record.keep {
                    Keep::UntilRemoved => WriteBack::SharesAndDisks,
                    Keep::UntilEnded | Keep::UntilRun => WriteBack::Shares,
                };
                drop(self.agent.finish(write_back).await);
            }
            Action::Reach(milestone) => {
                if let Some(milestones) = &self.milestones {
                    let _ = milestones.send(milestone);
                }
            }
            Action::Record(note) => self.status.record(note),
            Action::LastWords { app, words, from_log } => {
                let end = self.outputs.take_end(app).filter(|_| from_log);
                self.status.app_last_words(app, words.or(end));
            }
            Action::Log(line) => self.log(line),
            Action::End(end) => return Some(end),
        }
        None
    }

    /// Logs a line, where there is room for one that the guest brings about.
    fn log(&mut self, line: GuestLine) {
        let Some(left_out) = self.lines.take(Instant::now()) else {
            return;
        };
        if left_out > 0 {
            tracing::warn!("{left_out} lines about the guest were left out: there were too many");
        }
        match line {
            GuestLine::Info(text) => tracing::info!("{text}"),
            GuestLine::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

fn outcome(end: SupervisionEnd, supervision: Supervision) -> Result<Outcome, RunError> {
    Err(match end {
        SupervisionEnd::Synced(failed) => return Ok(supervision.outcome(failed)),
        SupervisionEnd::NotStopped(after) => RunError::NotStopped(after),
        SupervisionEnd::Silent(after) => RunError::Silent(after),
        SupervisionEnd::StopUnanswered(within) => RunError::StopUnanswered(within),
        SupervisionEnd::Killed => RunError::Killed,
    })
}

/// Waits until all tasks have ended. May be cancelled.
async fn drained(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Sleeps until then, or for ever; not at all where that time has passed.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => {}
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
