//! `serve`: the agent as a service. In order, and no step waits for a later one's other side:
//!
//! 1. the configuration, the host name;
//! 2. the apps' pipes;
//! 3. the port and the greeting of the host, by which the clock is set: from here on systemd can execute the apps
//!    (`READY=1`); beside it, the connection to systemd;
//! 4. a [`Session`], until the host is gone.
//!
//! The VM ends when the host ends it: when the host is lost, the agent reports that and exits, and the apps run on.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use isopod_contract::config::GuestConfig;
use isopod_contract::in_one_line;
use isopod_contract::layout::POD_CONFIG;
use isopod_contract::message::BootTimes;
use isopod_protocol::handshake::{self, HandshakeError, HostTime, Nonce};

use crate::apps::pipes;
use crate::apps::pipes::AppPipes;
use crate::boot::{guest_overlay, init, network, setup};
use crate::config::{self, ConfigError};
use crate::host::clock::Clock;
use crate::host::port::{self, Port, PortError};
use crate::host::session::{Session, SessionError};
use crate::report::log;
use crate::systemd::{ManagerError, Systemd};

/// Why the agent does not serve any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("no configuration")]
    Config(#[source] ConfigError),
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
    #[error("no systemd")]
    Systemd(#[source] ManagerError),
    #[error("no port to the host")]
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
    let config = config::read(Path::new(POD_CONFIG)).map_err(ServeError::Config)?;
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
    runtime
        .map_err(ServeError::Runtime)?
        .block_on(serve(config, times))
}

async fn serve(config: GuestConfig, mut times: BootTimes) -> Result<(), ServeError> {
    let mut warnings = setup::run(&config.hostname);
    warnings.extend(network::failure().map(|failure| format!("the pod has no network: {failure}")));
    let mut pipes: Vec<AppPipes> = Vec::with_capacity(config.apps.len());
    for app in &config.apps {
        let (opened, errors) = pipes::open(app);
        pipes.push(opened);
        warnings.extend(errors.iter().map(|error| in_one_line(error)));
    }
    times.pipes_open_ms = setup::uptime_ms();

    let units: Vec<String> = config.apps.iter().map(|app| app.unit.clone()).collect();
    let systemd = async {
        let connected = Systemd::connect(&units).await.map_err(ServeError::Systemd)?;
        Ok((connected, setup::uptime_ms()))
    };
    let mut clock = Clock::default();
    let host = async {
        let (port, time) = greet_host().await?;
        let set = clock.follow(&time);
        warnings.extend(
            set.err()
                .map(|error| format!("cannot set the guest's clock: {error}")),
        );
        // No app runs with another clock, and none without a host that supervises it.
        let notified = notify_ready();
        warnings.extend(
            notified
                .err()
                .map(|error| format!("cannot report to systemd that the apps may start: {error}")),
        );
        Ok::<_, ServeError>((port, setup::uptime_ms()))
    };
    let (((systemd, changes), systemd_ms), (port, connected_ms)) = futures::try_join!(systemd, host)?;
    times = BootTimes {
        systemd_ms,
        connected_ms,
        ..times
    };

    // Beside all else: it takes the kernel some milliseconds, and no app can open the disk.
    std::thread::spawn(|| {
        if let Err(error) = guest_overlay::remove_disk() {
            log(&format!("cannot take the pod's disk away: {error}"));
        }
    });
    let session = Session::begin(port, config, systemd, pipes, clock)
        .await
        .map_err(ServeError::Session)?;
    session
        .run(changes, times, warnings)
        .await
        .map_err(ServeError::Session)
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

/// Tells systemd, where it asked to be told, that units ordered behind the agent may start (sd_notify(3)).
fn notify_ready() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    UnixDatagram::unbound()?.send_to(b"READY=1", path).map(drop)
}
