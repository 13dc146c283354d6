//! How large a VM the apps of a pod need: for flags, for the readers of pod files and appc manifests, and for the writer.
//!
//! Of a container (an app) its limit counts, and its request where it has no limit. A container without a limit may take what the VM has, and the VM
//! then has [`ROOM_MIB`] at least, of which the host gives only what is used. Main containers and sidecars run side by side,
//! and the other init containers one after the other before them, each beside the sidecars that come before it.

use crate::{App, Resources, SizedBy, Vm};

/// The most virtual CPUs: QEMU's q35 machine needs an emulated IOMMU beyond them.
pub const MAX_CPUS: u32 = 255;

/// The least memory a VM can have, in MiB. The kernel unpacks the guest image, 28 MiB, into a file system that may have half of what
/// the kernel and the image themselves leave of it: 144 MiB are enough on Debian 12, and 136 are not.
pub const MIN_MEMORY_MIB: u32 = 160;

/// What the guest itself takes of the VM's memory beside the containers, in MiB.
pub(crate) const GUEST_MIB: u64 = 128;

/// The least VM where all containers are limited, in MiB.
const LEAST_MIB: u32 = 512;

/// The least VM where one is not, in MiB.
pub(crate) const ROOM_MIB: u32 = 2048;

/// What containers need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) memory_bytes: u64,
    /// Whether one of them has no limit of memory.
    pub(crate) unlimited: bool,
    /// In thousandths of a CPU.
    pub(crate) cpu_millis: u64,
}

impl Need {
    /// What an app needs that may take so much.
    pub(crate) fn of(resources: &Resources) -> Self {
        let memory = resources.memory_limit_bytes.or(resources.memory_request_bytes);
        let cpu = resources.cpu_limit_millis.or(resources.cpu_request_millis);
        Self {
            memory_bytes: memory.unwrap_or_default(),
            unlimited: resources.memory_limit_bytes.is_none(),
            cpu_millis: cpu.unwrap_or_default().into(),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            unlimited: self.unlimited || other.unlimited,
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
        }
    }

    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            unlimited: self.unlimited || other.unlimited,
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
        }
    }

    /// What all containers of a pod need; `init` says of each whether it is a sidecar.
    pub(crate) fn of_pod(init: impl Iterator<Item = (bool, Self)>, main: impl Iterator<Item = Self>) -> Self {
        let (mut sidecars, mut most) = (Self::default(), Self::default());
        for (is_sidecar, need) in init {
            most = most.max(sidecars.plus(need));
            if is_sidecar {
                sidecars = sidecars.plus(need);
            }
        }
        main.fold(sidecars, Self::plus).max(most)
    }

    /// The memory, in MiB, and the CPUs of a VM for it.
    pub(crate) fn vm(self) -> (u32, u32) {
        let (memory_mib, cpus) = self.exactly();
        let least = if self.unlimited { ROOM_MIB } else { LEAST_MIB };
        (memory_mib.max(least), cpus)
    }

    /// The same where a pod says besides what its VM has at least, or of what is limited, exactly. Its own word on memory stands in place of
    /// the room that containers without a limit have otherwise.
    pub(crate) fn vm_of_pod(self, own: PodNeed) -> (u32, u32) {
        let containers = Self {
            unlimited: self.unlimited && own.need.memory_bytes == 0,
            ..self
        };
        let (of_containers, of_pod) = (containers.vm(), own.need.exactly());
        let either = |limited, of_containers: u32, of_pod| match limited {
            true => of_pod,
            false => of_containers.max(of_pod),
        };
        (
            either(own.memory_limited, of_containers.0, of_pod.0),
            either(own.cpus_limited, of_containers.1, of_pod.1),
        )
    }

    fn exactly(self) -> (u32, u32) {
        let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let memory = self.memory_bytes.div_ceil(1 << 20).saturating_add(GUEST_MIB);
        let cpus = whole(self.cpu_millis.div_ceil(1000)).min(MAX_CPUS);
        (whole(memory).max(LEAST_MIB), cpus.max(1))
    }
}

/// What a pod says of the size of its VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodNeed {
    pub(crate) need: Need,
    pub(crate) memory_limited: bool,
    pub(crate) cpus_limited: bool,
}

impl Vm {
    /// The VM that these apps of flags need side by side: by their limits, and by the memory that is reserved for those
    /// without one. Without any app it is the default one: nobody knows which will come.
    #[must_use]
    pub fn holding(apps: &[App]) -> Self {
        if apps.is_empty() {
            return Self::default();
        }
        let unsized_vm = Self {
            memory_by: SizedBy::Apps,
            cpus_by: SizedBy::Apps,
            ..Self::default()
        };
        let of_image = Resources::default();
        unsized_vm.for_apps(apps.iter().map(|app| (&app.overrides.resources, &of_image)))
    }

    /// This VM for apps of these resources, what flags say of each and what its image says (appc's isolators): as large as
    /// they need, where nobody else says how large it is.
    #[must_use]
    pub fn for_apps<'a>(&self, apps: impl Iterator<Item = (&'a Resources, &'a Resources)>) -> Self {
        let need = |(flags, image): (&Resources, &Resources)| {
            let both = flags.or(*image);
            Need {
                // `--cpu-shares` only weighs apps against each other; an image's request is a number of CPUs.
                cpu_millis: both
                    .cpu_limit_millis
                    .or(image.cpu_request_millis)
                    .unwrap_or_default()
                    .into(),
                ..Need::of(&both)
            }
        };
        let (memory_mib, cpus) = Need::of_pod(std::iter::empty(), apps.map(need)).vm();
        let either = |by, of_apps, own| match by {
            SizedBy::Apps => of_apps,
            SizedBy::Pod => own,
        };
        Self {
            memory_mib: either(self.memory_by, memory_mib, self.memory_mib),
            cpus: either(self.cpus_by, cpus, self.cpus),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(mib: u64, cpu_millis: u64) -> Need {
        Need {
            memory_bytes: mib << 20,
            unlimited: false,
            cpu_millis,
        }
    }

    #[test]
    fn a_container_without_a_limit_has_room() {
        let free = Need {
            unlimited: true,
            ..need(300, 0)
        };
        assert_eq!(
            Need::of_pod(std::iter::empty(), [need(300, 0)].into_iter()).vm(),
            (512, 1)
        );
        assert_eq!(
            Need::of_pod(std::iter::empty(), [need(300, 0), free].into_iter()).vm(),
            (2048, 1)
        );
        assert_eq!(
            Need::of_pod([(false, free)].into_iter(), [need(3000, 0)].into_iter()).vm(),
            (3128, 1)
        );
        assert_eq!(Vm::holding(&[]), Vm::default());
    }

    #[test]
    fn init_containers_count_one_by_one_beside_the_sidecars_before_them() {
        let all =
            |init: &[(bool, Need)], main: &[Need]| Need::of_pod(init.iter().copied(), main.iter().copied());
        assert_eq!(all(&[], &[]).vm(), (512, 1));
        assert_eq!(all(&[], &[need(300, 500), need(300, 600)]).vm(), (728, 2));
        assert_eq!(all(&[(false, need(900, 0))], &[need(600, 0)]), need(900, 0));
        let init = [(true, need(200, 0)), (false, need(900, 0)), (true, need(100, 0))];
        assert_eq!(all(&init, &[need(600, 0)]), need(1100, 0));
        assert_eq!(all(&init, &[need(900, 0)]), need(1200, 0));
    }
}
