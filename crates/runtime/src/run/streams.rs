//! The apps' standard streams: copied to and from the caller's.

use std::io;
use std::sync::Arc;

use isopod_vm::agent;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};

/// What is copied at a time from a stream of an app's.
const COPY_BYTES: usize = 64 * 1024;

/// A stream of the caller's that several apps write to, whole pieces at a time.
#[derive(Clone)]
pub(super) struct Sink {
    stream: Arc<Mutex<Box<dyn AsyncWrite + Unpin + Send>>>,
    /// Takes a message when the stream takes nothing any more.
    broken: mpsc::UnboundedSender<()>,
}

impl Sink {
    pub(super) fn new(
        stream: Box<dyn AsyncWrite + Unpin + Send>,
        broken: &mpsc::UnboundedSender<()>,
    ) -> Self {
        Self {
            stream: Arc::new(Mutex::new(stream)),
            broken: broken.clone(),
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.stream.lock().await;
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        written.await.inspect_err(|_| {
            let _ = self.broken.send(());
        })
    }
}

/// Copies what an app writes, until it or the caller's stream has ended.
pub(super) async fn copy(mut output: agent::Output, sink: Sink) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if sink.write(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Gives an app its standard input, and its end.
pub(super) async fn feed(mut stdin: Box<dyn AsyncRead + Unpin + Send>, mut input: agent::Input) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                if input.write_all(&buffer[..n]).await.is_err() || input.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = input.shutdown().await;
}
