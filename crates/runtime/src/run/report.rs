//! What the caller of a pod that runs is told of it.

use isopod_spec::AppName;
use isopod_vm::agent::FailureCause;

/// What is told which apps could not be started, once all others have.
pub type OnStarted = Box<dyn FnOnce(&[AppFailure]) + Send>;

/// An app that could not be started.
#[derive(Clone, Debug)]
pub struct AppFailure {
    /// The app.
    pub app: AppName,
    /// Why.
    pub cause: FailureCause,
}

/// How far a pod is. Each is told at most once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Every app has been ready at least once.
    Ready,
    /// The apps are asked to stop.
    Stopping,
}
