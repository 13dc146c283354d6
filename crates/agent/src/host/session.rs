//! The conversation with one host: what systemd says of the apps goes to their [`Lifecycle`], and what that says is done.
//!
//! An app's end goes out in this order: its unit is at rest, its pipes are empty, its streams have ended, its message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use isopod_contract::config::{EarlyMount, GuestApp, Identity, MountAhead};
use isopod_contract::in_one_line;
use isopod_contract::message::{
    BootTimes, ExitStatus, FailureCause, GuestMessage, HostMessage, HostStream, MemoryBound, SyncFailure,
    WriteBack,
};
use isopod_contract::{MAX_APPS, MAX_HOST_STREAMS};
use isopod_protocol::codec::{ReadMessageError, WriteMessageError, read_message, write_message};
use isopod_protocol::mux::{self, Accept, Limits, MuxError, MuxStream, OpenError, Opener, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::app::{AppStreams, Later};
use super::questions::{self, Question};
use super::{stats, streams};
use crate::apps::launch::{Failure, ProcessEnd};
use crate::apps::lifecycle::{AppExit, Lifecycle, LifecycleAction, LifecycleInput, failure};
use crate::apps::notify::ReadinessReport;
use crate::apps::paused::Paused;
use crate::apps::{last_words, launch};
use crate::host::clock::Clock;
use crate::mounts::fresh_root::FreshRootError;
use crate::mounts::{mount_check, mountinfo};
use crate::systemd::appstate::{Activity, AppState, ServiceState, judge};
use crate::systemd::diagnosis;
use crate::systemd::kmsg::{self, MemoryKill};
use crate::systemd::{Manager, ManagerError, Whom};
use checks::{Checks, Undertaking};
use heartbeat::Heartbeat;

mod arrivals;
mod checks;
mod heartbeat;

/// The streams that an app can have.
const STREAMS_PER_APP: usize = 3;

/// The kill that cannot be ignored (signal(7)).
const SIGKILL: u8 = 9;
const SIGSTOP: u8 = 19;
const SIGCONT: u8 = 18;

/// `Result=` of a unit that outgrew its `MemoryMax=` (systemd.exec(5)).
const OUT_OF_MEMORY: &str = "oom-kill";

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the host has closed the port")]
    HostGone,
    #[error("the connection over the port failed")]
    Mux(#[source] MuxError),
    #[error("the host opened no control stream")]
    NoControl,
    #[error("cannot read the host's message")]
    Read(#[source] ReadMessageError),
    #[error("cannot write to the host")]
    Write(#[source] WriteMessageError),
    #[error("cannot open a stream to the host")]
    Open(#[source] OpenError),
    #[error("the connection to systemd is lost")]
    Systemd(#[source] ManagerError),
    #[error("systemd has closed the connection")]
    SystemdGone,
}

/// A conversation with the host.
pub(crate) struct Session<M> {
    pod: Pod,
    manager: M,
    opener: Opener,
    lifecycle: Lifecycle,
    apps: Vec<AppStreams>,
    orders: mpsc::Receiver<HostOrder>,
    heartbeat: Heartbeat,
    /// What the streams that the host opened have to know.
    questions: mpsc::Receiver<Question>,
    control: WriteHalf<MuxStream>,
    driver: JoinHandle<Result<(), MuxError>>,
    /// The messages of apps that have ended, once their output is out, and the answers to `Finish`.
    later: FuturesUnordered<Later>,
    /// The apps' roots that are being recreated.
    renewals: BTreeMap<usize, JoinHandle<Result<(), FreshRootError>>>,
    /// What apps say of their readiness.
    readiness: mpsc::Receiver<(usize, ReadinessReport)>,
    /// What the agent does for apps of its own accord.
    checks: Checks,
    /// The apps that are held.
    paused: Paused,
    /// The record of the kernel by which the last process of an app was killed for want of memory, as far as it was reported.
    memory_kills: BTreeMap<usize, u64>,
    /// Keeps `words` open where no app says anything.
    reports: mpsc::Sender<(usize, ReadinessReport)>,
}

/// What is known of the pod: all that has come.
#[derive(Default)]
struct Pod {
    identity: Identity,
    /// By their numbers.
    apps: Vec<GuestApp>,
    early_mounts: Vec<EarlyMount>,
    mounts_ahead: Vec<MountAhead>,
    shares: Vec<String>,
    disks: Vec<String>,
}

impl<M: Manager> Session<M> {
    /// Begins on a port whose handshake is done: takes the control stream and says that the agent serves.
    pub(crate) async fn begin<T>(
        port: T,
        manager: M,
        clock: Clock,
        times: BootTimes,
        warnings: Vec<String>,
    ) -> Result<Self, SessionError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = Limits {
            incoming: Accept::AtOnce(1 + MAX_HOST_STREAMS),
            outgoing: STREAMS_PER_APP * MAX_APPS,
        };
        let (opener, mut incoming, driver) = mux::start(port, Side::Guest, limits);
        let driver = tokio::spawn(driver.run());
        let mut control = incoming.next().await.ok_or(SessionError::HostGone)?;
        let header: Option<HostStream> = read_message(&mut control).await.map_err(SessionError::Read)?;
        let Some(HostStream::Control) = header else {
            return Err(SessionError::NoControl);
        };
        let (reader, control) = tokio::io::split(control);
        let (reports, readiness) = mpsc::channel(1);
        let (orders, later) = (read_orders(reader), FuturesUnordered::new());
        let paused = Paused::new(Path::new(stats::CGROUPS));
        let questions = streams::receive(incoming, paused.clone());
        let mut session = Self {
            lifecycle: Lifecycle::default(),
            checks: Checks::new(paused.clone()),
            paused,
            questions,
            pod: Pod::default(),
            manager,
            opener,
            apps: Vec::new(),
            orders,
            heartbeat: Heartbeat::new(clock),
            control,
            driver,
            later,
            renewals: BTreeMap::new(),
            readiness,
            memory_kills: BTreeMap::new(),
            reports,
        };
        session.send(&GuestMessage::Ready(times)).await?;
        session.warn_of(warnings).await?;
        Ok(session)
    }

    async fn warn_of(&mut self, warnings: Vec<String>) -> Result<(), SessionError> {
        for text in warnings {
            self.send(&GuestMessage::Warning { text }).await?;
        }
        Ok(())
    }

    /// Reports and carries out requests until the host is gone; `changes` names the units that have changed.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<String>,
    ) -> Result<(), SessionError> {
        loop {
            let (due, beat_at) = (self.lifecycle.due(), self.heartbeat.next_beat());
            tokio::select! {
                unit = changes.recv() => match unit {
                    Some(unit) => self.changed(unit, &mut changes).await?,
                    None => return Err(SessionError::SystemdGone),
                },
                order = self.orders.recv() => match order {
                    Some((order, received)) => self.handle(order.map_err(SessionError::Read)?, received).await?,
                    None => return self.host_gone().await,
                },
                Some(question) = self.questions.recv() => self.answer(question).await?,
                Some(message) = self.later.next() => {
                    self.send(&message).await?;
                    if !matches!(message, GuestMessage::Synced { .. }) {
                        self.feed(LifecycleInput::LastSent).await?;
                    }
                }
                Some((app, report)) = self.readiness.recv() => self.feed(LifecycleInput::Readiness { app, report }).await?,
                () = sleep_until(beat_at.into()) => self.beat().await?,
                Some(done) = self.checks.next() => self.feed(done).await?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.feed(LifecycleInput::Due).await?;
                }
            }
        }
    }

    async fn answer(&mut self, question: Question) -> Result<(), SessionError> {
        match question {
            Question::Forget(departure, reply) => drop(reply.send(self.forget(&departure).await)),
            Question::Restart(app, restart, reply) => {
                drop(reply.send(self.lifecycle.set_restart(app.into(), restart)));
            }
            Question::Arrived(arrived, first, reply) => {
                self.skip_to(first.into());
                drop(reply.send(Ok(self.arrive(*arrived).await?)));
            }
            Question::Identify(identity, reply) => drop(reply.send(self.identify(*identity).await?)),
            question => questions::answer(&self.manager, &mut self.pod.apps, question).await,
        }
        Ok(())
    }

    /// Lets the apps' lifecycle know of something, and does what it says.
    async fn feed(&mut self, input: LifecycleInput) -> Result<(), SessionError> {
        let actions = self.lifecycle.on(input, Instant::now());
        self.perform(actions).await
    }

    async fn perform(&mut self, actions: Vec<LifecycleAction>) -> Result<(), SessionError> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                LifecycleAction::Send(message) => self.send(&message).await?,
                LifecycleAction::End { app, last } => self.later.push(self.apps[app].end(last)),
                LifecycleAction::RenewRoot(app) => self.renew_root(app),
                LifecycleAction::Start(app) => {
                    self.await_renewal(app).await?;
                    if let Err(error) = self.manager.start(&self.pod.apps[app].unit).await {
                        let text = in_one_line(&error);
                        let input = LifecycleInput::NotStarted { app, text };
                        actions.extend(self.lifecycle.on(input, Instant::now()));
                    }
                }
                LifecycleAction::Stop(app) => {
                    let asked = self.manager.stop(&self.pod.apps[app].unit).await;
                    self.warn(asked).await?;
                }
                LifecycleAction::Kill(app) => {
                    let unit = &self.pod.apps[app].unit;
                    let killed = self.manager.kill(unit, Whom::All, SIGKILL).await;
                    self.warn(killed).await?;
                }
                LifecycleAction::LeaveStdin(app) => self.apps[app].leave_stdin(),
                LifecycleAction::Abandon(app) => self.checks.abandon(app),
                LifecycleAction::Check {
                    app,
                    run,
                    what,
                    check,
                    limit,
                } => {
                    let undertaking = Undertaking {
                        app,
                        run,
                        what,
                        check,
                        limit,
                    };
                    let (config, network) = (&self.pod.apps[app], self.pod.identity.network.as_ref());
                    self.checks
                        .undertake(&self.manager, config, network, undertaking)
                        .await;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, message: &GuestMessage) -> Result<(), SessionError> {
        write_message(&mut self.control, message)
            .await
            .map_err(SessionError::Write)
    }

    async fn host_gone(self) -> Result<(), SessionError> {
        match self.driver.await {
            Ok(Err(error)) => Err(SessionError::Mux(error)),
            _ => Err(SessionError::HostGone),
        }
    }

    /// Looks at the units that have changed, at each once: systemd sends several signals about one change.
    async fn changed(
        &mut self,
        first: String,
        more: &mut mpsc::UnboundedReceiver<String>,
    ) -> Result<(), SessionError> {
        let mut units = BTreeSet::from([first]);
        units.extend(std::iter::from_fn(|| more.try_recv().ok()));
        for app in 0..self.apps.len() {
            if units.contains(&self.pod.apps[app].unit) {
                self.look_at(app).await?;
            }
        }
        Ok(())
    }

    /// Looks what is new about an app.
    async fn look_at(&mut self, app: usize) -> Result<(), SessionError> {
        if !self.lifecycle.is_watched(app) {
            return Ok(());
        }
        let config = &self.pod.apps[app];
        let state = self.manager.service(&config.unit).await;
        let state = state
            .map_err(SessionError::Systemd)?
            .since(self.lifecycle.seen(app));
        let now = judge(&state);
        if !matches!(now, AppState::Pending | AppState::Running { .. }) {
            self.paused.forget(u16::try_from(app).unwrap_or(u16::MAX));
        }
        if config.post_stop_ms.is_some() && !matches!(now, AppState::Pending | AppState::Running { .. }) {
            self.report_post_stop(app).await?;
        }
        let input = match now {
            AppState::Pending => return Ok(()),
            AppState::Running { uptime_ms } => LifecycleInput::Running {
                app,
                uptime_ms,
                leaves: state.active == Activity::Changing,
                fault: self.mount_fault(app),
            },
            AppState::Exited { uptime_ms, status } => match launch::failure(&self.pod.apps[app]) {
                Some(Failure::NotExecuted { status, text }) => {
                    LifecycleInput::NotExecuted { app, status, text }
                }
                found => {
                    let end = ProcessEnd::of(status, state.killed_pid, found);
                    LifecycleInput::Exited(self.exit(app, uptime_ms, end, &state).await?)
                }
            },
            AppState::NeverRan { step: None } if self.lifecycle.was_stopped(app) => {
                LifecycleInput::Cancelled { app }
            }
            AppState::NeverRan { step } => {
                let mounts = mountinfo::read().unwrap_or_default();
                let cause = diagnosis::cause(&self.manager, &self.pod.apps[app], step, &mounts).await;
                let cause = cause.map_err(SessionError::Systemd)?;
                LifecycleInput::NeverRan { app, cause }
            }
        };
        self.feed(input).await
    }

    /// What about the mounts of an app that starts is not as it must be.
    fn mount_fault(&self, app: usize) -> Option<FailureCause> {
        if !self.lifecycle.is_starting(app) {
            return None;
        }
        let mounts = mountinfo::read().unwrap_or_default();
        let mut faults = mount_check::faults(&self.pod.apps[app], &mounts);
        faults
            .next()
            .map(|(mount, fault)| diagnosis::not_mounted(mount, fault))
    }

    /// What can be found out of an app's end.
    async fn exit(
        &mut self,
        app: usize,
        uptime_ms: u64,
        ProcessEnd { status, killed_pid }: ProcessEnd,
        state: &ServiceState,
    ) -> Result<AppExit, SessionError> {
        let uptime_ms = (state.active_enter_us > 0).then_some(uptime_ms);
        let fault = uptime_ms.and_then(|_| self.mount_fault(app));
        let (mut words, mut out_of_memory, mut other) = (None, None, None);
        if fault.is_none() {
            let file = self.pod.apps[app].last_words.as_deref();
            words = file.and_then(|file| last_words::take(Path::new(file)));
            (out_of_memory, other) = self.out_of_memory(app, status, killed_pid).await?;
        }
        Ok(AppExit {
            app,
            status,
            uptime_ms,
            fault,
            last_words: words,
            out_of_memory,
            process_out_of_memory: other,
            times: (state.active_enter_us, state.exec_main_start_us),
        })
    }

    /// What the memory has run out in that the kernel killed an app for, if it did, and another process of the app in this life.
    /// When another was the one to be killed and all went with it, only systemd knows.
    async fn out_of_memory(
        &mut self,
        app: usize,
        status: ExitStatus,
        killed_pid: u32,
    ) -> Result<(Option<MemoryBound>, Option<MemoryBound>), SessionError> {
        let unit = self.pod.apps[app].unit.clone();
        let killed = matches!(status, ExitStatus::Signal { signal, .. } if signal == i32::from(SIGKILL));
        let mut kills = kmsg::memory_kills(&unit);
        // Those of earlier starts were reported.
        let reported = self.memory_kills.get(&app).copied();
        kills.retain(|kill| reported.is_none_or(|reported| kill.sequence > reported));
        if let Some(last) = kills.last() {
            self.memory_kills.insert(app, last.sequence);
        }
        let (of_process, others): (Vec<_>, Vec<_>) = kills
            .iter()
            .partition(|kill| killed_pid != 0 && kill.pid == killed_pid);
        let within = |kills: Vec<MemoryKill>| kills.last().map(|kill| kill.within);
        let (of_process, other) = (within(of_process), within(others));
        if of_process.is_some() || !killed {
            return Ok((of_process, other));
        }
        let unit = self.manager.unit(&unit).await.map_err(SessionError::Systemd)?;
        Ok(((unit.result == OUT_OF_MEMORY).then_some(MemoryBound::App), other))
    }

    /// Warns when what the unit of an app has run after its program has failed.
    async fn report_post_stop(&mut self, app: usize) -> Result<(), SessionError> {
        let config = &self.pod.apps[app];
        let end = self.manager.post_stop(&config.unit).await;
        let why = match end.map_err(SessionError::Systemd)? {
            None | Some(ExitStatus::Code(0)) => return Ok(()),
            Some(ExitStatus::Code(code)) => format!("exit status {code}"),
            Some(ExitStatus::Signal { signal, .. }) => format!("killed by signal {signal}"),
        };
        let text = format!("app `{}`: {}", config.name, failure("post-stop handler", &why));
        self.send(&GuestMessage::Warning { text }).await
    }

    /// Shows the host that the agent lives.
    async fn beat(&mut self) -> Result<(), SessionError> {
        let number = self.heartbeat.beat(std::time::Instant::now());
        self.send(&GuestMessage::Beat { number }).await
    }

    async fn handle(&mut self, order: HostMessage, received: std::time::Instant) -> Result<(), SessionError> {
        match order {
            HostMessage::Time { number, unix_ns } => match self.heartbeat.answered(number, unix_ns, received)
            {
                Some(text) => self.send(&GuestMessage::Warning { text }).await,
                None => Ok(()),
            },
            HostMessage::Stop { grace_ms } => {
                // The host waits longer for a guest that has received it.
                self.beat().await?;
                self.paused.unpause_all();
                self.feed(LifecycleInput::Stop(Duration::from_millis(grace_ms.into())))
                    .await
            }
            HostMessage::Signal { app, signal } => {
                let Some(config) = self.pod.apps.get(usize::from(app)) else {
                    let text = format!("no signal {signal} to app {app}: there is no such app");
                    return self.send(&GuestMessage::Warning { text }).await;
                };
                // Nobody passes the first of these on, so both go to all.
                let whom = match signal {
                    SIGSTOP | SIGCONT => Whom::All,
                    _ => Whom::Main,
                };
                let sent = self.manager.kill(&config.unit, whom, signal).await;
                // As with docker, in this order.
                let _ = self.paused.unpause(app);
                self.warn(sent).await
            }
            HostMessage::Resize { app, size } => {
                self.apps
                    .get(usize::from(app))
                    .into_iter()
                    .for_each(|app| app.resize(size));
                Ok(())
            }
            HostMessage::StartApp { app } => self.feed(LifecycleInput::StartApp(app.into())).await,
            HostMessage::StopApp { app, grace_ms } => {
                let grace = Duration::from_millis(grace_ms.into());
                self.feed(LifecycleInput::StopApp(app.into(), grace)).await
            }
            HostMessage::Finish { write_back } => {
                let mut places = self.pod.shares.clone();
                if write_back == WriteBack::SharesAndDisks {
                    places.extend(self.pod.disks.iter().cloned());
                }
                self.later.push(Box::pin(sync(places)));
                Ok(())
            }
        }
    }

    async fn warn(&mut self, done: Result<(), ManagerError>) -> Result<(), SessionError> {
        match done {
            Ok(()) => Ok(()),
            Err(error) => {
                let text = in_one_line(&error);
                self.send(&GuestMessage::Warning { text }).await
            }
        }
    }
}

/// A message of the host, and when it was received.
type HostOrder = (Result<HostMessage, ReadMessageError>, std::time::Instant);

/// Reads the host's messages as a task, because reading one cannot be cancelled.
fn read_orders(mut control: ReadHalf<MuxStream>) -> mpsc::Receiver<HostOrder> {
    let (orders, received) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(order) = read_message(&mut control).await.transpose() {
            let last = order.is_err();
            let order = (order, std::time::Instant::now());
            if orders.send(order).await.is_err() || last {
                return;
            }
        }
    });
    received
}

/// Writes the file systems at `places` back to the host.
async fn sync(places: Vec<String>) -> GuestMessage {
    let synced = tokio::task::spawn_blocking(move || {
        let failed = places.into_iter().filter_map(|mount_point| {
            let error = sync_one(&mount_point).err()?;
            Some(SyncFailure {
                mount_point,
                error: error.to_string(),
            })
        });
        failed.collect()
    });
    let failed = synced.await.unwrap_or_else(|panic| {
        vec![SyncFailure {
            mount_point: String::new(),
            error: panic.to_string(),
        }]
    });
    GuestMessage::Synced { failed }
}

fn sync_one(mount_point: &str) -> std::io::Result<()> {
    let share = std::fs::File::open(mount_point)?;
    rustix::fs::syncfs(&share)?;
    Ok(())
}

#[cfg(test)]
mod tests;
