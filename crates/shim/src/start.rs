//! `start`: a server for the sandbox, or the one that it has.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::args::Args;
use crate::bundle::{BundleError, SOCKETS, read_spec, socket};
use crate::oci::Role;
use crate::oci::spec::Spec;
use crate::settings::own_command;
use crate::spare::Spares;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot listen at `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot start the server")]
    Spawn(#[source] io::Error),
    #[error("cannot use VMs that wait for sandboxes (`ISOPOD_SPARES`)")]
    Spares(#[source] io::Error),
    #[error("sandbox `{0}` has no server: it was deleted, or killed")]
    NoSandbox(String),
}

/// Begins a server where the sandbox has none, and gives its address.
///
/// # Errors
/// [`StartError`].
pub(crate) fn start(args: &Args) -> Result<String, StartError> {
    let bundle = args.bundle.clone().unwrap_or_else(|| ".".into());
    let spec = read_spec(&bundle)?;
    let role = Role::of(&spec);
    let path = match &role {
        Role::Container { sandbox } => socket(args, sandbox),
        Role::Sandbox | Role::Single => socket(args, &args.id),
    };
    let address = format!("unix://{}", path.display());
    let listens = UnixStream::connect(&path).is_ok();
    match role {
        Role::Container { sandbox } if !listens => return Err(StartError::NoSandbox(sandbox)),
        _ if listens => {}
        role => serve(args, &path, &role, &spec)?,
    }
    // Where containerd finds it when it is restarted.
    let path = bundle.join("address");
    fs::write(&path, &address).map_err(|source| BundleError { path, source })?;
    Ok(address)
}

fn serve(args: &Args, path: &Path, role: &Role, spec: &Spec) -> Result<(), StartError> {
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
    let begun = begin(args, listener, role, spec);
    if begun.is_err() {
        let _ = fs::remove_file(path);
    }
    begun
}

/// Begins what listens there: a spare, or a server.
fn begin(args: &Args, listener: UnixListener, role: &Role, spec: &Spec) -> Result<(), StartError> {
    let spares = Spares::of(role, spec).map_err(StartError::Spares)?;
    let taken = match &spares {
        Some(spares) => spares.take(args, &listener).map_err(StartError::Spares)?,
        None => false,
    };
    if !taken {
        spawn(args, listener).map_err(StartError::Spawn)?;
    }
    // A sandbox without a spare behind it is a sandbox.
    let _ = spares.map(|spares| spares.begin(args.debug));
    Ok(())
}

/// Begins a server that listens there.
fn spawn(args: &Args, listener: UnixListener) -> io::Result<()> {
    let mut command = own_command()?;
    command
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
    command.spawn().map(drop)
}
