//! `become`: what an app's unit executes. It is in the app's root already, as root; it begins the app's own processes
//! ([`processes`]), of which one becomes who the app is, bound by all that the app is, finds the program and becomes it.
//!
//! What it needs for that is mounted at [`LAUNCH_DIR`], within its own namespace; it takes that away before anything of the
//! app's executes, and when the app's `/proc` is there: who joins the app waits for that.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use isopod_contract::exec::{STATUS_FAILED, STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use isopod_contract::in_one_line;
use isopod_contract::launch::{GuestLaunch, Part, PidNamespace};
use isopod_contract::layout::{LAUNCH_BOOT_ID, LAUNCH_DIR, LAUNCH_FAILURE, LAUNCH_FILE, LAUNCH_PIDS};
use rustix::fs::fchown;
use rustix::mount::UnmountFlags;
use rustix::process::{Uid, ioctl_tiocsctty};
use rustix::stdio;

use crate::apps::format;
use crate::apps::launch::Failure;
use crate::mounts::kernel_fs::{self, KernelFsError};
use crate::process::assume::{self, AssumeError};
use crate::process::processes::{self, Beginning, Ended, Side};
use crate::report::print;

/// Why the program could not be executed.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("cannot read what to execute")]
    Read(#[source] io::Error),
    #[error("cannot read what to execute")]
    Parse(#[source] serde_json::Error),
    #[error("cannot begin the app's own processes")]
    Processes(#[source] io::Error),
    #[error(transparent)]
    KernelFs(#[from] KernelFsError),
    #[error("cannot hide the agent from the app")]
    Hide(#[source] io::Error),
    #[error("cannot take the terminal")]
    Terminal(#[source] io::Error),
    #[error("there is no program to execute")]
    NoProgram,
    #[error("cannot start in `{}`", .dir.escape_debug())]
    WorkingDir {
        dir: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Assume(AssumeError),
    #[error("cannot execute `{}`: {why}", .program.escape_debug())]
    Execute {
        program: String,
        status: u8,
        why: String,
    },
}

impl LaunchError {
    /// What a shell would exit with.
    fn status(&self) -> u8 {
        match self {
            Self::Execute { status, .. } => *status,
            Self::WorkingDir { .. } => STATUS_NOT_EXECUTABLE,
            _ => STATUS_FAILED,
        }
    }
}

/// Becomes a program of the app. In the processes around it this comes back when the program has ended, with its end; in the
/// program's own only when that could not be executed, with what a shell would exit with.
pub(crate) fn run(part: Part) -> ExitCode {
    let directory = Path::new(LAUNCH_DIR);
    // Closed by the execution. The processes around the program report by their exit status.
    let open = || {
        File::options()
            .write(true)
            .truncate(true)
            .open(directory.join(LAUNCH_FAILURE))
            .ok()
    };
    let mut report = (part == Part::Main).then(open).flatten();
    let became = become_program(directory, part, &mut report);
    let write = |bytes: &[u8]| {
        report
            .as_ref()
            .is_some_and(|mut file| file.write_all(bytes).is_ok())
    };
    match became {
        Ok(Ended { pid, status }) => {
            // Of one that a signal ended systemd sees its parent's end alone.
            if let (Some(_), Some(pid)) = (status.signal(), pid) {
                let core = status.core_dumped();
                write(&Failure::killed(pid.as_raw_nonzero().get(), core));
            }
            processes::end_as(status)
        }
        Err(error) => {
            let (status, text) = (error.status(), in_one_line(&error));
            if !write(&[&[status], text.as_bytes()].concat()) {
                print(&format!("isopod-agent: {text}"));
            }
            ExitCode::from(status)
        }
    }
}

/// Returns in the processes around the program, when it has ended. `report` is let go of by the one that the app sees.
fn become_program(directory: &Path, part: Part, report: &mut Option<File>) -> Result<Ended, LaunchError> {
    let text = std::fs::read(directory.join(LAUNCH_FILE)).map_err(LaunchError::Read)?;
    let launch: GuestLaunch = serde_json::from_slice(&text).map_err(LaunchError::Parse)?;
    let pod = match launch.processes {
        PidNamespace::Pod => Some(File::open(directory.join(LAUNCH_PIDS)).map_err(LaunchError::Processes)?),
        PidNamespace::Own | PidNamespace::OwnFirst | PidNamespace::Vm => None,
    };
    let entered = Beginning::enter(launch.processes, pod.as_ref());
    let beginning = match entered.map_err(LaunchError::Processes)? {
        (_, Side::Parent(attendant)) => return attendant.wait().map_err(LaunchError::Processes),
        (beginning, Side::Child) => beginning,
    };
    kernel_fs::show_processes(
        launch.privileged,
        launch.paths.as_ref(),
        &directory.join(LAUNCH_BOOT_ID),
    )?;
    if launch.cgroups {
        kernel_fs::show_cgroups(launch.privileged)?;
    }
    rustix::mount::unmount(directory, UnmountFlags::DETACH)
        .map_err(|errno| LaunchError::Hide(errno.into()))?;
    // What it was mounted on is nothing to the app either; systemd makes it again.
    let _ = std::fs::remove_dir(directory);
    match beginning.begin().map_err(LaunchError::Processes)? {
        Side::Parent(first) => {
            drop(report.take());
            first.wait().map_err(LaunchError::Processes)
        }
        Side::Child => match execute(&launch, part)? {},
    }
}

fn execute(launch: &GuestLaunch, part: Part) -> Result<std::convert::Infallible, LaunchError> {
    let process = &launch.process;
    let (argv, identity) = match part {
        Part::Main => (&launch.main, &process.identity),
        Part::PreStart => (&launch.pre_start, &launch.handlers),
        Part::PostStop => (&launch.post_stop, &launch.handlers),
    };
    if launch.terminal && part == Part::Main {
        take_terminal(identity.uid).map_err(LaunchError::Terminal)?;
    }
    let dir = Path::new(&process.working_dir);
    // As with runc: made where it is missing, and entered by root, who may enter more. Where root may not (a volume of the
    // host's), the user perhaps may.
    let _ = std::fs::create_dir_all(dir);
    let entered = std::env::set_current_dir(dir);
    assume::assume(process, identity).map_err(LaunchError::Assume)?;
    entered
        .or_else(|_| std::env::set_current_dir(dir))
        .map_err(|source| LaunchError::WorkingDir {
            dir: process.working_dir.clone(),
            source,
        })?;
    let (name, args) = argv.split_first().ok_or(LaunchError::NoProgram)?;
    let search = launch.env.get("PATH").map_or("", String::as_str);
    let refused = |program: &Path, (status, why)| LaunchError::Execute {
        program: program.to_string_lossy().into_owned(),
        status,
        why,
    };
    let nowhere = || (STATUS_NOT_FOUND, "no directory of its PATH has it".to_owned());
    let program = format::find(name, search).ok_or_else(|| refused(Path::new(name), nowhere()))?;
    // From here on the kernel sees it as the program's own root and directory do.
    let program = std::path::absolute(&program).unwrap_or(program);
    if let Some(why) = format::refusal(Path::new("/"), &program) {
        return Err(refused(&program, why));
    }
    let mut command = Command::new(&program);
    command.arg0(name).args(args).env_clear().envs(&launch.env);
    if let Some(syscalls) = &process.syscalls {
        assume::confine(syscalls).map_err(LaunchError::Assume)?;
    }
    let error = command.exec();
    Err(refused(&program, (STATUS_NOT_EXECUTABLE, error.to_string())))
}

/// Makes standard input, which is a terminal, that of the session, and its user's.
fn take_terminal(uid: u32) -> io::Result<()> {
    ioctl_tiocsctty(stdio::stdin())?;
    if assume::is_id(uid) {
        // So that the program may open it once more by its name, whoever it is.
        fchown(stdio::stdin(), Some(Uid::from_raw(uid)), None)?;
    }
    Ok(())
}
