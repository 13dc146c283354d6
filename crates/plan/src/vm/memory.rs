//! How much of the VM's memory files may take: what apps write to their roots, `/dev/shm`, empty volumes. All of that
//! together is less than the memory that the guest has, so that an app which fills whatever it can write to finds no space
//! left, and the others still have memory to run in.

use isopod_contract::config::GuestMemory;

/// What the kernel, the guest's own programs and files, and small apps take, in bytes: a guest of 512 MiB with one shell
/// in it has used 95 MiB.
const KEPT_BYTES: u64 = 128 << 20;

/// Of the memory, the part that is kept besides for programs: page tables and caches grow with it.
const KEPT_PART: u64 = 8;

/// `/dev/shm` of docker, podman and the kubelet, in bytes. As with the latter two a pod's apps share it.
const SHM_BYTES: u64 = 64 << 20;

/// What of the memory is whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// What the agent bounds.
    pub guest: GuestMemory,
    /// What each volume without a size may hold, in bytes.
    pub unsized_bytes: u64,
    /// The sizes of the others together, in bytes.
    pub asked_bytes: u64,
    /// What there is for those, in bytes.
    pub room_bytes: u64,
}

impl Shares {
    /// Shares out the memory of a VM of `memory_mib` MiB, in which volumes of the sizes `sizes`, in bytes, are too, so
    /// many without one, and a `/dev/shm` of that size where one is asked for.
    pub(crate) fn new(
        memory_mib: u32,
        shm_bytes: Option<u64>,
        sizes: impl IntoIterator<Item = u64>,
        without: usize,
    ) -> Self {
        let memory = u64::from(memory_mib) << 20;
        let asked_bytes = sizes.into_iter().fold(0, u64::saturating_add);
        // Volumes add to the memory of a pod of Kubernetes: what they hold needs nothing kept beside it.
        let kept = KEPT_BYTES + memory.saturating_sub(asked_bytes) / KEPT_PART;
        let files = memory.saturating_sub(kept).max(memory / KEPT_PART);
        let shm_bytes = match shm_bytes {
            Some(asked) => asked.min(files / 4 * 3),
            None => SHM_BYTES.min(files / 2),
        };
        let rest = files - shm_bytes;
        let least = rest.min(memory / KEPT_PART) / 2;
        let room_bytes = rest - least;
        let left = rest - asked_bytes.min(room_bytes);
        // A database keeps there more than a program writes elsewhere.
        let volumes = if without == 0 { 0 } else { left / 4 * 3 };
        Self {
            guest: GuestMemory {
                root_bytes: left - volumes,
                shm_bytes,
            },
            unsized_bytes: volumes / u64::try_from(without.max(1)).unwrap_or(u64::MAX),
            asked_bytes,
            room_bytes,
        }
    }

    /// What a volume of that size may hold: less, where all of them would not fit.
    pub(crate) fn of_size(&self, bytes: u64) -> u64 {
        if self.asked_bytes <= self.room_bytes {
            return bytes;
        }
        let part = u128::from(bytes) * u128::from(self.room_bytes) / u128::from(self.asked_bytes);
        u64::try_from(part).unwrap_or(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_leave_memory_for_programs() {
        let mib = |memory_mib, sizes: &[u64], without| {
            let shares = Shares::new(memory_mib, None, sizes.iter().map(|mib| mib << 20), without);
            let GuestMemory {
                root_bytes,
                shm_bytes,
            } = shares.guest;
            let sized = sizes.iter().map(|mib| shares.of_size(mib << 20)).sum::<u64>();
            [root_bytes, shm_bytes, sized, shares.unsized_bytes].map(|bytes| bytes >> 20)
        };
        assert_eq!(mib(128, &[], 0), [8, 8, 0, 0]);
        assert_eq!(mib(256, &[], 0), [48, 48, 0, 0]);
        assert_eq!(mib(512, &[], 0), [256, 64, 0, 0]);
        assert_eq!(mib(512, &[], 2), [64, 64, 0, 96]);
        assert_eq!(mib(512, &[100, 60], 0), [116, 64, 160, 0]);
        assert_eq!(mib(512, &[1000, 1000], 1), [8, 64, 288, 24]);
        // As much again for a volume: it holds all of it.
        assert_eq!(mib(512 + 2048, &[2048], 0), [256, 64, 2048, 0]);
        assert_eq!(mib(4096, &[], 0), [3392, 64, 0, 0]);
    }
}
