//! A change of what a running file server serves: a short-lived process that binds one more volume below the share, or
//! takes one away, in the mount namespace of virtiofsd (or of QEMU, for 9p).
//!
//! ```text
//! supervisor ── spawns ──> isopod CHANGE ... attach
//!                            1. joins the server's user namespace, where it has one of its own
//!                            2. copies the volume's mount, as it is on the host, in a mount namespace of its own
//!                            3. joins the server's mount namespace
//!                            4. makes a mount point below the share, through a writable copy of the share's mount that
//!                               nobody else sees: the share itself stays read-only
//!                            5. puts the copy there
//! ```
//!
//! The mount is in the server's namespace only, like all of its volumes: it ends with the server, at the latest. What was
//! done is undone when a later step fails; a process that is killed between two leaves an empty directory at worst.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use isopod_plan::facts::SourceKind;
use isopod_plan::vm::sharing::SharedVolume;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::child::Parent;
use super::{LauncherError, flags, slave_root, sys, volume};

/// The first argument that makes `isopod` such a process.
pub const CHANGE: &str = "internal-change";

/// What a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The process that it dies with: its parent.
    pub parent: u32,
    /// The server, a child of that parent.
    pub server: i32,
    /// The directory below which volumes are bound, absolute.
    pub share: PathBuf,
    /// The volume's name below it.
    pub name: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The volume comes.
    Attach(SharedVolume),
    /// It goes, also where it is in use; one that is not there has gone.
    Detach,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> LauncherError {
    move |errno| LauncherError::Change {
        what,
        source: errno.into(),
    }
}

impl Change {
    /// The arguments that make `isopod` this.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![
            CHANGE.into(),
            self.parent.to_string().into(),
            self.server.to_string().into(),
            self.share.clone().into(),
            self.name.clone().into(),
        ];
        if let Action::Attach(volume) = &self.action {
            argv.extend([
                flags(volume).into(),
                volume.name.as_str().into(),
                volume.source.clone().into(),
            ]);
        }
        argv
    }

    /// Reads the arguments, the first one ([`CHANGE`]) left out.
    ///
    /// # Errors
    /// [`LauncherError::Usage`].
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, LauncherError> {
        let args: Vec<OsString> = args.into_iter().collect();
        let usage = || LauncherError::Usage(format!("{args:?}"));
        let [parent, server, share, name, rest @ ..] = &args[..] else {
            return Err(usage());
        };
        let number = |word: &OsString| word.to_str().map(str::to_owned);
        let action = match rest {
            [] => Action::Detach,
            [flags, name, source] => {
                let read = volume(flags, Some(name.clone()), Some(source.clone()));
                Action::Attach(read.ok_or_else(usage)?)
            }
            _ => return Err(usage()),
        };
        Ok(Self {
            parent: number(parent).and_then(|n| n.parse().ok()).ok_or_else(usage)?,
            server: number(server).and_then(|n| n.parse().ok()).ok_or_else(usage)?,
            share: share.into(),
            name: name.to_str().ok_or_else(usage)?.to_owned(),
            action,
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// [`LauncherError`]; nothing has changed then.
    pub fn run(&self) -> Result<(), LauncherError> {
        super::die_with(&Parent::Number(self.parent))?;
        let server = Pid::from_raw(self.server).ok_or(LauncherError::Orphaned)?;
        let server = pidfd_open(server, PidfdFlags::empty()).map_err(failed("find the server"))?;
        if !rustix::process::geteuid().is_root() {
            join(&server, ThreadNameSpaceType::USER, "join its user namespace")?;
        }
        match &self.action {
            Action::Attach(volume) => {
                let tree = copy(volume)?;
                join(&server, ThreadNameSpaceType::MOUNT, "join its mount namespace")?;
                self.attach(&tree, volume.kind)
            }
            Action::Detach => {
                join(&server, ThreadNameSpaceType::MOUNT, "join its mount namespace")?;
                self.detach()
            }
        }
    }

    /// The share's directory, as only this process sees it: it can be written to.
    fn directory(&self) -> Result<OwnedFd, LauncherError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &self.share, flags).map_err(failed("copy the share's mount"))?;
        sys::make_writable(&tree).map_err(|source| LauncherError::Change {
            what: "write to the share",
            source,
        })?;
        Ok(tree)
    }

    fn attach(&self, tree: &OwnedFd, kind: SourceKind) -> Result<(), LauncherError> {
        let dir = self.directory()?;
        let made = match kind {
            SourceKind::Directory => mkdirat(&dir, &self.name, Mode::from_raw_mode(0o755)),
            SourceKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&dir, &self.name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        made.map_err(failed("make the volume's mount point"))?;
        let place = self.share.join(&self.name);
        let moved = move_mount(
            tree.as_fd(),
            c"",
            CWD,
            &place,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        );
        moved.map_err(|errno| {
            let _ = remove(&dir, &self.name);
            failed("bind the volume below the share")(errno)
        })
    }

    fn detach(&self) -> Result<(), LauncherError> {
        let place = self.share.join(&self.name);
        match rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(failed("unmount the volume")(errno)),
        }
        match remove(&self.directory()?, &self.name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove the volume's mount point")(errno)),
        }
    }
}

fn remove(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTDIR) => unlinkat(dir, name, AtFlags::empty()),
        other => other,
    }
}

fn join(server: &OwnedFd, space: ThreadNameSpaceType, what: &'static str) -> Result<(), LauncherError> {
    move_into_thread_name_spaces(server.as_fd(), space).map_err(failed(what))
}

/// The volume's mount, as it is on the host. A namespace of its own first: in the host's an ordinary user may copy none,
/// and a copy of a shared mount would have to be distinguished from its peers.
fn copy(volume: &SharedVolume) -> Result<OwnedFd, LauncherError> {
    sys::unshare(UnshareFlags::NEWNS).map_err(|source| LauncherError::Change {
        what: "unshare(CLONE_NEWNS)",
        source,
    })?;
    slave_root()?;
    super::copy(volume).map_err(|(what, source)| super::volume_error(volume, what, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use isopod_plan::facts::FileId;
    use isopod_spec::{Propagation, Submounts, VolumeName};

    use super::*;

    #[test]
    fn arguments_come_back() {
        let volume = SharedVolume {
            name: VolumeName::new("data").unwrap(),
            source: OsString::from_vec(b"/srv/\xff ,--".to_vec()).into(),
            kind: SourceKind::File,
            id: Some(FileId { device: 1, inode: 2 }),
            read_only: true,
            submounts: Submounts::AsOnHost,
            recursive: false,
            propagation: Propagation::Rslave,
            given_to: None,
        };
        for action in [Action::Attach(volume), Action::Detach] {
            let change = Change {
                parent: 7,
                server: 8,
                share: "/a b/share".into(),
                name: "@3".into(),
                action,
            };
            assert_eq!(Change::read(change.argv().into_iter().skip(1)).unwrap(), change);
        }
        assert!(Change::read(["1".into(), "2".into()]).is_err());
    }
}
