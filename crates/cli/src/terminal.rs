//! The caller's terminal, as it is connected with one in a pod: every byte as it is typed, its size, the keys to detach
//! with.

use std::io;
use std::path::PathBuf;

use isopod_contract::exec::WindowSize;
use isopod_runtime::control::{self, Request};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::detach_keys::{DetachKeys, Passed, Typed};
use crate::output::Report;

/// What is read of standard input at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// The terminal's size; the usual one where there is no terminal to ask.
pub(crate) fn window_size() -> WindowSize {
    let asked = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin())];
    let known = asked
        .into_iter()
        .flatten()
        .find(|size| size.ws_row > 0 && size.ws_col > 0);
    known.map_or(WindowSize { rows: 24, cols: 80 }, |size| WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

/// A terminal that gives every byte as it is typed; as it was before when this is dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Makes standard input such a one.
    ///
    /// # Errors
    /// A [`Report`], where it is no terminal.
    pub(crate) fn enter() -> Result<Self, Report> {
        let failed = |e| Report::text(format!("cannot change the terminal: {e}"));
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A terminal that shows nothing of what is typed; as it was before when this is dropped.
pub(crate) struct Unseen(Termios);

impl Unseen {
    /// Makes standard input such a one.
    ///
    /// # Errors
    /// A [`Report`], where it is no terminal.
    pub(crate) fn enter() -> Result<Self, Report> {
        let failed = |e| {
            Report::text(format!("cannot ask for a password: {e}"))
                .hint(Some("write `--username USER --password-stdin`".into()))
        };
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Gives an app's terminal the size of this one, now and whenever it changes.
pub(crate) async fn follow_size(pod: PathBuf, app: u16) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        let size = window_size();
        if let Err(error) = control::ask(&pod, &Request::Resize { app, size }).await {
            tracing::debug!("cannot read the terminal's size: {error}");
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

/// How what is typed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypingEnd {
    /// There is no more, or nobody reads it.
    End,
    /// By the keys to detach with.
    Detached,
}

/// Gives what is typed to an app, until that ends.
pub(crate) async fn type_to(
    mut typed: impl AsyncRead + Unpin,
    mut app: impl AsyncWrite + Unpin,
    keys: DetachKeys,
) -> TypingEnd {
    let (mut search, mut buffer) = (Typed::new(keys), vec![0; PIECE_BYTES]);
    loop {
        let Ok(n @ 1..) = typed.read(&mut buffer).await else {
            return TypingEnd::End;
        };
        let (bytes, end) = match search.push(&buffer[..n]) {
            Passed::On(bytes) => (bytes, None),
            Passed::Detach(bytes) => (bytes, Some(TypingEnd::Detached)),
        };
        if app.write_all(&bytes).await.is_err() {
            return end.unwrap_or(TypingEnd::End);
        }
        if let Some(end) = end {
            return end;
        }
    }
}
