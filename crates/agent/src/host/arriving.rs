//! The stream that brings something: its files go where they belong as they come, and the session lets it begin.

use std::io;

use isopod_contract::arrival::{ArrivalAnswer, ArrivalTimes, MAX_TEXT_BYTES};
use isopod_contract::in_one_line;
use isopod_contract::message::{AppIndex, ENTROPY_BYTES};
use isopod_protocol::codec::write_message;
use isopod_protocol::mux::MuxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf};
use tokio::runtime::Handle;

use super::questions::SessionHandle;
use crate::arrival;

/// Brings what comes on the stream, and says how it went.
pub(super) async fn receive(
    stream: MuxStream,
    entropy: [u8; ENTROPY_BYTES],
    first: AppIndex,
    session: &SessionHandle,
) {
    let (reader, mut writer) = tokio::io::split(stream);
    let answer = match bring(reader, entropy, first, session).await {
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
    session: &SessionHandle,
) -> Result<ArrivalTimes, String> {
    let archives = Blocking {
        reader,
        runtime: Handle::current(),
    };
    let brought = tokio::task::spawn_blocking(move || arrival::bring(archives, &entropy)).await;
    let arrived = brought
        .map_err(|panic| panic.to_string())?
        .map_err(|error| in_one_line(&error))?;
    session.arrived(arrived, first).await
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
