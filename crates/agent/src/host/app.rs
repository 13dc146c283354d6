//! What a session keeps of an app: how far the host was told, and the tasks that move its standard streams.

use futures::future::LocalBoxFuture;
use isopod_contract::config::GuestApp;
use isopod_contract::message::{AppIndex, ExitStatus, GuestMessage, GuestStream};
use isopod_protocol::mux::{OpenError, Opener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::session::Care;
use crate::apps::notify::{self, Word};
use crate::apps::order::{Standing, Success};
use crate::apps::pipes::{AppPipes, StdinReader, forward_input, forward_output};
use crate::apps::restart::Restarts;

/// How far an app is, as the host was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// Others must come before it: its unit was not started yet.
    Held,
    Started,
    /// It has ended like this and is started anew.
    Waiting {
        until: Instant,
        status: ExitStatus,
    },
    Ended,
}

/// An app of a session.
pub(super) struct App {
    pub(super) told: Told,
    /// How far it is, for those that wait for it.
    pub(super) standing: Standing,
    /// How it ended for good, in words.
    pub(super) end: Option<String>,
    /// Its restarts, where its policy has any.
    pub(super) restarts: Option<Restarts>,
    /// Since when it runs.
    pub(super) running_since: Option<Instant>,
    /// How its last life ended, where it has another.
    pub(super) last_end: Option<ExitStatus>,
    /// When that life was active and when its process was started, as systemd counts.
    pub(super) seen: (u64, u64),
    /// Set when the unit is at rest, for the tasks that read its pipes.
    ended: watch::Sender<bool>,
    /// The end of the input's pipe that systemd opens for the app.
    pub(super) stdin_reader: Option<StdinReader>,
    /// What it last said of its readiness, in this life.
    pub(super) word: Option<Word>,
    /// Whether the host was told that it is ready.
    pub(super) ready: bool,
    /// What is done for it in this life.
    pub(super) care: Care,
    /// Whether it tells when it is ready.
    tells_readiness: bool,
    /// Hears what it says, where it does.
    notify: Option<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
    outputs: Vec<JoinHandle<()>>,
}

/// A message that waits for something.
pub(super) type Later = LocalBoxFuture<'static, GuestMessage>;

impl App {
    /// Opens an app's streams to the host and begins to move bytes.
    pub(super) async fn begin(
        opener: &Opener,
        app: AppIndex,
        config: &GuestApp,
        pipes: AppPipes,
        words: &mpsc::Sender<(usize, Word)>,
    ) -> Result<Self, OpenError> {
        let (ended, _) = watch::channel(false);
        let mut outputs = Vec::with_capacity(2);
        for (header, pipe) in [
            (GuestStream::Stdout { app }, pipes.stdout),
            (GuestStream::Stderr { app }, pipes.stderr),
        ] {
            let stream = opener.open(&header).await?;
            outputs.push(tokio::spawn(forward_output(pipe, stream, ended.subscribe())));
        }
        let (mut input, mut stdin_reader) = (None, None);
        if let Some(stdin) = pipes.stdin {
            let stream = opener.open(&GuestStream::Stdin { app }).await?;
            input = Some(tokio::spawn(forward_input(stream, stdin.writer)));
            stdin_reader = Some(stdin.reader);
        }
        let notify = pipes
            .notify
            .map(|socket| tokio::spawn(notify::listen(socket, usize::from(app), words.clone())));
        Ok(Self {
            told: if config.depends_on.is_empty() {
                Told::Nothing
            } else {
                Told::Held
            },
            standing: Standing::default(),
            end: None,
            restarts: config.restart.clone().map(Restarts::new),
            running_since: None,
            last_end: None,
            seen: (0, 0),
            ended,
            word: None,
            ready: false,
            care: Care::default(),
            tells_readiness: config.tells_readiness(),
            notify,
            stdin_reader,
            input,
            outputs,
        })
    }

    /// Notes that it is executing.
    pub(super) fn started(&mut self) {
        self.told = Told::Started;
        self.standing.started |= !self.tells_readiness;
        self.running_since = Some(Instant::now());
        // systemd has opened it for the app: from now on writing fails when the app no longer reads. One that may be
        // started anew opens it once more.
        if self.restarts.is_none() {
            let reader = self.stdin_reader.take();
            reader.into_iter().for_each(StdinReader::leave);
        }
    }

    /// Ends an app: `last` is due when its output is out.
    pub(super) fn end(&mut self, last: GuestMessage) -> Later {
        self.told = Told::Ended;
        self.care.end();
        let (success, words) = match &last {
            GuestMessage::Exited { status, .. } => in_words(*status),
            _ => (Success::No, "it did not start".to_owned()),
        };
        (self.standing.ended, self.end) = (Some(success), Some(words));
        self.stdin_reader = None;
        for task in [self.input.take(), self.notify.take()].into_iter().flatten() {
            task.abort();
        }
        self.ended.send_replace(true);
        let outputs = std::mem::take(&mut self.outputs);
        Box::pin(async move {
            for output in outputs {
                let _ = output.await;
            }
            last
        })
    }
}

/// Whether an end is a success, and what is said of it.
fn in_words(status: ExitStatus) -> (Success, String) {
    match status {
        ExitStatus::Code(0) => (Success::Yes, "it exited with status 0".to_owned()),
        ExitStatus::Code(code) => (Success::No, format!("it exited with status {code}")),
        ExitStatus::Signal { signal, .. } => (Success::No, format!("it was killed by signal {signal}")),
    }
}
