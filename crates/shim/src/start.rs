//! `start`: a server for the sandbox, or the one that it has.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use isopod_vm::launch;
use sha2::{Digest as _, Sha256};

use crate::args::Args;
use crate::oci::Role;
use crate::oci::spec::Spec;
use crate::settings;

/// Where the sockets of containerd's shims are.
const SOCKETS: &str = "/run/containerd/s";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot read `{}`", path.display())]
    Bundle { path: PathBuf, source: io::Error },
    #[error("cannot listen at `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot start the server")]
    Spawn(#[source] io::Error),
    #[error("sandbox `{0}` has no server: it was deleted, or killed")]
    NoSandbox(String),
}

/// Reads a container's `config.json`.
pub(crate) fn read_spec(bundle: &Path) -> Result<Spec, StartError> {
    let path = bundle.join("config.json");
    let read = || {
        let text = fs::read(&path)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    };
    read().map_err(|source| StartError::Bundle {
        path: path.clone(),
        source,
    })
}

/// Where the server of a sandbox listens.
pub(crate) fn socket(args: &Args, sandbox: &str) -> PathBuf {
    let text = format!("{}/{}/{sandbox}", args.address.display(), args.namespace);
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(SOCKETS).join(hex)
}

/// Removes the socket of a server that was killed.
pub(crate) fn remove_socket(args: &Args) {
    let path = socket(args, &args.id);
    if UnixStream::connect(&path).is_err() {
        let _ = fs::remove_file(path);
    }
}

/// Begins a server where the sandbox has none, and gives its address.
///
/// # Errors
/// [`StartError`].
pub(crate) fn start(args: &Args) -> Result<String, StartError> {
    let bundle = args.bundle.clone().unwrap_or_else(|| ".".into());
    let role = Role::of(&read_spec(&bundle)?);
    let path = match &role {
        Role::Container { sandbox } => socket(args, sandbox),
        Role::Sandbox | Role::Single => socket(args, &args.id),
    };
    let address = format!("unix://{}", path.display());
    let listens = UnixStream::connect(&path).is_ok();
    match role {
        Role::Container { sandbox } if !listens => return Err(StartError::NoSandbox(sandbox)),
        _ if listens => {}
        _ => serve(args, &path)?,
    }
    // Where containerd finds it when it is restarted.
    fs::write(bundle.join("address"), &address).map_err(|source| StartError::Bundle {
        path: bundle.join("address"),
        source,
    })?;
    Ok(address)
}

fn serve(args: &Args, path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Listen {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(SOCKETS).map_err(failed)?;
    fs::set_permissions(SOCKETS, fs::Permissions::from_mode(0o711)).map_err(failed)?;
    // Of a server that was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let program = std::env::current_exe().map_err(StartError::Spawn)?;
    let mut command = launch::command(&program);
    // All else that containerd has in its environment is nobody's here.
    let known = settings::VARIABLES
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    command
        .envs(known)
        .arg("-namespace")
        .arg(&args.namespace)
        .arg("-id")
        .arg(&args.id);
    command.arg("-address").arg(&args.address);
    if args.debug {
        command.arg("-debug");
    }
    if let Some(bundle) = &args.bundle {
        command.current_dir(bundle);
    }
    // It finds its socket as its standard input.
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // What is sent to containerd's process group is not meant for it.
    command.process_group(0);
    command.spawn().map(drop).map_err(StartError::Spawn)
}
