//! Where the parts of a pod stand, for the faults that are between them.

use super::node::Node;
use crate::check::{self, PodFault};

/// Where the parts of a pod stand, in the order of its lists.
#[derive(Default)]
pub(crate) struct PodPlaces<'a> {
    pub(crate) volumes: Vec<Node<'a>>,
    pub(crate) apps: Vec<AppPlaces<'a>>,
    pub(crate) ports: Vec<Node<'a>>,
}

/// Where the parts of an app stand.
pub(crate) struct AppPlaces<'a> {
    pub(crate) app: Node<'a>,
    pub(crate) mounts: Vec<Node<'a>>,
}

/// What a language calls the fields of a mount.
pub(crate) struct MountFields {
    pub(crate) volume: &'static str,
    pub(crate) target: &'static str,
}

impl<'a> PodPlaces<'a> {
    /// Where the fault is; `None`: at no part of the file.
    pub(crate) fn of(&self, fault: &PodFault, fields: &MountFields) -> Option<Node<'a>> {
        let app = |index: usize| self.apps.get(index);
        let field = |index: usize, name: &str| app(index).and_then(|app| app.app.get(name));
        let mount = |index: usize, mount: usize, name: &str| app(index)?.mounts.get(mount)?.get(name);
        match fault {
            PodFault::DuplicateApp { app_index, .. }
            | PodFault::UnknownDependency { app_index, .. }
            | PodFault::DependencyCycle { app_index, .. }
            | PodFault::EndlessDependency { app_index, .. } => field(*app_index, "name"),
            PodFault::DuplicateVolume { volume_index, .. } => self.volumes.get(*volume_index)?.get("name"),
            PodFault::UnknownVolume {
                app_index,
                mount_index,
                ..
            } => mount(*app_index, *mount_index, fields.volume),
            PodFault::DoubledTarget {
                app_index,
                mount_index,
                ..
            } => mount(*app_index, *mount_index, fields.target),
            PodFault::DoubledPort { port_index, .. } => self.ports.get(*port_index).cloned(),
            PodFault::TooManyPorts => self.ports.get(check::MAX_PORTS).cloned(),
            PodFault::Probe { app_index, kind, .. } => field(*app_index, &format!("{}Probe", kind.as_str())),
            PodFault::Handler {
                app_index, handler, ..
            } => field(*app_index, "lifecycle").and_then(|lifecycle| lifecycle.get(handler)),
        }
        .or_else(|| Some(self.apps.first()?.app.clone()))
    }
}
