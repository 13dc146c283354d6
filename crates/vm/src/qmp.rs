//! QEMU's monitor (QMP, `docs/interop/qmp-spec.rst`): JSON objects, a line each, over a socket.
//!
//! One command at a time; events that come meanwhile are kept until they are asked for. What QEMU sends is bounded in length: a
//! guest that broke out of its VM may be what speaks.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The longest line that is read, in bytes: answers to what is asked here are some hundred.
const MAX_LINE: u64 = 64 << 10;

/// How many events wait to be asked for; the oldest go first.
const MAX_EVENTS: usize = 64;

/// Why a command of the monitor was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// It could not be written, or no answer read.
    #[error("cannot communicate with QEMU")]
    Io(#[source] io::Error),
    /// QEMU has ended, or is about to.
    #[error("QEMU has closed its monitor")]
    Ended,
    /// What it sent is no message of the protocol's.
    #[error("QEMU's monitor sent an invalid message")]
    Message(#[source] serde_json::Error),
    /// A line without an end.
    #[error("QEMU's monitor sent a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// QEMU refused it.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

/// The monitor.
pub struct Qmp {
    lines: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    events: VecDeque<MonitorEvent>,
}

/// Something that QEMU reports unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MonitorEvent {
    name: String,
    data: Map<String, Value>,
}

/// Any message of QEMU, distinguished by its keys.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Waits for QEMU's greeting, and leaves the negotiation of capabilities.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn begin(stream: UnixStream) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let mut qmp = Self {
            lines: BufReader::new(reader),
            writer,
            events: VecDeque::new(),
        };
        while qmp.read().await?.greeting.is_none() {}
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Executes a command, and gives what it returns.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let line = line(command, &arguments);
        self.writer
            .write_all(line.as_bytes())
            .await
            .map_err(QmpError::Io)?;
        self.answer(command).await
    }

    /// Gives QEMU a descriptor, by that name from then on (`getfd`).
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn give(&mut self, name: &str, descriptor: OwnedFd) -> Result<(), QmpError> {
        let command = "getfd";
        let line = line(command, &json!({ "fdname": name }));
        let socket: &UnixStream = self.writer.as_ref();
        loop {
            socket.writable().await.map_err(QmpError::Io)?;
            let sent = socket.try_io(Interest::WRITABLE, || {
                send(socket, line.as_bytes(), descriptor.as_fd())
            });
            match sent {
                Ok(sent) if sent == line.len() => break,
                // A line of some bytes is never sent in parts.
                Ok(_) => return Err(QmpError::Io(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(QmpError::Io(error)),
            }
        }
        self.answer(command).await.map(drop)
    }

    /// The answer to the command that was written last.
    async fn answer(&mut self, command: &str) -> Result<Value, QmpError> {
        loop {
            let message = self.read().await?;
            if let Some(Refusal { desc }) = message.error {
                return Err(QmpError::Refused {
                    command: command.to_owned(),
                    reason: desc.escape_debug().to_string(),
                });
            }
            if let Some(answer) = message.answer {
                return Ok(answer);
            }
            self.keep(message);
        }
    }

    /// Waits for an event of that name whose data are `wanted`, and gives them. Those of other names stay.
    ///
    /// # Errors
    /// [`QmpError`].
    pub async fn event(
        &mut self,
        name: &str,
        wanted: impl Fn(&Map<String, Value>) -> bool,
    ) -> Result<Map<String, Value>, QmpError> {
        loop {
            let found = self
                .events
                .iter()
                .position(|event| event.name == name && wanted(&event.data));
            if let Some(event) = found.and_then(|found| self.events.remove(found)) {
                return Ok(event.data);
            }
            let message = self.read().await?;
            self.keep(message);
        }
    }

    /// Keeps an event; any other message is one that nobody asked for.
    fn keep(&mut self, message: Message) {
        let Some(name) = message.event else { return };
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        let data = message.data;
        self.events.push_back(MonitorEvent { name, data });
    }

    async fn read(&mut self) -> Result<Message, QmpError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(MAX_LINE);
        bounded.read_until(b'\n', &mut line).await.map_err(QmpError::Io)?;
        match line.last() {
            None => Err(QmpError::Ended),
            Some(b'\n') => serde_json::from_slice(&line).map_err(QmpError::Message),
            Some(_) if line.len() as u64 == MAX_LINE => Err(QmpError::TooLong),
            Some(_) => Err(QmpError::Ended),
        }
    }
}

fn line(command: &str, arguments: &Value) -> String {
    json!({ "execute": command, "arguments": arguments }).to_string() + "\n"
}

/// Sends bytes, and a descriptor with the first of them (unix(7), `SCM_RIGHTS`).
fn send(socket: &UnixStream, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let bytes = [io::IoSlice::new(bytes)];
    Ok(rustix::net::sendmsg(
        socket,
        &bytes,
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str =
        r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#;

    /// Plays QEMU: says the greeting, and answers each line that it reads with one of `answers`. What it read.
    async fn qemu(stream: UnixStream, answers: Vec<String>) -> Vec<Value> {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut read = Vec::new();
        let mut say = String::from(GREETING) + "\r\n";
        for answer in answers {
            writer.write_all(say.as_bytes()).await.unwrap();
            read.push(serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap());
            say = answer;
        }
        writer.write_all(say.as_bytes()).await.unwrap();
        read
    }

    fn answered(answers: &[&str]) -> (UnixStream, impl Future<Output = Vec<Value>> + use<>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answers = std::iter::once("{\"return\": {}}\r\n").chain(answers.iter().copied());
        (ours, qemu(theirs, answers.map(str::to_owned).collect()))
    }

    #[tokio::test]
    async fn events_between_a_command_and_its_answer_wait_to_be_asked_for() {
        let stopped = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#;
        let port = |open| {
            format!(
                "{{\"timestamp\": {{}}, \"event\": \"VSERPORT_CHANGE\", \"data\": {{\"open\": {open}, \"id\": \"a\"}}}}\n"
            )
        };
        let answers = [
            format!(
                "{stopped}\n{}{{\"return\": {{\"status\": \"paused\"}}}}\n",
                port(false)
            ),
            format!("{{\"return\": {{}}}}\n{}", port(true)),
        ];
        let (stream, qemu) = answered(&answers.each_ref().map(String::as_str));
        let ask = async {
            let mut qmp = Qmp::begin(stream).await.unwrap();
            let status = qmp.execute("query-status", json!({})).await.unwrap();
            assert_eq!(status["status"], "paused");
            qmp.execute("cont", json!({})).await.unwrap();
            let open = |data: &Map<String, Value>| data["open"] == true;
            assert_eq!(qmp.event("VSERPORT_CHANGE", open).await.unwrap()["id"], "a");
            assert_eq!(qmp.event("STOP", |_| true).await.unwrap(), Map::new());
            assert!(matches!(qmp.event("STOP", |_| true).await, Err(QmpError::Ended)));
        };
        let ((), read) = tokio::join!(ask, qemu);
        let commands: Vec<&Value> = read.iter().map(|command| &command["execute"]).collect();
        assert_eq!(commands, ["qmp_capabilities", "query-status", "cont"]);
    }

    #[tokio::test]
    async fn a_refusal_has_qemus_words_and_the_command_and_harms_nothing() {
        let refusal = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\\u001b slot\"}}\n";
        let (stream, qemu) = answered(&[refusal, "{\"return\": 7}\n"]);
        let ask = async {
            let mut qmp = Qmp::begin(stream).await.unwrap();
            let refused = qmp
                .execute("device_add", json!({ "driver": "x" }))
                .await
                .unwrap_err();
            assert_eq!(refused.to_string(), "QEMU refused `device_add`: no\\u{1b} slot");
            assert_eq!(qmp.execute("next", json!({})).await.unwrap(), 7);
        };
        let ((), read) = tokio::join!(ask, qemu);
        assert_eq!(read[1]["arguments"], json!({ "driver": "x" }));
    }

    #[tokio::test]
    async fn a_descriptor_comes_with_its_name() {
        use std::io::Read as _;
        let (stream, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let qemu = async {
            let theirs = theirs.into_std().unwrap();
            theirs.set_nonblocking(false).unwrap();
            tokio::task::spawn_blocking(move || {
                use std::io::Write as _;
                let answer = |line: &str| (&theirs).write_all(line.as_bytes()).unwrap();
                let mut bytes = [0; 200];
                answer(&format!("{GREETING}\n"));
                let _ = (&theirs).read(&mut bytes).unwrap();
                answer("{\"return\": {}}\n");
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
                let flags = rustix::net::RecvFlags::empty();
                let mut read = [io::IoSliceMut::new(&mut bytes)];
                let read = rustix::net::recvmsg(&theirs, &mut read, &mut ancillary, flags)
                    .unwrap()
                    .bytes;
                let mut given = ancillary.drain().filter_map(|message| match message {
                    rustix::net::RecvAncillaryMessage::ScmRights(given) => Some(given.collect::<Vec<_>>()),
                    _ => None,
                });
                let given = given.next().unwrap().remove(0);
                std::fs::File::from(given).write_all(b"state").unwrap();
                answer("{\"return\": {}}\n");
                String::from_utf8_lossy(&bytes[..read]).into_owned()
            })
            .await
            .unwrap()
        };
        let ask = async {
            let mut qmp = Qmp::begin(stream).await.unwrap();
            qmp.give("pipe", writer.into()).await.unwrap();
        };
        let ((), line) = tokio::join!(ask, qemu);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            line,
            json!({ "execute": "getfd", "arguments": { "fdname": "pipe" } })
        );
        // To the end: nobody has the descriptor any more.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "state");
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error_however_long() {
        let (stream, qemu) = answered(&["hello\n"]);
        let ask = async {
            let mut qmp = Qmp::begin(stream).await.unwrap();
            let error = qmp.execute("stop", json!({})).await.unwrap_err();
            assert!(matches!(error, QmpError::Message(_)), "{error}");
        };
        tokio::join!(ask, qemu);

        let endless = "x".repeat(usize::try_from(MAX_LINE).unwrap() + 1);
        let (stream, qemu) = answered(&[&endless]);
        let ask = async {
            let mut qmp = Qmp::begin(stream).await.unwrap();
            let error = qmp.execute("stop", json!({})).await.unwrap_err();
            assert!(matches!(error, QmpError::TooLong), "{error}");
        };
        tokio::join!(ask, qemu);

        let (stream, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(Qmp::begin(stream).await, Err(QmpError::Ended)));
    }
}
