//! A container of the sandbox, beside the state of its task.

use std::path::PathBuf;

use isopod_spec::{AppName, PidMode};
use tokio::io::AsyncRead;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{SandboxError, failed};
use crate::oci::Role;
use crate::oci::spec::Spec;
use crate::stdio::{self, Input, Output};
use crate::tasks::Stdio;

/// How far the first process of a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Launch {
    Starting,
    Executes,
    /// It will not, for this reason.
    Failed(String),
}

/// A container, beside its state.
pub(super) struct Container {
    pub(super) role: Role,
    pub(super) spec: Spec,
    pub(super) bundle: PathBuf,
    /// Where its root is; `None`: it has none, or none was mounted.
    pub(super) rootfs: Option<PathBuf>,
    pub(super) name: AppName,
    /// The processes that it sees.
    pub(super) processes: PidMode,
    /// Its number in the pod, once it has come.
    pub(super) app: Option<u16>,
    pub(super) launch: watch::Sender<Launch>,
    pub(super) input: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Keeps its input from ending.
    pub(super) input_open: Option<Sender>,
    pub(super) outputs: [Option<Output>; 2],
    /// Bring what changes in its volumes.
    pub(super) mirrors: JoinSet<()>,
}

impl Container {
    /// Opens its streams.
    pub(super) fn open(&mut self, stdio: &Stdio) -> Result<(), SandboxError> {
        if let Some(Input { reader, open }) = stdio::input(&stdio.stdin).map_err(failed)? {
            (self.input, self.input_open) = (Some(reader), Some(open));
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        (self.input, self.input_open, self.outputs) = (None, None, [None, None]);
        let ended = || Launch::Failed("it has ended".to_owned());
        self.launch.send_if_modified(|launch| {
            let starting = *launch == Launch::Starting;
            if starting {
                *launch = ended();
            }
            starting
        });
    }
}
