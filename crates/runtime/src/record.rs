//! Looks into images and host directories for the planner, and keeps what was seen.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isopod_image::erofs::{self, Reader};
use isopod_plan::path::{Lookup, Node, NodeKind, Tree};

/// A root that is looked into, and what was seen in it.
pub(crate) struct Recorder<L> {
    root: L,
    seen: RefCell<Tree>,
}

impl<L: Lookup> Recorder<L> {
    pub(crate) fn new(root: L) -> Self {
        Self {
            root,
            seen: RefCell::default(),
        }
    }

    /// What is looked into.
    pub(crate) fn root(&self) -> &L {
        &self.root
    }

    pub(crate) fn into_tree(self) -> Tree {
        self.seen.into_inner()
    }
}

impl<L: Lookup> Lookup for Recorder<L> {
    fn node(&self, path: &Path) -> Option<Node> {
        if let Some(node) = self.seen.borrow().0.get(path) {
            return Some(node.clone());
        }
        let node = self.root.node(path)?;
        self.seen.borrow_mut().0.insert(path.to_owned(), node.clone());
        Some(node)
    }
}

/// An image's root filesystem.
pub(crate) struct ImageRoot(pub(crate) Reader);

impl Lookup for ImageRoot {
    fn node(&self, path: &Path) -> Option<Node> {
        // The store checked the image when it wrote it; a file that cannot be read since fails when it is attached.
        let node = self.0.lookup(path).ok()??;
        let kind = match node.kind {
            erofs::NodeKind::Directory => NodeKind::Directory,
            erofs::NodeKind::File => NodeKind::File,
            erofs::NodeKind::Symlink { target } => NodeKind::Symlink(target),
            _ => NodeKind::Other,
        };
        Some(Node {
            kind,
            mode: node.mode.into(),
            uid: node.uid,
            gid: node.gid,
        })
    }
}

/// A directory of the host.
pub(crate) struct HostRoot(pub(crate) PathBuf);

impl Lookup for HostRoot {
    fn node(&self, path: &Path) -> Option<Node> {
        let path = isopod_plan::path::below(&self.0, path);
        let found = path.symlink_metadata().ok()?;
        let kind = if found.is_dir() {
            NodeKind::Directory
        } else if found.is_file() {
            NodeKind::File
        } else if found.is_symlink() {
            NodeKind::Symlink(path.read_link().ok()?)
        } else {
            NodeKind::Other
        };
        Some(Node {
            kind,
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
        })
    }
}
