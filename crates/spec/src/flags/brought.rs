//! `--volume [SOURCE:]TARGET[:OPTIONS]` (`-v`): docker's way, a volume and its mount in one. `--tmpfs` and `--mount` give
//! the same.
//!
//! As with docker, neither path can hold a colon; `--mount` takes any path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::scalar::absolute;
use super::scalar::read_bytes;
use super::volume::read_mode;
use super::{FlagFault, InvalidFlag};
use crate::words::{nearest, shown};
use crate::{
    EmptyVolume, HostVolume, Mount, MountFlags, Owners, Propagation, SourceRule, Volume, VolumeKind,
    VolumeName,
};

/// A volume and its mount, before the volume has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    pub kind: VolumeKind,
    /// The path in the app's root filesystem, as it was written.
    pub target: PathBuf,
    /// Read-only, writable, or not said.
    pub read_only: Option<bool>,
    /// A path within the volume.
    pub sub_path: Option<PathBuf>,
    /// Further restrictions of the mount.
    pub flags: MountFlags,
    /// Whose the files are.
    pub owners: Owners,
}

/// What one `--volume` or `--mount` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFlag {
    /// docker's form: a volume and its mount.
    Brought(Brought),
    /// docker's form without a source: a volume of the app's own, which begins as the image has the directory.
    Anonymous(PathBuf),
    /// rkt's form of `--volume`: a volume of the pod.
    Declared(Volume),
    /// `--mount volume=NAME`: a mount of a volume that the pod declares.
    Mount(Mount),
}

const OPTIONS: [&str; 14] = [
    "ro", "rw", "nocopy", "nosuid", "nodev", "noexec", "private", "rprivate", "slave", "rslave", "z", "Z",
    "copy", "U",
];

/// Reads the value of `--volume` in docker's form or in rkt's, which begins with a name and a comma.
///
/// # Errors
/// [`InvalidFlag`] for another form and options that are not honoured, and as [`read_volume`](super::read_volume).
pub fn read_volume_flag(text: &OsStr) -> Result<VolumeFlag, InvalidFlag> {
    let bytes = text.as_bytes();
    let comma = bytes.iter().position(|byte| *byte == b',');
    let is_path = bytes.starts_with(b".") || bytes.starts_with(b"/");
    match comma.map(|comma| &bytes[..comma]) {
        Some(name) if !is_path && !name.iter().any(|byte| b"/:".contains(byte)) => {
            super::read_volume(text).map(VolumeFlag::Declared)
        }
        _ => read(text).map_err(|fault| InvalidFlag::new("--volume", text, fault)),
    }
}

fn read(text: &OsStr) -> Result<VolumeFlag, FlagFault> {
    let parts: Vec<&[u8]> = text.as_bytes().split(|b| *b == b':').collect();
    let (source, target, options) = match parts[..] {
        [target] if target.starts_with(b"/") => {
            let target = absolute("TARGET", OsStr::from_bytes(target).to_owned())?;
            return Ok(VolumeFlag::Anonymous(target));
        }
        [source, target] => (source, target, None),
        [source, target, options] => (source, target, Some(options)),
        [_] => {
            return Err(FlagFault::Form {
                fault: "it has no target",
                hint: Some("write `SOURCE:TARGET`, or an absolute TARGET alone for the app's own volume"),
            });
        }
        _ => {
            return Err(FlagFault::Form {
                fault: "it has more than two colons",
                hint: Some("a path with a colon goes into `--mount type=bind,source=PATH,target=PATH`"),
            });
        }
    };
    let target = absolute("TARGET", OsStr::from_bytes(target).to_owned())?;
    let mut host = read_source(OsStr::from_bytes(source))?;
    let mut brought = Brought {
        kind: VolumeKind::Host(host.clone()),
        target,
        read_only: None,
        sub_path: None,
        flags: MountFlags::default(),
        owners: Owners::default(),
    };
    if let Some(options) = options {
        read_options(options, &mut host, &mut brought)?;
        brought.kind = VolumeKind::Host(host);
    }
    Ok(VolumeFlag::Brought(brought))
}

/// A path of the host, or the name of a volume.
pub(super) fn read_source(source: &OsStr) -> Result<HostVolume, FlagFault> {
    let bytes = source.as_bytes();
    if bytes.contains(&0) {
        return Err(FlagFault::value("SOURCE", source, "a path without NUL bytes"));
    }
    let must_be = match bytes.first() {
        Some(b'/' | b'.') => SourceRule::Any,
        None => return Err(FlagFault::form("the source is empty")),
        Some(b'~') => {
            return Err(FlagFault::Form {
                fault: "its source begins with `~`, which no shell has replaced",
                hint: Some("write `$HOME` in its place"),
            });
        }
        Some(_) => {
            check_name(bytes)?;
            SourceRule::Named { copies: true }
        }
    };
    Ok(HostVolume {
        source: PathBuf::from(source),
        recursive: true,
        propagation: Propagation::default(),
        must_be,
    })
}

/// Reads the name of a named volume, as `isopod volume create` takes it.
///
/// # Errors
/// [`InvalidFlag`] where docker's rule for such names is broken.
pub fn read_named_volume(text: &OsStr) -> Result<String, InvalidFlag> {
    let checked = check_name(text.as_bytes()).and_then(|()| super::scalar::utf8(text).map(str::to_owned));
    checked.map_err(|fault| InvalidFlag::new("NAME", text, fault))
}

/// docker's rule for the names of volumes.
fn check_name(name: &[u8]) -> Result<(), FlagFault> {
    const MAX_BYTES: usize = 200;
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let begins = name.first().is_some_and(u8::is_ascii_alphanumeric);
    match begins && name.iter().all(known) && name.len() <= MAX_BYTES {
        true => Ok(()),
        false => Err(FlagFault::Form {
            fault: "its source is neither a path nor a volume's name",
            hint: Some(
                "a path begins with `/`, or with `./` where it is relative; a name has letters, digits, `_`, `.` and `-`",
            ),
        }),
    }
}

fn read_options(options: &[u8], host: &mut HostVolume, brought: &mut Brought) -> Result<(), FlagFault> {
    let mut propagation = None;
    for option in options.split(|b| *b == b',') {
        let option = shown(OsStr::from_bytes(option));
        match option.as_str() {
            "ro" => set("ro", &mut brought.read_only, true)?,
            "rw" => set("rw", &mut brought.read_only, false)?,
            "nosuid" => brought.flags.nosuid = true,
            "nodev" => brought.flags.nodev = true,
            "noexec" => brought.flags.noexec = true,
            "private" | "rprivate" => set("private", &mut propagation, Propagation::Private)?,
            "slave" | "rslave" => set("rslave", &mut propagation, Propagation::Rslave)?,
            "nocopy" => {
                if let SourceRule::Named { copies } = &mut host.must_be {
                    *copies = false;
                }
            }
            "U" => brought.owners = Owners::App,
            // No process of a pod has a label that would keep it from the files, and the guest sees them as they are.
            "z" | "Z" | "copy" | "cached" | "delegated" | "consistent" => {}
            _ => return Err(refuse(option)),
        }
    }
    host.propagation = propagation.unwrap_or_default();
    Ok(())
}

/// Sets what only one option may say.
fn set<T: PartialEq>(key: &'static str, slot: &mut Option<T>, value: T) -> Result<(), FlagFault> {
    match slot.replace(value) {
        Some(before) if Some(&before) != slot.as_ref() => Err(FlagFault::Form {
            fault: match key {
                "ro" | "rw" => "it asks for both `ro` and `rw`",
                _ => "it asks for two kinds of propagation",
            },
            hint: None,
        }),
        _ => Ok(()),
    }
}

fn refuse(option: String) -> FlagFault {
    let hint = match option.as_str() {
        "shared" | "rshared" => {
            "a mount that the guest makes cannot appear on the host; `rslave` takes the host's mounts"
        }
        _ => {
            let hint = match nearest(&option, OPTIONS) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!(
                    "the options are {}",
                    OPTIONS.map(|name| format!("`{name}`")).join(", ")
                ),
            };
            return FlagFault::Unknown {
                what: "option",
                name: option,
                hint,
            };
        }
    };
    FlagFault::Unsupported { what: option, hint }
}

/// Reads `--tmpfs TARGET[:OPTIONS]`, with tmpfs(5)'s `size`, `mode`, `uid` and `gid` among the options; as with docker it
/// has mode 1777 and is `nosuid`, `nodev` and `noexec` where nothing else is said.
///
/// # Errors
/// [`InvalidFlag`] for another form and options that are not honoured.
pub fn read_tmpfs(text: &OsStr) -> Result<Brought, InvalidFlag> {
    tmpfs(text).map_err(|fault| InvalidFlag::new("--tmpfs", text, fault))
}

fn tmpfs(text: &OsStr) -> Result<Brought, FlagFault> {
    let bytes = text.as_bytes();
    let (target, options) = match bytes.iter().position(|byte| *byte == b':') {
        Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
        None => (bytes, &[][..]),
    };
    let mut empty = EmptyVolume {
        mode: Some(0o1777),
        ..EmptyVolume::default()
    };
    let mut read_only = None;
    let mut flags = MountFlags {
        nosuid: true,
        nodev: true,
        noexec: true,
        ..MountFlags::default()
    };
    for option in options.split(|b| *b == b',').filter(|option| !option.is_empty()) {
        let option = shown(OsStr::from_bytes(option));
        let (key, value) = option.split_once('=').unwrap_or((&option, ""));
        match key {
            "ro" => set("ro", &mut read_only, true)?,
            "rw" => set("rw", &mut read_only, false)?,
            "suid" | "nosuid" => flags.nosuid = key == "nosuid",
            "dev" | "nodev" => flags.nodev = key == "nodev",
            "exec" | "noexec" => flags.noexec = key == "noexec",
            "size" => {
                empty.size_bytes = read_bytes(value)
                    .filter(|bytes| *bytes > 0)
                    .map(Some)
                    .ok_or_else(wrong_size)?
            }
            "mode" => empty.mode = Some(read_mode(value).ok_or_else(wrong_mode)?),
            "uid" => empty.uid = Some(read_owner(value)?),
            "gid" => empty.gid = Some(read_owner(value)?),
            "relatime" | "noatime" | "nodiratime" | "async" | "notmpcopyup" => {}
            _ => {
                return Err(FlagFault::Unsupported {
                    what: option.clone(),
                    hint: "the options are `size`, `mode`, `uid`, `gid`, `ro`, `rw`, `exec`, `suid`, `dev` and the same with `no`",
                });
            }
        }
    }
    Ok(Brought {
        kind: VolumeKind::Empty(empty),
        target: absolute("TARGET", OsStr::from_bytes(target).to_owned())?,
        read_only,
        sub_path: None,
        flags,
        owners: Owners::default(),
    })
}

pub(super) fn wrong_size() -> FlagFault {
    FlagFault::Form {
        fault: "its size is not one above 0",
        hint: Some("write `64m`"),
    }
}

pub(super) fn wrong_mode() -> FlagFault {
    FlagFault::form("its mode is not an octal number of at most 7777")
}

fn read_owner(text: &str) -> Result<u32, FlagFault> {
    super::read_id(text).ok_or(FlagFault::form("its owner is not a number"))
}

impl Brought {
    /// Adds the volume to `volumes` and gives the mount of it. Behind the `declared` ones, which come first, a volume of the
    /// host's that an earlier flag brought serves again when it is the same. A new one is named `v1`, `v2`, ..., whichever is
    /// free, and a named one after its name.
    pub fn add_to(self, volumes: &mut Vec<Volume>, declared: usize) -> Mount {
        let same = volumes.iter().skip(declared).find(|volume| {
            volume.kind == self.kind && matches!(volume.kind, VolumeKind::Host(_) | VolumeKind::Image(_))
        });
        let name = same.map(|volume| volume.name.clone()).unwrap_or_else(|| {
            let name = free_name(&self.kind, volumes);
            volumes.push(Volume {
                name: name.clone(),
                kind: self.kind,
                read_only: None,
            });
            name
        });
        Mount {
            volume: name,
            target: self.target,
            read_only: self.read_only,
            sub_path: self.sub_path,
            flags: self.flags,
            owners: self.owners,
        }
    }
}

fn free_name(kind: &VolumeKind, volumes: &[Volume]) -> VolumeName {
    let is_free = |name: &VolumeName| volumes.iter().all(|volume| volume.name != *name);
    let own = match kind {
        VolumeKind::Host(host) if matches!(host.must_be, SourceRule::Named { .. }) => {
            VolumeName::nearest(&host.source.to_string_lossy())
        }
        _ => None,
    };
    let numbered = (1..).filter_map(|n| VolumeName::nearest(&format!("v{n}")));
    own.into_iter()
        .chain(numbered)
        .find(is_free)
        .expect("there are more numbers than volumes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_flag(text: &str) -> Result<VolumeFlag, InvalidFlag> {
        read_volume_flag(OsStr::new(text))
    }

    fn brought(text: &str) -> Brought {
        match read_flag(text) {
            Ok(VolumeFlag::Brought(brought)) => brought,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn host(source: &str, must_be: SourceRule) -> HostVolume {
        HostVolume {
            source: source.into(),
            recursive: true,
            propagation: Propagation::Private,
            must_be,
        }
    }

    #[test]
    fn a_volume_is_declared_where_a_name_and_a_comma_come_first() {
        for text in [
            "data,kind=empty",
            "d,kind=image,image=docker://a/b:1",
            "d,kind=host,source=/a:b",
        ] {
            let read = read_flag(text);
            assert!(matches!(read, Ok(VolumeFlag::Declared(_))), "{text}: {read:?}");
        }
        for text in [
            "/a:/b",
            "./a,b:/c",
            ".,a:/b",
            "/a:/b:ro,nosuid",
            "/a,b:/c",
            "data:/b:ro,z",
        ] {
            let read = read_flag(text);
            assert!(matches!(read, Ok(VolumeFlag::Brought(_))), "{text}: {read:?}");
        }
        assert_eq!(read_flag("/a"), Ok(VolumeFlag::Anonymous("/a".into())));
        for text in ["data", "kind=host,source=/a", "a/b:/b", ""] {
            assert!(read_flag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sources_targets_and_options() {
        let plain = Brought {
            kind: VolumeKind::Host(host("/a b", SourceRule::Any)),
            target: "/c".into(),
            read_only: None,
            sub_path: None,
            flags: MountFlags::default(),
            owners: Owners::Kept,
        };
        assert_eq!(brought("/a b:/c"), plain);
        let given = Brought {
            owners: Owners::App,
            ..plain.clone()
        };
        assert_eq!(brought("/a b:/c:Z,U"), given);
        assert_eq!(brought("/a b:/c:private,Z,nocopy,cached"), plain);
        let read_only = Brought {
            read_only: Some(true),
            ..plain.clone()
        };
        assert_eq!(brought("/a b:/c:ro,ro"), read_only);
        let read = brought("./x,y:/c:rw,nosuid,nodev,noexec,rslave");
        let rslave = HostVolume {
            propagation: Propagation::Rslave,
            ..host("./x,y", SourceRule::Any)
        };
        assert_eq!(
            (read.kind, read.read_only),
            (VolumeKind::Host(rslave), Some(false))
        );
        let all = MountFlags {
            nosuid: true,
            nodev: true,
            noexec: true,
            ..MountFlags::default()
        };
        assert_eq!(read.flags, all);
        for (text, copies) in [("my_Data.1:/c", true), ("my_Data.1:/c:nocopy", false)] {
            let named = host("my_Data.1", SourceRule::Named { copies });
            assert_eq!(brought(text).kind, VolumeKind::Host(named), "{text}");
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, message) in [
            ("a", "it has no target"),
            ("/a:/b:ro:x", "it has more than two colons"),
            ("a/b:/b", "its source is neither a path nor a volume's name"),
            ("-x:/b", "its source is neither a path nor a volume's name"),
            (
                "~/x:/b",
                "its source begins with `~`, which no shell has replaced",
            ),
            (":/b", "the source is empty"),
            (
                "/a:b",
                "`b` is not a valid value of `TARGET`: it must be an absolute path",
            ),
            ("/a:/b:rshared", "`rshared` is not supported"),
            ("/a:/b:ro,rw", "it asks for both `ro` and `rw`"),
            ("/a:/b:private,slave", "it asks for two kinds of propagation"),
            ("/a:/b:noexce", "unknown option `noexce`"),
            ("/a:/b:", "unknown option ``"),
        ] {
            assert_eq!(read_flag(text).unwrap_err().fault.to_string(), message, "{text}");
        }
        assert_eq!(
            read_flag("/a:/b:noexce").unwrap_err().hint().unwrap(),
            "did you mean `noexec`?"
        );
    }

    #[test]
    fn a_tmpfs_is_an_empty_volume() {
        let read = |text: &str| read_tmpfs(OsStr::new(text));
        let plain = read("/run").unwrap();
        let empty = EmptyVolume {
            mode: Some(0o1777),
            ..EmptyVolume::default()
        };
        assert_eq!(plain.kind, VolumeKind::Empty(empty.clone()));
        assert!(plain.flags.nosuid && plain.flags.nodev && plain.flags.noexec);
        let given = read("/run:rw,exec,size=64m,mode=0755,uid=5").unwrap();
        let own = EmptyVolume {
            mode: Some(0o755),
            uid: Some(5),
            size_bytes: Some(64 << 20),
            ..empty
        };
        assert_eq!((given.kind, given.flags.noexec), (VolumeKind::Empty(own), false));
        for text in [
            "run",
            "/run:size=x",
            "/run:size=0",
            "/run:mode=9",
            "/run:tmpcopyup",
            "/run:uid=a",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_free_and_same_sources_share() {
        let declared = crate::flags::read_volume(OsStr::new("v1,kind=host,source=/a")).unwrap();
        let mut volumes = vec![declared];
        let mount = |text: &str, volumes: &mut Vec<Volume>| brought(text).add_to(volumes, 1);
        assert_eq!(mount("/a:/x", &mut volumes).volume.as_str(), "v2");
        assert_eq!(mount("/b:/y", &mut volumes).volume.as_str(), "v3");
        let again = mount("/a:/z:ro", &mut volumes);
        assert_eq!((again.volume.as_str(), again.read_only), ("v2", Some(true)));
        assert_eq!(mount("/a:/z:rslave", &mut volumes).volume.as_str(), "v4");
        assert_eq!(mount("My_data:/z", &mut volumes).volume.as_str(), "my-data");
        assert_eq!(volumes.len(), 5);
    }
}
