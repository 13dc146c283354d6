//! The streams of tasks: FIFOs that containerd makes and names, or files.
//!
//! A FIFO for output is opened for reading too: where containerd is restarted, what a task writes waits for it rather than fails.
//! The one for input is opened for writing too, until containerd says that the input has ended ([`Input`]): clients that attach
//! come and go.

pub(crate) mod logger;

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe::{self, Receiver, Sender};

use crate::tasks::Stdio;
use logger::Whose;

/// Where a task's output goes.
pub(crate) type Output = Box<dyn AsyncWrite + Unpin + Send>;

/// What a task reads.
pub(crate) struct Input {
    /// To read it from.
    pub(crate) reader: Box<dyn AsyncRead + Unpin + Send>,
    /// Keeps it from ending.
    pub(crate) open: Sender,
}

/// Opens what a task writes to, output and error; `None` where there is nothing.
///
/// # Errors
/// The system's.
pub(crate) async fn outputs(stdio: &Stdio, whose: &Whose) -> io::Result<[Option<Output>; 2]> {
    match logger::is_one(&stdio.stdout) {
        true => logger::begin(&stdio.stdout, whose).await,
        false => Ok([output(&stdio.stdout)?, output(&stdio.stderr)?]),
    }
}

fn output(uri: &str) -> io::Result<Option<Output>> {
    let path = match uri.split_once("://") {
        _ if uri.is_empty() => return Ok(None),
        None => uri,
        Some(("fifo", path)) => path,
        Some(("file", path)) => {
            let mut options = std::fs::File::options();
            let file = options.create(true).append(true).open(path)?;
            return Ok(Some(Box::new(tokio::fs::File::from_std(file))));
        }
        Some((scheme, _)) => {
            let what = format!("streams by `{scheme}://` are not supported; `fifo`, `file` and `binary` are");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
    };
    if Path::new(path).metadata()?.file_type().is_fifo() {
        let sender = pipe::OpenOptions::new().read_write(true).open_sender(path)?;
        return Ok(Some(Box::new(sender)));
    }
    let file = std::fs::File::options().append(true).open(path)?;
    Ok(Some(Box::new(tokio::fs::File::from_std(file))))
}

/// Opens what a task reads; `None` where there is nothing.
///
/// # Errors
/// The system's.
pub(crate) fn input(path: &str) -> io::Result<Option<Input>> {
    if path.is_empty() {
        return Ok(None);
    }
    let reader: Receiver = pipe::OpenOptions::new().open_receiver(path)?;
    let open = pipe::OpenOptions::new().open_sender(path)?;
    Ok(Some(Input {
        reader: Box::new(reader),
        open,
    }))
}
