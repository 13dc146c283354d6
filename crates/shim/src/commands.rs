//! A command in a container: begun in the guest, its streams moved, its end reported.

use std::path::Path;

use isopod_contract::exec::Request;
use isopod_contract::message::{ExitStatus, HostStream};
use isopod_protocol::exec::{self, Answer, Answers, Client};
use isopod_runtime::control;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Sender;

use crate::oci::spec::Process;
use crate::pod::words;
use crate::stdio::{Input, Output};

/// What is read of the input at a time.
const PIECE_BYTES: usize = 16 * 1024;

pub(crate) enum Command {
    /// It was not started yet.
    Waits(Process),
    /// It executes.
    Runs {
        client: Client<WriteHalf<UnixStream>>,
        /// Keeps its input from ending.
        input_open: Option<Sender>,
    },
    Ended,
}

impl Command {
    /// Begins what `request` says in the pod at `dir`, and waits until it executes. `ended` is called once, when it has ended and what
    /// it wrote has been written.
    ///
    /// # Errors
    /// Why it is not executed, in a line.
    pub(crate) async fn begin(
        dir: &Path,
        request: Request,
        input: Option<Input>,
        outputs: [Option<Output>; 2],
        ended: impl FnOnce(Option<ExitStatus>) + Send + 'static,
    ) -> Result<Self, String> {
        let program = request.argv.first().cloned().unwrap_or_default();
        let stream = control::open(dir, HostStream::Exec(request)).await;
        let (client, mut answers) = exec::client(stream.map_err(|error| words(&error))?);
        match answers.next().await {
            Ok(Answer::Started) => {}
            Ok(Answer::Failed { status, text }) => return Err(not_executed(&program, status, &text)),
            Ok(_) => {
                return Err(
                    "the agent in the guest did not report whether the command was executed".to_owned(),
                );
            }
            Err(error) => return Err(words(&error)),
        }
        let mut input_open = None;
        let mut feeding = None;
        if let Some(Input { reader, open }) = input {
            input_open = Some(open);
            feeding = Some(tokio::spawn(feed(client.clone(), reader)));
        }
        tokio::spawn(async move {
            let status = follow(answers, outputs).await;
            if let Some(feeding) = feeding {
                feeding.abort();
            }
            ended(status);
        });
        Ok(Self::Runs { client, input_open })
    }

    /// Where to send it something, while it runs.
    pub(crate) fn client(&self) -> Option<Client<WriteHalf<UnixStream>>> {
        match self {
            Self::Runs { client, .. } => Some(client.clone()),
            Self::Waits(_) | Self::Ended => None,
        }
    }

    /// Lets its input end when whoever writes it does.
    pub(crate) fn close_input(&mut self) -> Option<Sender> {
        match self {
            Self::Runs { input_open, .. } => input_open.take(),
            Self::Waits(_) | Self::Ended => None,
        }
    }
}

/// Why nothing was executed, in the words of runc that engines look for: they distinguish 127 and 126 by them.
fn not_executed(program: &str, status: u8, text: &str) -> String {
    use isopod_contract::exec::{STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
    let program = program.escape_debug();
    match status {
        STATUS_NOT_FOUND => format!("exec: \"{program}\": executable file not found in $PATH: {text}"),
        STATUS_NOT_EXECUTABLE => format!("exec: \"{program}\": permission denied: {text}"),
        _ => text.to_owned(),
    }
}

async fn feed(client: Client<WriteHalf<UnixStream>>, mut reader: Box<dyn AsyncRead + Unpin + Send>) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let sent = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return drop(client.end_stdin().await),
            Ok(n) => client.stdin(&buffer[..n]).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Writes what the command writes, until it has ended; `None` where that was not received.
async fn follow(
    mut answers: Answers<ReadHalf<UnixStream>>,
    outputs: [Option<Output>; 2],
) -> Option<ExitStatus> {
    let [mut stdout, mut stderr] = outputs;
    loop {
        let (output, bytes) = match answers.next().await {
            Ok(Answer::Stdout(bytes)) => (&mut stdout, bytes),
            Ok(Answer::Stderr(bytes)) => (&mut stderr, bytes),
            Ok(Answer::Started) => continue,
            Ok(Answer::Exited(status)) => return Some(status),
            Ok(Answer::Failed { status, .. }) => return Some(ExitStatus::Code(status.into())),
            Err(_) => return None,
        };
        let Some(writer) = output else { continue };
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        // Nobody reads it any more: the command continues.
        if written.await.is_err() {
            *output = None;
        }
    }
}
