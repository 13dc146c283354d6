//! Judges what the guest sends and turns it into events: the ledger of what each app may still do, and the order in
//! which the caller receives of it. It reads no byte of an app's streams.
//!
//! ```text
//!   app:   (nothing yet) ── Started ──> running ── Exited ──┐
//!             │     ^────── Restarting ────┘                │
//!             └────────── Failed or Exited ────────────────>┴─> ended: held until both outputs were read
//! ```

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{FuturesUnordered, StreamExt};
use isopod_contract::message::{
    AppIndex, AppReport, BootTimes, ExitStatus, FailureCause, GuestMessage, GuestStream, HostMessage,
    MAX_HEALTH_BYTES, MAX_LOG_LINES, SyncFailure,
};
use isopod_protocol::codec::{ReadMessageError, read_message};
use isopod_protocol::mux::{Incoming, MuxStream};
use isopod_spec::RestartPolicy;
use isopod_spec::words::is_terminal_control;
use tokio::sync::mpsc;

use super::stdio::{Done, OutputKind};
use super::{AgentError, Breach, Ending, Event, Expected, Input, Output, unix_ns};

/// Where one of an app's outputs is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Unseen,
    Open,
    Read,
}

/// What is known of an app.
#[derive(Debug, Default)]
struct Record {
    /// Those that it has, or had when what the agent says was on its way.
    policies: Vec<RestartPolicy>,
    /// How often it was restarted.
    restarts: u32,
    stdin: bool,
    stdout: Progress,
    stderr: Progress,
    started: bool,
    /// Whether it said that it is ready.
    ready: bool,
    /// Whether the agent ends this life of its own accord, which is a failure whatever the status.
    ending: bool,
    ended: bool,
    /// The event of its end, until its outputs were read.
    held: Option<Event>,
}

impl Record {
    fn output(&mut self, kind: OutputKind) -> &mut Progress {
        match kind {
            OutputKind::Stdout => &mut self.stdout,
            OutputKind::Stderr => &mut self.stderr,
        }
    }

    /// Whether this may be reported of the app now; it is noted then.
    fn accept(&mut self, report: &AppReport) -> bool {
        let runs = self.started && !self.ended;
        match report {
            AppReport::Started { .. } => !self.ended && !mem::replace(&mut self.started, true),
            AppReport::Failed { .. } => !self.started && !mem::replace(&mut self.ended, true),
            AppReport::Exited { .. } => !mem::replace(&mut self.ended, true),
            AppReport::Restarting { status, count, .. } => self.restart(*status, *count),
            // Only what is new.
            AppReport::Ready => runs && !mem::replace(&mut self.ready, true),
            AppReport::Unready => runs && mem::replace(&mut self.ready, false),
            AppReport::Health { .. } => runs,
            // Once in a life.
            AppReport::Ending { .. } => runs && !mem::replace(&mut self.ending, true),
            AppReport::OutOfMemory { .. }
            | AppReport::ProcessOutOfMemory { .. }
            | AppReport::LastWords { .. } => !self.ended,
        }
    }

    /// Whether the app may be restarted, which it is only as its policy has it.
    fn restart(&mut self, status: ExitStatus, count: u32) -> bool {
        let allows = |policy: &RestartPolicy| match policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { max_retries } => {
                (self.ending || status != ExitStatus::Code(0)) && max_retries.is_none_or(|most| count <= most)
            }
            RestartPolicy::Always => true,
        };
        let allowed = self.policies.iter().any(allows);
        if self.ended || !allowed || self.restarts.checked_add(1) != Some(count) {
            return false;
        }
        (self.restarts, self.started, self.ready, self.ending) = (count, false, false, false);
        true
    }

    /// The event of the end, once it is due.
    fn release(&mut self) -> Option<Event> {
        let read = self.stdout == Progress::Read && self.stderr == Progress::Read;
        if read { self.held.take() } else { None }
    }
}

/// The conversation's events in the making.
pub(super) struct Receiving {
    apps: Vec<Record>,
    /// Policies that apps have got meanwhile.
    more: MorePolicies,
    all_ended: AllEnded,
    expected: mpsc::Receiver<Expected>,
    events: mpsc::Sender<Result<Event, AgentError>>,
    /// To the guest.
    commands: mpsc::Sender<HostMessage>,
    /// Whether the guest was asked to write everything back, and has not said yet that it did.
    finishing: Arc<AtomicBool>,
    ended: mpsc::UnboundedSender<(usize, OutputKind)>,
    done: mpsc::UnboundedReceiver<(usize, OutputKind)>,
}

/// Whether the guest has said that all apps ended, and that was reported to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AllEnded {
    NotReported,
    Held,
    Emitted,
}

/// Why [`Receiving`] stops.
enum Stop {
    /// Nobody listens any more.
    NotReceived,
    /// The conversation is over.
    Over(AgentError),
}

impl From<Breach> for Stop {
    fn from(breach: Breach) -> Self {
        Self::Over(AgentError::Breach(breach))
    }
}

type Header = Result<Option<GuestStream>, ReadMessageError>;

/// The policies that apps have got since the conversation began, with their positions.
pub(super) type MorePolicies = Arc<Mutex<Vec<(usize, RestartPolicy)>>>;

impl Receiving {
    pub(super) fn new(
        expected: mpsc::Receiver<Expected>,
        more: MorePolicies,
        events: mpsc::Sender<Result<Event, AgentError>>,
        commands: mpsc::Sender<HostMessage>,
        finishing: Arc<AtomicBool>,
    ) -> Self {
        let (ended, done) = mpsc::unbounded_channel();
        Self {
            apps: Vec::new(),
            more,
            all_ended: AllEnded::NotReported,
            expected,
            events,
            commands,
            finishing,
            ended,
            done,
        }
    }

    /// Receives until the conversation is over or nobody listens.
    pub(super) async fn run(
        mut self,
        mut incoming: Incoming,
        mut messages: mpsc::Receiver<Result<GuestMessage, AgentError>>,
        ending: Ending,
        times: BootTimes,
    ) {
        let stop = match self.emit(Event::Ready(times)).await {
            Ok(()) => self.receive(&mut incoming, &mut messages, ending).await,
            Err(stop) => stop,
        };
        if let Stop::Over(error) = stop {
            // What the guest reported before it was lost is true, even when the outputs were cut off.
            for event in self.apps.iter_mut().filter_map(|app| app.held.take()) {
                let _ = self.events.send(Ok(event)).await;
            }
            let _ = self.events.send(Err(error)).await;
        }
    }

    async fn receive(
        &mut self,
        incoming: &mut Incoming,
        messages: &mut mpsc::Receiver<Result<GuestMessage, AgentError>>,
        ending: Ending,
    ) -> Stop {
        let mut headers = FuturesUnordered::new();
        let mut streams_left = true;
        loop {
            let received = tokio::select! {
                stream = incoming.next(), if streams_left => {
                    match stream {
                        Some(stream) => headers.push(read_header(stream)),
                        None => streams_left = false,
                    }
                    Ok(())
                }
                Some((header, stream)) = headers.next() => self.receive_stream(header, stream).await,
                Some(expected) = self.expected.recv() => {
                    self.expect(expected);
                    Ok(())
                }
                message = messages.recv() => match message {
                    Some(Ok(message)) => self.receive_message(message).await,
                    Some(Err(error)) => Err(Stop::Over(error)),
                    None => return Stop::Over(ending.why().await),
                },
                Some((app, kind)) = self.done.recv() => {
                    *self.apps[app].output(kind) = Progress::Read;
                    self.release(app).await
                }
            };
            if let Err(stop) = received {
                return stop;
            }
        }
    }

    /// Apps come, and may all end once more.
    fn expect(&mut self, Expected { apps, first }: Expected) {
        let next = self.apps.len();
        let fit = next + apps.len() <= usize::from(AppIndex::MAX);
        if fit {
            self.apps.extend(apps.into_iter().map(|policy| Record {
                policies: vec![policy],
                ..Record::default()
            }));
            self.all_ended = AllEnded::NotReported;
        }
        let _ = first.send(fit.then_some(next));
    }

    async fn emit(&self, event: Event) -> Result<(), Stop> {
        self.events.send(Ok(event)).await.map_err(|_| Stop::NotReceived)
    }

    /// Takes over the policies that apps have got.
    fn learn_policies(&mut self) {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        for (app, policy) in more.drain(..) {
            if let Some(record) = self.apps.get_mut(app) {
                record.policies.push(policy);
            }
        }
    }

    fn index(&self, app: AppIndex) -> Result<usize, Breach> {
        let (app, apps) = (usize::from(app), self.apps.len());
        if app < apps {
            Ok(app)
        } else {
            Err(Breach::NoSuchApp { app, apps })
        }
    }

    async fn receive_stream(&mut self, header: Header, stream: MuxStream) -> Result<(), Stop> {
        let header = match header {
            Ok(Some(header)) => header,
            // Lost or reset before it said what it is: whether that matters, the control stream shows.
            Ok(None) | Err(ReadMessageError::Io(_) | ReadMessageError::Truncated) => return Ok(()),
            Err(error) => return Err(Stop::Over(AgentError::Message(error))),
        };
        match header {
            GuestStream::Stdin { app } => {
                let app = self.index(app)?;
                if mem::replace(&mut self.apps[app].stdin, true) {
                    return Err(Breach::SecondStream { app, stream: "stdin" }.into());
                }
                self.emit(Event::Stdin {
                    app,
                    input: Input(stream),
                })
                .await
            }
            GuestStream::Stdout { app } => {
                let (app, output) = self.output(app, OutputKind::Stdout, stream)?;
                self.emit(Event::Stdout { app, output }).await
            }
            GuestStream::Stderr { app } => {
                let (app, output) = self.output(app, OutputKind::Stderr, stream)?;
                self.emit(Event::Stderr { app, output }).await
            }
        }
    }

    fn output(
        &mut self,
        app: AppIndex,
        kind: OutputKind,
        stream: MuxStream,
    ) -> Result<(usize, Output), Breach> {
        let app = self.index(app)?;
        let progress = self.apps[app].output(kind);
        if *progress != Progress::Unseen {
            let stream = if kind == OutputKind::Stdout {
                "stdout"
            } else {
                "stderr"
            };
            return Err(Breach::SecondStream { app, stream });
        }
        *progress = Progress::Open;
        Ok((
            app,
            Output::new(
                stream,
                Done {
                    app,
                    kind,
                    ended: self.ended.clone(),
                },
            ),
        ))
    }

    async fn receive_message(&mut self, message: GuestMessage) -> Result<(), Stop> {
        let breach = out_of_turn(&message);
        match message {
            GuestMessage::Ready(_) => Err(breach.into()),
            GuestMessage::App(app, report) => self.receive_report(app, report, breach).await,
            GuestMessage::AllEnded => {
                if self.all_ended != AllEnded::NotReported || !self.apps.iter().all(|app| app.ended) {
                    return Err(breach.into());
                }
                self.all_ended = AllEnded::Held;
                self.emit_all_ended().await
            }
            // Only what was asked for, which is asked when all have ended; and once.
            GuestMessage::Synced { .. } if !self.finishing.swap(false, Ordering::Relaxed) => {
                Err(breach.into())
            }
            GuestMessage::Synced { failed } => {
                let failed = failed.into_iter().map(|failure| SyncFailure {
                    mount_point: printable(&cut(failure.mount_point)),
                    error: printable(&cut(failure.error)),
                });
                self.emit(Event::Synced {
                    failed: failed.collect(),
                })
                .await
            }
            GuestMessage::Warning { text } => self.emit(Event::Warning(printable(&cut(text)))).await,
            GuestMessage::Beat { number } => {
                let unix_ns = unix_ns();
                // A guest that reads nothing is sent nothing: it asks again.
                let _ = self.commands.try_send(HostMessage::Time { number, unix_ns });
                self.emit(Event::Beat).await
            }
        }
    }

    async fn receive_report(&mut self, app: AppIndex, report: AppReport, breach: Breach) -> Result<(), Stop> {
        let app = self.index(app)?;
        self.learn_policies();
        if !self.apps[app].accept(&report) {
            return Err(breach.into());
        }
        let event = Event::App(app, shown(report));
        if self.apps[app].ended {
            self.apps[app].held = Some(event);
            return self.release(app).await;
        }
        self.emit(event).await
    }

    async fn release(&mut self, app: usize) -> Result<(), Stop> {
        if let Some(event) = self.apps[app].release() {
            self.emit(event).await?;
        }
        self.emit_all_ended().await
    }

    async fn emit_all_ended(&mut self) -> Result<(), Stop> {
        if self.all_ended == AllEnded::Held && self.apps.iter().all(|app| app.held.is_none()) {
            self.all_ended = AllEnded::Emitted;
            self.emit(Event::AllEnded).await?;
        }
        Ok(())
    }
}

async fn read_header(mut stream: MuxStream) -> (Header, MuxStream) {
    (read_message(&mut stream).await, stream)
}

/// The breach that `message` is, when it came at the wrong time.
pub(super) fn out_of_turn(message: &GuestMessage) -> Breach {
    let message = message.name();
    Breach::OutOfTurn { message }
}

/// A report whose texts are short, and can be shown where people read them.
fn shown(report: AppReport) -> AppReport {
    match report {
        AppReport::Failed { cause } => AppReport::Failed {
            cause: printable_cause(cause),
        },
        AppReport::Health { health, text } => AppReport::Health {
            health,
            text: printable(&cut(text)),
        },
        AppReport::Ending { reason } => AppReport::Ending {
            reason: printable(&cut(reason)),
        },
        // They are the app's data; whoever shows them escapes them.
        AppReport::LastWords { text } => AppReport::LastWords { text: cut(text) },
        other @ (AppReport::Started { .. }
        | AppReport::Exited { .. }
        | AppReport::Restarting { .. }
        | AppReport::Ready
        | AppReport::Unready
        | AppReport::OutOfMemory { .. }
        | AppReport::ProcessOutOfMemory { .. }) => other,
    }
}

/// A text, no longer than one about an app's health may be.
fn cut(mut text: String) -> String {
    let end = (0..=MAX_HEALTH_BYTES.min(text.len())).rev();
    text.truncate(end.into_iter().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

/// A text of the guest that a terminal can show: what controls it is escaped.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_control(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn printable_cause(cause: FailureCause) -> FailureCause {
    let word = |text: String| printable(&cut(text));
    let lines = |log: Vec<String>| log.into_iter().take(MAX_LOG_LINES).map(word).collect();
    match cause {
        FailureCause::Mount {
            unit,
            volume,
            result,
            log,
        } => FailureCause::Mount {
            unit: word(unit),
            volume: volume.map(word),
            result: word(result),
            log: lines(log),
        },
        FailureCause::Dependency { unit, result, log } => FailureCause::Dependency {
            unit: word(unit),
            result: word(result),
            log: lines(log),
        },
        FailureCause::Unit { unit, result, log } => FailureCause::Unit {
            unit: word(unit),
            result: word(result),
            log: lines(log),
        },
        FailureCause::Stopped => FailureCause::Stopped,
    }
}
