//! `serve`: the agent as a service. In order, and no step waits for a later one's other side:
//!
//! 1. the connection to systemd;
//! 2. the port and the greeting of the host, by which the clock is set: no app runs with another one, and none without a
//!    host that supervises it;
//! 3. a [`Session`], in which the pod comes, until the host is gone.
//!
//! The VM ends when the host ends it: when the host is lost, the agent reports that and exits, and the apps run on.

use std::io;
use std::time::Duration;

use isopod_contract::message::BootTimes;
use isopod_protocol::handshake::{self, HandshakeError, HostTime, Nonce};

use crate::boot::{init, setup};
use crate::host::clock::Clock;
use crate::host::port::{self, Port, PortError};
use crate::host::session::{Session, SessionError};
use crate::report::log;
use crate::systemd::{ManagerError, Systemd};

/// How long after the host's greeting a pod has begun.
const UNHURRIED: Duration = Duration::from_secs(5);

/// Why the agent does not serve any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
    #[error("cannot use systemd")]
    Systemd(#[source] ManagerError),
    #[error("cannot use the port to the host")]
    Port(#[source] PortError),
    #[error("cannot read random bytes")]
    Random(#[source] io::Error),
    #[error("cannot greet the host")]
    Handshake(#[source] HandshakeError),
    #[error("the session with the host has ended")]
    Session(#[source] SessionError),
}

/// Serves until the host is gone. `agent_started_ms` is when `main` began.
pub(crate) fn run(agent_started_ms: u64) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build();
    let (init_ms, systemd_begun_ms) = init::times().unwrap_or_default();
    let times = BootTimes {
        agent_started_ms,
        init_ms,
        systemd_begun_ms,
        ..BootTimes::default()
    };
    runtime.map_err(ServeError::Runtime)?.block_on(serve(times))
}

async fn serve(mut times: BootTimes) -> Result<(), ServeError> {
    let mut warnings = Vec::new();
    let (systemd, changes) = Systemd::connect().await.map_err(ServeError::Systemd)?;
    let systemd_ms = setup::uptime_ms();
    if let Err(error) = setup::overlook_restore() {
        log(&format!("cannot mask ACPI's events: {error}"));
    }
    // Opened last: QEMU sees it, and may save the VM then. What is done before is done once for all that are restored.
    let (port, time) = greet_host().await?;
    tokio::spawn(async {
        tokio::time::sleep(UNHURRIED).await;
        if let Err(error) = setup::heed_restore() {
            log(&format!("cannot unmask ACPI's event: {error}"));
        }
    });
    let mut clock = Clock::default();
    if let Err(error) = clock.follow(&time) {
        warnings.push(format!("cannot set the guest's clock: {error}"));
    }
    let connected_ms = setup::uptime_ms();
    times = BootTimes {
        systemd_ms,
        connected_ms,
        ..times
    };

    let session = Session::begin(port, systemd, clock, times, warnings)
        .await
        .map_err(ServeError::Session)?;
    session.run(changes).await.map_err(ServeError::Session)
}

async fn greet_host() -> Result<(Port, HostTime), ServeError> {
    let mut port = port::open().await.map_err(ServeError::Port)?;
    let mut nonce = Nonce::default();
    // Not to be waited for: a fresh guest may have no entropy, and the nonce keeps no secret.
    let flags = rustix::rand::GetRandomFlags::INSECURE;
    rustix::rand::getrandom(&mut nonce, flags).map_err(|errno| ServeError::Random(errno.into()))?;
    let time = handshake::guest(&mut port, nonce).await;
    Ok((port, time.map_err(ServeError::Handshake)?))
}
