//! Notices about volumes that two places give: when a pod is planned, and when a volume comes to one that runs.

use isopod_spec::{AppName, VolumeName};

use crate::facts::Owner;
use crate::vm::file_server::Ownership;
use crate::vm::memory::Shares;

/// The guest alone keeps an app from writing.
pub(crate) fn weak_read_only(volume: &VolumeName, app: &AppName) -> String {
    format!(
        "volume `{volume}` is read-only for app `{app}` in the guest only, since another mount of it is writable"
    )
}

/// An ordinary user is one user to the host: what that means for an app that writes as user `uid`, where it means anything.
pub(crate) fn foreign_user(
    volume: &VolumeName,
    app: &AppName,
    uid: u32,
    ownership: Ownership,
) -> Option<String> {
    match ownership {
        _ if uid == 0 => None,
        Ownership::ByNumber | Ownership::Mapped(_) => None,
        Ownership::AllAsCaller(Owner { uid: owner, .. }) if owner == uid => None,
        Ownership::AllAsCaller(Owner { uid: owner, .. }) => Some(format!(
            "app `{app}` runs as user {uid}, and your files in volume `{volume}` belong to user {owner} in the \
             guest: it can write only to those whose mode allows others"
        )),
        Ownership::RootAsCaller(reason) => Some(format!(
            "app `{app}` runs as user {uid}, but without root on the host only user 0 can write to your files: \
             writing to volume `{volume}` may fail (`--user 0` can): {reason}"
        )),
    }
}

/// Files that are made when they are read.
pub(crate) fn unknown_sizes(volume: &VolumeName) -> String {
    format!(
        "the files of volume `{volume}` do not report their sizes, like those of /proc and /sys: over virtiofs most \
         read as empty \
         (`--transport 9p` reads them)"
    )
}

/// The volumes in memory may hold less than they are to.
pub(crate) fn beyond_memory(shares: &Shares, memory_mib: u32) -> Option<String> {
    (shares.asked_bytes > shares.room_bytes).then(|| {
        format!(
            "the volumes in memory ask for {} MiB together and get {} MiB, since the VM has {memory_mib} MiB: \
             `--vm-memory` gives it more, `medium=disk` keeps them on disk",
            shares.asked_bytes.div_ceil(1 << 20),
            shares.room_bytes >> 20,
        )
    })
}
