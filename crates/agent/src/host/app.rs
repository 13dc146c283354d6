//! What a session keeps of an app: the tasks that move its standard streams, and the one that receives what it reports of its
//! readiness.

use futures::future::LocalBoxFuture;
use isopod_contract::config::GuestApp;
use isopod_contract::exec::WindowSize;
use isopod_contract::message::{AppIndex, GuestMessage, GuestStream};
use isopod_protocol::mux::{OpenError, Opener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::apps::notify::{self, ReadinessReport};
use crate::apps::pipes::{AppPipes, StdinReader, forward_input, forward_output};
use crate::apps::terminal::Sizer;

/// The streams of an app.
pub(super) struct AppStreams {
    /// Set when the unit is at rest, for the tasks that read its pipes.
    ended: watch::Sender<bool>,
    /// The end of the input's pipe that systemd opens for the app.
    stdin_reader: Option<StdinReader>,
    /// What sets the size of its terminal, where it has one.
    sizer: Option<Sizer>,
    /// Receives its notifications, where it sends any.
    notify: Option<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
    outputs: Vec<JoinHandle<()>>,
}

/// A message that waits for something.
pub(super) type Later = LocalBoxFuture<'static, GuestMessage>;

impl AppStreams {
    /// Those of an app that never came.
    pub(super) fn none() -> Self {
        Self {
            ended: watch::channel(true).0,
            stdin_reader: None,
            sizer: None,
            notify: None,
            input: None,
            outputs: Vec::new(),
        }
    }

    /// Opens an app's streams to the host and begins to move bytes.
    pub(super) async fn begin(
        opener: &Opener,
        app: AppIndex,
        config: &GuestApp,
        pipes: AppPipes,
        reports: &mpsc::Sender<(usize, ReadinessReport)>,
    ) -> Result<Self, OpenError> {
        let (ended, _) = watch::channel(false);
        let mut outputs = Vec::with_capacity(2);
        let stdout = opener.open(&GuestStream::Stdout { app }).await?;
        let stderr = opener.open(&GuestStream::Stderr { app }).await?;
        outputs.push(tokio::spawn(forward_output(
            pipes.stderr,
            stderr,
            ended.subscribe(),
        )));
        let (mut input, mut stdin_reader, mut sizer) = (None, None, None);
        if let Some(terminal) = pipes.terminal {
            let typed = match config.stdin {
                Some(_) => Some(opener.open(&GuestStream::Stdin { app }).await?),
                None => None,
            };
            sizer = terminal.sizer().ok();
            outputs.push(tokio::spawn(terminal.serve(stdout, typed, ended.subscribe())));
        } else {
            outputs.push(tokio::spawn(forward_output(
                pipes.stdout,
                stdout,
                ended.subscribe(),
            )));
        }
        if let Some(stdin) = pipes.stdin {
            let stream = opener.open(&GuestStream::Stdin { app }).await?;
            input = Some(tokio::spawn(forward_input(stream, stdin.writer)));
            stdin_reader = Some(stdin.reader);
        }
        let notify = pipes
            .notify
            .map(|socket| tokio::spawn(notify::listen(socket, usize::from(app), reports.clone())));
        Ok(Self {
            ended,
            stdin_reader,
            sizer,
            notify,
            input,
            outputs,
        })
    }

    /// Gives the app's terminal another size, where it has one.
    pub(super) fn resize(&self, size: WindowSize) {
        // Where it cannot be, the terminal is gone.
        let _ = self.sizer.as_ref().map(|sizer| sizer.resize(size));
    }

    /// Nobody but the app holds its input open any more.
    pub(super) fn leave_stdin(&mut self) {
        self.stdin_reader.take().into_iter().for_each(StdinReader::leave);
    }

    /// The app has ended: `last` is due when its output is out.
    pub(super) fn end(&mut self, last: GuestMessage) -> Later {
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
