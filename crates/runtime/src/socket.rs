//! Sockets in a pod's directory.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Listens on a socket in the pod directory, in place of one that an earlier run left, whose path may be longer than the 107 bytes that an address takes: so it
/// is named through the directory's descriptor. `user` is who connects, where that is not this one.
pub(crate) fn listen(dir: &Path, name: &str, user: Option<u32>) -> io::Result<UnixListener> {
    let handle = std::fs::File::open(dir)?;
    match std::fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(
        Path::new("/proc/self/fd")
            .join(handle.as_raw_fd().to_string())
            .join(name),
    )?;
    if let Some(user) = user {
        std::os::unix::fs::chown(dir.join(name), Some(user), Some(user))?;
    }
    Ok(listener)
}
