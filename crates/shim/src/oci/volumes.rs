//! A container's mounts, as volumes. What every app has anyway (`/proc`, `/dev`, `/sys`, the pod's `/dev/shm`) is the guest's.

use std::path::Path;

use isopod_spec::{
    App, EmptyVolume, FilesVolume, HostVolume, Medium, Mount as AppMount, MountFlags, Owners, Propagation,
    SourceRule, Submounts, Volume, VolumeKind, VolumeName,
};

use super::spec::{Mount, Spec};
use super::{Mirror, Refused, Source};

/// What is mounted there in every app of a pod, by the guest.
const OWN: [&str; 7] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/mqueue",
    "/dev/shm",
    "/sys",
    "/sys/fs/cgroup",
];

/// File systems of the kernel that the guest mounts where they belong.
const KERNEL: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"];

/// Gives the app its mounts, and returns their volumes, with those that are to be what a directory of the host's becomes.
pub(super) fn fill(
    app: &mut App,
    spec: &Spec,
    source: &dyn Fn(&Path) -> Source,
    covered: &dyn Fn(&Path) -> bool,
) -> Result<(Vec<Volume>, Vec<Mirror>), Refused> {
    let (mut volumes, mut mirrors) = (Vec::new(), Vec::new());
    for (number, mount) in spec.mounts.iter().enumerate() {
        let destination = &mount.destination;
        if KERNEL.contains(&&*mount.kind) || OWN.iter().any(|own| destination.as_os_str() == *own) {
            continue;
        }
        let has = |word: &str| mount.options.iter().any(|option| option == word);
        let read_only = has("ro") || has("rro");
        let name = format!("{}-{number}", app.name);
        let name = VolumeName::nearest(&name)
            .ok_or_else(|| Refused::new(name, "is not a valid name of a volume"))?;
        let kind = match &*mount.kind {
            "tmpfs" => VolumeKind::Empty(empty(mount)),
            _ if mount.kind == "bind" || has("bind") || has("rbind") => match source(&mount.source) {
                // Whoever may write to it is to write to the host's.
                Source::Updated if read_only => {
                    mirrors.push(Mirror {
                        volume: name.clone(),
                        source: mount.source.clone(),
                    });
                    VolumeKind::Files(FilesVolume::default())
                }
                source => VolumeKind::Host(host(mount, source)?),
            },
            other => {
                let what = format!(
                    "a mount of type `{}` at `{}`",
                    other.escape_debug(),
                    destination.display()
                );
                return Err(Refused::new(what, "is not supported: bind and tmpfs are"));
            }
        };
        app.mounts.push(AppMount {
            volume: name.clone(),
            target: destination.clone(),
            read_only: Some(read_only),
            sub_path: None,
            flags: MountFlags {
                nosuid: has("nosuid"),
                nodev: has("nodev"),
                noexec: has("noexec"),
                submounts: submounts(mount, covered),
            },
            owners: Owners::default(),
        });
        volumes.push(Volume {
            name,
            kind,
            read_only: None,
        });
    }
    Ok((volumes, mirrors))
}

/// What is mounted below a read-only mount is as on the host, as with runc, unless all of it is to be read-only. Where nothing is, and
/// nothing comes, the guest keeps the mount read-only, too.
fn submounts(mount: &Mount, covered: &dyn Fn(&Path) -> bool) -> Submounts {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    let above = has("ro") && has("rbind") && !has("rro");
    match above && (propagation(mount) == Propagation::Rslave || covered(&mount.source)) {
        true => Submounts::AsOnHost,
        false => Submounts::ReadOnly,
    }
}

fn propagation(mount: &Mount) -> Propagation {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    match has("rslave") || has("slave") {
        true => Propagation::Rslave,
        false => Propagation::Private,
    }
}

fn host(mount: &Mount, source: Source) -> Result<HostVolume, Refused> {
    let has = |word: &str| mount.options.iter().any(|option| option == word);
    if has("rshared") || has("shared") {
        let what = format!(
            "mount propagation `Bidirectional` of `{}`",
            mount.destination.display()
        );
        return Err(Refused::new(what, "does not reach from a VM to its host"));
    }
    Ok(HostVolume {
        source: mount.source.clone(),
        recursive: has("rbind"),
        propagation: propagation(mount),
        must_be: match source {
            Source::Directory | Source::Updated => SourceRule::Directory,
            Source::File | Source::Missing => SourceRule::Any,
        },
    })
}

/// A file system in the guest's memory, as its options say (tmpfs(5)).
fn empty(mount: &Mount) -> EmptyVolume {
    let value = |name: &str| {
        let find = |option: &String| option.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        mount.options.iter().find_map(find)
    };
    let number = |name: &str| value(name).and_then(|text| text.parse().ok());
    EmptyVolume {
        mode: Some(
            value("mode")
                .and_then(|text| u32::from_str_radix(&text, 8).ok())
                .unwrap_or(0o1777),
        ),
        uid: number("uid"),
        gid: number("gid"),
        size_bytes: value("size").and_then(|text| size(&text)),
        medium: Medium::Memory,
    }
}

/// A size as tmpfs takes it: `65536k`; a share of the memory (`50%`) is none.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits
        .parse::<u64>()
        .ok()?
        .checked_shl(shift)
        .filter(|bytes| *bytes > 0)
}
