//! A pod that does not run, opened: its VM is started with what its apps wrote, and none of them, for as long as something is
//! read or written there. Its record, its status, its logs and its events stay as they were.
//!
//! ```text
//! claim ─> spawn virtiofsd, QEMU without a network ─> agent answers ─> the pod comes, to be looked into ─> the work ─> disks written back ─> VM killed
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use isopod_contract::message::WriteBack;
use isopod_plan::layout;
use isopod_spec::RootfsAccess;
use isopod_vm::agent::{Agent, AgentError, Event, Events};

use super::error::RunError;
use super::origin;
use super::vm::{Purpose, Vm};
use crate::Settings;
use crate::pods::files::{AppRecord, PodRecord, RootRecord};
use crate::pods::{Claim, PodsError};

/// How long the guest may take to write back what was written.
const WRITE_BACK: Duration = Duration::from_secs(60);

/// Why a pod could not be opened, or what was written is not there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory cannot be used.
    #[error("cannot use the pod's directory")]
    Pods(#[from] PodsError),
    /// It was prepared by an isopod whose pods cannot be opened.
    #[error("another version of isopod prepared the pod, and did not record how to open it")]
    Unsaid,
    /// What its apps write is in the VM's memory.
    #[error("what the apps of this pod write to their roots is in the VM's memory, and gone with the VM")]
    InMemory,
    /// Its VM did not come up, or was lost.
    #[error("cannot start the VM of the stopped pod to read what its apps wrote")]
    Vm(#[source] RunError),
    /// What was written may not be on the disk.
    #[error("the guest did not write everything back: {0}")]
    NotWritten(String),
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pods(error) => error.hint(),
            Self::Unsaid => Some("start it: `isopod start`".into()),
            Self::InMemory => Some(
                "with mkfs.ext4(8) on the host (e2fsprogs) a pod that is prepared then writes to a disk of its own".into(),
            ),
            Self::Vm(error) => error.hint(),
            Self::NotWritten(_) => None,
        }
    }
}

/// Does `work` with the agent of a pod that does not run, whose apps' roots and volumes are mounted meanwhile.
///
/// # Errors
/// [`OpenError`]; the pod is as it was then, but for what the work wrote.
pub async fn with_opened<T>(
    claim: Claim,
    settings: &Settings,
    work: impl AsyncFnOnce(&Agent) -> T,
) -> Result<T, OpenError> {
    let record = opened(claim.record()?).ok_or(OpenError::Unsaid)?;
    let writes = |app: &AppRecord| {
        let through = matches!(app.root, RootRecord::Directory { written: true, .. });
        app.rootfs != RootfsAccess::ReadOnly && !through
    };
    if !record.writable && record.apps.iter().any(writes) {
        return Err(OpenError::InMemory);
    }
    let opened = claim.open()?;
    let worked = in_vm(&record, opened.claim(), settings, work).await;
    opened.close()?;
    worked
}

/// The record of the pod as one that is opened: nothing of it is on the network.
fn opened(record: PodRecord) -> Option<PodRecord> {
    let opened = record.opened.clone()?;
    Some(PodRecord {
        ports: Vec::new(),
        network: None,
        held: true,
        qemu: opened.qemu,
        template: opened.template,
        netns: None,
        networks: None,
        passt: None,
        ..record
    })
}

async fn in_vm<T>(
    record: &PodRecord,
    claim: &Claim,
    settings: &Settings,
    work: impl AsyncFnOnce(&Agent) -> T,
) -> Result<T, OpenError> {
    let (dir, deadline) = (claim.path(), Duration::from_millis(record.boot_timeout_ms));
    // What the pod's last life said stays.
    let logs = dir.join(layout::OPENED_LOGS);
    let made = DirBuilder::new().mode(0o700).recursive(true).create(&logs);
    made.map_err(|source| {
        let action = "make the directory of its logs";
        OpenError::Vm(RunError::Start { action, source })
    })?;
    let mut template = origin::template(record, settings).await.map_err(OpenError::Vm)?;
    let (mut vm, connected) = loop {
        let restored = template.is_some();
        let started = Vm::start(record, dir, &logs, settings, template.take());
        let (mut vm, port) = started.map_err(OpenError::Vm)?;
        let connected = vm.connect(record, port, deadline, Purpose::Open).await;
        match &connected {
            Err(error) if restored && origin::boots_instead(error, record, settings) => vm.kill().await,
            _ => break (vm, connected),
        }
    };
    let worked = match connected {
        Ok((agent, mut events, _)) => {
            let worked = tokio::select! {
                biased;
                worked = work(&agent) => Ok(worked),
                error = lost(&mut events, &mut vm) => Err(OpenError::Vm(error)),
            };
            match worked {
                Ok(worked) => written_back(&agent, &mut events, &mut vm).await.map(|()| worked),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(OpenError::Vm(error)),
    };
    vm.kill().await;
    worked
}

/// Receives from the guest until it is lost.
async fn lost(events: &mut Events, vm: &mut Vm<'_>) -> RunError {
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Ok(event) => report(event),
                Err(source) => return vm.lost(source).await,
            },
            error = vm.ended() => return error,
        }
    }
}

fn report(event: Event) {
    if let Event::Warning(text) = event {
        tracing::warn!("{text}");
    }
}

/// Has the guest write back what was written.
async fn written_back(agent: &Agent, events: &mut Events, vm: &mut Vm<'_>) -> Result<(), OpenError> {
    let synced = async {
        agent.finish(WriteBack::SharesAndDisks).await?;
        loop {
            match events.next().await? {
                Event::Synced { failed } => return Ok::<_, AgentError>(failed),
                event => report(event),
            }
        }
    };
    let synced = tokio::select! {
        biased;
        synced = tokio::time::timeout(WRITE_BACK, synced) => synced,
        error = vm.ended() => return Err(OpenError::Vm(error)),
    };
    match synced {
        Ok(Ok(failed)) if failed.is_empty() => Ok(()),
        Ok(Ok(failed)) => {
            let failed = failed.iter().map(|f| format!("{}: {}", f.mount_point, f.error));
            Err(OpenError::NotWritten(failed.collect::<Vec<_>>().join(", ")))
        }
        Ok(Err(source)) => Err(OpenError::Vm(vm.lost(source).await)),
        Err(_) => Err(OpenError::NotWritten(format!(
            "it took longer than {} s",
            WRITE_BACK.as_secs()
        ))),
    }
}
