//! Spares: VMs that are up before anybody has asked for their sandboxes. Each is a server of this program with a pod without containers,
//! which becomes the sandbox's server and pod. There are as many of each size as the environment of containerd says (`ISOPOD_SPARES`).
//!
//! ```text
//! `start`   a spare of that size listens? ─ yes ─> it gets the sandbox's socket and bundle ─┐
//!                                         └ no ──> a server is started                      ├─> begins spares in free places
//! a spare   a free place ─> 3 s ─> its pod comes up ─> a rehearsal ─> listens ─> becomes the server, or ends after 10 min
//! ```
//!
//! Nothing keeps spares but the starts of sandboxes: where none are started, they end.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isopod_runtime::Settings;
use isopod_spec::StartMode;
use isopod_vm::netns::OwnNetns;
use isopod_vm::{fd_message, namespaces};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::args::{Action, Args};
use crate::numbers::Numbers;
use crate::oci::spec::Spec;
use crate::oci::{self, NetworkOf, Role};
use crate::publish::Publisher;
use crate::sandbox::{Engine, Sandbox};
use crate::server::{self, Surroundings};
use crate::settings::own_command;
use crate::{cgroup, log, pod, settings};

/// How long a spare waits before it begins: the sandbox that was started beside it has its first container by then.
const BEGINS_AFTER: Duration = Duration::from_secs(3);

/// How long a spare waits for its sandbox.
const WAITS: Duration = Duration::from_secs(600);

/// How long a spare may take to become a sandbox's server: it has nothing to do but that.
const TAKES: Duration = Duration::from_secs(10);

/// How long a thread that has nothing to do stays: those of a spare are in the wrong network namespace when it is taken.
const IDLE_THREADS: Duration = Duration::from_millis(2);

/// How long a spare may take to come up and to rehearse.
const COMES_UP: Duration = Duration::from_secs(240);

/// The most sizes of which there are spares.
const MOST_SIZES: usize = 5;

/// What a spare says when it is the sandbox's server.
const TAKEN: u8 = b'y';

/// The memory and processors of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    memory_mib: u32,
    cpus: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.memory_mib, self.cpus)
    }
}

impl FromStr for Size {
    type Err = io::Error;

    fn from_str(text: &str) -> Result<Self, io::Error> {
        let read = || {
            let (memory_mib, cpus) = text.split_once('x')?;
            Some(Self {
                memory_mib: memory_mib.parse().ok()?,
                cpus: cpus.parse().ok()?,
            })
        };
        read().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "`-id` is no size of a VM"))
    }
}

/// What a spare is told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Takeover {
    namespace: String,
    id: String,
    address: PathBuf,
    debug: bool,
    bundle: PathBuf,
    /// Where containerd receives events.
    events: String,
}

/// The places for spares of a size: directories with a lock, whose holder is the spare.
pub(crate) struct Spares {
    size: Size,
    dir: PathBuf,
    number: u32,
}

impl Spares {
    /// Those for the container of `spec`; `None`: there are none for such a one.
    ///
    /// # Errors
    /// The environment is not valid.
    pub(crate) fn of(role: &Role, spec: &Spec) -> io::Result<Option<Self>> {
        let number = settings::spares()?;
        let in_a_namespace = matches!(oci::network(spec), Ok(NetworkOf::Namespace(_)));
        if number == 0 || *role != Role::Sandbox || !in_a_namespace {
            return Ok(None);
        }
        let settings = settings::from_environment()?;
        // What is refused is refused by the server, with the reason.
        let Ok(vm) = oci::vm(spec) else { return Ok(None) };
        // A spare starts as the environment says.
        if vm.start != StartMode::Auto || settings.start == StartMode::Cold {
            return Ok(None);
        }
        let size = Size {
            memory_mib: vm.memory_mib,
            cpus: vm.cpus,
        };
        Self::new(&settings, size, number).map(Some)
    }

    /// Those of this very program: one that was installed later cannot speak with its spares.
    fn new(settings: &Settings, size: Size, number: u32) -> io::Result<Self> {
        let program = fs::metadata("/proc/self/exe")?;
        let program = format!("{}-{}-{}", program.dev(), program.ino(), program.mtime());
        let dir = root(settings).join(program).join(size.to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { size, dir, number })
    }

    fn places(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.number).map(|number| self.dir.join(number.to_string()))
    }

    /// Lets a spare become the server of the sandbox that `args` are of, which listens there; whether there is one.
    ///
    /// # Errors
    /// A spare neither did nor refused.
    pub(crate) fn take(&self, args: &Args, listener: &StdListener) -> io::Result<bool> {
        let takeover = Takeover {
            namespace: args.namespace.clone(),
            id: args.id.clone(),
            address: args.address.clone(),
            debug: args.debug,
            bundle: std::path::absolute(args.bundle.as_deref().unwrap_or(Path::new(".")))?,
            events: settings::events_address(args),
        };
        let message = serde_json::to_vec(&takeover)?;
        for place in self.places() {
            let Ok(mut spare) = StdStream::connect(socket(&place)) else {
                continue;
            };
            spare.set_read_timeout(Some(TAKES))?;
            // One that another sandbox was quicker to take has closed its end.
            if fd_message::send(&spare, &message, &[listener.as_fd()]).is_err() {
                continue;
            }
            let mut answer = [0];
            match spare.read(&mut answer) {
                Ok(1) if answer[0] == TAKEN => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Begins a spare for each free place.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn begin(&self, debug: bool) -> io::Result<()> {
        let is_held = |place: PathBuf| matches!(lock(&place), Ok(None));
        let sizes = self.dir.parent().into_iter().flat_map(below);
        let others = sizes.filter(|size| *size != self.dir && below(size).any(is_held));
        if others.count() + 1 > MOST_SIZES {
            return Ok(());
        }
        for place in self.places() {
            if let Some(lock) = lock(&place)? {
                drop(lock);
                let size = self.size.to_string();
                let mut command = own_command()?;
                command.args(["-namespace", "spare", "-id", &size]);
                if debug {
                    command.arg("-debug");
                }
                command.arg("spare").stdin(Stdio::null()).spawn()?;
            }
        }
        Ok(())
    }
}

/// Where all places are: below the directories of a program, and of a size.
fn root(settings: &Settings) -> PathBuf {
    settings.state_dir.join("spares")
}

fn below(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Removes the pods of spares that were killed, and the places of programs that are no longer installed.
fn sweep(settings: &Settings, own: &Path) {
    for program in below(&root(settings)) {
        let is_own = own.starts_with(&program);
        for size in below(&program) {
            for place in below(&size) {
                if let Ok(Some(_lock)) = lock(&place) {
                    pod::clean(&place, settings);
                    if !is_own {
                        let _ = fs::remove_dir_all(&place);
                    }
                }
            }
            if !is_own {
                // One that is not empty stays.
                let _ = fs::remove_dir(&size);
            }
        }
        if !is_own {
            let _ = fs::remove_dir(&program);
        }
    }
}

/// Takes a place, where no spare has it.
fn lock(place: &Path) -> io::Result<Option<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(place.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn socket(place: &Path) -> PathBuf {
    place.join("socket")
}

/// Is a spare, and then the server of the sandbox that it is taken for.
///
/// # Errors
/// Why it is not.
pub(crate) fn wait(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let size: Size = args.id.parse()?;
    let mut settings = settings::from_environment()?;
    let spares = Spares::new(&settings, size, settings::spares()?)?;
    let mut places = spares.places();
    let held = loop {
        let Some(place) = places.next() else { return Ok(()) };
        if let Some(lock) = lock(&place)? {
            break Held { place, lock };
        }
    };
    log::begin_spare(&held.place.join("log"), args.debug);
    std::thread::sleep(BEGINS_AFTER);
    // What a spare left here that was killed, and what others did.
    pod::clean(&held.place, &settings);
    sweep(&settings, &held.place);
    let cgroups = cgroup::own();
    settings.aside = cgroup::entries(&cgroups);
    namespaces::own_mounts()?;
    // One thread: the VM's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREADS)
        .build()?;
    let (surroundings, served) = runtime.block_on(async {
        let (shutdown, shut) = mpsc::unbounded_channel();
        let numbers = Numbers::default();
        let sandbox = Sandbox::new(settings, numbers.clone(), shutdown);
        let ended = match become_a_server(&sandbox, size, held, cgroups, numbers).await {
            Ok(Some((surroundings, listener))) => {
                let served = server::answer(&sandbox, listener, shut).await;
                return (Some(surroundings), served);
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        sandbox.end().await;
        (None, ended)
    });
    runtime.shutdown_background();
    if let Some(surroundings) = surroundings {
        surroundings.leave();
    }
    served
}

/// Brings a spare up, and waits until it is taken; `None`: nobody takes it.
async fn become_a_server(
    sandbox: &Arc<Sandbox>,
    size: Size,
    held: Held,
    cgroups: String,
    numbers: Numbers,
) -> Result<Option<(Surroundings, OwnedFd)>, Box<dyn std::error::Error>> {
    let network = OwnNetns::new()?;
    network.add_a_network()?;
    let wanted = oci::spare(size.memory_mib, size.cpus, &network.path());
    // As long as the pod is there, which names it.
    sandbox.keep(network);
    let comes_up = async {
        sandbox.begin_spare(wanted, &held.place).await?;
        sandbox.rehearse(&held.place).await
    };
    let up = tokio::time::timeout(COMES_UP, comes_up).await;
    up.map_err(|_| format!("the spare did not come up within {} s", COMES_UP.as_secs()))??;
    let (mut stream, takeover, listener) = tokio::select! {
        taken = held.taken() => taken?,
        () = tokio::time::sleep(WAITS) => return Ok(None),
        () = sandbox.gone() => return Ok(None),
    };
    let args = Args {
        action: Action::Serve,
        namespace: takeover.namespace,
        id: takeover.id,
        address: takeover.address,
        bundle: None,
        debug: takeover.debug,
    };
    std::env::set_current_dir(&takeover.bundle)?;
    log::begin(&args);
    let surroundings = Surroundings::enter(&args, &takeover.bundle, cgroups)?;
    if let Err(error) = no_idle_threads().await {
        surroundings.leave();
        return Err(error.into());
    }
    let publisher = Publisher::begin(&args.namespace, takeover.events, numbers);
    sandbox.belongs_to(Engine {
        publisher,
        namespace: args.namespace,
    });
    // Whoever is answered begins a spare in this place.
    drop(held);
    // Whoever does not wait for it any more has failed to start the sandbox.
    if let Err(error) = stream.write_all(&[TAKEN]) {
        surroundings.leave();
        return Err(error.into());
    }
    Ok(Some((surroundings, listener)))
}

/// Waits until no thread is left that could work in the network namespace from before: new ones are in that of the first thread.
async fn no_idle_threads() -> io::Result<()> {
    let begun = Instant::now();
    while fs::read_dir("/proc/self/task")?.count() > 1 {
        if begun.elapsed() > TAKES / 2 {
            return Err(io::Error::other("a thread of the spare does not end"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The place of a spare.
struct Held {
    place: PathBuf,
    #[expect(dead_code, reason = "held until the place is free")]
    lock: File,
}

impl Held {
    /// Waits until it is taken: by whom, for which sandbox, and where that is to listen.
    async fn taken(&self) -> io::Result<(StdStream, Takeover, OwnedFd)> {
        let path = socket(&self.place);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TAKES))?;
            let received = tokio::task::spawn_blocking(move || {
                let (message, mut descriptors) = fd_message::receive(&stream)?;
                let takeover: Takeover = serde_json::from_slice(&message)?;
                let listener = descriptors.pop().ok_or(io::ErrorKind::InvalidData)?;
                io::Result::Ok((stream, takeover, listener))
            });
            match received.await.map_err(io::Error::other).flatten() {
                Ok(taken) => {
                    let _ = fs::remove_file(&path);
                    pod::note_in(&taken.1.bundle, &self.place)?;
                    return Ok(taken);
                }
                // One that has looked whether there is a spare.
                Err(error) => tracing::debug!("a spare was not taken: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_it_is_written() {
        let size = Size {
            memory_mib: 1024,
            cpus: 2,
        };
        assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        for text in ["", "1024", "x1", "1024x", "1024x-1"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("0");
        let held = lock(&place).unwrap();
        assert!(held.is_some() && lock(&place).unwrap().is_none());
        drop(held);
        assert!(lock(&place).unwrap().is_some());
    }
}
