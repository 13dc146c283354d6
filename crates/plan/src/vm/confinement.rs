//! What the processes of a pod's VM see of the host, and as whom they run: decided here, done by the stage.

use crate::facts::{HostFacts, HostUser, Namespaces, OwnUsers};
use crate::vm::qemu::Qemu;

/// What QEMU and virtiofsd see of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Their own files only, in a root file system of their own; no other process, and no network but what they are to have.
    Own,
    /// The same, but with the host's network.
    OwnButNetwork,
    /// All that the user sees.
    Host,
}

/// The namespaces that a process has for itself, beside that of its mounts (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// None.
    Mounts,
    /// Processes and System V IPC.
    Processes,
    /// The same, and the network.
    Network,
}

impl Confinement {
    /// That of a process that needs the host's network, or does not.
    #[must_use]
    pub fn isolation(self, needs_network: bool) -> Isolation {
        match self {
            Self::Host => Isolation::Mounts,
            Self::Own if !needs_network => Isolation::Network,
            Self::Own | Self::OwnButNetwork => Isolation::Processes,
        }
    }
}

/// The users that QEMU may be where root runs a pod: no user of the host is one of these (systemd's `UIDS-GIDS.md` has them as
/// unused), and a pod has one for itself.
pub const OWN_USERS: std::ops::Range<u32> = 0x7000_0000..0x7800_0000;

/// The user that is QEMU's of the pod with that UUID: the same at each of its starts.
#[must_use]
pub fn own_user(uuid: &str) -> u32 {
    // FNV-1a, 32 bits. That two pods of a host are one user is improbable, and neither sees the other then.
    let hash = uuid.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    OWN_USERS.start + hash % (OWN_USERS.end - OWN_USERS.start)
}

/// As whom QEMU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QemuUser {
    /// As whoever runs the pod.
    Caller,
    /// As a user of the pod's own ([`own_user`]).
    Own,
}

/// Decides as whom QEMU runs: where root runs the pod as a user of its own, unless QEMU serves volumes itself, for which it must act
/// as any user, or is not in a root of its own, where it could not reach its files. A notice says so where it could be else.
#[must_use]
pub fn qemu_user(
    host: &HostFacts,
    confinement: Confinement,
    qemu: &Qemu,
    notices: &mut Vec<String>,
) -> QemuUser {
    match (host.user, confinement, &host.own_users) {
        (HostUser::Ordinary { .. }, ..) | (_, Confinement::Host, _) => QemuUser::Caller,
        _ if !qemu.fsdevs.is_empty() => QemuUser::Caller,
        (HostUser::Root, _, OwnUsers::Available) => QemuUser::Own,
        (HostUser::Root, _, OwnUsers::Unavailable(reason)) => {
            notices.push(format!(
                "QEMU runs as root, without capabilities: it cannot have a user of its own here: {reason}"
            ));
            QemuUser::Caller
        }
    }
}

/// Decides how far the VM's processes are confined. A notice says why no further.
#[must_use]
pub fn confinement(namespaces: &Namespaces, notices: &mut Vec<String>) -> Confinement {
    let reason = match namespaces {
        Namespaces::Available => return Confinement::Own,
        Namespaces::WithoutNetwork(reason) => {
            notices.push(format!(
                "a guest that breaks out of its VM can connect where you can: QEMU cannot have a network namespace \
                 here: {reason}"
            ));
            return Confinement::OwnButNetwork;
        }
        Namespaces::Unavailable(reason) | Namespaces::WithoutRoot(reason) => reason,
    };
    notices.push(format!(
        "a guest that breaks out of its VM sees your files: QEMU cannot have a root of its own here: {reason}"
    ));
    Confinement::Host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_user_of_its_own() {
        let uuids = [
            "8a9d41b0-28a4-4a5a-9c1b-64e1d2b5f0a4",
            "8a9d41b0-28a4-4a5a-9c1b-64e1d2b5f0a5",
            "",
        ];
        let users = uuids.map(own_user);
        assert!(users.iter().all(|user| OWN_USERS.contains(user)), "{users:?}");
        assert!(users[0] != users[1] && users == uuids.map(own_user));
    }
}
