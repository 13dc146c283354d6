//! What will happen to one app, and to one image.

use std::path::PathBuf;
use std::sync::Arc;

use isopod_spec::{AppName, LogLimits, RestartPolicy, RootOnRestart, RootWrites, RootfsAccess};

use crate::apps::lifecycle::AppLifecycle;
use crate::apps::process::Process;
use crate::facts::FileId;
use crate::layout;
use crate::volumes::VolumeMount;

/// An app, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    pub name: AppName,
    /// The unit that runs it.
    pub unit: String,
    /// What its root is made of.
    pub root: RootPlan,
    pub process: Process,
    /// Its mounts, parents first.
    pub mounts: Arc<[VolumeMount]>,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// Whether its standard input is the caller's.
    pub stdin: bool,
    pub lifecycle: AppLifecycle,
    /// Where what it writes to its root is kept.
    pub writes: Writes,
    /// Where its file for last words is bound; `None`: it is in its `/dev`.
    pub last_words: Option<PathBuf>,
    /// How large its log may become.
    pub log: LogLimits,
}

/// What an app's root is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPlan {
    /// The image of that number.
    Image(usize),
    /// A directory of the host, below the pod's share.
    Directory {
        /// The path on the host, links followed.
        source: PathBuf,
        /// Which directory that is.
        id: FileId,
        /// Where it is in the guest.
        place: PathBuf,
        /// Where what the app writes is to be kept, where it may write.
        writes: RootWrites,
    },
}

impl RootPlan {
    /// Where its content is in the guest.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        match self {
            Self::Image(number) => layout::image_mount(*number),
            Self::Directory { place, .. } => place.clone(),
        }
    }

    /// The number of the image, where it is one.
    #[must_use]
    pub fn image(&self) -> Option<usize> {
        match self {
            Self::Image(number) => Some(*number),
            Self::Directory { .. } => None,
        }
    }
}

/// Where what an app writes to its root is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// In the directory of the host that its root is.
    Through,
    /// In the guest's memory, until the guest ends.
    InMemory,
    /// On the pod's writable disk, until the pod is removed.
    OnDisk,
}

impl AppPlan {
    /// Whether it may write to its root, and each life of it begins without what an earlier one wrote.
    #[must_use]
    pub fn has_fresh_roots(&self) -> bool {
        self.lifecycle.root_on_restart == RootOnRestart::Fresh
            && self.lifecycle.restart != RestartPolicy::No
            && self.rootfs == RootfsAccess::Writable
            && self.writes != Writes::Through
    }

    /// Whether what the pod has in its root is a layer of its own: where the one that takes the writes goes before the pod,
    /// or stays beyond one boot, or where there is none.
    pub(crate) fn has_seed(&self) -> bool {
        self.has_fresh_roots() || self.writes != Writes::InMemory
    }

    /// What the pod has in its root.
    pub(crate) fn seed(&self) -> PathBuf {
        match self.has_seed() {
            true => layout::app_seed(&self.name),
            false => self.upper(),
        }
    }

    /// Where the layers are that take its writes.
    fn layers(&self) -> PathBuf {
        match self.writes {
            Writes::InMemory | Writes::Through => layout::app_dir(&self.name),
            Writes::OnDisk => layout::writable_app(&self.name),
        }
    }

    /// What takes its writes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.layers().join("upper")
    }

    /// The directory that overlayfs needs for that.
    pub(crate) fn work(&self) -> PathBuf {
        self.layers().join("work")
    }
}

/// An image, attached as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    pub id: String,
    /// Its root filesystem's file in the store.
    pub rootfs: PathBuf,
}
