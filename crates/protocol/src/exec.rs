//! The client's side of an exec stream ([`isopod_contract::exec`]).

use std::io;
use std::sync::Arc;

use isopod_contract::exec::{FromCommand, MAX_PIECE_BYTES, STDIN_WINDOW_BYTES, ToCommand, WindowSize};
use isopod_contract::message::ExitStatus;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Semaphore};

use crate::codec::{ReadMessageError, WriteMessageError, read_message, write_message};

/// Why the client receives no more.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// A message could not be read.
    #[error("cannot read the command's output")]
    Read(#[source] ReadMessageError),
    /// The stream ended before the command did: the pod has ended, or the agent was lost.
    #[error("the connection to the command has ended before the command did")]
    Ended,
    /// The agent took more input than there was.
    #[error("the agent claims to have taken {claimed} bytes of input, which is more than were sent")]
    Credit {
        /// How many it claims.
        claimed: u32,
    },
    /// A piece of output is over the limit.
    #[error("a piece of output of {bytes} bytes is over the limit of {MAX_PIECE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Speaks to a command: cheap to clone, and each method may wait while others speak.
#[derive(Debug)]
pub struct Client<W> {
    stream: Arc<Mutex<W>>,
    window: Arc<Semaphore>,
}

impl<W> Clone for Client<W> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            window: self.window.clone(),
        }
    }
}

/// Receives from a command.
#[derive(Debug)]
pub struct Answers<R> {
    stream: R,
    window: Arc<Semaphore>,
}

/// What a command sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It executes. The first answer, where it comes to that.
    Started,
    /// It wrote this to its standard output or its terminal.
    Stdout(Vec<u8>),
    /// It wrote this to its standard error.
    Stderr(Vec<u8>),
    /// It has ended. The last answer.
    Exited(ExitStatus),
    /// It was not executed. The last answer.
    Failed {
        /// What a shell would exit with.
        status: u8,
        /// Why. The guest's words: escape them before a terminal sees them.
        text: String,
    },
}

/// The client's side of a stream whose header was sent. Send and receive at the same time: input waits for the command
/// to read, and a command that nobody reads does not.
pub fn client<S>(stream: S) -> (Client<WriteHalf<S>>, Answers<ReadHalf<S>>)
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let window = Arc::new(Semaphore::new(STDIN_WINDOW_BYTES));
    let client = Client {
        stream: Arc::new(Mutex::new(writer)),
        window: window.clone(),
    };
    let answers = Answers {
        stream: reader,
        window,
    };
    (client, answers)
}

impl<W: AsyncWrite + Unpin> Client<W> {
    /// Gives the command input, as fast as it reads it. Not to be cancelled half-way. What a command that has ended does not
    /// read is not an error.
    ///
    /// # Errors
    /// [`WriteMessageError`], where the stream has failed; [`Answers::next`] says why.
    pub async fn stdin(&self, bytes: &[u8]) -> Result<(), WriteMessageError> {
        for piece in bytes.chunks(MAX_PIECE_BYTES) {
            let room = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            match self.window.acquire_many(room).await {
                Ok(taken) => taken.forget(),
                Err(_) => return Ok(()), // The command has ended.
            }
            match self.send(&ToCommand::Stdin(piece.to_vec())).await {
                // The command has ended, and its stream did before that was read.
                Err(WriteMessageError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(());
                }
                sent => sent?,
            }
        }
        Ok(())
    }

    /// Ends the command's input.
    ///
    /// # Errors
    /// As [`Client::stdin`].
    pub async fn end_stdin(&self) -> Result<(), WriteMessageError> {
        self.send(&ToCommand::StdinEnd).await
    }

    /// Gives the command's terminal another size.
    ///
    /// # Errors
    /// As [`Client::stdin`].
    pub async fn resize(&self, size: WindowSize) -> Result<(), WriteMessageError> {
        self.send(&ToCommand::Resize(size)).await
    }

    /// Sends the command a signal.
    ///
    /// # Errors
    /// As [`Client::stdin`].
    pub async fn signal(&self, signal: u8) -> Result<(), WriteMessageError> {
        self.send(&ToCommand::Signal(signal)).await
    }

    /// Leaves the command to itself. The stream ends when the agent knows.
    ///
    /// # Errors
    /// As [`Client::stdin`].
    pub async fn detach(&self) -> Result<(), WriteMessageError> {
        self.send(&ToCommand::Detach).await
    }

    async fn send(&self, message: &ToCommand) -> Result<(), WriteMessageError> {
        write_message(&mut *self.stream.lock().await, message).await
    }
}

impl<R: AsyncRead + Unpin> Answers<R> {
    /// The next answer; do not ask again after the last. Not to be cancelled half-way.
    ///
    /// # Errors
    /// [`ReceiveError`]; the stream is of no further use then.
    pub async fn next(&mut self) -> Result<Answer, ReceiveError> {
        let answer = self.receive().await;
        if !matches!(
            answer,
            Ok(Answer::Started | Answer::Stdout(_) | Answer::Stderr(_))
        ) {
            // Whoever waits for room for more input waits for nobody.
            self.window.close();
        }
        answer
    }

    async fn receive(&mut self) -> Result<Answer, ReceiveError> {
        loop {
            let message = read_message(&mut self.stream).await.map_err(ReceiveError::Read)?;
            match message.ok_or(ReceiveError::Ended)? {
                FromCommand::Stdout(bytes) => return Ok(Answer::Stdout(piece(bytes)?)),
                FromCommand::Stderr(bytes) => return Ok(Answer::Stderr(piece(bytes)?)),
                FromCommand::Exited(status) => return Ok(Answer::Exited(status)),
                FromCommand::Failed { status, text } => return Ok(Answer::Failed { status, text }),
                FromCommand::Started => return Ok(Answer::Started),
                FromCommand::StdinTaken(claimed) => self.take(claimed)?,
            }
        }
    }

    fn take(&self, claimed: u32) -> Result<(), ReceiveError> {
        let sent = STDIN_WINDOW_BYTES - self.window.available_permits().min(STDIN_WINDOW_BYTES);
        match usize::try_from(claimed) {
            Ok(bytes) if bytes <= sent => self.window.add_permits(bytes),
            _ => return Err(ReceiveError::Credit { claimed }),
        }
        Ok(())
    }
}

fn piece(bytes: Vec<u8>) -> Result<Vec<u8>, ReceiveError> {
    if bytes.len() > MAX_PIECE_BYTES {
        return Err(ReceiveError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}
