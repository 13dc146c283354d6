//! Notices that are told of volumes in two places: when a pod is planned, and when a volume comes to one that runs.

use isopod_spec::{AppName, VolumeName};

use crate::memory::Shares;

/// The guest alone keeps an app from writing.
pub(crate) fn weak_read_only(volume: &VolumeName, app: &AppName) -> String {
    format!(
        "volume `{volume}` is read-only for app `{app}` by the guest alone, since another mount of it is writable"
    )
}

/// An ordinary user is one user to the host: what an app as another user creates in a host volume fails there.
pub(crate) fn foreign_user(volume: &VolumeName, app: &AppName, uid: u32) -> String {
    format!(
        "app `{app}` runs as user {uid}, and without root only the guest's root can write as you: \
         writing to volume `{volume}` may fail (`--user 0` can)"
    )
}

/// The volumes in memory may hold less than they are to.
pub(crate) fn beyond_memory(shares: &Shares, memory_mib: u32) -> Option<String> {
    (shares.asked_bytes > shares.room_bytes).then(|| {
        format!(
            "the volumes in memory are to hold {} MiB and get {} MiB together, since the VM has {memory_mib} MiB: `--memory` \
             gives it more, `medium=disk` keeps them on disk",
            shares.asked_bytes.div_ceil(1 << 20),
            shares.room_bytes >> 20,
        )
    })
}
