//! What the shim needs to know of its environment, which is containerd's.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use isopod_image::registry::Registries;
use isopod_runtime::Settings;
use isopod_spec::{Architecture, GuestKernel, StartMode};
use isopod_vm::launch;

use crate::args::Args;

/// Where state is kept: the same place as the command's for root, so that pods are listed by `isopod list` and templates are
/// shared.
const STATE_DIR: &str = "/var/lib/isopod";

/// The variables that a sandbox's server is started with: those that are read here.
pub(crate) const VARIABLES: [&str; 7] = [
    "PATH",
    "TTRPC_ADDRESS",
    "ISOPOD_DIR",
    "ISOPOD_BIN",
    "ISOPOD_AGENT",
    "ISOPOD_START",
    "ISOPOD_SPARES",
];

/// The most VMs of one size that may wait for sandboxes.
const MOST_SPARES: u32 = 64;

/// How many VMs of each size wait for sandboxes (`ISOPOD_SPARES`).
///
/// # Errors
/// It is no such number.
pub(crate) fn spares() -> io::Result<u32> {
    let text = match env::var("ISOPOD_SPARES") {
        Ok(text) if !text.is_empty() => text,
        _ => return Ok(0),
    };
    let number = text.parse().ok().filter(|number| *number <= MOST_SPARES);
    number.ok_or_else(|| {
        let text = text.escape_debug();
        let what = format!("`ISOPOD_SPARES` is `{text}`, which is not a number from 0 to {MOST_SPARES}");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

/// This program, with what its servers need of the environment: all else that containerd has there is nobody's here.
pub(crate) fn own_command() -> io::Result<Command> {
    let mut command = launch::command(&env::current_exe()?);
    let known = VARIABLES
        .iter()
        .filter_map(|name| Some((name, env::var_os(name)?)));
    command.envs(known).stdout(Stdio::null()).stderr(Stdio::null());
    // What is sent to containerd's process group is not meant for it.
    command.process_group(0);
    Ok(command)
}

/// Where containerd receives events.
pub(crate) fn events_address(args: &Args) -> String {
    env::var("TTRPC_ADDRESS").unwrap_or_else(|_| format!("{}.ttrpc", args.address.display()))
}

/// Reads the environment: `ISOPOD_DIR` in place of `/var/lib/isopod`, `ISOPOD_BIN` in place of the command beside the shim, and
/// `ISOPOD_AGENT` and `ISOPOD_START` as the command has them.
///
/// # Errors
/// There is no command `isopod`, or `ISOPOD_START` is no mode.
pub(crate) fn from_environment() -> io::Result<Settings> {
    let shim = env::current_exe()?;
    let isopod = match env::var_os("ISOPOD_BIN") {
        Some(isopod) => PathBuf::from(isopod),
        None => shim.with_file_name("isopod"),
    };
    if !isopod.is_file() {
        let what = format!(
            "there is no `{}`: the shim is installed beside the command `isopod`",
            isopod.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let start = match env::var("ISOPOD_START").as_deref() {
        Err(_) | Ok("") => StartMode::Auto,
        Ok(name) => StartMode::read(name).ok_or_else(|| {
            let name = name.escape_debug();
            let what = format!("`ISOPOD_START` is `{name}`, which is not auto, warm or cold");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })?,
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let mut search_path: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    search_path.extend(usual.map(PathBuf::from));
    let state_dir = PathBuf::from(env::var_os("ISOPOD_DIR").unwrap_or_else(|| STATE_DIR.into()));
    Ok(Settings {
        agent: env::var_os("ISOPOD_AGENT")
            .map(PathBuf::from)
            .or_else(|| isopod_runtime::agent_of(&isopod, Architecture::HOST)),
        state_dir,
        isopod,
        search_path,
        working_dir: "/".into(),
        registries: Registries::default(),
        start,
        kernel: GuestKernel::default(),
        guest_roots: Vec::new(),
        env: std::collections::BTreeMap::new(),
        aside: Vec::new(),
    })
}
