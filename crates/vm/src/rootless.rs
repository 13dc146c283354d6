//! The network namespace in which an ordinary user's networks are: one for all pods of a state directory, with the user as its root, and
//! pasta(1) as its way out.
//!
//! ```text
//! isopod HOLDER ──> a child in a user and a network namespace of its own, which does nothing
//!    │   └────────> pasta, between that namespace and the host's network
//!    └ waits until nobody uses it, then ends all of it
//!
//! DIR/used     locked by each that uses it, shared: by a supervisor for as long as its pod runs
//! DIR/holder   locked by the holder as long as it is one; its text is the number of the process that is in the namespace
//! DIR/begin    locked while one begins
//! DIR/pasta    pasta's number
//! ```
//!
//! The kernel lets go of locks however a process ends, so that the last one needs to do nothing.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::command::command;
use crate::launcher::sys;

/// The first argument that makes `isopod` a holder.
pub const HOLDER: &str = "internal-network-holder";

/// The name server in the namespace: pasta asks the host's.
pub const NAMESERVER: &str = "10.0.2.3";

/// Between two looks whether somebody uses it.
const LOOK: Duration = Duration::from_millis(500);

/// How long pasta may take until the way out is there.
const CONFIGURED: Duration = Duration::from_secs(5);

/// How long a holder may take until its namespace is there.
const BEGINNING: Duration = Duration::from_secs(10);

/// What the holder says when it is one.
const READY: &str = "ready";

const USED: &str = "used";
const HELD: &str = "holder";
const BEGIN: &str = "begin";
const PASTA: &str = "pasta";

/// Why there is no such namespace.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// Its files cannot be worked with.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// It cannot be made.
    #[error("cannot make the network namespace of this user's pods: {0}")]
    Holder(String),
    /// It cannot be entered.
    #[error("cannot enter the network namespace of this user's pods")]
    Enter(#[source] io::Error),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpaceError {
    let path = path.to_owned();
    move |source| SpaceError::Io { action, path, source }
}

/// The namespace, which stays as long as somebody has one of these.
#[derive(Debug)]
pub struct Space {
    _used: File,
    process: u32,
}

fn open(dir: &Path, name: &str) -> Result<File, SpaceError> {
    let path = dir.join(name);
    let mut options = File::options();
    let opened = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    opened.map_err(failed("open", &path))
}

impl Space {
    /// The one of `dir`, which is made where there is none.
    ///
    /// # Errors
    /// [`SpaceError`].
    pub fn take(dir: &Path, isopod: &Path, pasta: &Path) -> Result<Self, SpaceError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let begin = open(dir, BEGIN)?;
        begin.lock().map_err(failed("lock", &dir.join(BEGIN)))?;
        // Waits for one that ends.
        let used = open(dir, USED)?;
        used.lock_shared().map_err(failed("lock", &dir.join(USED)))?;
        let process = match held(dir)? {
            Some(process) => process,
            None => start(dir, isopod, pasta)?,
        };
        Ok(Self { _used: used, process })
    }

    /// The one of `dir`, where there is one.
    ///
    /// # Errors
    /// [`SpaceError`].
    pub fn find(dir: &Path) -> Result<Option<Self>, SpaceError> {
        if !dir.join(USED).exists() {
            return Ok(None);
        }
        let used = open(dir, USED)?;
        used.lock_shared().map_err(failed("lock", &dir.join(USED)))?;
        Ok(held(dir)?.map(|process| Self { _used: used, process }))
    }

    /// The process that is in it.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }
}

/// The process in the namespace that somebody holds.
fn held(dir: &Path) -> Result<Option<u32>, SpaceError> {
    let path = dir.join(HELD);
    let mut file = open(dir, HELD)?;
    match file.try_lock_shared() {
        // Whoever held it has ended.
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed("read", &path))?;
            Ok(text.trim().parse().ok())
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

fn start(dir: &Path, isopod: &Path, pasta: &Path) -> Result<u32, SpaceError> {
    let log = dir.join("log");
    let errors = File::create(&log).map_err(failed("create", &log))?;
    let mut holder = command(isopod);
    holder.arg(HOLDER).arg(dir).arg(pasta);
    // It outlives this process, and a terminal's Ctrl-C.
    let spawned = holder
        .stdout(Stdio::piped())
        .stderr(errors)
        .current_dir("/")
        .process_group(0)
        .spawn();
    let mut child = spawned.map_err(failed("start", isopod))?;
    let said = child.stdout.take().map(first_line).unwrap_or_default();
    match said
        .strip_prefix(READY)
        .and_then(|number| number.trim().parse().ok())
    {
        Some(process) => Ok(process),
        None => {
            let _ = child.wait();
            let words = fs::read_to_string(&log).unwrap_or_default();
            Err(SpaceError::Holder(words.trim().replace('\n', "; ")))
        }
    }
}

fn first_line(output: impl io::Read) -> String {
    let mut line = String::new();
    let _ = BufReader::new(output).read_line(&mut line);
    line
}

/// Enters the namespace that `process` is in, as its root. This process has one thread.
///
/// # Errors
/// [`SpaceError::Enter`].
pub fn enter(process: u32) -> Result<(), SpaceError> {
    let open = |name: &str| File::open(format!("/proc/{process}/ns/{name}")).map_err(SpaceError::Enter);
    // Both before either: as root of the one the other's directory is not readable any more.
    let (user, net) = (open("user")?, open("net")?);
    for (space, kind) in [(user, LinkNameSpaceType::User), (net, LinkNameSpaceType::Network)] {
        let entered = move_into_link_name_space(space.as_fd(), Some(kind));
        entered.map_err(|error| SpaceError::Enter(error.into()))?;
    }
    Ok(())
}

/// Holds a namespace until nobody uses it; the arguments are the directory and pasta, after [`HOLDER`].
///
/// # Errors
/// [`SpaceError`].
pub fn hold(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<(), SpaceError> {
    let args: Vec<PathBuf> = args.into_iter().map(PathBuf::from).collect();
    let [dir, pasta] = &args[..] else {
        return Err(SpaceError::Holder(format!(
            "`isopod {HOLDER}` is called by isopod itself"
        )));
    };
    let mut lock = open(dir, HELD)?;
    lock.try_lock()
        .map_err(|error| failed("lock", &dir.join(HELD))(error.into()))?;
    end_pasta(dir);
    let made = |source: io::Error| SpaceError::Holder(source.to_string());
    let (mut ready, here) = io::pipe().map_err(made)?;
    let (life, ours) = io::pipe().map_err(made)?;
    let Some(child) = sys::fork().map_err(made)? else {
        // Of what is open here nothing is to stay open there: a lock would.
        drop((lock, ours, ready));
        let stayed = stay(here, life);
        if let Err(error) = &stayed {
            let _ = writeln!(io::stderr(), "{error}");
        }
        sys::exit(i32::from(stayed.is_err()));
    };
    drop((here, life));
    let mut byte = [0];
    if ready.read(&mut byte).map_err(made)? == 0 {
        return Err(SpaceError::Holder(
            "the system does not let ordinary users have namespaces".into(),
        ));
    }
    let process = child.as_raw_nonzero().get();
    let mut out = Pasta::start(dir, pasta, process)?;
    out.await_route(process);
    lock.set_len(0).map_err(failed("write to", &dir.join(HELD)))?;
    write!(lock, "{process}").map_err(failed("write to", &dir.join(HELD)))?;
    let _ = writeln!(io::stdout(), "{READY} {process}");
    let used = open(dir, USED)?;
    loop {
        std::thread::sleep(LOOK);
        if matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(Some(_)) | Err(_)) {
            break;
        }
        match used.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => out.look(dir, pasta, process)?,
            Err(TryLockError::Error(error)) => return Err(failed("lock", &dir.join(USED))(error)),
        }
    }
    end_pasta(dir);
    end_name_server(dir);
    drop(ours);
    let _ = kill_process(child, Signal::KILL);
    // This lock first: whoever has the other then sees that there is no holder.
    drop(lock);
    drop(used);
    Ok(())
}

/// Becomes the process that is in the namespace, until the holder ends.
fn stay(mut here: io::PipeWriter, mut life: PipeReader) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    // The host's, of which there is one for each namespace.
    for path in [
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ] {
        let _ = fs::write(path, "1");
    }
    here.write_all(b".")?;
    drop(here);
    // Returns when the holder has ended.
    let _ = life.read(&mut [0]);
    Ok(())
}

/// The way out of the namespace.
struct Pasta {
    child: Child,
    begun: Instant,
}

impl Pasta {
    fn start(dir: &Path, pasta: &Path, process: i32) -> Result<Self, SpaceError> {
        let spaces = ["user", "net"].map(|kind| format!("/proc/{process}/ns/{kind}"));
        let [user, net] = &spaces;
        let child = command(pasta)
            // No port of the host's leads in, none of the host's loopback interface out.
            .args(["--config-net", "--quiet", "--foreground", "--no-map-gw"])
            .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
            .args([
                "-a",
                "10.0.2.15",
                "-n",
                "24",
                "-g",
                "10.0.2.2",
                "--dns-forward",
                NAMESERVER,
            ])
            .args(["--ns-ifname", UPLINK, "--userns", user, "--netns", net])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .current_dir("/")
            .spawn()
            .map_err(failed("start", pasta))?;
        fs::write(dir.join(PASTA), child.id().to_string()).map_err(failed("write", &dir.join(PASTA)))?;
        Ok(Self {
            child,
            begun: Instant::now(),
        })
    }

    /// Waits until there is a way out, or pasta has found none.
    fn await_route(&mut self, process: i32) {
        let routes = format!("/proc/{process}/net/route");
        let has = |line: &str| line.split_whitespace().take(2).eq([UPLINK, "00000000"]);
        while self.begun.elapsed() < CONFIGURED && matches!(self.child.try_wait(), Ok(None)) {
            if fs::read_to_string(&routes).is_ok_and(|text| text.lines().any(has)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again where it has ended: on a host that had no network there may be one by now.
    fn look(&mut self, dir: &Path, pasta: &Path, process: i32) -> Result<(), SpaceError> {
        if matches!(self.child.try_wait(), Ok(None)) || self.begun.elapsed() < BEGINNING {
            return Ok(());
        }
        *self = Self::start(dir, pasta, process)?;
        Ok(())
    }
}

/// The interface that leads out.
const UPLINK: &str = "uplink";

/// Ends a pasta that is there, also one that a killed holder left.
fn end_pasta(dir: &Path) {
    let path = dir.join(PASTA);
    end(&path, |name| {
        name.starts_with("pasta") || name.starts_with("passt")
    });
    let _ = fs::remove_file(path);
}

/// Ends aardvark-dns, which only the last pod in a network ends that leaves in order, and forgets what netavark knew.
fn end_name_server(dir: &Path) {
    let Some(networks) = dir.parent() else { return };
    let run = networks.join("run");
    end(&run.join("aardvark-dns/aardvark.pid"), |name| {
        name.starts_with("aardvark-dns")
    });
    let _ = fs::remove_dir_all(run);
}

/// Kills the process whose number is in the file, if it is one of that name.
fn end(file: &Path, is_it: impl Fn(&str) -> bool) {
    let number = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let Some(process) = number.and_then(Pid::from_raw) else {
        return;
    };
    let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero()));
    if name.is_ok_and(|name| is_it(&name)) {
        let _ = kill_process(process, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_that_nobody_holds_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Space::find(dir.path()).unwrap().is_none());
        fs::write(dir.path().join(USED), "").unwrap();
        fs::write(dir.path().join(HELD), "1").unwrap();
        assert!(Space::find(dir.path()).unwrap().is_none(), "its holder has ended");
        let holder = open(dir.path(), HELD).unwrap();
        holder.lock().unwrap();
        assert_eq!(Space::find(dir.path()).unwrap().unwrap().process(), 1);
    }

    #[test]
    fn only_what_is_called_so_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = command(Path::new("/bin/sleep")).arg("100").spawn().unwrap();
        let file = dir.path().join("pid");
        fs::write(&file, child.id().to_string()).unwrap();
        // The kernel gives a process its name only after whoever began it continues.
        let comm = format!("/proc/{}/comm", child.id());
        while fs::read_to_string(&comm).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        end(&file, |name| name.starts_with("pasta"));
        assert!(child.try_wait().unwrap().is_none());
        end(&file, |name| name.starts_with("sleep"));
        child.wait().unwrap();
    }
}
