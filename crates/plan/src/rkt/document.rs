//! The plan of the profile `rkt` as a document.

use isopod_spec::{RootfsAccess, VolumeKind};

use crate::output::describe::{
    app_mount, empty_volume, files_of, given_volume, host_volume, mount_of, texts,
};
use crate::output::document::{App, DOCUMENT_VERSION, Document, Hypervisor, Volume, VolumeType};
use crate::rkt::RktPlan;
use crate::vm::hardware::PCI_DEVICES;
use crate::volumes::VolumeMount;
use crate::{layout, path};

/// Whose command line a plan of the profile `rkt` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RktHypervisor {
    /// kvmtool's, rkt's own.
    Lkvm,
    Qemu,
}

impl RktPlan {
    /// The plan as a document, with the command line of `hypervisor`.
    #[must_use]
    pub fn document(&self, spec: &isopod_spec::PodSpec, hypervisor: RktHypervisor) -> Document {
        let (kind, share_args, argv) = match hypervisor {
            RktHypervisor::Lkvm => ("lkvm", self.lkvm_share_args(), self.lkvm_argv()),
            RktHypervisor::Qemu => ("qemu", self.qemu_share_args(), self.qemu_argv()),
        };
        let app = |(app, mounts): (&isopod_spec::App, &Vec<VolumeMount>)| {
            let root = layout::app_root(&app.name);
            App {
                name: app.name.to_string(),
                unit: format!("{}.service", app.name),
                image: None,
                root_directory: None,
                process: None,
                readonly_rootfs: app.rootfs == RootfsAccess::ReadOnly,
                restart: None,
                notifies: false,
                depends_on: Vec::new(),
                health: Vec::new(),
                mounts: mounts
                    .iter()
                    .map(|mount| app_mount(mount, &path::below(&root, &mount.place), false))
                    .collect(),
            }
        };
        let volume = |volume: &isopod_spec::Volume| match &volume.kind {
            VolumeKind::Host(host) => Volume {
                transport: Some("9p".to_owned()),
                ..host_volume(volume.name.to_string(), VolumeType::HostDirectory, &host.source)
            },
            VolumeKind::Empty(empty) => empty_volume(volume.name.to_string(), empty),
            VolumeKind::Files(_) => given_volume(volume.name.to_string(), VolumeType::Files),
            VolumeKind::Image(_) => given_volume(volume.name.to_string(), VolumeType::Image),
        };
        Document {
            version: DOCUMENT_VERSION,
            profile: "rkt".into(),
            hostname: None,
            network: None,
            apps: spec.apps.iter().zip(&self.app_mounts).map(app).collect(),
            volumes: spec.volumes.iter().map(volume).collect(),
            writable_bytes: None,
            early_mounts: Vec::new(),
            mounts: self.mounts.iter().map(mount_of).collect(),
            hypervisor: Hypervisor {
                kind: kind.into(),
                share_args: texts(share_args),
                argv: texts(argv),
                devices_used: self.shares.len(),
                devices_available: PCI_DEVICES,
                memory_mib: self.memory_mib,
                cpus: self.cpus,
                start: None,
            },
            virtiofsd: None,
            passt: None,
            guest_files: files_of(&self.guest),
            stops_on_app_failure: false,
            limits: Vec::new(),
            notices: Vec::new(),
        }
    }
}
