//! As much D-Bus as a conversation with systemd takes: calls with strings and numbers, their answers, signals
//! (D-Bus Specification 0.43; section names below are its).
//!
//! Our own, since systemd signs what it sends over its private socket with its bus name, which a strict
//! implementation refuses as a sender (as zbus 6 does). The other side is process 1: it is held to the format, so that a
//! mistake is an error and no confusion, but it is trusted. Only little endian, no file descriptors, no containers
//! beyond what [`FromWire`] lists, no server.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

mod error;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use error::DbusError;
pub(crate) use wire::{Args, CommandEnd, Decoder, FromWire, SystemdJob, variant};
use wire::{Encoder, length};

/// More than any message of systemd's (all properties of a unit are some 30 KiB), and far below the format's own
/// limit of 128 MiB.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// The longest line of the authentication.
const MAX_AUTH_LINE_BYTES: u64 = 1024;

/// "Message Types".
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// "Header Fields".
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const SIGNATURE: u8 = 8;

#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) path: String,
    pub(crate) member: String,
    /// What it carries; for [`decode`].
    pub(crate) body: Vec<u8>,
}

/// A connection without a bus; it ends with this value.
#[derive(Debug)]
pub(crate) struct Connection {
    calls: mpsc::UnboundedSender<Call>,
}

/// A call on its way out, without its serial number.
struct Call {
    fields: [(u8, char, String); 3],
    args: Args,
    answer: oneshot::Sender<Result<Vec<u8>, DbusError>>,
}

/// Who waits for which answer; `None` once no answer can come any more.
type Waiting = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<Result<Vec<u8>, DbusError>>>>>>;

impl Connection {
    /// Connects to the socket at `path`; signals come out of the receiver.
    pub(crate) async fn connect(path: &Path) -> Result<(Self, mpsc::UnboundedReceiver<Signal>), DbusError> {
        let socket = UnixStream::connect(path).await.map_err(DbusError::Connect)?;
        let (read, mut write) = socket.into_split();
        let mut read = BufReader::new(read);
        authenticate(&mut read, &mut write).await?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (calls, to_send) = mpsc::unbounded_channel();
        let (signals, received) = mpsc::unbounded_channel();
        tokio::spawn(send(write, to_send, Arc::clone(&waiting)));
        tokio::spawn(receive(read, waiting, signals));
        Ok((Self { calls }, received))
    }

    /// Calls a method, and gives what its answer carries. Calls that are made before one is awaited go out together.
    pub(crate) fn call(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        args: Args,
    ) -> impl Future<Output = Result<Vec<u8>, DbusError>> + use<> {
        let (answer, answered) = oneshot::channel();
        let fields = [
            (PATH, 'o', path.into()),
            (INTERFACE, 's', interface.into()),
            (MEMBER, 's', member.into()),
        ];
        // When the connection has ended, the answer's sender is dropped with the call.
        let _ = self.calls.send(Call { fields, args, answer });
        async { answered.await.unwrap_or(Err(DbusError::Ended)) }
    }
}

/// "Authentication Protocol", with the mechanism `EXTERNAL`: the other side learns from the socket who this is.
async fn authenticate(
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> Result<(), DbusError> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let begin = format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n");
    write
        .write_all(begin.as_bytes())
        .await
        .map_err(DbusError::Connect)?;
    let mut line = Vec::new();
    read.take(MAX_AUTH_LINE_BYTES)
        .read_until(b'\n', &mut line)
        .await
        .map_err(DbusError::Connect)?;
    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
    if line.starts_with("OK ") {
        Ok(())
    } else {
        Err(DbusError::Refused(line))
    }
}

async fn send(mut write: OwnedWriteHalf, mut calls: mpsc::UnboundedReceiver<Call>, waiting: Waiting) {
    let mut serial = 0;
    let mut batch = Vec::new();
    while calls.recv_many(&mut batch, 64).await > 0 {
        let mut bytes = Vec::new();
        for call in batch.drain(..) {
            serial += 1;
            bytes.extend(message(METHOD_CALL, serial, &call.fields, &call.args));
            let Some(waiting) = &mut *waiting.lock().unwrap_or_else(PoisonError::into_inner) else {
                return;
            };
            waiting.insert(serial, call.answer);
        }
        if write.write_all(&bytes).await.is_err() {
            return; // The receiving side ends too, and with it who waits.
        }
    }
}

async fn receive(
    mut read: BufReader<OwnedReadHalf>,
    waiting: Waiting,
    signals: mpsc::UnboundedSender<Signal>,
) {
    while let Some(message) = Message::receive(&mut read).await {
        let Message {
            kind,
            reply_serial,
            path,
            member,
            error_name,
            body,
        } = message;
        let answer = match kind {
            METHOD_RETURN => Ok(body),
            ERROR => {
                let text = Decoder { bytes: &body, at: 0 }.string().unwrap_or_default();
                Err(DbusError::Answer {
                    name: error_name,
                    text,
                })
            }
            SIGNAL => {
                let _ = signals.send(Signal { path, member, body });
                continue;
            }
            _ => continue,
        };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = waiting.as_mut().and_then(|waiting| waiting.remove(&reply_serial)) {
            let _ = caller.send(answer);
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// "Message Format".
fn message(kind: u8, serial: u32, fields: &[(u8, char, String)], args: &Args) -> Vec<u8> {
    let mut header = Encoder::default();
    for (code, signature, value) in fields {
        header.field(*code, *signature);
        header.string(value);
    }
    if !args.signature.is_empty() {
        header.field(SIGNATURE, 'g');
        header.signature(&args.signature);
    }
    let mut out = Encoder(vec![b'l', kind, 0, 1]);
    out.u32(length(&args.body.0));
    out.u32(serial);
    out.u32(length(&header.0));
    out.0.extend(header.0);
    out.align(8);
    out.0.extend(&args.body.0);
    out.0
}

/// A message that came in, as far as it is of interest.
#[derive(Debug, Default)]
struct Message {
    kind: u8,
    reply_serial: u32,
    path: String,
    member: String,
    error_name: String,
    body: Vec<u8>,
}

impl Message {
    /// Receives the next message; `None` at the end, and after anything that is not one.
    async fn receive(read: &mut BufReader<OwnedReadHalf>) -> Option<Self> {
        let mut fixed = [0; 16];
        read.read_exact(&mut fixed).await.ok()?;
        let number = |at: usize| {
            Decoder { bytes: &fixed, at }
                .u32()
                .and_then(|n| usize::try_from(n).ok())
        };
        let (body, fields) = (number(4)?, number(12)?);
        let [b'l', kind, _, 1, ..] = fixed else {
            return None;
        };
        let header = fields.checked_next_multiple_of(8)?;
        let bytes = header
            .checked_add(body)
            .filter(|bytes| *bytes <= MAX_MESSAGE_BYTES)?;
        let mut rest = vec![0; bytes];
        read.read_exact(&mut rest).await.ok()?;
        let mut message = Self {
            kind,
            body: rest.split_off(header),
            ..Self::default()
        };
        message.read_fields(&rest[..fields])?;
        Some(message)
    }

    fn read_fields(&mut self, fields: &[u8]) -> Option<()> {
        // The fields begin at an offset of 16, so alignment within them is alignment within the message.
        let mut from = Decoder { bytes: fields, at: 0 };
        while from.at < fields.len() {
            from.align(8)?;
            let [code] = *from.take(1)? else { return None };
            match (code, from.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => self.reply_serial = from.u32()?,
                (PATH, "o") => self.path = from.string()?,
                (MEMBER, "s") => self.member = from.string()?,
                (ERROR_NAME, "s") => self.error_name = from.string()?,
                (_, "s" | "o") => drop(from.string()?),
                (_, "g") => drop(from.signature()?),
                (_, "u") => drop(from.u32()?),
                _ => return None,
            }
        }
        Some(())
    }
}
