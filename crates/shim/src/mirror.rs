//! ConfigMaps, Secrets and what else the kubelet changes under a running container: a directory whose files are links through `..data`
//! to those of its last update. A share would show an update, but no event of inotify(7) would report it in the guest; so these
//! volumes are files of the guest, and each update is brought there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isopod_archive::{Keep, LastLink, PackError, Packed, pack};
use isopod_contract::copy::Frame;
use isopod_contract::message::HostStream;
use isopod_protocol::codec::write_message;
use isopod_protocol::copy::{self, CopyError};
use isopod_runtime::control::{self, ControlError};
use isopod_spec::MAX_FILES_BYTES;

use crate::oci::{Mirror, Source};
use crate::pod::{Pod, words};

/// The link that leads to the last update.
const DATA: &str = "..data";

/// How often it is read. The kubelet looks for updates once a minute or so.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most names in such a volume.
const MOST_NAMES: usize = 4096;

/// Why an update was not brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: PackError },
    #[error("`{}` cannot be read whole: {fault}", path.display())]
    Incomplete { path: PathBuf, fault: String },
    #[error("the guest cannot be reached")]
    Open(#[source] ControlError),
    #[error("volume `{volume}` of the guest was not updated with the contents of `{}`", path.display())]
    Send {
        volume: String,
        path: PathBuf,
        source: CopyError,
    },
}

/// What is at `path`, as far as a mount is concerned.
pub(crate) fn source(path: &Path) -> Source {
    match path.metadata() {
        Err(_) => Source::Missing,
        Ok(data) if !data.is_dir() => Source::File,
        Ok(_) if update(path).is_none() => Source::Directory,
        Ok(_) => match bytes(path) {
            Ok(bytes) if bytes <= MAX_FILES_BYTES as u64 => Source::Updated,
            _ => {
                let path = path.display();
                tracing::info!(
                    "`{path}` has more than {MAX_FILES_BYTES} bytes or {MOST_NAMES} names: the guest gets no events about its updates"
                );
                Source::Directory
            }
        },
    }
}

/// Which update is the last.
fn update(path: &Path) -> Option<PathBuf> {
    std::fs::read_link(path.join(DATA)).ok()
}

/// What the files in a directory hold together.
fn bytes(path: &Path) -> io::Result<u64> {
    let (mut bytes, mut names) = (0, 0);
    let mut pending = vec![path.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in dir.read_dir()? {
            let entry = entry?;
            let data = entry.metadata()?;
            names += 1;
            if names > MOST_NAMES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            match data.is_dir() {
                true => pending.push(entry.path()),
                false if data.is_file() => bytes += data.len(),
                false => {}
            }
        }
    }
    Ok(bytes)
}

/// Brings what a volume holds now.
///
/// # Errors
/// [`MirrorError`]; the volume is as it was then.
pub(crate) async fn bring(pod: &Path, mirror: &Mirror) -> Result<(), MirrorError> {
    let path = mirror.source.clone();
    let packed = tokio::task::spawn_blocking({
        let contents = path.join(".");
        move || {
            let mut archive = Vec::new();
            let packed = pack(&contents, &mut archive, Keep::Everything, LastLink::Kept)?;
            Ok::<(Vec<u8>, Packed), PackError>((archive, packed))
        }
    });
    let packed = packed
        .await
        .unwrap_or_else(|panic| Err(PackError::Write(io::Error::other(panic))));
    let (archive, packed) = packed.map_err(|source| MirrorError::Read {
        path: path.clone(),
        source,
    })?;
    if let Some(fault) = packed.fault() {
        return Err(MirrorError::Incomplete { path, fault });
    }
    let volume = mirror.volume.to_string();
    let header = HostStream::Refill {
        volume: volume.clone(),
    };
    let mut stream = control::open(pod, header).await.map_err(MirrorError::Open)?;
    let sent = async {
        copy::send(&mut &*archive, &mut stream).await?;
        write_message(&mut stream, &Frame::End)
            .await
            .map_err(CopyError::Send)?;
        copy::receive(&mut stream, &mut tokio::io::sink()).await
    };
    sent.await
        .map(drop)
        .map_err(|source| MirrorError::Send { volume, path, source })
}

/// Brings every update from now on, `first` being the one that was brought.
pub(crate) async fn follow(pod: Arc<Pod>, mirror: Mirror) {
    let mut last = update(&mirror.source);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = update(&mirror.source);
        // In between two updates, or gone: what was brought last stays.
        if now.is_none() || now == last {
            continue;
        }
        match bring(pod.path(), &mirror).await {
            Ok(()) => last = now,
            Err(_) if pod.has_ended() => return,
            // Tried again: it may have been changed while it was read.
            Err(error) => tracing::warn!("{}", words(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_kubelets_volume_is_known_by_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        assert_eq!(source(&volume), Source::Missing);
        std::fs::create_dir_all(volume.join("..2026")).unwrap();
        assert_eq!(source(&volume), Source::Directory);
        symlink("..2026", volume.join(DATA)).unwrap();
        let file = volume.join("..2026/key");
        std::fs::write(&file, "word").unwrap();
        assert_eq!((source(&volume), source(&file)), (Source::Updated, Source::File));
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(MAX_FILES_BYTES as u64 + 1)
            .unwrap();
        assert_eq!(source(&volume), Source::Directory, "it is too large");
    }
}
