//! Makes a template: boots a VM that is nobody's, saves it when its agent waits for the host, restores another one from that, and
//! gives it its name when that one's agent has answered.
//!
//! A start that finds none begins this in the background ([`spawn`]) and does not wait for it. Its QEMU ends with it, it ends after
//! [`DEADLINE`], and what it leaves then is no template.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use isopod_plan::PlanError;
use isopod_plan::facts::Owner;
use isopod_plan::fault::Fault;
use isopod_plan::layout;
use isopod_plan::vm::confinement::{self, Confinement, QemuUser};
use isopod_plan::vm::file_server::Ownership;
use isopod_plan::vm::hardware::{self, Attached};
use isopod_plan::vm::qemu::{Accelerator, MEMORY_DESCRIPTOR, MONITOR_DESCRIPTOR, Mapping, Qemu, VmOrigin};
use isopod_plan::vm::{accelerator, template};
use isopod_spec::{Accel, KernelChoice, PodSpec, Vm};
use isopod_vm::agent::{self, AgentError};
use isopod_vm::launch::{self, Streams};
use isopod_vm::launcher::root::{Proc, Root};
use isopod_vm::launcher::{Capabilities, Launcher};
use isopod_vm::qmp::{Qmp, QmpError};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::task::spawn_blocking;

use crate::capture::Capture;
use crate::clock::now_ms;
use crate::gather::{GatherError, gather};
use crate::pods::new_uuid;
use crate::socket::listen;
use crate::templates::restore::{self, Inherited, PIPE, RestoreError, ignore_shared, through_pipe};
use crate::templates::{
    DESCRIPTION, Description, MEMORY, STATE, Template, Templates, VERSION, identity, memory,
};
use crate::{Settings, private};

/// How long all of it may take: at the lowest priority, beside pods that take all there is.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long the guest is left alone when its agent waits: systemd finishes what it does.
const SETTLING: Duration = Duration::from_secs(1);

/// Between two looks whether the state is saved.
const LOOK: Duration = Duration::from_millis(10);

/// How many lines of QEMU's log an error shows.
const LOG_LINES: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// A template of that key, within that time.
    New(String, Duration),
    There(String),
    /// Another process makes it.
    Elsewhere(String),
}

/// What is done where another process makes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// It is waited for.
    Awaited,
    /// It is left to that process.
    Left,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// QEMU, or the guest image.
    #[error("cannot make a template")]
    Gather(#[source] GatherError),
    /// The host has not what such a VM takes.
    #[error("cannot make a template")]
    Plan(#[source] PlanError),
    /// A file or a process.
    #[error("cannot make a template: cannot {action}")]
    Host {
        /// What was to be done.
        action: &'static str,
        source: io::Error,
    },
    /// QEMU's monitor.
    #[error("cannot make a template: QEMU does not save its VM{}", lines(.log))]
    Monitor {
        source: QmpError,
        /// What QEMU said.
        log: Vec<String>,
    },
    /// QEMU says that it has failed.
    #[error("cannot make a template: QEMU has not saved its VM: {0}")]
    NotSaved(String),
    /// A VM could not be restored from it.
    #[error("made a template from which no VM can be restored")]
    Restore(#[source] RestoreError),
    /// The agent in the restored VM says nothing.
    #[error("made a template from which a VM was restored whose agent does not answer")]
    Agent(#[source] AgentError),
    /// Another would be made than the one that is wanted.
    #[error(
        "cannot make the template: QEMU, the guest image or the processor has changed since the pod was prepared"
    )]
    Changed,
    /// It took too long.
    #[error("cannot make a template within {} s", DEADLINE.as_secs())]
    Late,
}

impl MakeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Restore(_) | Self::Agent(_) => {
                Some("start the pod without a template: `--start cold`".into())
            }
            Self::Changed => Some("prepare the pod again".into()),
            Self::Late => Some("the host is busy: try again".into()),
            _ => None,
        }
    }
}

fn lines(log: &[String]) -> String {
    log.iter().map(|line| format!("\n  {line}")).collect()
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> MakeError {
    move |source| MakeError::Host { action, source }
}

/// Makes the template of VMs of that memory, those CPUs and that accelerator, where there is none. If `wanted` is a key, none
/// of another is made.
///
/// # Errors
/// [`MakeError`]; nothing is left then that counts as a template.
pub async fn make(
    settings: &Settings,
    vm: &Vm,
    other: Other,
    wanted: Option<&str>,
) -> Result<Made, MakeError> {
    let begun = Instant::now();
    let making = Making::plan(settings, vm)?;
    if wanted.is_some_and(|wanted| wanted != making.key) {
        return Err(MakeError::Changed);
    }
    let templates = &making.templates;
    let key = making.key.clone();
    let lock = match other {
        Other::Left => templates.try_lock(&key),
        Other::Awaited => templates.lock(&key).map(Some),
    };
    let Some(_lock) = lock.map_err(failed("lock it"))? else {
        return Ok(Made::Elsewhere(key));
    };
    if templates.open(&key).is_ok_and(|found| found.is_some()) {
        return Ok(Made::There(key));
    }
    let made = match tokio::time::timeout(DEADLINE, making.make(settings)).await {
        Ok(made) => made,
        Err(_) => Err(MakeError::Late),
    };
    match made {
        Ok(()) => Ok(Made::New(key, begun.elapsed())),
        Err(error) => {
            let _ = fs::remove_dir_all(templates.new_dir(&key));
            Err(error)
        }
    }
}

/// What is going to be made.
struct Making {
    templates: Templates,
    key: String,
    qemu: PathBuf,
    guest: String,
    /// The VM that is saved.
    saved: Qemu,
    /// One that is restored, without devices.
    restored: Qemu,
    confinement: Confinement,
    user: Option<u32>,
}

impl Making {
    fn plan(settings: &Settings, vm: &Vm) -> Result<Self, MakeError> {
        let spec = PodSpec {
            vm: vm.clone(),
            ..PodSpec::new(Vec::new())
        };
        let gathered = gather(&spec, settings).map_err(MakeError::Gather)?;
        let host = &gathered.facts.host;
        let plan = |fault: Fault| MakeError::Plan(PlanError { faults: vec![fault] });
        let mut notices = Vec::new();
        let accel = accelerator::accelerator(vm, &host.kvm, &mut notices).map_err(plan)?;
        let attached = Attached {
            ownership: Ownership::ByNumber,
            sharing: None,
            disks: &[],
            network: None,
        };
        let bare = hardware::qemu(vm, accel, host, &attached).map_err(plan)?;
        let saved = template::template(&bare);
        let confinement = confinement::confinement(&host.namespaces, &mut notices);
        let own = confinement::qemu_user(host, confinement, &bare, &mut notices) == QemuUser::Own;
        for notice in notices {
            tracing::debug!("{notice}");
        }
        Ok(Self {
            templates: Templates::of(&settings.state_dir),
            key: template::key(&saved, &host.templates),
            restored: Qemu {
                origin: VmOrigin::Restored {
                    mapping: Mapping::Private,
                    added: Vec::new(),
                },
                ..saved.clone()
            },
            saved,
            confinement,
            user: own.then(|| confinement::own_user(&new_uuid())),
            guest: gathered.guest.key,
            qemu: gathered.qemu,
        })
    }

    async fn make(&self, settings: &Settings) -> Result<(), MakeError> {
        let dir = self
            .templates
            .begin(&self.key)
            .map_err(failed("make its directory"))?;
        for path in [Some(&self.saved.kernel), self.saved.initrd.as_ref()]
            .into_iter()
            .flatten()
        {
            readable(path).map_err(failed("let QEMU read the guest image"))?;
        }
        let memory = self.save(settings, &dir).await?;
        let (to, state) = (dir.join(MEMORY), dir.join(STATE));
        let written = spawn_blocking(move || {
            let file = private::file(&to)?;
            memory::copy_in_use(&memory, &file)?;
            file.sync_all()?;
            File::open(&state)?.sync_all()?;
            let state = fs::read(state)?;
            Ok((state.len() as u64, crc32c::crc32c(&state)))
        });
        let written = written.await.map_err(io::Error::other).flatten();
        let state = written.map_err(failed("write it"))?;
        self.try_it(settings, &dir, state.1).await?;
        self.describe(&dir, state)
            .and_then(|()| self.templates.publish(&self.key))
            .map_err(failed("give it its name"))
    }

    /// Boots a VM and saves it: its memory, which is nowhere else yet.
    async fn save(&self, settings: &Settings, dir: &Path) -> Result<File, MakeError> {
        let bytes = u64::from(self.saved.memory_mib) << 20;
        let memory = memory::empty(bytes).map_err(failed("make its memory"))?;
        let (ours, theirs) = StdStream::pair().map_err(failed("make a socket"))?;
        let (reader, writer) = io::pipe().map_err(failed("make a pipe"))?;
        let inherited = vec![
            (
                memory.try_clone().map_err(failed("keep its memory"))?.into(),
                MEMORY_DESCRIPTOR,
            ),
            (theirs.into(), MONITOR_DESCRIPTOR),
        ];
        let (mut qemu, mut log) = self.start(settings, dir, &self.saved, inherited)?;
        let mut state = private::file(&dir.join(STATE)).map_err(failed("write its state"))?;
        // Until QEMU has written all of it, or has ended.
        let written = spawn_blocking(move || io::copy(&mut &reader, &mut state));
        let saved = tokio::select! {
            saved = save(ours, writer.into()) => saved,
            _ = qemu.wait() => Err(QmpError::Ended.into()),
        };
        let _ = launch::end(&mut qemu).await;
        match saved {
            Ok(()) => {}
            Err(SaveError::Failed(words)) => return Err(MakeError::NotSaved(words)),
            Err(SaveError::Monitor(source)) => {
                let log = log.last(LOG_LINES).await;
                return Err(MakeError::Monitor { source, log });
            }
        }
        let written = written.await.map_err(io::Error::other).flatten();
        written.map_err(failed("write its state"))?;
        Ok(memory)
    }

    /// Restores a VM from it, and waits for its agent's answer.
    async fn try_it(&self, settings: &Settings, dir: &Path, state_crc: u32) -> Result<(), MakeError> {
        let template = Template::open(dir.to_owned(), &self.key, state_crc).map_err(failed("read it"))?;
        let port = listen(dir, layout::AGENT_SOCKET, self.user).map_err(failed("listen for the agent"))?;
        port.set_nonblocking(true)
            .map_err(failed("listen for the agent"))?;
        let port = UnixListener::from_std(port).map_err(failed("listen for the agent"))?;
        let begun = restore::begin(template, Mapping::Private);
        let (inherited, restoring) = begun.map_err(failed("begin to restore a VM"))?;
        let (mut qemu, _log) = self.start(settings, dir, &self.restored, inherited)?;
        let answered = async {
            let _memory = restoring.resume(&[]).await.map_err(MakeError::Restore)?;
            let (stream, _): (UnixStream, _) =
                port.accept().await.map_err(failed("accept QEMU's connection"))?;
            let answer = agent::connect(stream, DEADLINE).await;
            answer.map(drop).map_err(MakeError::Agent)
        };
        let answered = answered.await;
        let _ = launch::end(&mut qemu).await;
        answered
    }

    fn start(
        &self,
        settings: &Settings,
        dir: &Path,
        qemu: &Qemu,
        inherited: Inherited,
    ) -> Result<(Child, Capture), MakeError> {
        let program = self.qemu.clone().into_os_string();
        let launcher = Launcher {
            parent: std::process::id(),
            share: None,
            root: (self.confinement != Confinement::Host).then(|| Root {
                proc: Proc::Itself,
                dir: dir.to_owned(),
                files: qemu.files(),
            }),
            owner: Owner { uid: 0, gid: 0 },
            maps: None,
            isolation: self.confinement.isolation(false),
            user: self.user,
            capabilities: Capabilities::Dropped,
            command: std::iter::once(program).chain(qemu.argv()).collect(),
        };
        let (_, stdout) =
            Capture::begin(dir, layout::CONSOLE_LOG).map_err(failed("make the console's log"))?;
        let (log, stderr) = Capture::begin(dir, layout::QEMU_LOG).map_err(failed("make QEMU's log"))?;
        let streams = Streams {
            inherited,
            stdin: None,
            stdout: Some(stdout),
            stderr,
            lock: layout::QEMU_LOCK,
        };
        let child = launch::spawn(&settings.isopod, &launcher, dir, streams);
        Ok((child.map_err(failed("start QEMU"))?, log))
    }

    /// Writes what is known of it, and leaves nothing in its directory that it does not consist of.
    fn describe(&self, dir: &Path, (state_bytes, state_crc): (u64, u32)) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if ![MEMORY, STATE].iter().any(|name| path.ends_with(name)) {
                fs::remove_file(path)?;
            }
        }
        let description = Description {
            version: VERSION,
            memory_mib: self.saved.memory_mib,
            cpus: self.saved.smp,
            accel: match self.saved.machine.accel {
                Accelerator::Kvm => "kvm",
                Accelerator::Tcg { .. } => "tcg",
            }
            .into(),
            guest: self.guest.clone(),
            qemu: identity(&self.qemu)?,
            created_ms: now_ms(),
            state_bytes,
            state_crc,
        };
        let mut file = private::file(&dir.join(DESCRIPTION))?;
        io::Write::write_all(&mut file, &serde_json::to_vec(&description)?)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    }
}

/// Lets all read a file that is no secret: QEMU is a user of its own.
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode();
    match mode & 0o444 {
        0o444 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777 | 0o444)),
    }
}

/// Why a VM was not saved.
enum SaveError {
    Monitor(QmpError),
    Failed(String),
}

impl From<QmpError> for SaveError {
    fn from(error: QmpError) -> Self {
        Self::Monitor(error)
    }
}

/// Saves the VM of that monitor when the guest's agent waits for the host.
async fn save(monitor: StdStream, pipe: OwnedFd) -> Result<(), SaveError> {
    let stream = monitor
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(monitor));
    let mut monitor = Qmp::begin(stream.map_err(QmpError::Io)?).await?;
    monitor
        .event("VSERPORT_CHANGE", |data| data["open"] == true)
        .await?;
    tokio::time::sleep(SETTLING).await;
    ignore_shared(&mut monitor).await?;
    monitor.execute("stop", json!({})).await?;
    monitor.give(PIPE, pipe).await?;
    monitor.execute("migrate", through_pipe()).await?;
    loop {
        let status = monitor.execute("query-migrate", json!({})).await?;
        match status["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let words = status["error-desc"].as_str().unwrap_or("it does not say why");
                return Err(SaveError::Failed(words.escape_debug().to_string()));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The arguments of `isopod` that make the template of such VMs in the background.
fn arguments(vm: &Vm, key: &str) -> Vec<OsString> {
    let accel = match vm.accel {
        Accel::Kvm => "kvm",
        Accel::Tcg => "tcg",
        Accel::Auto => "auto",
    };
    let mut arguments: Vec<OsString> = vec![
        "template".into(),
        "make".into(),
        "--background".into(),
        format!("--vm-memory={}m", vm.memory_mib).into(),
        format!("--vm-cpus={}", vm.cpus).into(),
        format!("--accel={accel}").into(),
        format!("--key={key}").into(),
        "--log-level=info".into(),
    ];
    let kernel = vm.kernel.kernel.as_ref().map(|kernel| match kernel {
        KernelChoice::File(file) => file.clone().into_os_string(),
        KernelChoice::Release(release) => release.into(),
    });
    let modules = vm.kernel.modules.clone().map(PathBuf::into_os_string);
    let root = vm.kernel.root.clone().map(PathBuf::into_os_string);
    for (flag, value) in [
        ("--kernel", kernel),
        ("--modules", modules),
        ("--guest-root", root),
    ] {
        arguments.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
    }
    arguments
}

/// Begins to make the template `key` of such VMs in a process of its own, which nobody waits for: in a session of its own, at the lowest
/// priority ([`lower_priority`]).
///
/// # Errors
/// There is no such process.
pub fn spawn(settings: &Settings, vm: &Vm, key: &str) -> io::Result<()> {
    let root = Templates::of(&settings.state_dir).root;
    private::dir(&root)?;
    let log = private::file(&root.join("make.log"))?;
    let mut command = settings.own_command()?;
    command.args(arguments(vm, key)).stdout(Stdio::null()).stderr(log);
    let child = tokio::process::Command::from(command).spawn()?;
    let number = child.id().map(|pid| pid.to_string()).unwrap_or_default();
    for place in &settings.aside {
        if let Err(error) = fs::write(place, &number) {
            tracing::debug!(
                "the process that makes a template cannot join `{}`: {error}",
                place.display()
            );
        }
    }
    // Reaped by the event loop when it has ended before this process does.
    drop(child);
    Ok(())
}

/// Leaves the caller's session, and the processor to all others.
pub fn lower_priority() {
    let _ = rustix::process::setsid();
    let _ = rustix::process::nice(19);
}
