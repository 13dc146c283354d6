//! What is reported to the caller of a running pod.

use isopod_spec::AppName;
use isopod_vm::agent::{ExitStatus, FailureCause};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::logs::Stream;

/// Receives which apps could not be started, once all others have.
pub type OnStarted = Box<dyn FnOnce(&[AppFailure]) + Send>;

/// An app that could not be started.
#[derive(Clone, Debug)]
pub struct AppFailure {
    pub app: AppName,
    pub cause: FailureCause,
}

/// How far a pod is. Each is reported at most once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Every app has been ready at least once.
    Ready,
    /// The apps are asked to stop.
    Stopping,
}

/// A caller that has streams of its own for each app, and receives what becomes of each: in place of logs, and of streams that
/// all apps have in common.
pub trait Watcher: Send + Sync {
    /// What an app reads, where it has a standard input. Asked once.
    fn stdin(&self, app: &AppName) -> Option<Box<dyn AsyncRead + Unpin + Send>>;
    /// Where an app's standard output or standard error goes. Asked once for each; a terminal has the output alone.
    fn output(&self, app: &AppName, stream: Stream) -> Option<Box<dyn AsyncWrite + Unpin + Send>>;
    /// Something has become of an app.
    fn app(&self, app: &AppName, news: AppNews);
    /// All apps that there were have started or failed, or there was none: from now on apps may come.
    fn running(&self);
}

/// What has become of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppNews {
    /// It executes.
    Started,
    /// It will never run, for this reason.
    Failed(String),
    /// The guest's kernel has killed its first process, or another of it, for want of memory.
    OutOfMemory,
    Exited(ExitStatus),
}
