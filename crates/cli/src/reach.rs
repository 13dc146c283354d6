//! The agent of a pod, whether the pod runs or not: of one that does not, the VM is started for as long as something is read or
//! written, without its apps.

use isopod_contract::message::{AppIndex, HostStream};
use isopod_runtime::Settings;
use isopod_runtime::control::{self, ControlError};
use isopod_runtime::pods::state::{PodState, Verb};
use isopod_runtime::pods::{PodEntry, Pods};
use isopod_runtime::run::opened::with_opened;
use isopod_vm::agent::{Agent, StreamError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::output::Report;

/// A conversation with the agent about one app.
pub(crate) trait Conversation: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Conversation for T {}

/// Why no conversation began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot speak to the agent in the guest")]
    Stream(#[from] StreamError),
}

impl ReachError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Control(error) => error.hint(),
            Self::Stream(_) => None,
        }
    }
}

/// The agent of a pod.
pub(crate) enum Reach<'a> {
    /// The pod runs: its supervisor leads there.
    Running(&'a PodEntry),
    Opened(&'a Agent),
}

impl Reach<'_> {
    /// Begins a conversation.
    ///
    /// # Errors
    /// [`ReachError`].
    pub(crate) async fn open(&self, header: HostStream) -> Result<Box<dyn Conversation + '_>, ReachError> {
        Ok(match self {
            Self::Running(pod) => Box::new(control::open(&pod.path, header).await?),
            Self::Opened(agent) => Box::new(agent.open(&header).await?),
        })
    }
}

/// Does `work` with the agent of a pod, for an app of it.
///
/// # Errors
/// A [`Report`] where there is no agent to be had.
pub(crate) async fn with_agent<T>(
    settings: &Settings,
    pods: &Pods,
    pod: &PodEntry,
    app: AppIndex,
    work: impl AsyncFnOnce(Reach<'_>) -> T,
) -> Result<T, Report> {
    match pod.state {
        PodState::Running => Ok(work(Reach::Running(pod)).await),
        PodState::Starting | PodState::Stopping | PodState::Preparing | PodState::Garbage => Err(
            Report::text(format!("pod `{}` is {}", pod.label(), pod.state.as_str())),
        ),
        PodState::Prepared | PodState::Exited => {
            let claim = pods.claim(&pod.uuid, Verb::Open)?;
            let record = claim.record()?;
            if usize::from(app) >= record.apps.len() {
                return Err(Report::text(format!(
                    "that app was added to pod `{}` while it ran, and is gone with its VM",
                    pod.label()
                )));
            }
            let opened = with_opened(claim, settings, async |agent| work(Reach::Opened(agent)).await).await;
            opened.map_err(|error| Report::new(&error).hint(error.hint()))
        }
    }
}
