//! What belongs to a sandbox on the host, as containerd names it: its bundle, and where its server listens.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::args::Args;
use crate::oci::spec::Spec;

/// Where the sockets of containerd's shims are.
pub(crate) const SOCKETS: &str = "/run/containerd/s";

/// Why a bundle is of no use.
#[derive(Debug, thiserror::Error)]
#[error("cannot access `{}`", path.display())]
pub(crate) struct BundleError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Reads a container's `config.json`.
pub(crate) fn read_spec(bundle: &Path) -> Result<Spec, BundleError> {
    let path = bundle.join("config.json");
    let read = || {
        let text = fs::read(&path)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    };
    read().map_err(|source| BundleError {
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
