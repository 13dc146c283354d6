//! A command that is executed in an app and judged by its exit status. It has no input; the last of what it writes is
//! kept. One that is given up is killed with all of its process group.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;

use super::done::{Done, failure};
use crate::exec;
use crate::exec::enter::Job;

/// How much of a command's output is kept, from its end.
const KEPT_BYTES: usize = 4096;

/// How often is read when it has ended: a pipe holds no more (pipe(7)).
const MAX_REST: usize = 64 * 1024 / KEPT_BYTES;

/// Executes what `job` says by way of the agent's program, `agent`, and judges how it ended.
pub(crate) async fn run(agent: &Path, job: &Job) -> Done {
    let (mut output, theirs) = match streams() {
        Ok(streams) => streams,
        Err(error) => return Done::failed(format!("cannot make a pipe: {error}")),
    };
    let mut process = match exec::spawn(agent, job, theirs).await {
        Ok(process) => process.in_group(),
        Err(error) => return failure(&error),
    };
    if let Some(why) = process.refused().await {
        return Done::failed(why);
    }
    let mut kept = Kept::default();
    let status = loop {
        tokio::select! {
            status = process.wait() => break status,
            read = kept.read(&mut output), if !kept.ended => kept.ended = !matches!(read, Ok(1..)),
        }
    };
    // What it wrote last; a process that it left behind may hold the pipe open, and is not waited for.
    for _ in 0..MAX_REST {
        if kept.ended || kept.rest(&output).is_none() {
            break;
        }
    }
    judge(status, &String::from_utf8_lossy(&kept.bytes))
}

fn judge(status: io::Result<ExitStatus>, output: &str) -> Done {
    let output = output.trim();
    let with_output = |words: String| match output {
        "" => words,
        output => format!("{words}: {output}"),
    };
    match status {
        Ok(status) if status.success() => Done::new(true, output),
        Ok(status) => Done::failed(with_output(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "it ended".to_owned(),
        })),
        Err(error) => failure(&error),
    }
}

/// Its output, and what it has for standard streams.
fn streams() -> io::Result<(Receiver, [OwnedFd; 3])> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let input = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let reader = Receiver::from_owned_fd(reader)?;
    Ok((reader, [input, writer.try_clone()?, writer]))
}

/// The last of what was read.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    ended: bool,
}

impl Kept {
    async fn read(&mut self, output: &mut Receiver) -> io::Result<usize> {
        loop {
            output.readable().await?;
            match self.try_read(output) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    fn try_read(&mut self, output: &Receiver) -> io::Result<usize> {
        let mut piece = [0; KEPT_BYTES];
        let length = output.try_read(&mut piece)?;
        self.keep(&piece[..length]);
        Ok(length)
    }

    /// Reads past tokio, which may not have seen yet what came last; `None` where there is no more.
    fn rest(&mut self, output: &Receiver) -> Option<()> {
        let mut piece = [0; KEPT_BYTES];
        let length = rustix::io::read(output, &mut piece)
            .ok()
            .filter(|length| *length > 0)?;
        self.keep(&piece[..length]);
        Some(())
    }

    fn keep(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        let excess = self.bytes.len().saturating_sub(KEPT_BYTES);
        self.bytes.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_how_and_what_it_wrote() {
        let exited = |code: i32| Ok(ExitStatus::from_raw(code << 8));
        assert_eq!(judge(exited(0), "fine\n"), Done::new(true, "fine"));
        assert_eq!(judge(exited(3), ""), Done::new(false, "exit status 3"));
        assert_eq!(
            judge(exited(1), "no\ndb\n"),
            Done::new(false, "exit status 1: no | db")
        );
        assert_eq!(judge(Ok(ExitStatus::from_raw(9)), "").text, "killed by signal 9");
    }
}
