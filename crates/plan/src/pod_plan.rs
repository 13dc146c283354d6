//! What will happen, as a value: what `isopod plan` prints and `isopod run` executes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use isopod_contract::config::EarlyMount;
use isopod_spec::{FailurePolicy, PodLimits, PortForward, Volume, VolumeName};

use crate::apps::{AppPlan, ImagePlan};
use crate::guest::tree::GuestTree;
use crate::guest::units::Mounts;
use crate::vm::confinement::{Confinement, QemuUser};
use crate::vm::disks::DiskVolume;
use crate::vm::file_server::{Ownership, VirtiofsdCommand};
use crate::vm::network::PodNetwork;
use crate::vm::qemu::Qemu;
use crate::vm::sharing::Sharing;
use crate::vm::template::{StartKind, StartPlan};

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The apps, in the order of declaration.
    pub apps: Vec<AppPlan>,
    /// The volumes: the pod's by name, then those that images brought.
    pub volumes: Vec<Volume>,
    /// The guest's host name.
    pub hostname: String,
    /// The network; `None`: the loopback interface alone.
    pub network: Option<PodNetwork>,
    /// How the host volumes reach the guest; `None` where there are none.
    pub sharing: Option<Sharing>,
    /// The images, each attached once: file number N is the guest's disk number N.
    pub images: Vec<ImagePlan>,
    /// The numbers of the images that volumes are, of those that some app mounts.
    pub volume_images: BTreeMap<VolumeName, usize>,
    /// The volumes that are kept on disks of their own, which follow the images.
    pub disk_volumes: Vec<DiskVolume>,
    /// The size of the writable disk, the last one, in bytes; `None`: there is none, and apps write to the guest's memory.
    pub writable_bytes: Option<u64>,
    /// The mounts that are the agent's to make: images and roots.
    pub early_mounts: Vec<EarlyMount>,
    /// The mount units of the guest.
    pub mounts: Arc<Mounts>,
    /// The pod's own part of the guest.
    pub guest: GuestTree,
    /// The kernel modules that follow the pod's files: an archive, where an app may ask for them.
    pub more_modules: Option<PathBuf>,
    /// The VM, booted.
    pub qemu: Qemu,
    /// Whether it is booted, or restored.
    pub start: StartPlan,
    /// virtiofsd, where it is needed.
    pub virtiofsd: Option<VirtiofsdCommand>,
    /// Whether it continues when its last app has ended.
    pub held: bool,
    /// What one app's failure means for the others.
    pub on_failure: FailurePolicy,
    /// What the apps may take together.
    pub limits: PodLimits,
    /// How long the apps have to stop.
    pub stop_timeout: Duration,
    /// How long the pod may run; `None`: as long as it likes.
    pub deadline: Option<Duration>,
    /// What both see of the host.
    pub confinement: Confinement,
    /// As whom QEMU runs.
    pub qemu_user: QemuUser,
    /// Whose files those of host volumes are.
    pub ownership: Ownership,
    /// What the user should know: nothing here keeps the pod from running.
    pub notices: Vec<String>,
    /// What helps whoever looks at the plan, and is no matter for most pods: running one does not say it.
    pub hints: Vec<String>,
}

impl PodPlan {
    /// The VM as it starts: booted or restored.
    #[must_use]
    pub fn started_qemu(&self) -> &Qemu {
        match (&self.start.template, self.start.kind) {
            (Some(template), StartKind::Warm) => &template.restored,
            _ => &self.qemu,
        }
    }

    /// The host's ports that lead into the pod.
    #[must_use]
    pub fn ports(&self) -> &[PortForward] {
        self.network.as_ref().map_or(&[], |network| &network.ports)
    }
}
