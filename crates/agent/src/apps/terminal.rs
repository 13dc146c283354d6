//! Terminals, as the agent holds their other ends (pty(7)): an app's own, of which its unit's standard streams are the one
//! end, and those of commands.
//!
//! An app's terminal is one for all of its lives. Between two of them nobody has it open: reading gives an error then, and
//! the event that says so stays for ever with those who registered for it before. So it is registered again for each life.
//!
//! ```text
//!   host's input ──> typed ──> terminal ──> the host's standard output
//!                    hung up: the life has ended ── opened again ──> the next one
//! ```

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use isopod_contract::config::GuestApp;
use isopod_contract::exec::WindowSize;
use isopod_protocol::mux::MuxStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::ptsname;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::apps::streams;
use crate::device::Device;
use crate::process::pty::{SILENCE, master, resize};

/// What goes between a terminal and a stream in one piece: a yamux frame.
const COPY_BYTES: usize = 16 * 1024;

/// How often the agent looks whether a terminal that was hung up is open again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The size of a terminal that nobody has connected with his own yet.
const FIRST_SIZE: WindowSize = WindowSize { rows: 24, cols: 80 };

/// An app's terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: File,
}

impl Terminal {
    /// Makes the terminal of `app`, among its own, and the link `at` to it.
    pub(crate) fn make(app: &GuestApp, at: &Path) -> io::Result<Self> {
        let terminals = Path::new(&app.dev).join("pts");
        let master = master(&terminals.join("ptmx"), FIRST_SIZE)?;
        let name = ptsname(&master, Vec::new())?;
        let name = Path::new(name.to_str().map_err(|_| io::ErrorKind::InvalidData)?);
        let number = name.file_name().ok_or(io::ErrorKind::InvalidData)?;
        streams::link(at, &terminals.join(number))?;
        Ok(Self { master })
    }

    /// What its size is set by.
    pub(crate) fn sizer(&self) -> io::Result<Sizer> {
        self.master.try_clone().map(Sizer)
    }

    /// Moves what is written on the terminal to `output`, and what comes from `input` to the terminal, until `ended` and
    /// nothing is left; then ends the output. The input's end is none of the terminal's.
    pub(crate) async fn serve(
        self,
        mut output: MuxStream,
        input: Option<MuxStream>,
        mut ended: watch::Receiver<bool>,
    ) {
        let mut host = Some(&mut output);
        let mut input = Input {
            stream: input,
            typed: Vec::new(),
        };
        while let Ok(device) = self.master.try_clone().and_then(Device::new) {
            let keyboard = device.clone();
            tokio::select! {
                () = read(device, &mut host, &mut ended) => {}
                () = input.type_on(keyboard) => {}
            }
            tokio::select! {
                biased;
                // Closing the channel is the end, too.
                _ = ended.wait_for(|ended| *ended) => break,
                () = self.opened() => {}
            }
        }
        let _ = output.shutdown().await;
    }

    /// Waits until somebody has the terminal open.
    async fn opened(&self) {
        while self.is_hung_up() {
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let now = Timespec::default();
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }
}

/// Sets the size of an app's terminal.
#[derive(Debug)]
pub(crate) struct Sizer(File);

impl Sizer {
    /// Gives the terminal another size.
    pub(crate) fn resize(&self, size: WindowSize) -> io::Result<()> {
        resize(&self.0, size)
    }
}

/// Reads until nobody has the terminal open; when it is `ended`, what is left.
async fn read(mut device: Device, host: &mut Option<&mut MuxStream>, ended: &mut watch::Receiver<bool>) {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = tokio::select! {
            read = device.read(&mut buffer) => read,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        match read {
            // Not within the choice above: half of it may be sent.
            Ok(n @ 1..) => streams::send(host, &buffer[..n]).await,
            _ => return,
        }
    }
    while let Ok(Ok(n @ 1..)) = timeout(SILENCE, device.read(&mut buffer)).await {
        streams::send(host, &buffer[..n]).await;
    }
}

/// What is typed on a terminal.
struct Input {
    /// Where it comes from, until its end.
    stream: Option<MuxStream>,
    /// What came and is not typed yet.
    typed: Vec<u8>,
}

impl Input {
    /// Types what comes, for ever. May be cancelled: what was not typed then is typed the next time.
    async fn type_on(&mut self, mut device: Device) {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            while !self.typed.is_empty() {
                match device.write(&self.typed).await {
                    Ok(n) => drop(self.typed.drain(..n)),
                    // Whoever reads the terminal finds out why.
                    Err(_) => std::future::pending().await,
                }
            }
            let Some(stream) = &mut self.stream else {
                return std::future::pending().await;
            };
            match stream.read(&mut buffer).await {
                Ok(n @ 1..) => self.typed.extend_from_slice(&buffer[..n]),
                _ => self.stream = None,
            }
        }
    }
}
