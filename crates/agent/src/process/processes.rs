//! The processes around an app's program: who is the first one that the app sees, who reaps, who passes on signals, and how
//! systemd learns how the program ended.
//!
//! ```text
//!   systemd ──> attendant          of the guest: the unit's main process; passes signals on, ends as the program did
//!                  └── first       process 1 of the app's own: passes signals on, reaps, reports how the program ended
//!                        └── program
//! ```
//!
//! A program that is an init itself is process 1 in place of ours; in a pod whose apps share their processes, process 1 is
//! the pod's own ([`pod`]), and the program the attendant's child. A program that sees the guest's processes is the unit's
//! main process itself.
//!
//! The kernel ends what is left in the app's own namespace with its first process (pid_namespaces(7)).

pub(crate) mod pod;
mod sys;

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use isopod_contract::launch::PidNamespace;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::set_socket_passcred,
};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, setrlimit, setsid, wait};
use rustix::stdio;
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, move_into_link_name_space,
    set_capabilities, set_name,
};

use sys::Signals;

/// What a process is after [`Beginning::enter`] or [`Beginning::begin`].
pub(crate) enum Side {
    /// The one that was there.
    Parent(Attendant),
    /// The new one, which is to become the program.
    Child,
}

/// A process that waits for the program's end.
pub(crate) struct Attendant {
    child: Pid,
    /// How the end is reported, where the child is not the program.
    report: EndReport,
}

/// How one process around the program learns of its end from another.
enum EndReport {
    /// The child is the program.
    Own,
    /// The child says it here.
    From(UnixStream),
    /// It is said here.
    To(UnixStream),
}

impl Attendant {
    /// Passes signals on until the program has ended.
    pub(crate) fn wait(self) -> io::Result<Ended> {
        let status = attend(self.child);
        let pid = Some(self.child);
        match self.report {
            EndReport::Own => Ok(Ended { pid, status }),
            EndReport::From(socket) => Ok(reported(socket).unwrap_or(Ended { pid: None, status })),
            EndReport::To(mut socket) => {
                socket.write_all(&status.into_raw().to_le_bytes())?;
                Ok(Ended { pid: None, status })
            }
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its number in the guest; `None` where it did not come so far.
    pub(crate) pid: Option<Pid>,
    /// Its status, as wait(2) has it.
    pub(crate) status: ExitStatus,
}

/// A process that is on its way to become an app's program.
#[derive(Default)]
pub(crate) struct Beginning {
    /// The signals that were held back before; `None` where systemd's own process continues.
    held: Option<Signals>,
    /// From the app's first process to the attendant.
    report: Option<UnixStream>,
}

impl Beginning {
    /// Leaves the guest's processes for those that the app is to see, as their newest. `pod` is the pod's namespace.
    pub(crate) fn enter(kind: PidNamespace, pod: Option<&File>) -> io::Result<(Self, Side)> {
        if kind == PidNamespace::Vm {
            return Ok((Self::default(), Side::Child));
        }
        let held = Some(sys::hold_all());
        let cgroups = UnshareFlags::NEWCGROUP;
        match (kind, pod) {
            (PidNamespace::Pod, None) => return Err(io::ErrorKind::NotFound.into()),
            (PidNamespace::Pod, Some(pod)) => {
                sys::unshare(cgroups)?;
                move_into_link_name_space(pod.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
            }
            _ => sys::unshare(cgroups | UnshareFlags::NEWPID)?,
        }
        let (ours, theirs) = socket_of_senders()?;
        match sys::fork()? {
            Some(child) => {
                drop(theirs);
                leave_streams()?;
                let report = match kind {
                    PidNamespace::Own => EndReport::From(ours),
                    _ => EndReport::Own,
                };
                Ok((
                    Self { held, report: None },
                    Side::Parent(Attendant { child, report }),
                ))
            }
            None => {
                let report = (kind == PidNamespace::Own).then_some(theirs);
                Ok((Self { held, report }, Side::Child))
            }
        }
    }

    /// Begins the program's own process, with a session of its own, and leaves the first one behind it where that is ours.
    pub(crate) fn begin(self) -> io::Result<Side> {
        if let Some(mut report) = self.report {
            if let Some(child) = sys::fork()? {
                become_first()?;
                let report = EndReport::To(report);
                return Ok(Side::Parent(Attendant { child, report }));
            }
            // What it sends bears its number as the attendant has it.
            report.write_all(&[0])?;
        }
        if let Some(held) = self.held {
            setsid()?;
            sys::set_held(held);
        }
        Ok(Side::Child)
    }
}

/// Begins a process that is to become a command in a running app: of the caller's namespaces, those of its children too.
/// In the parent it returns at once, with the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    sys::fork()
}

/// Leaves the namespaces of those kinds. The caller is one of the agent's short-lived programs.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    sys::unshare(flags)
}

/// Waits for that child.
pub(crate) fn wait_for(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Passes signals on to `child` and reaps, until it ends.
fn attend(child: Pid) -> ExitStatus {
    loop {
        let signal = sys::wait();
        if signal != libc::SIGCHLD {
            sys::kill(child, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == child {
                return ExitStatus::from_raw(status.as_raw());
            }
        }
    }
}

/// What the app's first process and the program sent before they ended.
fn reported(mut socket: UnixStream) -> Option<Ended> {
    let pid = sender(&socket)?;
    let mut status = [0; 4];
    socket.read_exact(&mut status).ok()?;
    Some(Ended {
        pid: Some(pid),
        status: ExitStatus::from_raw(i32::from_le_bytes(status)),
    })
}

/// Two ends of a socket; what comes out of the first says who sent it.
fn socket_of_senders() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    set_socket_passcred(&ours, true)?;
    Ok((ours, theirs))
}

/// Reads a byte; who sent it, by its number in this process's namespace.
fn sender(socket: &UnixStream) -> Option<Pid> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let into = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(socket, into, &mut ancillary, RecvFlags::empty()).ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid),
        _ => None,
    })
}

/// Becomes what process 1 of an app has to be: it holds none of its streams, and may do no more than send signals.
fn become_first() -> io::Result<()> {
    leave_streams()?;
    set_name(c"isopod-init")?;
    let kill = CapabilitySet::KILL;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kill,
            permitted: kill,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Lets go of the standard streams, which are the program's.
pub(crate) fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    stdio::dup2_stdin(&null)?;
    stdio::dup2_stdout(&null)?;
    stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Ends as the program did: with its status, or by its signal, without a core file of its own.
pub(crate) fn end_as(status: ExitStatus) -> ExitCode {
    let Some(signal) = status.signal() else {
        return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
    };
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    sys::end_by(signal)
}
