//! The volumes of a pod, and those that its images' mount points bring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use isopod_spec::name::MAX_VOLUME_NAME_BYTES;
use isopod_spec::{AppName, EmptyVolume, Medium, MountPoint, PodSpec, Volume, VolumeKind, VolumeName};

use crate::path::{self, Node, NodeKind};

/// The volumes of the pod, and those that its apps' mount points bring.
pub struct VolumeTable {
    declared: BTreeMap<VolumeName, Volume>,
    implicit: BTreeMap<VolumeName, Volume>,
    /// The directory of its app's image that an implicit volume begins with.
    contents: BTreeMap<VolumeName, PathBuf>,
    /// Where implicit volumes are kept.
    medium: Medium,
}

impl VolumeTable {
    /// The pod's own volumes. Of two with one name the first counts; [`check_names`](super::check_names) reports the other. Those whose content
    /// came with the pod are read-only for all.
    #[must_use]
    pub fn new(spec: &PodSpec) -> Self {
        Self::of(&spec.volumes)
    }

    /// Keeps implicit volumes there.
    #[must_use]
    pub(crate) fn keeping_implicit(self, medium: Medium) -> Self {
        Self { medium, ..self }
    }

    /// Those volumes. Of two with one name the first counts.
    pub(crate) fn of<'a>(volumes: impl IntoIterator<Item = &'a Volume>) -> Self {
        let mut declared = BTreeMap::new();
        for volume in volumes {
            let given = matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Image(_));
            declared.entry(volume.name.clone()).or_insert_with(|| Volume {
                read_only: if given { Some(true) } else { volume.read_only },
                ..volume.clone()
            });
        }
        Self {
            declared,
            implicit: BTreeMap::new(),
            contents: BTreeMap::new(),
            medium: Medium::Memory,
        }
    }

    /// The volume of that name.
    #[must_use]
    pub fn get(&self, name: &VolumeName) -> Option<&Volume> {
        self.declared.get(name).or_else(|| self.implicit.get(name))
    }

    /// Whether the pod itself has a volume of that name.
    pub(super) fn is_declared(&self, name: &VolumeName) -> bool {
        self.declared.contains_key(name)
    }

    /// All volumes: the declared ones by name, then the implicit ones.
    pub fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.declared.values().chain(self.implicit.values())
    }

    /// The pod's own volumes, by name.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &Volume> {
        self.declared.values()
    }

    /// Whether the volume is one of files, which the plan lays out before the guest runs.
    #[must_use]
    pub fn is_seeded(&self, name: &VolumeName) -> bool {
        self.get(name)
            .is_some_and(|volume| matches!(volume.kind, VolumeKind::Files(_)))
    }

    /// The directory of its app's image with whose content the volume begins, if it does.
    #[must_use]
    pub fn content(&self, name: &VolumeName) -> Option<&Path> {
        self.contents.get(name).map(PathBuf::as_path)
    }

    /// How many volumes are in memory without a size of their own.
    pub(crate) fn unbounded(&self) -> usize {
        let is = |volume: &&Volume| match &volume.kind {
            VolumeKind::Empty(empty) => empty.medium == Medium::Memory && empty.size_bytes.is_none(),
            _ => false,
        };
        self.iter().filter(is).count()
    }

    /// A volume for a mount point that has none, the app's own. It begins as the image has the directory: with its mode,
    /// owner and content, so that a program finds what it was built to find, as with docker and rkt.
    pub(super) fn add_implicit(
        &mut self,
        app: &AppName,
        mount_point: &MountPoint,
        found: Option<path::Resolved>,
    ) -> VolumeName {
        let base = format!("{app}-{}", mount_point.name);
        let name = (0..)
            .filter_map(|n: u32| {
                let suffix = if n == 0 { String::new() } else { format!("-{n}") };
                let keep = base.len().min(MAX_VOLUME_NAME_BYTES - suffix.len());
                VolumeName::nearest(&format!("{}{suffix}", &base[..keep]))
            })
            .find(|name| self.get(name).is_none())
            .unwrap_or_else(|| mount_point.name.clone());
        let found = found.filter(|found| found.node.as_ref().is_some_and(is_directory));
        let node = found.as_ref().and_then(|found| found.node.as_ref());
        let kind = VolumeKind::Empty(EmptyVolume {
            mode: node.map(|n| n.mode),
            uid: node.map(|n| n.uid),
            gid: node.map(|n| n.gid),
            medium: self.medium,
            ..EmptyVolume::default()
        });
        if let Some(found) = found {
            self.contents.insert(name.clone(), found.path);
        }
        self.implicit.insert(
            name.clone(),
            Volume {
                name: name.clone(),
                kind,
                read_only: None,
            },
        );
        name
    }
}

fn is_directory(node: &Node) -> bool {
    node.kind == NodeKind::Directory
}
