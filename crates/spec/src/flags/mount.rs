//! `--mount`: docker's and podman's flag (`type=bind|volume|tmpfs|image,...`), and `volume=NAME,target=PATH` of a volume that
//! `--volume NAME,kind=...` declares.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

use super::brought::{Brought, VolumeFlag, read_source, wrong_mode, wrong_size};
use super::record::{Record, RecordKey, split};
use super::scalar::absolute;
use super::scalar::read_bytes;
use super::volume::read_mode;
use super::{FlagFault, InvalidFlag};
use crate::words::shown;
use crate::{
    AppName, EmptyVolume, HostVolume, ImageReference, ImageSource, ImageVolume, Mount, MountFlags, Owners,
    Propagation, PullPolicy, SourceRule, Submounts, VolumeKind, VolumeName,
};

const KEYS: [RecordKey; 9] = [
    // For a pod that runs, which a flag does not stand behind an app of; it comes first and is left out elsewhere.
    &["app"],
    &["volume"],
    &["target", "destination", "dst"],
    &["readOnly", "readonly", "ro"],
    &["subPath", "volume-subpath"],
    &["nosuid"],
    &["nodev"],
    &["noexec"],
    GIVES,
];

/// podman's key that gives the files to the app's user.
const GIVES: RecordKey = &["U", "chown"];

/// docker's and podman's keys. Which of them a type takes is looked at when it has taken its own.
const DOCKER_KEYS: [RecordKey; 25] = [
    &["type"],
    &["source", "src"],
    &["target", "destination", "dst"],
    &["readonly", "readOnly", "ro"],
    &["rw"],
    &["bind-propagation"],
    &["bind-nonrecursive"],
    &["bind-recursive"],
    &["consistency"],
    &["relabel"],
    &["volume-nocopy", "nocopy"],
    &["volume-subpath", "image-subpath", "subpath", "subPath"],
    &["volume-driver"],
    &["volume-opt"],
    &["volume-label"],
    &["tmpfs-size", "size"],
    &["tmpfs-mode", "mode"],
    &["nosuid"],
    &["nodev"],
    &["noexec"],
    &["create-host-path", "bind-create-src"],
    GIVES,
    &["idmap"],
    &["notmpcopyup"],
    &["tmpcopyup"],
];

/// Reads the value of `--mount`:
///
/// ```text
/// type=bind,source=PATH,target=PATH[,readonly][,bind-propagation=private|rslave][,bind-nonrecursive]
/// type=volume[,source=NAME],target=PATH[,readonly][,volume-nocopy][,volume-subpath=PATH]
/// type=tmpfs,target=PATH[,tmpfs-size=SIZE][,tmpfs-mode=OCTAL]
/// type=image,source=IMAGE,target=PATH[,image-subpath=PATH]
/// volume=NAME,target=PATH[,readOnly[=BOOL]][,subPath=PATH][,nosuid][,nodev][,noexec][,U]
/// ```
///
/// `bind` and `volume` take `U`, too. Without a type it is a volume, as with docker.
///
/// # Errors
/// [`InvalidFlag`] for a record, a name, a key or a value that is not of this form.
pub fn read_mount(text: &OsStr) -> Result<VolumeFlag, InvalidFlag> {
    let read = |text| {
        let fields = split(text)?;
        let declared = fields.iter().any(|field| field.starts_with(b"volume="));
        match declared {
            true => Ok(VolumeFlag::Mount(mount(&mut Record::read(fields, &KEYS[1..])?)?)),
            false => docker(&mut Record::read(fields, &DOCKER_KEYS)?),
        }
    };
    read(text).map_err(|fault| InvalidFlag::new("--mount", text, fault))
}

fn docker(record: &mut Record) -> Result<VolumeFlag, FlagFault> {
    let kind = record.parsed("type", "`bind`, `volume`, `tmpfs` or `image`", |kind| {
        ["bind", "volume", "tmpfs", "image"]
            .into_iter()
            .find(|known| *known == kind)
    })?;
    let kind = kind.unwrap_or("volume");
    let source = record.bytes("source")?;
    let target = record
        .bytes("target")?
        .ok_or(FlagFault::MissingKey { key: "target" })?;
    let target = absolute("target", target)?;
    let writable = record.boolean("rw")?;
    let read_only = record.boolean("readonly")?.or(writable.map(|rw| !rw));
    let volume = match (kind, source) {
        ("bind", Some(source)) => VolumeKind::Host(bind(source, record)?),
        ("volume", Some(source)) => VolumeKind::Host(named(&source, record)?),
        ("volume", None) => {
            // What docker has for named ones says nothing of it.
            let _ = (record.boolean("volume-nocopy")?, record.bytes("volume-driver")?);
            if read_only == Some(true) {
                return Err(FlagFault::form("the app's own volume is for writing"));
            }
            return no_more(record, kind).map(|()| VolumeFlag::Anonymous(target));
        }
        ("image", Some(source)) => VolumeKind::Image(image(&source)?),
        ("tmpfs", None) => VolumeKind::Empty(tmpfs(record)?),
        ("tmpfs", Some(_)) => return Err(FlagFault::MisplacedKey { key: "source", kind }),
        _ => return Err(FlagFault::MissingKey { key: "source" }),
    };
    let tmpfs = kind == "tmpfs";
    let flags = MountFlags {
        nosuid: record.boolean("nosuid")?.unwrap_or(tmpfs),
        nodev: record.boolean("nodev")?.unwrap_or(tmpfs),
        noexec: record.boolean("noexec")?.unwrap_or(tmpfs),
        submounts: Submounts::ReadOnly,
    };
    let owners = match kind {
        "bind" | "volume" => owners(record)?,
        _ => Owners::default(),
    };
    let sub_path = match kind {
        "volume" | "image" => read_sub_path(record, "volume-subpath")?,
        _ => None,
    };
    no_more(record, kind)?;
    Ok(VolumeFlag::Brought(Brought {
        kind: volume,
        target,
        read_only: if kind == "image" { None } else { read_only },
        sub_path,
        flags,
        owners,
    }))
}

fn owners(record: &mut Record) -> Result<Owners, FlagFault> {
    Ok(match record.boolean("U")? {
        Some(true) => Owners::App,
        Some(false) | None => Owners::Kept,
    })
}

fn bind(source: OsString, record: &mut Record) -> Result<HostVolume, FlagFault> {
    let is_path = source.as_bytes().starts_with(b"/") || source.as_bytes().starts_with(b".");
    if !is_path {
        return Err(FlagFault::value(
            "source",
            source,
            "a path that begins with `/` or `.`",
        ));
    }
    // The guest sees the host's files as they are, and has no labels that would keep it from them.
    let _ = (record.bytes("consistency")?, record.bytes("relabel")?);
    let propagation = record.parsed(
        "bind-propagation",
        "`rprivate`, `private`, `rslave` or `slave`",
        |text| match text {
            "private" | "rprivate" => Some(Propagation::Private),
            "slave" | "rslave" => Some(Propagation::Rslave),
            _ => None,
        },
    )?;
    let flat = record.boolean("bind-nonrecursive")?.unwrap_or(false);
    let recursive = record.parsed("bind-recursive", "`enabled` or `disabled`", |text| match text {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    })?;
    let must_be = match record.boolean("create-host-path")? {
        Some(true) => SourceRule::AnyOrCreate,
        _ => SourceRule::Any,
    };
    Ok(HostVolume {
        source: source.into(),
        recursive: recursive.unwrap_or(true) && !flat,
        propagation: propagation.unwrap_or_default(),
        must_be,
    })
}

fn named(source: &OsStr, record: &mut Record) -> Result<HostVolume, FlagFault> {
    let mut host = read_source(source)?;
    let SourceRule::Named { copies } = &mut host.must_be else {
        return Err(FlagFault::Form {
            fault: "a volume has a name, and this is a path",
            hint: Some("write `type=bind` for a path of the host"),
        });
    };
    *copies = !record.boolean("volume-nocopy")?.unwrap_or(false);
    record.parsed("volume-driver", "`local`", |driver| {
        (driver == "local").then_some(())
    })?;
    Ok(host)
}

fn image(source: &OsStr) -> Result<ImageVolume, FlagFault> {
    let reference = ImageReference::parse(source).map_err(FlagFault::Reference)?;
    Ok(ImageVolume {
        image: ImageSource::Reference(reference),
        pull: PullPolicy::default(),
    })
}

fn tmpfs(record: &mut Record) -> Result<EmptyVolume, FlagFault> {
    let text = |value: Option<OsString>| value.map(|value| value.to_string_lossy().into_owned());
    let size = text(record.bytes("tmpfs-size")?);
    let mode = text(record.bytes("tmpfs-mode")?);
    let _ = record.boolean("notmpcopyup")?;
    let bytes = |text: String| {
        read_bytes(&text)
            .filter(|bytes| *bytes > 0)
            .ok_or_else(wrong_size)
    };
    let bits = |text: String| read_mode(&text).ok_or_else(wrong_mode);
    Ok(EmptyVolume {
        mode: Some(mode.map(bits).transpose()?.unwrap_or(0o1777)),
        size_bytes: size.map(bytes).transpose()?,
        ..EmptyVolume::default()
    })
}

/// Refuses a key that nothing took.
fn no_more(record: &Record, kind: &'static str) -> Result<(), FlagFault> {
    let hint = match record.left_over() {
        None => return Ok(()),
        Some("U") => {
            "it is for files of the host; an empty volume takes its owner: `--tmpfs TARGET:uid=N,gid=N`"
        }
        Some("idmap") => "give the files to the app's user: `U`",
        Some("volume-opt" | "volume-label") => {
            "mount what the volume is to be on the host, and share it: `type=bind,source=PATH`"
        }
        Some("tmpcopyup") => "the app's own volume begins as the image has the directory: `-v TARGET`",
        Some(key) => return Err(FlagFault::MisplacedKey { key, kind }),
    };
    let what = record.left_over().unwrap_or_default().to_owned();
    Err(FlagFault::Unsupported { what, hint })
}

/// Reads the value of `--mount` for a pod that runs: `volume=NAME,target=PATH` and its keys, and `app=NAME` for the only app that it is for.
///
/// # Errors
/// [`InvalidFlag`] for another form.
pub fn read_app_mount(text: &OsStr) -> Result<(Option<AppName>, Mount), InvalidFlag> {
    let read = |text| {
        let mut record = Record::read(split(text)?, &KEYS)?;
        let app = record.bytes("app")?.map(|app| AppName::new(shown(app)));
        Ok((app.transpose()?, mount(&mut record)?))
    };
    read(text).map_err(|fault| InvalidFlag::new("--mount", text, fault))
}

fn mount(record: &mut Record) -> Result<Mount, FlagFault> {
    let volume = record
        .bytes("volume")?
        .ok_or(FlagFault::MissingKey { key: "volume" })?;
    let target = record
        .bytes("target")?
        .ok_or(FlagFault::MissingKey { key: "target" })?;
    Ok(Mount {
        volume: VolumeName::new(shown(volume))?,
        target: absolute("target", target)?,
        read_only: record.boolean("readOnly")?,
        sub_path: read_sub_path(record, "subPath")?,
        flags: MountFlags {
            nosuid: record.boolean("nosuid")?.unwrap_or_default(),
            nodev: record.boolean("nodev")?.unwrap_or_default(),
            noexec: record.boolean("noexec")?.unwrap_or_default(),
            submounts: Submounts::ReadOnly,
        },
        owners: owners(record)?,
    })
}

/// A path below the volume's root: relative, without `..`.
fn read_sub_path(record: &mut Record, key: &'static str) -> Result<Option<PathBuf>, FlagFault> {
    let Some(value) = record.bytes(key)? else {
        return Ok(None);
    };
    let path = PathBuf::from(&value);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if value.is_empty() || !stays || value.as_bytes().contains(&0) {
        return Err(FlagFault::value(key, value, "a relative path without `..`"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn mount(text: &str) -> Result<Mount, InvalidFlag> {
        match read_mount(OsStr::new(text))? {
            VolumeFlag::Mount(mount) => Ok(mount),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn docker(text: &str) -> VolumeFlag {
        read_mount(OsStr::new(text)).unwrap_or_else(|error| panic!("{text}: {:?}", error.fault))
    }

    #[test]
    fn dockers_types_and_keys() {
        let brought = |text: &str| match docker(text) {
            VolumeFlag::Brought(brought) => brought,
            other => panic!("{text}: {other:?}"),
        };
        let host = |text: &str| match brought(text).kind {
            VolumeKind::Host(host) => (host.source.display().to_string(), host.recursive, host.must_be),
            other => panic!("{text}: {other:?}"),
        };
        let any = SourceRule::Any;
        assert_eq!(host("type=bind,source=/a,target=/b"), ("/a".into(), true, any));
        assert_eq!(
            host("type=bind,src=./a,dst=/b,ro,bind-propagation=rprivate,bind-nonrecursive,relabel=shared"),
            ("./a".into(), false, any)
        );
        let named = |copies| SourceRule::Named { copies };
        assert_eq!(host("source=data,target=/b"), ("data".into(), true, named(true)));
        assert_eq!(
            host("type=volume,src=data,destination=/b,volume-nocopy,volume-driver=local"),
            ("data".into(), true, named(false))
        );
        let volume = brought("type=volume,src=data,dst=/b,volume-subpath=x,readonly");
        assert_eq!(
            (volume.sub_path, volume.read_only),
            (Some("x".into()), Some(true))
        );
        assert_eq!(
            docker("type=volume,target=/b"),
            VolumeFlag::Anonymous("/b".into())
        );
        let tmpfs = brought("type=tmpfs,target=/b,tmpfs-size=64m,tmpfs-mode=0700,noexec=false");
        assert!(matches!(&tmpfs.kind, VolumeKind::Empty(empty) if empty.mode == Some(0o700)));
        assert!(tmpfs.flags.nosuid && !tmpfs.flags.noexec);
        let image = brought("type=image,source=oci:/a,target=/b,image-subpath=models");
        assert!(matches!(image.kind, VolumeKind::Image(_)));
        for (text, fault) in [
            ("type=bind,target=/b", "key `source` is missing"),
            (
                "type=bind,source=a,target=/b",
                "`a` is not a valid value of `source`: it must be a path that begins with `/` or `.`",
            ),
            (
                "type=volume,source=/a,target=/b",
                "a volume has a name, and this is a path",
            ),
            (
                "type=tmpfs,source=/a,target=/b",
                "key `source` does not apply to a volume of kind `tmpfs`",
            ),
            (
                "type=bind,source=/a,target=/b,tmpfs-size=1m",
                "key `tmpfs-size` does not apply to a volume of kind `bind`",
            ),
            (
                "type=npipe,source=/a,target=/b",
                "`npipe` is not a valid value of `type`: it must be `bind`, `volume`, `tmpfs` or `image`",
            ),
            (
                "type=volume,source=a,target=/b,volume-opt=type=nfs",
                "`volume-opt` is not supported",
            ),
            ("type=tmpfs,target=/b,U", "`U` is not supported"),
            ("type=volume,target=/b,U", "`U` is not supported"),
            (
                "type=bind,source=/a,target=b",
                "`b` is not a valid value of `target`: it must be an absolute path",
            ),
            ("data:/b", "unknown key `data:/b`"),
        ] {
            assert_eq!(
                read_mount(OsStr::new(text)).unwrap_err().fault.to_string(),
                fault,
                "{text}"
            );
        }
    }

    #[test]
    fn reads_mounts_and_docker_spellings() {
        let read = mount("volume=data,target=/a/b").unwrap();
        let plain = Mount {
            volume: VolumeName::new("data").unwrap(),
            target: "/a/b".into(),
            read_only: None,
            sub_path: None,
            flags: MountFlags::default(),
            owners: Owners::Kept,
        };
        assert_eq!(read, plain);
        for text in ["volume=data,dst=/a/b", "destination=/a/b,volume=data"] {
            assert_eq!(mount(text).unwrap(), plain, "{text}");
        }
        for (field, owners) in [
            ("U", Owners::App),
            ("chown=true", Owners::App),
            ("U=false", Owners::Kept),
        ] {
            let given = Mount {
                owners,
                ..plain.clone()
            };
            assert_eq!(
                mount(&format!("volume=data,target=/a/b,{field}")).unwrap(),
                given,
                "{field}"
            );
        }
        for (field, read_only) in [
            ("ro", true),
            ("readonly", true),
            ("readOnly=1", true),
            ("readonly=false", false),
        ] {
            let read = mount(&format!("volume=data,target=/a/b,{field}")).unwrap();
            assert_eq!(
                read,
                Mount {
                    read_only: Some(read_only),
                    ..plain.clone()
                },
                "{field}"
            );
        }
        let read = mount("volume=data,target=/a/b,subPath=c/./d e,nosuid,nodev=true,noexec").unwrap();
        let flags = MountFlags {
            nosuid: true,
            nodev: true,
            noexec: true,
            ..MountFlags::default()
        };
        assert_eq!(
            read,
            Mount {
                sub_path: Some("c/./d e".into()),
                flags,
                ..plain
            }
        );
    }

    #[test]
    fn a_running_pods_mount_may_name_its_app() {
        let read = |text| read_app_mount(OsStr::new(text));
        let (app, plain) = read("volume=data,target=/a").unwrap();
        assert_eq!((app, &plain), (None, &mount("volume=data,target=/a").unwrap()));
        for text in ["app=web,volume=data,target=/a", "volume=data,target=/a,app=web"] {
            let (app, same) = read(text).unwrap();
            assert_eq!((app.unwrap().as_str(), &same), ("web", &plain));
        }
        for (text, message) in [
            ("app=,volume=data,target=/a", "invalid name ``: it is empty"),
            (
                "app=A,volume=data,target=/a",
                "invalid name `A`: only lower-case letters, digits and `-` are allowed",
            ),
            ("app=a,app=b,volume=data,target=/a", "key `app` is given twice"),
            ("app=a,target=/a", "key `volume` is missing"),
        ] {
            assert_eq!(read(text).unwrap_err().fault.to_string(), message, "{text}");
        }
        assert_eq!(
            mount("app=web,volume=data,target=/a")
                .unwrap_err()
                .fault
                .to_string(),
            "unknown key `app`"
        );
    }

    #[test]
    fn faults_name_the_key_and_the_value() {
        for (text, message) in [
            ("volume=a", "key `target` is missing"),
            (
                "volume=A,target=/a",
                "invalid name `A`: only lower-case letters, digits and `-` are allowed",
            ),
            (
                "volume=a,target=b",
                "`b` is not a valid value of `target`: it must be an absolute path",
            ),
            ("volume=a,target=/b,dst=/c", "key `target` is given twice"),
            (
                "volume=a,target=/b,ro,readOnly=false",
                "key `readOnly` is given twice",
            ),
            (
                "volume=a,target=/b,subPath=/c",
                "`/c` is not a valid value of `subPath`: it must be a relative path without `..`",
            ),
            (
                "volume=a,target=/b,subPath=c/../..",
                "`c/../..` is not a valid value of `subPath`: it must be a relative path without `..`",
            ),
            ("volume=a,target=/b,noexce", "unknown key `noexce`"),
        ] {
            assert_eq!(mount(text).unwrap_err().fault.to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_absolute_target_in_quotes_comes_back_unchanged(path in proptest::collection::vec(1..=255u8, 0..60)) {
            let mut text = b"\"target=/".to_vec();
            for byte in &path {
                text.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
            }
            text.extend(b"\",volume=v");
            let VolumeFlag::Mount(mount) = read_mount(&OsString::from_vec(text)).unwrap() else { panic!() };
            prop_assert_eq!(mount.target.as_os_str().as_bytes(), [b"/", &path[..]].concat());
        }
    }
}
