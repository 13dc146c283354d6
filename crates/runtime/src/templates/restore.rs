//! Restores a VM from a template: what its QEMU inherits, and the commands of its monitor before the guest continues.
//!
//! ```text
//! begin      memory (copied beside QEMU's start, or the common copy), a socket for the monitor
//!            ... the caller starts QEMU with the other ends ...
//! resume     state through the pipe -> devices are added -> the guest continues
//! ```

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::{Duration, Instant};

use isopod_plan::vm::qemu::{MEMORY_DESCRIPTOR, MONITOR_DESCRIPTOR, Mapping};
use isopod_vm::qmp::{Qmp, QmpError};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Template, memory};
use crate::sparse;

/// Between two looks whether the state has been read.
const LOOK: Duration = Duration::from_millis(1);

/// How long reading the state may take: it is read in 15 ms.
const READING: Duration = Duration::from_secs(30);

/// What a process inherits, by the descriptors' numbers.
pub(crate) type Inherited = Vec<(OwnedFd, i32)>;

/// Why a VM was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The memory, or the state.
    #[error("cannot {action}")]
    Host {
        /// What was to be done.
        action: &'static str,
        source: io::Error,
    },
    /// QEMU did not come up, or ended.
    #[error("cannot tell QEMU to restore the VM")]
    Monitor(#[source] QmpError),
    /// QEMU does not take the state.
    #[error("QEMU does not take the template's state")]
    State(#[source] QmpError),
    /// It is not what QEMU wrote.
    #[error("the template's state is damaged")]
    Broken,
    /// It takes for ever.
    #[error("QEMU has not read the template's state within {} s", READING.as_secs())]
    Late,
    /// A device of the pod cannot be added.
    #[error("QEMU refused one of the pod's devices")]
    Device(#[source] QmpError),
}

impl RestoreError {
    /// Whether the template is why, so that no other VM should be restored from it.
    #[must_use]
    pub fn is_the_templates(&self) -> bool {
        matches!(self, Self::State(_) | Self::Broken | Self::Late)
    }
}

/// A VM whose QEMU is being started.
pub(crate) struct Restoring {
    monitor: UnixStream,
    template: Template,
    memory: Option<OwnedFd>,
    copying: Option<JoinHandle<io::Result<()>>>,
}

/// Begins to restore a VM: what its process inherits, and the commands that it gets.
///
/// # Errors
/// The system's.
pub(crate) fn begin(template: Template, mapping: Mapping) -> io::Result<(Inherited, Restoring)> {
    let (memory, copying) = match mapping {
        Mapping::Private => (memory::common(&template)?, None),
        Mapping::Shared => {
            let from = template.memory.try_clone()?;
            let own = memory::empty(from.metadata()?.len())?;
            let to = own.try_clone()?;
            // Beside QEMU's start, which takes as long.
            (own.into(), Some(spawn_blocking(move || sparse::copy(&from, &to))))
        }
    };
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let inherited = vec![
        (memory.try_clone()?, MEMORY_DESCRIPTOR),
        (theirs.into(), MONITOR_DESCRIPTOR),
    ];
    let restoring = Restoring {
        monitor: UnixStream::from_std(ours)?,
        template,
        memory: (mapping == Mapping::Private).then_some(memory),
        copying,
    };
    Ok((inherited, restoring))
}

/// The pipe's name at QEMU's.
pub(crate) const PIPE: &str = "state";

/// Where the state comes from, or goes.
pub(crate) fn through_pipe() -> Value {
    json!({ "uri": format!("fd:{PIPE}") })
}

/// Lets QEMU leave out memory that is in a file. Both sides get that setting.
pub(crate) async fn ignore_shared(monitor: &mut Qmp) -> Result<(), QmpError> {
    let capability = json!({ "capability": "x-ignore-shared", "state": true });
    let arguments = json!({ "capabilities": [capability] });
    monitor
        .execute("migrate-set-capabilities", arguments)
        .await
        .map(drop)
}

/// Keeps QEMU from announcing the guest's network interfaces, and from having the guest do so five times: it has not moved here from another
/// host, whose switches would have to learn where it is.
async fn announce_nothing(monitor: &mut Qmp) -> Result<(), QmpError> {
    let arguments = json!({ "announce-rounds": 0 });
    monitor
        .execute("migrate-set-parameters", arguments)
        .await
        .map(drop)
}

impl Template {
    /// What QEMU wrote; `None` where it is that no more.
    fn read_state(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut state = Vec::new();
        self.state.read_to_end(&mut state)?;
        Ok((crc32c::crc32c(&state) == self.state_crc).then_some(state))
    }
}

impl Restoring {
    /// Restores the VM, gives it the devices `added` (the arguments of QMP's `device_add`), and lets it go on. What is given must be
    /// kept as long as the VM is there: the memory that others share. Its monitor takes more.
    ///
    /// # Errors
    /// [`RestoreError`]; the VM is of no use then.
    pub(crate) async fn resume(mut self, added: &[Value]) -> Result<(Option<OwnedFd>, Qmp), RestoreError> {
        let mut monitor = Qmp::begin(self.monitor).await.map_err(RestoreError::Monitor)?;
        if let Some(copying) = self.copying.take() {
            let copied = copying.await.map_err(io::Error::other).flatten();
            copied.map_err(|source| RestoreError::Host {
                action: "copy the template's memory",
                source,
            })?;
        }
        ignore_shared(&mut monitor).await.map_err(RestoreError::State)?;
        announce_nothing(&mut monitor)
            .await
            .map_err(RestoreError::State)?;
        let (memory, mut template) = (self.memory, self.template);
        let (reader, mut pipe) = io::pipe().map_err(|source| RestoreError::Host {
            action: "make a pipe",
            source,
        })?;
        let given = monitor.give(PIPE, reader.into()).await;
        given.map_err(RestoreError::Monitor)?;
        let state = spawn_blocking(move || template.read_state()).await;
        let state = state.map_err(io::Error::other).flatten();
        let state = state.map_err(|source| RestoreError::Host {
            action: "read the template's state",
            source,
        })?;
        let state = state.ok_or(RestoreError::Broken)?;
        // QEMU reads to the end, or ends, and either ends this.
        drop(spawn_blocking(move || pipe.write_all(&state)));
        let incoming = monitor.execute("migrate-incoming", through_pipe()).await;
        incoming.map_err(RestoreError::State)?;
        await_state(&mut monitor).await?;
        for device in added {
            let taken = monitor.execute("device_add", device.clone()).await;
            taken.map_err(RestoreError::Device)?;
        }
        let continued = monitor.execute("cont", json!({})).await;
        continued.map_err(RestoreError::Monitor)?;
        Ok((memory, monitor))
    }
}

/// Waits until the state has been read. A QEMU that cannot use it ends.
async fn await_state(monitor: &mut Qmp) -> Result<(), RestoreError> {
    let begun = Instant::now();
    loop {
        let status = monitor.execute("query-status", json!({})).await;
        if status.map_err(RestoreError::State)?["status"] != "inmigrate" {
            return Ok(());
        }
        if begun.elapsed() > READING {
            return Err(RestoreError::Late);
        }
        tokio::time::sleep(LOOK).await;
    }
}
