//! What the pipes of an app and its terminal have in common.

use std::io;
use std::path::Path;

use isopod_protocol::mux::MuxStream;
use tokio::io::AsyncWriteExt as _;

/// Makes `path` a symlink to `target`, whatever it was.
pub(crate) fn link(path: &Path, target: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(target, &new)?;
    std::fs::rename(&new, path)
}

/// Sends to the host, or to nobody once the host has hung up.
pub(crate) async fn send(host: &mut Option<&mut MuxStream>, bytes: &[u8]) {
    if let Some(stream) = host
        && stream.write_all(bytes).await.is_err()
    {
        *host = None;
    }
}
