//! The directories of the host that are apps' roots: looked at, and looked into as images are.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use isopod_plan::facts::{FileId, RootFacts, RootOrigin};
use isopod_plan::path::{Lookup, Node, Tree};
use isopod_spec::{PodSpec, RunConfig};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::fault::GatherFault;
use super::host::MAX_DATABASE_BYTES;
use super::sources;
use crate::Settings;
use crate::record::HostRoot;

/// A directory that is an app's root.
pub(crate) struct RootDir {
    path: PathBuf,
    id: FileId,
    /// The caller, where that is not root: whose files are root's in the guest.
    caller: Option<u32>,
}

/// The directory of each app, in the order of the apps; what is wrong with one is added to `faults`.
pub(super) fn find(
    spec: &PodSpec,
    settings: &Settings,
    faults: &mut Vec<GatherFault>,
) -> Vec<Option<RootDir>> {
    let apps = spec.apps.iter().map(|app| {
        let asked = app.directory()?;
        match sources::directory(&asked.path, settings) {
            Ok((path, id)) => Some(RootDir::new(path, id)),
            Err((reason, hint)) => {
                faults.push(GatherFault::Root {
                    app: app.name.clone(),
                    path: asked.path.clone(),
                    reason,
                    hint,
                });
                None
            }
        }
    });
    apps.collect()
}

impl RootDir {
    pub(crate) fn new(path: PathBuf, id: FileId) -> Self {
        let user = rustix::process::geteuid();
        Self {
            path,
            id,
            caller: (!user.is_root()).then(|| user.as_raw()),
        }
    }

    /// What is known of it before the planner looks into it.
    pub(super) fn facts(&self) -> RootFacts {
        RootFacts {
            origin: RootOrigin::Directory {
                path: self.path.clone(),
                id: self.id,
                mounts: sources::mount_names(&self.path),
            },
            config: RunConfig::default(),
            tree: Tree::default(),
            passwd: self.text("etc/passwd"),
            group: self.text("etc/group"),
        }
    }

    /// The text of a file in it, links followed as far as they lead into it; empty where there is none.
    fn text(&self, path: &str) -> String {
        let read = || {
            let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, &self.path, how, Mode::empty()).ok()?;
            // A named pipe would keep the caller waiting.
            let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let file = File::from(openat2(root, Path::new(path), how, Mode::empty(), resolve).ok()?);
            let mut bytes = Vec::new();
            if file.metadata().ok()?.is_file() {
                file.take(MAX_DATABASE_BYTES).read_to_end(&mut bytes).ok()?;
            }
            Some(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

impl Lookup for RootDir {
    fn node(&self, path: &Path) -> Option<Node> {
        let node = HostRoot(self.path.clone()).node(path)?;
        let is_own = self.caller.is_some_and(|caller| caller == node.uid);
        let (uid, gid) = match is_own {
            true => (0, 0),
            false => (node.uid, node.gid),
        };
        Some(Node { uid, gid, ..node })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_leads_no_further_than_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("usr/share")).unwrap();
        fs::write(root.join("usr/share/passwd"), "web:x:33:33::/:/bin/sh\n").unwrap();
        symlink("/usr/share/passwd", root.join("etc/passwd")).unwrap();
        fs::write(dir.path().join("group"), "outside").unwrap();
        symlink("../../group", root.join("etc/group")).unwrap();
        let facts = RootDir::new(root, FileId { device: 1, inode: 1 }).facts();
        assert_eq!(
            (facts.passwd.as_str(), facts.group.as_str()),
            ("web:x:33:33::/:/bin/sh\n", "")
        );
    }
}
