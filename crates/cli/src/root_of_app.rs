//! What an app has in its root, as the agent sends it.

use std::fs::File;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use isopod_contract::message::{HostStream, RootPart};
use isopod_protocol::copy::{self, CopyError};
use isopod_spec::words::shown;
use tokio::io::AsyncWrite;

use crate::output::{self, Report};
use crate::reach::{Reach, ReachError};

/// Why it was not brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error("cannot read the app's root")]
    Stream(#[source] CopyError),
    /// The agent's own words.
    #[error("cannot read the app's root: {0}")]
    Reported(String),
    /// Whoever was to read it has gone.
    #[error("nobody reads it")]
    NotRead,
}

impl From<RootError> for Report {
    fn from(error: RootError) -> Self {
        let hint = match &error {
            RootError::Reach(error) => error.hint(),
            _ => None,
        };
        Self::new(&error).hint(hint)
    }
}

/// Writes a part of an app's root to `out`; warns of what is not in it.
///
/// # Errors
/// [`RootError`]; what was written is not all then.
pub(crate) async fn read(
    reach: &Reach<'_>,
    app: u16,
    part: RootPart,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<(), RootError> {
    let mut stream = reach.open(HostStream::Root { app, part }).await?;
    match copy::receive(&mut stream, out).await {
        Ok(warning) => {
            if let Some(text) = warning {
                output::warning(&shown(text));
            }
            Ok(())
        }
        Err(CopyError::Failed(text)) => Err(RootError::Reported(shown(text))),
        Err(CopyError::Local(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(RootError::NotRead),
        Err(error) => Err(RootError::Stream(error)),
    }
}

/// A file that is written to. It may block, which holds up nothing else here.
pub(crate) struct ToFile(pub(crate) File);

impl AsyncWrite for ToFile {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready((&self.0).write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
