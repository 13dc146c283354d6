//! The processes of a pod's VM: started, waited for, killed.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use isopod_plan::layout;
use isopod_plan::vm::network::{TAP_FD, VHOST_FD};
use isopod_plan::vm::qemu::MONITOR_DESCRIPTOR;
use isopod_spec::PortForward;
use isopod_vm::agent::{self, Agent, AgentError, ArrivalTimes, ArriveError, Events};
use isopod_vm::launch::{self, Streams};
use isopod_vm::launcher::{self, Launcher};
use isopod_vm::netns::{self, NetnsError, Reach, vhost_net};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;

use super::error::{PASST, QEMU, RunError};
use crate::networks::{BeginError, Begun, Live, Memberships};
use crate::pods::files::{NetnsRecord, PodRecord, TemplateRecord};
use crate::pods::os_text::OsText;
use crate::socket::listen;
use crate::templates::Template;
use crate::templates::restore::{self, Inherited, Restoring};
use crate::{Settings, ports};

use super::host_memory::Kills;
use super::interfaces::{Interfaces, Monitor};
use crate::capture::Capture;

mod router;

use router::Router;

/// The other processes, as messages name them.
const VIRTIOFSD: &str = "virtiofsd";

/// How many lines of a log an error shows.
const LOG_LINES: usize = 12;

/// How long after another process QEMU may end for it to be QEMU's end that ended both.
const LEAD: Duration = Duration::from_millis(500);

/// The same where that other process ended in order, which it does when QEMU has closed its connection: QEMU ends then, however busy the
/// host is.
const PARTING: Duration = Duration::from_secs(5);

/// How long after the conversation with the agent the VM may end for it to be the VM's end that ended it.
const LOSS: Duration = Duration::from_secs(1);

/// How long the agent of a VM that was restored may take to answer: it takes a tenth of a second, or longer on a busy host.
const ANSWERING: Duration = Duration::from_secs(30);

/// What a pod comes to its VM for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its apps run.
    Run,
    /// What its apps wrote is read and written, and none runs.
    Open,
}

/// The processes of a VM.
pub(super) struct Vm<'a> {
    dir: &'a Path,
    ports: &'a [PortForward],
    netns: Option<&'a NetnsRecord>,
    /// Its networks with names.
    networks: Option<Memberships>,
    monitor: Option<Monitor>,
    qemu: Child,
    /// What QEMU says.
    qemu_log: Capture,
    virtiofsd: Option<(Child, Capture)>,
    router: Option<Router>,
    console: Capture,
    kills: Kills,
    restored: Restored,
}

/// How far a VM is that is restored.
enum Restored {
    /// It boots.
    No,
    /// Its QEMU is being started.
    Restoring(Box<Restoring>),
    /// It continues; what others of its template share is kept.
    Yes(#[expect(dead_code, reason = "held until the VM is gone")] Option<OwnedFd>),
}

impl<'a> Vm<'a> {
    /// Starts the processes: of a VM that boots, or of one that is restored from `template`. What they say goes to logs in the
    /// directory `logs`.
    pub(super) fn start(
        record: &'a PodRecord,
        dir: &'a Path,
        logs: &Path,
        settings: &Settings,
        template: Option<(&TemplateRecord, Template)>,
    ) -> Result<(Self, UnixListener), RunError> {
        let (networks, taps) = join(record, dir)?;
        let vhost = vhost_devices(record, taps.len())?;
        let pod_start = match dir.join(layout::LOGS).exists() {
            false => PodStart::First,
            true => PodStart::Later,
        };
        let words = template.as_ref().map_or(&record.qemu, |(record, _)| &record.qemu);
        let of_qemu = launcher(words, pod_start).map_err(failed("start QEMU"))?;
        let mut inherited = Vec::new();
        let mut monitor = None;
        let mut restored = Restored::No;
        if let Some((record, template)) = template {
            let begun = restore::begin(template, record.mapping());
            let (memory, restoring) = begun.map_err(failed("have the template's memory"))?;
            inherited = memory;
            restored = Restored::Restoring(Box::new(restoring));
        } else if record
            .networks
            .as_ref()
            .is_some_and(|networks| networks.pluggable)
        {
            let (ours, theirs) = monitor_pair().map_err(failed("make QEMU's monitor"))?;
            inherited.push((theirs, MONITOR_DESCRIPTOR));
            monitor = Some(ours);
        }
        let port = agent_port(dir, of_qemu.user).map_err(failed("listen for the agent"))?;
        let router = match &record.passt {
            Some(words) => {
                let ports = &record.ports;
                Some(Router::begin(
                    words,
                    ports,
                    dir,
                    settings,
                    of_qemu.user,
                    pod_start,
                )?)
            }
            None => None,
        };
        let virtiofsd = match &record.virtiofsd {
            Some(words) => {
                let socket = listen(dir, layout::VIRTIOFSD_SOCKET, of_qemu.user);
                let socket = socket.map_err(failed("listen for QEMU"))?;
                let launcher = launcher(words, pod_start).map_err(failed("start virtiofsd"))?;
                Some(start_virtiofsd(&launcher, socket.into(), dir, logs, settings)?)
            }
            None => None,
        };
        let (console, stdout) =
            Capture::begin(logs, layout::CONSOLE_LOG).map_err(failed("make the console's log"))?;
        let (qemu_log, stderr) = Capture::begin(logs, layout::QEMU_LOG).map_err(failed("make QEMU's log"))?;
        let streams = Streams {
            inherited: inherited.into_iter().chain(taps).chain(vhost).collect(),
            stdin: None,
            stdout: Some(stdout),
            stderr,
            lock: layout::QEMU_LOCK,
        };
        let qemu = launch::spawn(&settings.isopod, &of_qemu, dir, streams).map_err(failed("start QEMU"))?;
        let vm = Self {
            dir,
            ports: &record.ports,
            netns: record.netns.as_ref(),
            networks,
            monitor,
            qemu,
            qemu_log,
            virtiofsd,
            router,
            console,
            kills: Kills::now(),
            restored,
        };
        Ok((vm, port))
    }

    /// Waits for QEMU to connect and for the agent behind it to answer, and brings it the pod.
    pub(super) async fn connect(
        &mut self,
        record: &PodRecord,
        port: UnixListener,
        deadline: Duration,
        purpose: Purpose,
    ) -> Result<(Agent, Events, ArrivalTimes), RunError> {
        let (begun, dir) = (Instant::now(), self.dir);
        self.restore(record).await?;
        let answering = match self.restored {
            Restored::Yes(_) => deadline.min(ANSWERING),
            Restored::No | Restored::Restoring(_) => deadline,
        };
        let answer = async {
            let (stream, _): (UnixStream, _) = port.accept().await.map_err(|source| RunError::Start {
                action: "accept QEMU's connection",
                source,
            })?;
            let left = deadline.saturating_sub(begun.elapsed()).min(answering);
            let (agent, events) = match agent::connect(stream, left).await {
                Ok(conversation) => conversation,
                Err(error) => return Ok(Err(error)),
            };
            let arrived = arrive(record, dir, &agent, purpose)
                .await
                .map_err(RunError::Arrive)?;
            Ok(Ok((agent, events, arrived)))
        };
        let answer = tokio::select! {
            biased;
            error = self.ended() => return Err(error),
            answer = tokio::time::timeout(deadline, answer) => answer,
        };
        match answer {
            Ok(Ok(Ok(conversation))) => Ok(conversation),
            // What was being sent when the VM ended says less than its end.
            Ok(Err(
                error @ RunError::Arrive(ArriveError::Ended | ArriveError::Stream(_) | ArriveError::Send(_)),
            )) => Err(self.end_within(LOSS).await.unwrap_or(error)),
            Ok(Err(error)) => Err(error),
            Err(_) | Ok(Ok(Err(AgentError::Silent { .. }))) => Err(RunError::NoGuest {
                after: deadline,
                console: self.console.last(LOG_LINES).await,
            }),
            Ok(Ok(Err(source))) => Err(self.lost(source).await),
        }
    }

    /// Restores the VM, where it is one that is restored.
    async fn restore(&mut self, record: &PodRecord) -> Result<(), RunError> {
        let Restored::Restoring(restoring) = mem::replace(&mut self.restored, Restored::No) else {
            return Ok(());
        };
        let added = record
            .template
            .as_ref()
            .map_or(&[][..], |template| &template.added);
        let mut resumed = pin!(restoring.resume(added));
        let mut end = None;
        let resumed = tokio::select! {
            biased;
            resumed = &mut resumed => resumed,
            // Where QEMU has ended, what it was doing says more.
            error = self.ended() => match tokio::time::timeout(LEAD, resumed).await {
                Ok(resumed) => {
                    end = Some(error);
                    resumed
                }
                Err(_) => return Err(error),
            },
        };
        let (memory, monitor) = match resumed {
            Ok(resumed) => resumed,
            Err(error) => {
                if end.is_none() {
                    end = self.end_within(LEAD).await;
                }
                return Err(RunError::not_restored(error, end));
            }
        };
        self.restored = Restored::Yes(memory);
        self.monitor = Some(Monitor::Ready(Box::new(monitor)));
        if let Some(template) = &record.template {
            tracing::debug!("restored from template `{}`", template.key);
        }
        Ok(())
    }

    /// The pod's networks with names, from now on.
    pub(super) fn interfaces(&mut self, record: &PodRecord, agent: &Agent) -> Interfaces {
        let begun = self
            .networks
            .as_mut()
            .map(|(live, later, left)| (live.clone(), mem::take(later), mem::take(left)));
        let restored = self.is_restored();
        Interfaces::begin(record, begun, self.monitor.take(), restored, agent)
    }

    /// Whether it was restored from a template.
    pub(super) fn is_restored(&self) -> bool {
        matches!(self.restored, Restored::Yes(_))
    }

    /// The process that serves the pod's share: virtiofsd, or QEMU itself. Not waited for while it is a VM's.
    pub(super) fn file_server(&self) -> Option<u32> {
        let virtiofsd = self.virtiofsd.as_ref().map(|(child, _)| child);
        virtiofsd.unwrap_or(&self.qemu).id()
    }

    /// Waits until one of the processes ends, which none does before it is killed.
    pub(super) async fn ended(&mut self) -> RunError {
        let Self {
            qemu,
            virtiofsd,
            router,
            ..
        } = self;
        let end_of = async |child: Option<&mut Child>| match child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        };
        let end_of_router = async |router: Option<&mut Router>| match router {
            Some(router) => router.ended().await,
            None => std::future::pending().await,
        };
        let (mut process, status) = tokio::select! {
            biased;
            status = end_of(virtiofsd.as_mut().map(|(child, _)| child)) => (VIRTIOFSD, status),
            ended = end_of_router(router.as_mut()) => match ended {
                Ok(status) => (PASST, status),
                Err(error) => return error,
            },
            status = qemu.wait() => (QEMU, status),
        };
        let mut status = match status {
            Ok(status) => status,
            Err(source) => {
                return RunError::Start {
                    action: "wait for a process",
                    source,
                };
            }
        };
        // The others end when QEMU does: whose end came first is known by whether QEMU's follows at once.
        let lead = if status.success() { PARTING } else { LEAD };
        if process != QEMU
            && let Ok(Ok(of_qemu)) = tokio::time::timeout(lead, qemu.wait()).await
            && (of_qemu.success() || status.success() || self.kills.explain(of_qemu))
        {
            (process, status) = (QEMU, of_qemu);
        }
        // A guest that reboots, powers off or panics ends QEMU without a complaint.
        if process == QEMU && status.success() {
            return RunError::GuestEnded {
                console: self.console.last(LOG_LINES).await,
            };
        }
        if self.kills.explain(status) {
            return RunError::HostMemory { process };
        }
        let log = match (&mut self.virtiofsd, &mut self.router) {
            (Some((_, log)), _) if process == VIRTIOFSD => log,
            (_, Some(router)) if process == PASST => router.log().unwrap_or(&mut self.qemu_log),
            _ => &mut self.qemu_log,
        };
        let log = log.last(LOG_LINES).await;
        let process = if status.code() == Some(i32::from(launcher::FAILED)) {
            "what becomes its process"
        } else {
            process
        };
        if let Some(error) = ports::refused(self.ports, &log) {
            return RunError::Port(error);
        }
        RunError::Process { process, status, log }
    }

    /// Why the agent was lost: because the VM ended, if it did.
    pub(super) async fn lost(&mut self, source: AgentError) -> RunError {
        match self.end_within(LOSS).await {
            Some(error) => error,
            None => RunError::Agent {
                source,
                console: self.console.last(LOG_LINES).await,
            },
        }
    }

    async fn end_within(&mut self, patience: Duration) -> Option<RunError> {
        tokio::time::timeout(patience, self.ended()).await.ok()
    }

    pub(super) async fn kill(mut self) {
        let dir = self.dir;
        let end = async |child: Option<&mut Child>, lock: &str| {
            let Some(child) = child else { return };
            if let Err(error) = launch::end(child).await {
                tracing::debug!("cannot kill a process of the VM: {error}");
            }
            // Where a launcher was killed its program ends right after it.
            let lock = dir.join(lock);
            let gone = tokio::task::spawn_blocking(move || launch::await_end(&lock));
            if let Ok(Err(error)) = gone.await {
                tracing::debug!("cannot wait for a process of the VM: {error}");
            }
        };
        let virtiofsd = self.virtiofsd.as_mut().map(|(child, _)| child);
        let passt = self.router.as_mut().and_then(Router::passt);
        // Side by side, since each takes its time to go; QEMU first, which the others' end would only make complain.
        tokio::join!(
            biased;
            end(Some(&mut self.qemu), layout::QEMU_LOCK),
            end(virtiofsd, layout::VIRTIOFSD_LOCK),
            end(passt, layout::PASST_LOCK),
        );
        if let Some(netns) = self.netns {
            netns.release();
        }
        drop(self.networks.take());
    }
}

/// What failed before there was a VM.
fn failed(action: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Start { action, source }
}

/// The pod's networks, as far as they are made outside of its processes, and the taps that lead to them.
fn join(record: &PodRecord, dir: &Path) -> Result<(Option<Memberships>, Inherited), RunError> {
    match (&record.netns, &record.networks) {
        (Some(netns), _) => Ok((None, take_over(netns)?)),
        (None, Some(networks)) => {
            let begun = Live::begin(record, networks, dir).map_err(|error| match error {
                BeginError::Port(error) => RunError::Port(error),
                BeginError::Networks(error) => RunError::Networks(error),
            });
            let Begun {
                live,
                taps,
                later,
                left,
            } = begun?;
            Ok((Some((live, later, left)), taps))
        }
        (None, None) => {
            ports::look(&record.ports).map_err(RunError::Port)?;
            Ok((None, Vec::new()))
        }
    }
}

/// `/dev/vhost-net`, once for each tap, where the pod has it.
fn vhost_devices(record: &PodRecord, taps: usize) -> Result<Inherited, RunError> {
    let numbers = (VHOST_FD..).take(if record.vhost_net { taps } else { 0 });
    let devices = numbers.map(|number| Ok((vhost_net()?, number)));
    devices.collect::<io::Result<_>>().map_err(RunError::VhostNet)
}

/// QEMU's monitor: the supervisor's end, and QEMU's.
fn monitor_pair() -> io::Result<(Monitor, OwnedFd)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((Monitor::New(UnixStream::from_std(ours)?), theirs.into()))
}

/// Where QEMU connects the agent's port to.
fn agent_port(dir: &Path, qemu_user: Option<u32>) -> io::Result<UnixListener> {
    let port = listen(dir, layout::AGENT_SOCKET, qemu_user)?;
    port.set_nonblocking(true)?;
    UnixListener::from_std(port)
}

fn start_virtiofsd(
    launcher: &Launcher,
    socket: OwnedFd,
    dir: &Path,
    logs: &Path,
    settings: &Settings,
) -> Result<(Child, Capture), RunError> {
    let (log, stderr) =
        Capture::begin(logs, layout::VIRTIOFSD_LOG).map_err(failed("make virtiofsd's log"))?;
    let streams = Streams {
        inherited: Vec::new(),
        stdin: Some(socket),
        stdout: None,
        stderr,
        lock: layout::VIRTIOFSD_LOCK,
    };
    let child = launch::spawn(&settings.isopod, launcher, dir, streams);
    Ok((child.map_err(failed("start virtiofsd"))?, log))
}

/// Brings the pod to its VM.
async fn arrive(
    record: &PodRecord,
    dir: &Path,
    agent: &Agent,
    purpose: Purpose,
) -> Result<ArrivalTimes, ArriveError> {
    let apps = record.apps.iter().map(|app| app.restart).collect();
    let files = tokio::task::spawn_blocking({
        let path = dir.join(layout::POD_FILES);
        move || std::fs::read(path)
    });
    let files = files.await.map_err(std::io::Error::other).flatten();
    let files = files.map_err(ArriveError::Read)?;
    let arrived = match purpose {
        Purpose::Run => agent.arrive(apps, &*files).await,
        Purpose::Open => agent.open_pod(apps, &*files).await,
    };
    arrived.map(|(_, times)| times)
}

/// Takes over what is in the namespace, if that is still what the guest expects to have: the taps, by the numbers that QEMU knows
/// them by.
fn take_over(netns: &NetnsRecord) -> Result<Inherited, RunError> {
    let take = || {
        if netns::read(&netns.path)? != netns.network {
            return Err(NetnsError::Changed);
        }
        let interfaces = netns.network.interfaces.iter();
        let taps = interfaces.map(|interface| netns::join(&netns.path, &interface.name, &Reach::Everything));
        Ok(taps
            .collect::<Result<Vec<OwnedFd>, _>>()?
            .into_iter()
            .zip(TAP_FD..)
            .collect())
    };
    take().map_err(|source| {
        if !matches!(source, NetnsError::Taken(_)) {
            netns.release();
        }
        RunError::Netns {
            path: netns.path.clone(),
            source,
        }
    })
}

/// Which of a pod's lives it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodStart {
    /// It has never come up.
    First,
    /// It has run before.
    Later,
}

/// The launcher that was prepared, as a child of this process. A pod that has run before takes the file or directory that is at a
/// source's path by now: a configuration that an editor replaced is what it is restarted for.
fn launcher(words: &[OsText], pod_start: PodStart) -> io::Result<Launcher> {
    let parent = std::process::id().to_string().into();
    let words = words.iter().cloned().map(Into::into);
    let mut launcher = Launcher::read(std::iter::once(parent).chain(words)).map_err(io::Error::other)?;
    if let (PodStart::Later, Some((_, volumes))) = (pod_start, &mut launcher.share) {
        volumes.iter_mut().for_each(|volume| volume.id = None);
    }
    Ok(launcher)
}
