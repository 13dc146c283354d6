//! What comes to the VM, the whole pod or an app that comes later: its files are unpacked, and everything that it needs of
//! the kernel is there before systemd reads its units. The [session](crate::host::session) does the rest.

mod description;
mod unpack;

use std::io::{self, Read};
use std::path::Path;

use isopod_contract::arrival::ArrivalTimes;
use isopod_contract::config::{Arrival, Identity};
use isopod_contract::in_one_line;
use isopod_contract::layout::{ARRIVAL, MODULES};
use isopod_contract::message::ENTROPY_BYTES;

use crate::arrival::description::DescriptionError;
use crate::arrival::unpack::UnpackError;
use crate::boot::memory::MemoryError;
use crate::boot::network::NetworkError;
use crate::boot::{app_dev, chance, memory, modules, network, setup};
use crate::mounts::kernel_fs::{self, KernelFsError};
use crate::mounts::{early, mount};
use crate::process::processes;
use crate::report::log;

/// Why something cannot come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalError {
    #[error(transparent)]
    Files(#[from] UnpackError),
    #[error(transparent)]
    Description(#[from] DescriptionError),
    #[error("cannot find the VM's devices")]
    Devices(#[source] io::Error),
    #[error("cannot reseed the VM's random numbers")]
    Chance(#[source] io::Error),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    KernelFs(#[from] KernelFsError),
    #[error("cannot start the processes that the apps share")]
    Processes(#[source] io::Error),
}

/// What comes for which purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its apps are to run.
    Run,
    /// What is in its roots and volumes is to be read and written, and no app runs.
    Open,
}

/// What has come, as far as the kernel is concerned.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) arrival: Arrival,
    pub(crate) purpose: Purpose,
    /// What could not be done and keeps no app from running.
    pub(crate) warnings: Vec<String>,
    pub(crate) times: ArrivalTimes,
}

/// Brings what is in `archives`. A mount that cannot be made is not an error: the units of the apps that need it say so.
///
/// # Errors
/// [`ArrivalError`], where no app could run, or one would see what it must not.
pub(crate) fn bring(
    archives: impl Read,
    entropy: &[u8; ENTROPY_BYTES],
    purpose: Purpose,
) -> Result<Arrived, ArrivalError> {
    let begun_ms = setup::uptime_ms();
    chance::stir(entropy).map_err(ArrivalError::Chance)?;
    unpack::unpack(archives, Path::new("/"))?;
    let arrival = description::take(Path::new(ARRIVAL))?;
    let arrival = match purpose {
        Purpose::Run => arrival,
        Purpose::Open => opened(arrival),
    };
    let unpacked_ms = setup::uptime_ms();
    let wanted = arrival.modules.iter().map(String::as_str);
    for error in modules::load(Path::new(MODULES), wanted, &mut modules::present()) {
        log(&in_one_line(&error));
    }
    setup::find_devices().map_err(ArrivalError::Devices)?;
    let warnings = arrival.identity.as_ref().map_or(Ok(Vec::new()), identify)?;
    for app in arrival.apps.iter().filter(|app| !app.dev.is_empty()) {
        if let Err(error) = app_dev::fill(app) {
            log(&format!("cannot fill `{}`: {error}", app.dev));
        }
        if let Some(sys) = &app.sys {
            kernel_fs::own_sys(Path::new(sys), app.privileged)?;
        }
    }
    chance::boot_id(&arrival.apps).map_err(ArrivalError::Chance)?;
    processes::pod::show(arrival.apps.iter().map(|app| app.launch.as_str()))
        .map_err(ArrivalError::Processes)?;
    match early::mount_all(&arrival.early_mounts) {
        Ok(()) => mount::ahead(&arrival.mounts_ahead),
        Err(error) => log(&in_one_line(&error)),
    }
    Ok(Arrived {
        arrival,
        purpose,
        warnings,
        times: ArrivalTimes {
            begun_ms,
            unpacked_ms,
            mounted_ms: setup::uptime_ms(),
            asked_ms: 0,
        },
    })
}

/// Makes the VM another one, which has the same memory, and had no network; returns what could not be done.
///
/// # Errors
/// It does not have the network that it is to have.
pub(crate) fn identify_anew(identity: &Identity) -> Result<Vec<String>, NetworkError> {
    let warnings = setup::set_host_name(&identity.hostname).into_iter();
    let warnings = warnings.chain(setup::write_sysctls(&identity.sysctls)).collect();
    identity.network.as_ref().map_or(Ok(()), network::set_up)?;
    Ok(warnings)
}

/// The pod, with nothing in it that runs, and with all that its last life left.
fn opened(mut arrival: Arrival) -> Arrival {
    if let Some(identity) = &mut arrival.identity {
        identity.network = None;
        identity.held = true;
    }
    for app in &mut arrival.apps {
        app.waits = true;
    }
    let mounts = arrival.early_mounts.iter_mut();
    for directory in mounts.flat_map(|mount| &mut mount.directories) {
        directory.emptied = false;
    }
    arrival
}

/// Makes the VM what it is from now on; returns what could not be done.
fn identify(identity: &Identity) -> Result<Vec<String>, MemoryError> {
    memory::bound(&identity.memory)?;
    let mut warnings = Vec::new();
    warnings.extend(setup::set_host_name(&identity.hostname));
    for error in setup::write_sysctls(&identity.sysctls) {
        log(&error);
    }
    if let Some(Err(error)) = identity.network.as_ref().map(network::set_up) {
        log(&in_one_line(&error));
        warnings.push(format!("the pod has no network: {}", in_one_line(&error)));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use isopod_contract::config::{EarlyMount, GuestApp, NewDirectory};
    use isopod_contract::network::GuestNetwork;

    use super::*;

    #[test]
    fn nothing_runs_in_what_is_opened_and_nothing_of_it_is_emptied() {
        let directory = NewDirectory {
            path: "/isopod/writable/apps/a/upper".to_owned(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            emptied: true,
        };
        let disk = EarlyMount {
            source: "/dev/vdb".to_owned(),
            mount_point: "/isopod/writable".to_owned(),
            fs_type: "ext4".to_owned(),
            options: String::new(),
            read_only: false,
            directories: vec![directory],
            laid: None,
        };
        let arrival = Arrival {
            version: 1,
            identity: Some(Identity {
                network: Some(GuestNetwork::default()),
                ..Identity::default()
            }),
            unit: "arrival-0.target".to_owned(),
            modules: Vec::new(),
            early_mounts: vec![disk],
            mounts_ahead: Vec::new(),
            shares: Vec::new(),
            disks: Vec::new(),
            apps: vec![GuestApp::default()],
        };
        let arrival = opened(arrival);
        let identity = arrival.identity.unwrap();
        assert_eq!((identity.network, identity.held), (None, true));
        assert!(arrival.apps[0].waits && !arrival.early_mounts[0].directories[0].emptied);
    }
}
