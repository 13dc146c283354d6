//! How much of the host's disk a pod's files take.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use isopod_plan::layout;
use isopod_runtime::pods::PodEntry;

/// What a pod takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What its apps wrote, as far as it is on disks of the pod's own, with their file systems.
    pub(crate) written: u64,
    pub(crate) images: u64,
}

impl Room {
    pub(crate) fn of(pod: &PodEntry) -> Self {
        let below = |dir: &str| fs::read_dir(pod.path.join(dir)).into_iter().flatten().flatten();
        let disks = below(layout::DISKS).map(|entry| taken(&entry.path()));
        let images =
            below(layout::IMAGE_LINKS).filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.len()));
        Self {
            written: taken(&pod.path.join(layout::WRITABLE_FILE)) + disks.sum::<u64>(),
            images: images.sum(),
        }
    }
}

/// How many bytes of the disk a file or a directory with all below it takes; of links, none.
pub(crate) fn taken(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    // stat(2): blocks of 512 bytes.
    let own = metadata.blocks() * 512;
    match metadata.is_dir() {
        false => own,
        true => {
            let below = fs::read_dir(path).into_iter().flatten().flatten();
            below.map(|entry| taken(&entry.path())).sum::<u64>() + own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 10_000]).unwrap();
        assert!(taken(dir.path()) >= 10_000);
        assert_eq!(taken(&dir.path().join("none")), 0);
    }
}
