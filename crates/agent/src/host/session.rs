//! The conversation with one host: reports what systemd says of the apps, moves their standard streams, obeys.
//!
//! An app's end goes out in this order: its unit is at rest, its pipes are empty, its streams have ended, its message.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use isopod_contract::MAX_HOST_STREAMS;
use isopod_contract::config::GuestConfig;
use isopod_contract::in_one_line;
use isopod_contract::message::{
    AppIndex, BootTimes, ExitStatus, GuestMessage, HostMessage, HostStream, MemoryBound, SyncFailure,
};
use isopod_protocol::codec::{ReadMessageError, WriteMessageError, read_message, write_message};
use isopod_protocol::mux::{self, Accept, Limits, MuxError, MuxStream, OpenError, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::app::{App, Later, Told};
use super::streams::{self, Question};
use crate::apps::launch;
use crate::apps::notify::Word;
use crate::apps::pipes::AppPipes;
use crate::exec::enter::Report;
use crate::host::clock::Clock;
use crate::mounts::{mount_check, mountinfo};
use crate::systemd::appstate::{Activity, AppState, judge};
use crate::systemd::{Manager, ManagerError, Whom};
use crate::systemd::{diagnosis, kmsg};
pub(super) use care::Care;
use care::Checks;
use heart::Heart;
use life::present;

mod care;
mod heart;
mod life;

/// The streams that an app can have.
const STREAMS_PER_APP: usize = 3;

/// The kill that cannot be ignored (signal(7)).
const SIGKILL: u8 = 9;

/// `Result=` of a unit that outgrew its `MemoryMax=` (systemd.exec(5)).
const OUT_OF_MEMORY: &str = "oom-kill";

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the host has closed the port")]
    HostGone,
    #[error("the port failed")]
    Mux(#[source] MuxError),
    #[error("the host opened no control stream")]
    NoControl,
    #[error("cannot read the host's message")]
    Read(#[source] ReadMessageError),
    #[error("cannot write to the host")]
    Write(#[source] WriteMessageError),
    #[error("cannot open a stream to the host")]
    Open(#[source] OpenError),
    #[error("systemd is lost")]
    Systemd(#[source] ManagerError),
    #[error("systemd has hung up")]
    SystemdGone,
}

/// A conversation with the host.
pub(crate) struct Session<M> {
    config: GuestConfig,
    manager: M,
    apps: Vec<App>,
    orders: mpsc::Receiver<Order>,
    heart: Heart,
    /// What the streams that the host opened have to know.
    questions: mpsc::Receiver<Question>,
    control: WriteHalf<MuxStream>,
    driver: JoinHandle<Result<(), MuxError>>,
    /// The messages of apps that have ended, once their output is out, and the answers to `Finish`.
    later: FuturesUnordered<Later>,
    all_ended: bool,
    /// Whether the apps were asked to stop: none is started any more.
    stopping: bool,
    kill_at: Option<Instant>,
    /// Whether there is no time at all: nothing is asked any more, and all is killed.
    at_once: bool,
    /// What apps say of their readiness.
    words: mpsc::Receiver<(usize, Word)>,
    /// What the agent does for apps of its own accord.
    checks: Checks,
    /// Keeps `words` open where no app says anything.
    _tell: mpsc::Sender<(usize, Word)>,
}

impl<M: Manager> Session<M> {
    /// Begins on a port whose handshake is done: takes the control stream and opens the apps' streams.
    pub(crate) async fn begin<T>(
        port: T,
        config: GuestConfig,
        manager: M,
        pipes: Vec<AppPipes>,
        clock: Clock,
    ) -> Result<Self, SessionError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = Limits {
            incoming: Accept::AtOnce(1 + MAX_HOST_STREAMS),
            outgoing: STREAMS_PER_APP * config.apps.len(),
        };
        let (opener, mut incoming, driver) = mux::start(port, Side::Guest, limits);
        let driver = tokio::spawn(driver.run());
        let mut control = incoming.next().await.ok_or(SessionError::HostGone)?;
        let header: Option<HostStream> = read_message(&mut control).await.map_err(SessionError::Read)?;
        let Some(HostStream::Control) = header else {
            return Err(SessionError::NoControl);
        };
        let (reader, control) = tokio::io::split(control);
        let mut apps = Vec::with_capacity(pipes.len());
        let (tell, words) = mpsc::channel(1);
        for ((app, config), pipes) in (0..).zip(&config.apps).zip(pipes) {
            let app = App::begin(&opener, app, config, pipes, &tell).await;
            apps.push(app.map_err(SessionError::Open)?);
        }
        let (orders, later) = (read_orders(reader), FuturesUnordered::new());
        let questions = streams::receive(incoming, &config.apps);
        Ok(Self {
            questions,
            config,
            manager,
            apps,
            orders,
            heart: Heart::new(clock),
            control,
            driver,
            later,
            all_ended: false,
            stopping: false,
            kill_at: None,
            at_once: false,
            words,
            checks: Checks::new(),
            _tell: tell,
        })
    }

    /// Reports and obeys until the host is gone; `changes` names the units that have changed.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<String>,
        times: BootTimes,
        warnings: Vec<String>,
    ) -> Result<(), SessionError> {
        self.say(&GuestMessage::Ready(times)).await?;
        for text in warnings {
            self.say(&GuestMessage::Warning { text }).await?;
        }
        // The apps may have started, or even ended, before anyone watched.
        for app in 0..self.apps.len() {
            self.look_at(app).await?;
        }
        self.tell_all_ended().await?;
        loop {
            self.start_held().await;
            self.stop_due().await?;
            let (kill_at, restart_at) = (self.kill_at, self.next_restart());
            let care_at = self.next_care();
            let beat_at = self.heart.next_beat();
            tokio::select! {
                unit = changes.recv() => match unit {
                    Some(unit) => self.changed(unit, &mut changes).await?,
                    None => return Err(SessionError::SystemdGone),
                },
                order = self.orders.recv() => match order {
                    Some((order, heard)) => self.obey(order.map_err(SessionError::Read)?, heard).await?,
                    None => return self.host_gone().await,
                },
                Some(question) = self.questions.recv() => {
                    streams::answer(&self.manager, &mut self.config.apps, question).await;
                }
                Some(message) = self.later.next() => {
                    self.say(&message).await?;
                    self.tell_all_ended().await?;
                }
                Some((app, word)) = self.words.recv() => {
                    self.apps[app].word = Some(word);
                    self.tell_readiness(app).await?;
                }
                () = sleep_until(beat_at.into()) => self.beat().await?,
                Some(finished) = self.checks.ended.recv() => self.finished(finished).await?,
                () = sleep_until(care_at.unwrap_or_else(Instant::now)), if care_at.is_some() => {
                    self.care().await?;
                }
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => {
                    self.kill_all().await?;
                }
                () = sleep_until(restart_at.unwrap_or_else(Instant::now)), if restart_at.is_some() => {
                    self.restart_due().await?;
                }
            }
        }
    }

    async fn say(&mut self, message: &GuestMessage) -> Result<(), SessionError> {
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
            if units.contains(&self.config.apps[app].unit) {
                self.look_at(app).await?;
            }
        }
        Ok(())
    }

    /// Reports what is new about an app.
    async fn look_at(&mut self, app: usize) -> Result<(), SessionError> {
        if matches!(
            self.apps[app].told,
            Told::Held | Told::Ended | Told::Waiting { .. }
        ) {
            return Ok(());
        }
        let config = &self.config.apps[app];
        let state = self.manager.service(&config.unit).await;
        let state = present(state.map_err(SessionError::Systemd)?, self.apps[app].seen);
        let index = wire_index(app);
        let now = judge(&state);
        if config.post_stop_ms.is_some() && !matches!(now, AppState::Pending | AppState::Running { .. }) {
            self.tell_post_stop(app).await?;
        }
        let config = &self.config.apps[app];
        let last = match now {
            AppState::Pending => return Ok(()),
            AppState::Running { uptime_ms } => {
                if state.active == Activity::Changing {
                    self.leave_alone(app);
                }
                return self.started(app, uptime_ms).await;
            }
            AppState::Exited { uptime_ms, status } => {
                if let Some(Report { status, text }) = launch::failure(config) {
                    let text = format!("app `{}` {text}", config.name);
                    self.say(&GuestMessage::Warning { text }).await?;
                    self.end_as(app, ExitStatus::Code(status.into()));
                    return Ok(());
                }
                if state.active_enter_us > 0 {
                    self.started(app, uptime_ms).await?;
                }
                if self.apps[app].told == Told::Ended {
                    return Ok(());
                }
                return self.ended(app, status, &state).await;
            }
            AppState::NeverRan { step } => {
                // Stopped before its next life began.
                if let (true, None, Some(status)) = (self.stopping, step, self.apps[app].last_end) {
                    self.end_as(app, status);
                    return Ok(());
                }
                let cause = diagnosis::cause(
                    &self.manager,
                    config,
                    step,
                    &mountinfo::read().unwrap_or_default(),
                )
                .await;
                GuestMessage::Failed {
                    app: index,
                    cause: cause.map_err(SessionError::Systemd)?,
                }
            }
        };
        self.later.push(self.apps[app].end(last));
        Ok(())
    }

    async fn started(&mut self, app: usize, uptime_ms: u64) -> Result<(), SessionError> {
        if self.apps[app].told != Told::Nothing {
            return Ok(());
        }
        // An app whose mounts are not as they must be does not count as started, and does not go on.
        let config = &self.config.apps[app];
        let mounts = mountinfo::read().unwrap_or_default();
        let cause = mount_check::faults(config, &mounts)
            .next()
            .map(|(mount, fault)| diagnosis::not_mounted(mount, fault));
        if let Some(cause) = cause {
            let killed = self.manager.kill(&config.unit, Whom::All, SIGKILL).await;
            self.warn(killed).await?;
            let last = GuestMessage::Failed {
                app: wire_index(app),
                cause,
            };
            self.later.push(self.apps[app].end(last));
            return Ok(());
        }
        self.apps[app].started();
        self.say(&GuestMessage::Started {
            app: wire_index(app),
            uptime_ms,
        })
        .await?;
        self.begin_care(app).await;
        // It may have said so before systemd said that it runs.
        self.tell_readiness(app).await
    }

    /// What the memory has run out in that the kernel killed an app for, if it did. When another process of the app's was
    /// the one to be killed and all went with it, only systemd knows.
    async fn out_of_memory(
        &self,
        app: usize,
        status: ExitStatus,
        killed_pid: u32,
    ) -> Result<Option<MemoryBound>, SessionError> {
        let unit = &self.config.apps[app].unit;
        let killed = matches!(status, ExitStatus::Signal { signal, .. } if signal == i32::from(SIGKILL));
        let of_process = kmsg::out_of_memory(unit, killed_pid);
        if of_process.is_some() || !killed {
            return Ok(of_process);
        }
        let unit = self.manager.unit(unit).await.map_err(SessionError::Systemd)?;
        Ok((unit.result == OUT_OF_MEMORY).then_some(MemoryBound::App))
    }

    /// Says that all have ended, once, when the last app's message is out.
    async fn tell_all_ended(&mut self) -> Result<(), SessionError> {
        let ended = self.apps.iter().all(|app| app.told == Told::Ended);
        if self.all_ended || !ended || !self.later.is_empty() {
            return Ok(());
        }
        self.all_ended = true;
        self.say(&GuestMessage::AllEnded).await
    }

    /// Shows the host that the agent lives.
    async fn beat(&mut self) -> Result<(), SessionError> {
        let number = self.heart.beat(std::time::Instant::now());
        self.say(&GuestMessage::Beat { number }).await
    }

    async fn obey(&mut self, order: HostMessage, heard: std::time::Instant) -> Result<(), SessionError> {
        match order {
            HostMessage::Time { number, unix_ns } => match self.heart.told(number, unix_ns, heard) {
                Some(text) => self.say(&GuestMessage::Warning { text }).await,
                None => Ok(()),
            },
            HostMessage::Stop { grace_ms } => {
                // The host waits longer for a guest that has heard it.
                self.beat().await?;
                let grace = Duration::from_millis(grace_ms.into());
                let kill_at = Instant::now() + grace;
                self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
                self.at_once |= grace.is_zero();
                self.stop_restarts();
                self.stop_due().await
            }
            HostMessage::Signal { app, signal } => {
                let Some(config) = self.config.apps.get(usize::from(app)) else {
                    let text = format!("no signal {signal} to app {app}: there is no such app");
                    return self.say(&GuestMessage::Warning { text }).await;
                };
                let sent = self.manager.kill(&config.unit, Whom::Main, signal).await;
                self.warn(sent).await
            }
            HostMessage::Finish => {
                self.later.push(Box::pin(sync(self.config.shares.clone())));
                Ok(())
            }
        }
    }

    /// Kills what is left of the apps; what their units run behind the programs has its time, too.
    async fn kill_all(&mut self) -> Result<(), SessionError> {
        let mut longest = None;
        for app in 0..self.apps.len() {
            if !self.is_up(app) || (!self.at_once && self.ask_at_last(app).await?) {
                continue;
            }
            longest = longest.max(self.config.apps[app].post_stop_ms);
            self.kill_app(app).await?;
        }
        self.kill_at = longest.map(|ms| Instant::now() + Duration::from_millis(ms));
        Ok(())
    }

    async fn warn(&mut self, done: Result<(), ManagerError>) -> Result<(), SessionError> {
        match done {
            Ok(()) => Ok(()),
            Err(error) => {
                self.say(&GuestMessage::Warning {
                    text: in_one_line(&error),
                })
                .await
            }
        }
    }
}

/// An app's number as the wire has it; the host, which made the configuration, allows fewer apps than there are
/// numbers.
fn wire_index(app: usize) -> AppIndex {
    AppIndex::try_from(app).unwrap_or(AppIndex::MAX)
}

/// A message of the host's, and when it was heard.
type Order = (Result<HostMessage, ReadMessageError>, std::time::Instant);

/// Reads the host's messages as a task, because reading one cannot be cancelled.
fn read_orders(mut control: ReadHalf<MuxStream>) -> mpsc::Receiver<Order> {
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

/// Writes the shares back to the host.
async fn sync(shares: Vec<String>) -> GuestMessage {
    let synced = tokio::task::spawn_blocking(move || {
        let failed = shares.into_iter().filter_map(|mount_point| {
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
