//! The streams that the host opens while a session continues: commands, statistics, copies. Each is a task of its own, so
//! that one which stalls holds up no other and not the session; what a task has to know of an app's unit it asks the
//! session, which alone speaks to systemd.

use std::path::Path;

use isopod_contract::MAX_HOST_STREAMS;
use isopod_contract::config::GuestApp;
use isopod_contract::exec::{Request, STATUS_FAILED};
use isopod_contract::message::{HostStream, StreamAnswer};
use isopod_contract::stats::Stats;
use isopod_protocol::codec::{read_message, write_message};
use isopod_protocol::mux::{Incoming, MuxStream};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::hotplug;
use super::questions::{Question, Running, SELF, SessionHandle, command_of};
use crate::exec::enter::Action;
use crate::exec::{self, Wanted, copy};
use crate::host::stats;

/// Questions that wait for the session.
const QUESTIONS: usize = 8;

/// Serves the host's streams from now on; the questions are for the session to answer.
pub(super) fn receive(mut incoming: Incoming, apps: &[GuestApp]) -> mpsc::Receiver<Question> {
    let (ask, asked) = mpsc::channel(QUESTIONS);
    let session = SessionHandle::new(ask, apps);
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
        Ok(Some(HostStream::CopyOut { app, path })) => match session.job(app, Action::Pack { path }).await {
            Ok(job) => copy::out(stream, Path::new(SELF), &job).await,
            Err(text) => copy::fail(stream, text).await,
        },
        Ok(Some(HostStream::CopyIn { app, path })) => match session.job(app, Action::Unpack { path }).await {
            Ok(job) => copy::bring(stream, Path::new(SELF), &job).await,
            Err(text) => copy::fail(stream, text).await,
        },
        Ok(Some(HostStream::AddVolume(volume))) => {
            let _one_at_a_time = session.volumes.lock().await;
            hotplug::attach(stream, &session, &volume).await;
        }
        Ok(Some(HostStream::RemoveVolume { volume, force })) => {
            let _one_at_a_time = session.volumes.lock().await;
            hotplug::detach(stream, &session, &volume, force).await;
        }
        // A second control stream, or a host that is gone: dropping the stream resets it.
        Ok(Some(HostStream::Control) | None) | Err(_) => {}
    }
}

async fn execute(mut stream: MuxStream, session: &SessionHandle, request: Request) {
    let wanted = |process: &Running| match request.terminal {
        Some(size) => Wanted::Terminal {
            size,
            ptmx: process.ptmx.clone(),
        },
        None => Wanted::Pipes { stdin: request.stdin },
    };
    let process = session.process(request.app).await;
    let wanted = process.map(|process| (wanted(&process), process));
    match wanted.and_then(|(wanted, process)| Ok((command_of(process, request)?, wanted))) {
        Ok((job, wanted)) => exec::run(stream, Path::new(SELF), &job, wanted).await,
        Err(text) => exec::fail(&mut stream, STATUS_FAILED, text).await,
    }
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
