//! What a session keeps of an app: the tasks that move its standard streams, and the one that hears what it says of its
//! readiness.

use futures::future::LocalBoxFuture;
use isopod_contract::message::{AppIndex, GuestMessage, GuestStream};
use isopod_protocol::mux::{OpenError, Opener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::apps::notify::{self, Word};
use crate::apps::pipes::{AppPipes, StdinReader, forward_input, forward_output};

/// The streams of an app.
pub(super) struct AppStreams {
    /// Set when the unit is at rest, for the tasks that read its pipes.
    ended: watch::Sender<bool>,
    /// The end of the input's pipe that systemd opens for the app.
    stdin_reader: Option<StdinReader>,
    /// Hears what it says, where it does.
    notify: Option<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
    outputs: Vec<JoinHandle<()>>,
}

/// A message that waits for something.
pub(super) type Later = LocalBoxFuture<'static, GuestMessage>;

impl AppStreams {
    /// Opens an app's streams to the host and begins to move bytes.
    pub(super) async fn begin(
        opener: &Opener,
        app: AppIndex,
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
            ended,
            stdin_reader,
            notify,
            input,
            outputs,
        })
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
