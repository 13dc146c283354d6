//! What will happen to one app, and to one image.

use std::path::PathBuf;
use std::sync::Arc;

use isopod_spec::{AppName, RootfsAccess};

use crate::apps::lifecycle::Life;
use crate::apps::process::Process;
use crate::volumes::VolumeMount;

/// An app, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// Its name.
    pub name: AppName,
    /// The unit that runs it.
    pub unit: String,
    /// The number of its image.
    pub image: usize,
    /// What it executes.
    pub process: Process,
    /// Its mounts, parents first.
    pub mounts: Arc<[VolumeMount]>,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// Whether its standard input is the caller's.
    pub stdin: bool,
    /// How it lives.
    pub life: Life,
    /// Where its file for last words is bound; `None`: it is in its `/dev`.
    pub last_words: Option<PathBuf>,
}

/// An image, attached as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// Its ID.
    pub id: String,
    /// Its root filesystem's file in the store.
    pub rootfs: PathBuf,
}
