//! An app's root as far as it can be looked at before the guest runs: its image, and the volumes that are mounted in it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use isopod_spec::VolumeName;

use crate::facts::SourceKind;
use crate::path::{Lookup, Node, NodeKind};
use crate::volumes::kernel_places;
use crate::volumes::volume_mount::VolumeMount;

/// What an app's root will be made of, as far as it can be looked at before the guest runs.
#[derive(Clone, Copy)]
pub struct Roots<'a> {
    /// The app's image, if one is known.
    pub image: Option<&'a dyn Lookup>,
    /// The host volumes.
    pub sources: &'a BTreeMap<VolumeName, Source<'a>>,
    /// What a mount can be at.
    pub rules: Rules,
    /// systemd's version in the guest.
    pub systemd_version: u32,
}

/// What a mount can be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Anywhere but where the guest has its own: its file systems for the kernel, and the app's root. A mount point that is
    /// missing must be one that can be made.
    Isopod,
    /// Anywhere. What is missing is left to systemd.
    Rkt,
}

/// A host volume's source.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub kind: SourceKind,
    /// What it holds.
    pub tree: &'a dyn Lookup,
}

/// An app's root with some of its mounts in place.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What the root is made of.
    pub roots: Roots<'a>,
    /// The mounts in place, by their place.
    pub mounts: &'a HashMap<Arc<Path>, VolumeMount>,
}

impl<'a> View<'a> {
    /// The innermost mount that `path` is on.
    #[must_use]
    pub fn mount_at(&self, path: &Path) -> Option<&'a VolumeMount> {
        if self.mounts.is_empty() {
            return None;
        }
        path.ancestors().find_map(|p| self.mounts.get(p))
    }
}

impl Lookup for View<'_> {
    fn node(&self, path: &Path) -> Option<Node> {
        let Some(mount) = self.mount_at(path) else {
            if self.roots.rules == Rules::Isopod && kernel_places::contains(path) {
                return kernel_places::node(path);
            }
            return self.roots.image?.node(path);
        };
        if *mount.place == *path {
            return Some(mount_root(mount.kind));
        }
        let source = self.roots.sources.get(&mount.volume)?;
        let inner = Path::new("/")
            .join(&mount.sub_path)
            .join(path.strip_prefix(&mount.place).ok()?);
        source.tree.node(&inner)
    }
}

fn mount_root(kind: SourceKind) -> Node {
    let kind = match kind {
        SourceKind::Directory => NodeKind::Directory,
        SourceKind::File => NodeKind::File,
    };
    Node {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}
