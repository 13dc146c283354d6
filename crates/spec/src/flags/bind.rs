//! `--volume SOURCE:TARGET[:OPTIONS]` (`-v`): docker's short way, a host volume and its mount in one.
//!
//! As with docker, neither path can hold a colon; `--volume NAME,kind=host,source=PATH` and `--mount` take any path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::volume::absolute;
use super::{FlagFault, InvalidFlag};
use crate::words::{nearest, shown};
use crate::{HostVolume, Mount, MountFlags, Propagation, Volume, VolumeKind, VolumeName};

/// A host volume and its mount, before the volume has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The volume.
    pub volume: HostVolume,
    /// The path in the app's root filesystem, as it was written.
    pub target: PathBuf,
    /// `ro`, `rw`, or not said.
    pub read_only: Option<bool>,
    /// Further restrictions of the mount.
    pub flags: MountFlags,
}

const OPTIONS: [&str; 9] = [
    "ro", "rw", "nosuid", "nodev", "noexec", "private", "rprivate", "slave", "rslave",
];

/// What one `--volume` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFlag {
    /// docker's form: a volume and its mount.
    Bind(Bind),
    /// rkt's form: a volume of the pod, for `--mount volume=NAME`.
    Declared(Volume),
}

/// Reads the value of `--volume` in docker's form or in rkt's, which begins with a name and a comma.
///
/// # Errors
/// [`InvalidFlag`] as [`read_bind`] and [`read_volume`](super::read_volume).
pub fn read_volume_flag(text: &OsStr) -> Result<VolumeFlag, InvalidFlag> {
    let bytes = text.as_bytes();
    let comma = bytes.iter().position(|byte| *byte == b',');
    let is_path = bytes.starts_with(b".") || bytes.starts_with(b"/");
    match comma.map(|comma| &bytes[..comma]) {
        Some(name) if !is_path && !name.iter().any(|byte| b"/:".contains(byte)) => {
            super::read_volume(text).map(VolumeFlag::Declared)
        }
        _ => read_bind(text).map(VolumeFlag::Bind),
    }
}

/// Reads the value of `--volume` in docker's form: `SOURCE:TARGET[:OPTIONS]`, the options `ro`, `rw`, `nosuid`, `nodev`, `noexec`,
/// `[r]private`, `[r]slave` with commas between. The source is absolute or begins with `.`.
///
/// # Errors
/// [`InvalidFlag`] for another form, docker's named and nameless volumes, and options that are not honoured.
pub fn read_bind(text: &OsStr) -> Result<Bind, InvalidFlag> {
    read(text).map_err(|fault| InvalidFlag::new("--volume", text, fault))
}

fn read(text: &OsStr) -> Result<Bind, FlagFault> {
    let parts: Vec<&[u8]> = text.as_bytes().split(|b| *b == b':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, None),
        [source, target, options] => (source, target, Some(options)),
        [_] => {
            return Err(FlagFault::Form {
                fault: "it has no target",
                hint: Some(
                    "write `SOURCE:TARGET`; an empty volume is `--volume NAME,kind=empty` and `--mount`",
                ),
            });
        }
        _ => {
            return Err(FlagFault::Form {
                fault: "it has more than two colons",
                hint: Some(
                    "a path with a colon goes into `--volume NAME,kind=host,source=PATH` and `--mount`",
                ),
            });
        }
    };
    let volume = HostVolume {
        source: read_source(source)?,
        recursive: true,
        propagation: Propagation::default(),
        must_be: crate::SourceRule::Any,
    };
    let target = absolute("TARGET", OsStr::from_bytes(target).to_owned())?;
    let mut bind = Bind {
        volume,
        target,
        read_only: None,
        flags: MountFlags::default(),
    };
    if let Some(options) = options {
        read_options(options, &mut bind)?;
    }
    Ok(bind)
}

fn read_source(source: &[u8]) -> Result<PathBuf, FlagFault> {
    if source.contains(&0) {
        return Err(FlagFault::value(
            "SOURCE",
            OsStr::from_bytes(source),
            "a path without NUL bytes",
        ));
    }
    match source.first() {
        Some(b'/' | b'.') => Ok(PathBuf::from(OsStr::from_bytes(source))),
        None => Err(FlagFault::form("the source is empty")),
        Some(_) => Err(FlagFault::Unsupported {
            what: shown(OsStr::from_bytes(source)),
            hint: "there are no named volumes; a source begins with `/`, or with `./` where it is relative",
        }),
    }
}

fn read_options(options: &[u8], bind: &mut Bind) -> Result<(), FlagFault> {
    let mut propagation = None;
    for option in options.split(|b| *b == b',') {
        let option = shown(OsStr::from_bytes(option));
        match option.as_str() {
            "ro" => set("ro", &mut bind.read_only, true)?,
            "rw" => set("rw", &mut bind.read_only, false)?,
            "nosuid" => bind.flags.nosuid = true,
            "nodev" => bind.flags.nodev = true,
            "noexec" => bind.flags.noexec = true,
            "private" | "rprivate" => set("private", &mut propagation, Propagation::Private)?,
            "slave" | "rslave" => set("rslave", &mut propagation, Propagation::Rslave)?,
            _ => return Err(refuse(option)),
        }
    }
    bind.volume.propagation = propagation.unwrap_or_default();
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
        "z" | "Z" => "the host's files are not relabelled; give the source its SELinux label with chcon(1)",
        "shared" | "rshared" => {
            "a mount made in the guest cannot appear on the host; `rslave` takes the host's mounts"
        }
        "nocopy" | "copy" => "nothing is ever copied from the image into a volume",
        "cached" | "delegated" | "consistent" => {
            "the guest always sees the host's files as they are; leave it out"
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

impl Bind {
    /// Adds the volume to `volumes` and gives the mount of it. Behind the `declared` ones, which come first, a volume
    /// that an earlier `-v` brought serves again when it is the same. A new one is named `v1`, `v2`, ..., whichever is
    /// free.
    pub fn add_to(self, volumes: &mut Vec<Volume>, declared: usize) -> Mount {
        let kind = VolumeKind::Host(self.volume);
        let same = volumes.iter().skip(declared).find(|volume| volume.kind == kind);
        let name = same.map(|volume| volume.name.clone()).unwrap_or_else(|| {
            let name = free_name(volumes);
            volumes.push(Volume {
                name: name.clone(),
                kind,
                read_only: None,
            });
            name
        });
        Mount {
            volume: name,
            target: self.target,
            read_only: self.read_only,
            sub_path: None,
            flags: self.flags,
        }
    }
}

fn free_name(volumes: &[Volume]) -> VolumeName {
    let is_free = |name: &VolumeName| volumes.iter().all(|volume| volume.name != *name);
    (1..)
        .filter_map(|n| VolumeName::nearest(&format!("v{n}")))
        .find(is_free)
        .expect("there are more numbers than volumes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Result<Bind, InvalidFlag> {
        read_bind(OsStr::new(text))
    }

    #[test]
    fn a_volume_is_declared_where_a_name_and_a_comma_come_first() {
        for text in [
            "data,kind=empty",
            "d,kind=image,image=docker://a/b:1",
            "d,kind=host,source=/a:b",
        ] {
            let read = read_volume_flag(OsStr::new(text));
            assert!(matches!(read, Ok(VolumeFlag::Declared(_))), "{text}: {read:?}");
        }
        for text in ["/a:/b", "./a,b:/c", ".,a:/b", "/a:/b:ro,nosuid", "/a,b:/c"] {
            let read = read_volume_flag(OsStr::new(text));
            assert!(matches!(read, Ok(VolumeFlag::Bind(_))), "{text}: {read:?}");
        }
        for text in ["data", "kind=host,source=/a", "data:/b", ""] {
            assert!(read_volume_flag(OsStr::new(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sources_targets_and_options() {
        let plain = Bind {
            volume: HostVolume {
                source: "/a b".into(),
                recursive: true,
                propagation: Propagation::Private,
                must_be: crate::SourceRule::Any,
            },
            target: "/c".into(),
            read_only: None,
            flags: MountFlags::default(),
        };
        assert_eq!(bind("/a b:/c").unwrap(), plain);
        assert_eq!(bind("/a b:/c:private").unwrap(), plain);
        assert_eq!(
            bind("/a b:/c:ro,ro").unwrap(),
            Bind {
                read_only: Some(true),
                ..plain.clone()
            }
        );
        let read = bind("./x,y:/c:rw,nosuid,nodev,noexec,rslave").unwrap();
        assert_eq!(read.volume.source, PathBuf::from("./x,y"));
        assert_eq!(read.volume.propagation, Propagation::Rslave);
        assert_eq!(read.read_only, Some(false));
        assert_eq!(
            read.flags,
            MountFlags {
                nosuid: true,
                nodev: true,
                noexec: true
            }
        );
        assert_eq!(bind(".:/c").unwrap().volume.source, PathBuf::from("."));
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, message) in [
            ("/a", "it has no target"),
            ("/a:/b:ro:x", "it has more than two colons"),
            ("data:/b", "`data` is not supported"),
            ("a/b:/b", "`a/b` is not supported"),
            (":/b", "the source is empty"),
            ("/a:b", "`b` is no value of `TARGET`: it must be an absolute path"),
            ("/a:/b:z", "`z` is not supported"),
            ("/a:/b:rshared", "`rshared` is not supported"),
            ("/a:/b:ro,rw", "it asks for both `ro` and `rw`"),
            ("/a:/b:private,slave", "it asks for two kinds of propagation"),
            ("/a:/b:noexce", "unknown option `noexce`"),
            ("/a:/b:", "unknown option ``"),
        ] {
            assert_eq!(bind(text).unwrap_err().fault.to_string(), message, "{text}");
        }
        assert_eq!(
            bind("/a:/b:noexce").unwrap_err().hint().unwrap(),
            "did you mean `noexec`?"
        );
    }

    #[test]
    fn names_are_free_and_same_sources_share() {
        let declared = crate::flags::read_volume(OsStr::new("v1,kind=host,source=/a")).unwrap();
        let mut volumes = vec![declared];
        let mount = |text: &str, volumes: &mut Vec<Volume>| bind(text).unwrap().add_to(volumes, 1);
        assert_eq!(mount("/a:/x", &mut volumes).volume.as_str(), "v2");
        assert_eq!(mount("/b:/y", &mut volumes).volume.as_str(), "v3");
        let again = mount("/a:/z:ro", &mut volumes);
        assert_eq!((again.volume.as_str(), again.read_only), ("v2", Some(true)));
        assert_eq!(mount("/a:/z:rslave", &mut volumes).volume.as_str(), "v4");
        assert_eq!(volumes.len(), 4);
    }
}
