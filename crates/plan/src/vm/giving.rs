//! `U` of a mount (podman's): before a pod starts, the host gives all files of a volume to the user that mounts it.
//!
//! Here it is decided who that is to the process that serves the volume, and whether it can be; that process's launcher does it,
//! in the user namespace where it is root.

use std::collections::BTreeMap;
use std::path::Path;

use isopod_spec::{App, AppName, Mount, Owners, VolumeKind, VolumeName};

use crate::facts::{HostFacts, Owner};
use crate::fault::Fault;
use crate::vm::file_server::Ownership;
use crate::vm::sharing::SharedVolume;
use crate::vm::user_maps::UserMaps;
use crate::volumes::VolumeTable;

/// An app whose mount asks for it.
pub(crate) struct Asked<'a> {
    pub(crate) app: &'a AppName,
    /// Who it runs as.
    pub(crate) user: Owner,
    pub(crate) mount: &'a Mount,
}

impl<'a> Asked<'a> {
    /// Those of an app's mounts that ask for it.
    pub(crate) fn of(app: &'a App, user: Owner) -> impl Iterator<Item = Self> {
        let asking = app.mounts.iter().filter(|mount| mount.owners == Owners::App);
        asking.map(move |mount| Self {
            app: &app.name,
            user,
            mount,
        })
    }
}

/// What the volumes are, and how they reach the guest.
pub(crate) struct Given<'a> {
    pub(crate) table: &'a VolumeTable,
    /// Whether a launcher binds them, and can give them away before.
    pub(crate) is_bound: bool,
    pub(crate) ownership: Ownership,
    pub(crate) host: &'a HostFacts,
}

/// Says of each of `shared` to whom it is given.
///
/// # Errors
/// A [`Fault`] for each that cannot be.
pub(crate) fn give<'a>(
    asked: impl IntoIterator<Item = Asked<'a>>,
    given: &Given<'_>,
    shared: &mut [SharedVolume],
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut takers: BTreeMap<&VolumeName, (&AppName, Owner)> = BTreeMap::new();
    for Asked { app, user, mount } in asked {
        let name = &mount.volume;
        let mut refuse = |reason: String| {
            faults.push(Fault::Volume {
                volume: name.clone(),
                reason: format!("its files cannot be given to app `{app}` (`U`): {reason}"),
            });
        };
        let of_host = given.table.get(name).map(|volume| &volume.kind);
        if !matches!(of_host, Some(VolumeKind::Host(_))) {
            refuse(
                "it is not a directory or file of the host; an empty volume has its own `uid` and `gid`"
                    .into(),
            );
            continue;
        }
        if mount.sub_path.is_some() {
            refuse("the app mounts a part of it, and the host gives all of it or nothing".into());
            continue;
        }
        if let Some((other, _)) = takers.get(name).filter(|(_, taker)| *taker != user) {
            refuse(format!(
                "they are given to app `{other}`, which runs as another user"
            ));
            continue;
        }
        takers.insert(name, (app, user));
        let Some(volume) = shared.iter_mut().find(|shared| shared.name == *name) else {
            continue;
        };
        if is_of_the_system(&volume.source) {
            refuse(format!(
                "`{}` is a system directory",
                isopod_spec::words::shown(&volume.source)
            ));
            continue;
        }
        match taker(user, given) {
            Ok(taker) => volume.given_to = taker,
            Err(reason) => refuse(reason),
        }
    }
    faults
}

/// Who `user` is to the process that serves the volume; nobody where the files are that user's anyway.
fn taker(user: Owner, given: &Given<'_>) -> Result<Option<Owner>, String> {
    const NEEDS_MAPS: &str =
        "who writes in the guest is you on the host; `--userns keep-id` or `--userns host` keeps users apart";
    match given.ownership {
        Ownership::AllAsCaller(owner) if owner == user => Ok(None),
        Ownership::RootAsCaller(_) if user.uid == 0 => Ok(None),
        Ownership::AllAsCaller(_) | Ownership::RootAsCaller(_) => Err(format!(
            "it runs as user {}, group {}, and {NEEDS_MAPS}",
            user.uid, user.gid
        )),
        Ownership::ByNumber | Ownership::Mapped(_) if !given.is_bound => {
            Err("that needs a mount namespace, and there is none here".into())
        }
        Ownership::ByNumber => Ok(Some(user)),
        Ownership::Mapped(caller) => {
            let ids = given.host.subordinates.as_ref();
            match ids.map(|ids| UserMaps::new(ids, caller, given.host.caller)) {
                Some(maps) if !maps.has(user) => Err(format!(
                    "user {}, group {} are beyond your subordinates (`/etc/subuid`, `/etc/subgid`)",
                    user.uid, user.gid
                )),
                Some(_) | None => Ok(Some(user)),
            }
        }
    }
}

/// podman's list of what is given away by mistake only (`chown.DangerousHostPath`).
const SYSTEM: [&str; 23] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
];

/// Whether it is of that list, or below a directory with nothing else in it, or somebody's home.
fn is_of_the_system(path: &Path) -> bool {
    SYSTEM.iter().any(|own| path == Path::new(own))
        || ["/boot", "/dev", "/proc", "/sys", "/usr", "/var/log"]
            .iter()
            .any(|own| path.starts_with(own))
        || path.parent() == Some(Path::new("/home"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_systems_is_not_given_away() {
        for path in [
            "/",
            "/srv",
            "/tmp",
            "/home",
            "/home/me",
            "/var/lib",
            "/usr/share/doc",
            "/proc/1",
        ] {
            assert!(is_of_the_system(Path::new(path)), "{path}");
        }
        for path in [
            "/data",
            "/srv/data",
            "/home/me/data",
            "/var/lib/app",
            "/tmp/x",
            "/etc/app",
        ] {
            assert!(!is_of_the_system(Path::new(path)), "{path}");
        }
    }
}
