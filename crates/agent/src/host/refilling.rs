//! The stream that gives a volume of files new content, and how the content becomes the volume's: as the kubelet's atomic writer does
//! it (`pkg/volume/util/atomic_writer.go`), so that whoever watches the volume by inotify(7) sees in it what it sees on the host.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use isopod_archive::{Keep, UnpackError, unpack};
use isopod_contract::copy::Frame;
use isopod_contract::in_one_line;
use isopod_contract::layout::VOLUMES;
use isopod_protocol::codec::write_message;
use isopod_protocol::copy::{self, CopyError};
use isopod_protocol::mux::MuxStream;
use tokio::io::AsyncWriteExt as _;

/// Why a volume has not got new content.
#[derive(Debug, thiserror::Error)]
enum RefillError {
    #[error("cannot receive the archive")]
    Receive(#[source] CopyError),
    #[error("there is no volume of files `{}`", .0.escape_debug())]
    Absent(String),
    #[error("cannot unpack the archive")]
    Unpack(#[source] UnpackError),
    #[error("cannot change the volume")]
    Change(#[source] io::Error),
    #[error("it was cancelled")]
    Ended,
}

/// Takes the archive, gives the volume its content, and says how that went.
pub(super) async fn receive(mut stream: MuxStream, volume: &str) {
    let frame = match take(&mut stream, volume).await {
        Ok(()) => Frame::End,
        Err(error) => Frame::Failed {
            text: in_one_line(&error),
        },
    };
    let _ = write_message(&mut stream, &frame).await;
    let _ = stream.shutdown().await;
}

async fn take(stream: &mut MuxStream, volume: &str) -> Result<(), RefillError> {
    // The host bounds it: it is what the volume holds in this guest's memory.
    let mut archive = Vec::new();
    copy::receive(stream, &mut archive)
        .await
        .map_err(RefillError::Receive)?;
    let absent = || RefillError::Absent(volume.to_owned());
    if volume.is_empty() || volume.starts_with('.') || volume.contains('/') {
        return Err(absent());
    }
    let dir = Path::new(VOLUMES).join(volume);
    if !dir.is_dir() {
        return Err(absent());
    }
    let refilled = tokio::task::spawn_blocking(move || refill(&dir, &archive));
    refilled.await.map_err(|_| RefillError::Ended)?
}

/// Unpacks the archive beside the directory, and moves what is new into it.
fn refill(dir: &Path, archive: &[u8]) -> Result<(), RefillError> {
    let name = dir.file_name().unwrap_or_default().display();
    let coming = dir.with_file_name(format!(".{name}"));
    let cleared = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    fs::remove_dir_all(&coming)
        .or_else(cleared)
        .map_err(RefillError::Change)?;
    let moved = unpack(&coming, &mut &*archive, Keep::Everything, None)
        .map_err(RefillError::Unpack)
        .and_then(|()| change(dir, &coming).map_err(RefillError::Change));
    let _ = fs::remove_dir_all(&coming);
    moved
}

/// Makes of `dir` what `coming` is, step by step in the order in which no name of it ever leads nowhere.
fn change(dir: &Path, coming: &Path) -> io::Result<()> {
    let wanted = coming.symlink_metadata()?;
    if !wanted.is_dir() {
        return Err(io::Error::other("the archive does not contain a directory"));
    }
    let now = dir.metadata()?;
    if (now.uid(), now.gid(), now.mode()) != (wanted.uid(), wanted.gid(), wanted.mode()) {
        chown(dir, Some(wanted.uid()), Some(wanted.gid()))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(wanted.mode() & 0o7777))?;
    }
    let (links, others): (Vec<OsString>, Vec<OsString>) = names(coming)?
        .into_iter()
        .partition(|name| is_link(&coming.join(name)));
    // A directory that is there under its name is the same: each update has one of its own.
    for name in others
        .iter()
        .filter(|name| dir.join(name).symlink_metadata().is_err())
    {
        fs::rename(coming.join(name), dir.join(name))?;
    }
    for name in &links {
        let target = fs::read_link(coming.join(name))?;
        match fs::read_link(dir.join(name)) {
            Ok(now) if now == target => continue,
            Ok(_) => {}
            Err(_) => {
                fs::rename(coming.join(name), dir.join(name))?;
                continue;
            }
        }
        let mut temporary = name.clone();
        temporary.push("_tmp");
        let temporary: PathBuf = dir.join(temporary);
        symlink(&target, &temporary)?;
        fs::rename(&temporary, dir.join(name))?;
    }
    let kept: BTreeSet<&OsString> = links.iter().chain(&others).collect();
    let gone = names(dir)?;
    let (links, others): (Vec<&OsString>, Vec<&OsString>) = gone
        .iter()
        .filter(|name| !kept.contains(name))
        .partition(|name| is_link(&dir.join(name)));
    for name in links.into_iter().chain(others) {
        let path = dir.join(name);
        match path.symlink_metadata()?.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// The names in a directory, `..data` before others.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|data| data.is_symlink())
}

#[cfg(test)]
mod tests {
    use isopod_archive::{LastLink, pack};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    use super::*;

    /// What the kubelet has made of `files`: the directory of one update, and links to it.
    fn kubelets(dir: &Path, update: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(dir.join(update)).unwrap();
        for (name, content) in files {
            fs::write(dir.join(update).join(name), content).unwrap();
            symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
        symlink(update, dir.join("..data")).unwrap();
    }

    fn archive(dir: &Path) -> Vec<u8> {
        let mut archive = Vec::new();
        pack(&dir.join("."), &mut archive, Keep::Everything, LastLink::Kept).unwrap();
        archive
    }

    #[test]
    fn an_update_is_seen_by_path_and_by_events() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let volume = at("volume");
        fs::create_dir(&volume).unwrap();
        kubelets(&at("first"), "..1", &[("a", "one"), ("gone", "x")]);
        fs::set_permissions(at("first"), fs::Permissions::from_mode(0o2775)).unwrap();
        refill(&volume, &archive(&at("first"))).unwrap();
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "one");
        assert_eq!(volume.metadata().unwrap().mode() & 0o7777, 0o2775);

        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, &volume, WatchFlags::MOVED_TO | WatchFlags::DELETE).unwrap();
        let file = volume.join("a").canonicalize().unwrap();
        inotify::add_watch(&watch, &file, WatchFlags::DELETE_SELF).unwrap();
        kubelets(&at("second"), "..2", &[("a", "two"), ("new", "y")]);
        refill(&volume, &archive(&at("second"))).unwrap();
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "two");
        assert_eq!(names(&volume).unwrap(), ["..2", "..data", "a", "new"]);

        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&watch, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_str().unwrap().to_owned());
            events.push((event.events(), name.unwrap_or_default()));
        }
        let seen = |flags: ReadFlags, name: &str| {
            let found = events
                .iter()
                .position(|(of, what)| of.contains(flags) && what == name);
            found.unwrap_or_else(|| panic!("{name}: {events:?}"))
        };
        let order = [
            seen(ReadFlags::MOVED_TO, "..2"),
            seen(ReadFlags::MOVED_TO, "..data"),
            seen(ReadFlags::MOVED_TO, "new"),
            seen(ReadFlags::DELETE, "gone"),
            seen(ReadFlags::DELETE, "..1"),
        ];
        assert!(order.is_sorted(), "{events:?}");
        let _ = seen(ReadFlags::DELETE_SELF, "");
    }

    #[test]
    fn what_is_no_archive_changes_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let volume = temporary.path().join("volume");
        kubelets(&volume, "..1", &[("a", "one")]);
        assert!(refill(&volume, &[7; 700]).is_err());
        assert_eq!(names(&volume).unwrap(), ["..1", "..data", "a"]);
        assert_eq!(names(temporary.path()).unwrap(), ["volume"]);
    }
}
