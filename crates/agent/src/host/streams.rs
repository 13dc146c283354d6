//! The streams that the host opens while a session continues: commands, statistics, copies, changes. Each is a task of its own, so
//! that one which stalls holds up no other and not the session; what a task has to know of an app's unit it asks the
//! session, which alone speaks to systemd.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use isopod_contract::MAX_HOST_STREAMS;
use isopod_contract::change::{AppChange, ChangeAnswer};
use isopod_contract::exec::{Request, STATUS_FAILED};
use isopod_contract::layout::{APPS, ROOTS};
use isopod_contract::message::{AppIndex, DialAnswer, HostStream, RootPart, StreamAnswer};
use isopod_contract::processes::ProcessMessage;
use isopod_contract::stats::Stats;
use isopod_protocol::codec::{read_message, write_message};
use isopod_protocol::mux::{Incoming, MuxStream};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::questions::{Question, Running, SELF, SessionHandle, command_of};
use super::{arriving, departing, hotplug, interfaces, names, nameservers, processes, refilling, stats};
use crate::apps::paused::Paused;
use crate::arrival::Purpose;
use crate::exec::enter::{Action, Job};
use crate::exec::{self, WantedStreams, copy};

/// Questions that wait for the session.
const QUESTIONS: usize = 8;

/// Serves the host's streams from now on; the questions are for the session to answer.
pub(super) fn receive(mut incoming: Incoming, paused: Paused) -> mpsc::Receiver<Question> {
    let (ask, asked) = mpsc::channel(QUESTIONS);
    let session = SessionHandle::new(ask, paused);
    tokio::spawn(async move {
        let mut visits = JoinSet::new();
        while let Some(stream) = incoming.next().await {
            while visits.try_join_next().is_some() {}
            // One too many is reset: the host's own count keeps it from that.
            if visits.len() < MAX_HOST_STREAMS {
                visits.spawn(visit(stream, session.clone()));
            }
        }
    });
    asked
}

async fn visit(mut stream: MuxStream, session: SessionHandle) {
    let header = read_message(&mut stream).await;
    if !matches!(header, Ok(Some(HostStream::Control) | None) | Err(_))
        && write_message(&mut stream, &StreamAnswer::Taken).await.is_err()
    {
        return;
    }
    match header {
        Ok(Some(HostStream::Exec(request))) => execute(stream, &session, request).await,
        Ok(Some(HostStream::Stats)) => send_stats(stream, &session).await,
        Ok(Some(HostStream::CopyOut {
            app,
            path,
            follow_link,
        })) => match copy_job(&session, app, Action::Pack { path, follow_link }).await {
            Ok(job) => copy::out(stream, Path::new(SELF), &job).await,
            Err(text) => copy::fail(stream, text).await,
        },
        Ok(Some(HostStream::CopyIn { app, path })) => {
            match copy_job(&session, app, Action::Unpack { path }).await {
                Ok(job) => copy::bring(stream, Path::new(SELF), &job).await,
                Err(text) => copy::fail(stream, text).await,
            }
        }
        Ok(Some(HostStream::AddVolume(volume))) => {
            let _one_at_a_time = session.volumes.lock().await;
            hotplug::attach(stream, &session, &volume).await;
        }
        Ok(Some(HostStream::RemoveVolume { volume, force })) => {
            let _one_at_a_time = session.volumes.lock().await;
            hotplug::detach(stream, &session, &volume, force).await;
        }
        Ok(Some(HostStream::ChangeApp { app, change })) => change_app(stream, &session, app, &change).await,
        Ok(Some(HostStream::Processes)) => send_processes(stream, &session).await,
        Ok(Some(HostStream::Root { app, part })) => send_root(stream, &session, app, part).await,
        Ok(Some(HostStream::Arrive { first, entropy })) => {
            let _one_at_a_time = session.volumes.lock().await;
            arriving::receive(stream, entropy, first, Purpose::Run, &session).await;
        }
        Ok(Some(HostStream::Open { entropy })) => {
            let _one_at_a_time = session.volumes.lock().await;
            arriving::receive(stream, entropy, 0, Purpose::Open, &session).await;
        }
        Ok(Some(HostStream::Depart(departure))) => {
            let _one_at_a_time = session.volumes.lock().await;
            departing::take(stream, &session, departure).await;
        }
        Ok(Some(HostStream::Dial { port })) => dial(stream, port).await,
        Ok(Some(HostStream::AddInterface { interface })) => {
            let _one_at_a_time = session.volumes.lock().await;
            interfaces::answer(stream, move || interfaces::add(&interface)).await;
        }
        Ok(Some(HostStream::RemoveInterface { name })) => {
            let _one_at_a_time = session.volumes.lock().await;
            interfaces::answer(stream, move || interfaces::remove(&name)).await;
        }
        Ok(Some(HostStream::Nameservers { before, after })) => {
            let _one_at_a_time = session.volumes.lock().await;
            interfaces::answer(stream, move || {
                nameservers::replace(Path::new(APPS), &before, &after)
            })
            .await;
        }
        Ok(Some(HostStream::Names { server })) => names::serve(stream, server).await,
        Ok(Some(HostStream::Identify { identity })) => {
            let _one_at_a_time = session.volumes.lock().await;
            interfaces::identify(stream, &session, &identity).await;
        }
        Ok(Some(HostStream::Refill { volume })) => {
            let _one_at_a_time = session.volumes.lock().await;
            refilling::receive(stream, &volume).await;
        }
        // A second control stream, or a host that is gone: dropping the stream resets it.
        Ok(Some(HostStream::Control) | None) | Err(_) => {}
    }
}

/// Connects the host with what listens on the guest's loopback interface, until both sides have ended.
async fn dial(mut stream: MuxStream, port: u16) {
    // As `localhost` is resolved: by the one address, then by the other.
    let addresses = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    let connected = TcpStream::connect(&addresses[..]).await;
    let answer = match &connected {
        Ok(_) => DialAnswer::Connected,
        Err(error) => DialAnswer::Failed {
            text: error.to_string(),
        },
    };
    if write_message(&mut stream, &answer).await.is_ok()
        && let Ok(mut connection) = connected
    {
        // Either side's end is the other's to see.
        let _ = copy_bidirectional(&mut connection, &mut stream).await;
    }
}

async fn execute(mut stream: MuxStream, session: &SessionHandle, request: Request) {
    let wanted = |process: &Running| match request.terminal {
        Some(size) => WantedStreams::Terminal {
            size,
            ptmx: process.ptmx.clone(),
        },
        None => WantedStreams::Pipes { stdin: request.stdin },
    };
    let process = session.process(request.app).await;
    let wanted = process.map(|process| (wanted(&process), process));
    match wanted.and_then(|(wanted, process)| Ok((command_of(process, request)?, wanted))) {
        Ok((job, wanted)) => exec::run(stream, Path::new(SELF), &job, wanted).await,
        Err(text) => exec::fail(&mut stream, STATUS_FAILED, text).await,
    }
}

async fn change_app(mut stream: MuxStream, session: &SessionHandle, app: AppIndex, change: &AppChange) {
    let changed = match change {
        AppChange::Pause => match session.running(app).await {
            Ok(running) => session.paused.pause(app, &running.unit.cgroup).await,
            Err(text) => Err(text),
        },
        AppChange::Unpause => session.paused.unpause(app),
        AppChange::Properties(properties) => session.set(app, properties).await,
        AppChange::Restart(restart) => session.restart(app, restart.clone()).await,
    };
    let answer = match changed {
        Ok(()) => ChangeAnswer::Done,
        Err(text) => ChangeAnswer::Failed { text },
    };
    let _ = write_message(&mut stream, &answer).await;
    let _ = stream.shutdown().await;
}

async fn send_processes(mut stream: MuxStream, session: &SessionHandle) {
    for app in session.apps().await {
        let Ok(running) = session.running(app).await else {
            continue;
        };
        let wanted = processes::ProcessesOf {
            app,
            main_pid: running.unit.main_pid,
            helpers: running.helpers(),
            cgroup: running.unit.cgroup,
        };
        let list = move || processes::list(Path::new(stats::CGROUPS), Path::new("/proc"), &wanted);
        for process in tokio::task::spawn_blocking(list).await.unwrap_or_default() {
            let message = ProcessMessage::Process(process);
            if write_message(&mut stream, &message).await.is_err() {
                return;
            }
        }
    }
    let _ = write_message(&mut stream, &ProcessMessage::End).await;
    let _ = stream.shutdown().await;
}

/// What `enter` is to do in an app: in its process's world, or where it does not run, in the root that is mounted for it.
async fn copy_job(session: &SessionHandle, app: AppIndex, action: Action) -> Result<Job, String> {
    if !session.is_at_rest(app).await? {
        return session.job(app, action).await;
    }
    Ok(Job {
        pid: 0,
        cgroup: String::new(),
        oom_score_adj: 0,
        root: Some(root_of(session, app).await),
        action,
    })
}

/// Where an app's root is mounted.
async fn root_of(session: &SessionHandle, app: AppIndex) -> String {
    let name = session.app_name(app).await;
    let root = Path::new(ROOTS).join(name).join("rootfs");
    root.to_string_lossy().into_owned()
}

/// Sends what an app has in its root. It need not run, and may be held.
async fn send_root(stream: MuxStream, session: &SessionHandle, app: AppIndex, part: RootPart) {
    if !session.apps().await.any(|known| known == app) {
        return copy::fail(stream, format!("there is no app {app}")).await;
    }
    let root = root_of(session, app).await;
    let job = Job {
        pid: 0,
        cgroup: String::new(),
        oom_score_adj: 0,
        root: Some(root),
        action: Action::Root { part },
    };
    copy::out(stream, Path::new(SELF), &job).await;
}

async fn send_stats(mut stream: MuxStream, session: &SessionHandle) {
    let Some(cgroups) = session.cgroups().await else {
        return;
    };
    let read = tokio::task::spawn_blocking(move || Stats {
        guest: stats::guest(Path::new("/proc")),
        apps: cgroups
            .iter()
            .map(|(cgroup, helpers)| stats::app(Path::new(stats::CGROUPS), cgroup, *helpers))
            .collect(),
    });
    if let Ok(stats) = read.await {
        let _ = write_message(&mut stream, &stats).await;
        let _ = stream.shutdown().await;
    }
}
