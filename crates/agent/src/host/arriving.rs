//! The stream that brings something: its files go where they belong as they come, and the session lets it begin.

use std::io;

use isopod_contract::arrival::{ArrivalAnswer, ArrivalTimes, MAX_TEXT_BYTES};
use isopod_contract::config::{GuestApp, GuestMount};
use isopod_contract::in_one_line;
use isopod_contract::message::{AppIndex, ENTROPY_BYTES};
use isopod_protocol::codec::write_message;
use isopod_protocol::mux::MuxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf};
use tokio::runtime::Handle;

use super::hotplug;
use super::questions::SessionHandle;
use crate::arrival::{self, Purpose};
use crate::mounts::{mount_check, mountinfo};

/// Brings what comes on the stream, and says how it went.
pub(super) async fn receive(
    stream: MuxStream,
    entropy: [u8; ENTROPY_BYTES],
    first: AppIndex,
    purpose: Purpose,
    session: &SessionHandle,
) {
    let (reader, mut writer) = tokio::io::split(stream);
    let answer = match bring(reader, entropy, first, purpose, session).await {
        Ok(times) => ArrivalAnswer::Done(times),
        Err(mut text) => {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            ArrivalAnswer::Failed { text }
        }
    };
    let _ = write_message(&mut writer, &answer).await;
    let _ = writer.shutdown().await;
}

async fn bring(
    reader: ReadHalf<MuxStream>,
    entropy: [u8; ENTROPY_BYTES],
    first: AppIndex,
    purpose: Purpose,
    session: &SessionHandle,
) -> Result<ArrivalTimes, String> {
    let archives = Blocking {
        reader,
        runtime: Handle::current(),
    };
    let brought = tokio::task::spawn_blocking(move || arrival::bring(archives, &entropy, purpose)).await;
    let arrived = brought
        .map_err(|panic| panic.to_string())?
        .map_err(|error| in_one_line(&error))?;
    let apps = match purpose {
        Purpose::Run => Vec::new(),
        Purpose::Open => arrived.arrival.apps.clone(),
    };
    let times = session.arrived(arrived, first).await?;
    for app in &apps {
        mount_the_rest(app, session).await?;
    }
    Ok(times)
}

/// Mounts what an app is to have and what is left to systemd: that comes with its start otherwise, after what it waits for.
async fn mount_the_rest(app: &GuestApp, session: &SessionHandle) -> Result<(), String> {
    let mounts = mountinfo::read().unwrap_or_default();
    let missing = mount_check::faults(app, &mounts).map(|(mount, _)| mount);
    let is_own = |mount: &&GuestMount| mount.volume.is_some();
    for mount in missing.filter(is_own) {
        hotplug::start_mount(session, &app.name, mount)
            .await
            .map_err(|error| in_one_line(&error))?;
    }
    Ok(())
}

/// A stream, for a thread that may wait.
struct Blocking {
    reader: ReadHalf<MuxStream>,
    runtime: Handle,
}

impl io::Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.reader.read(buffer))
    }
}
