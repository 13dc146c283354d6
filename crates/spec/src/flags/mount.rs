//! `--mount volume=NAME,target=PATH,...`: docker's flag, of a volume that `--volume` declares.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, PathBuf};

use super::record::{Key, Record, split};
use super::volume::absolute;
use super::{FlagFault, InvalidFlag};
use crate::words::shown;
use crate::{AppName, Mount, MountFlags, VolumeName};

const KEYS: [Key; 8] = [
    // For a pod that runs, which a flag does not stand behind an app of; it comes first and is left out elsewhere.
    &["app"],
    &["volume"],
    &["target", "destination", "dst"],
    &["readOnly", "readonly", "ro"],
    &["subPath", "volume-subpath"],
    &["nosuid"],
    &["nodev"],
    &["noexec"],
];

/// Keys of docker's that say what the source is.
const SOURCE_KEYS: [&str; 3] = ["type", "source", "src"];

/// Reads the value of `--mount`:
///
/// ```text
/// volume=NAME,target=ABSOLUTE[,readOnly[=BOOL]][,subPath=RELATIVE][,nosuid][,nodev][,noexec]
/// ```
///
/// `destination`, `dst`, `readonly`, `ro` and `volume-subpath` are accepted as docker writes them.
///
/// # Errors
/// [`InvalidFlag`] for a record, a name, a key or a value that is not of this form.
pub fn read_mount(text: &OsStr) -> Result<Mount, InvalidFlag> {
    let read = record(text, &KEYS[1..]).and_then(|mut record| mount(&mut record));
    read.map_err(|fault| InvalidFlag::new("--mount", text, fault))
}

/// Reads the value of `--mount` for a pod that runs: as [`read_mount`], and `app=NAME` for the only app that it is for.
///
/// # Errors
/// [`InvalidFlag`], as [`read_mount`].
pub fn read_app_mount(text: &OsStr) -> Result<(Option<AppName>, Mount), InvalidFlag> {
    let read = |text| {
        let mut record = record(text, &KEYS)?;
        let app = record.bytes("app")?.map(|app| AppName::new(shown(app)));
        Ok((app.transpose()?, mount(&mut record)?))
    };
    read(text).map_err(|fault| InvalidFlag::new("--mount", text, fault))
}

fn record(text: &OsStr, keys: &[Key]) -> Result<Record, FlagFault> {
    let fields = split(text)?;
    if let Some(key) = fields.iter().find_map(|field| source_key(field)) {
        return Err(FlagFault::Unsupported {
            what: key,
            hint: "declare the source with `--volume NAME,kind=host,source=PATH` and mount it with `volume=NAME`",
        });
    }
    Record::read(fields, keys)
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
        sub_path: read_sub_path(record)?,
        flags: MountFlags {
            nosuid: record.boolean("nosuid")?.unwrap_or_default(),
            nodev: record.boolean("nodev")?.unwrap_or_default(),
            noexec: record.boolean("noexec")?.unwrap_or_default(),
        },
    })
}

fn source_key(field: &[u8]) -> Option<String> {
    let key = field.split(|b| *b == b'=').next()?;
    SOURCE_KEYS
        .iter()
        .find(|name| name.as_bytes() == key)
        .map(|name| (*name).to_owned())
}

/// A path below the volume's root: relative, without `..`.
fn read_sub_path(record: &mut Record) -> Result<Option<PathBuf>, FlagFault> {
    let Some(value) = record.bytes("subPath")? else {
        return Ok(None);
    };
    let path = PathBuf::from(&value);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if value.is_empty() || !stays || value.as_bytes().contains(&0) {
        return Err(FlagFault::value("subPath", value, "a relative path without `..`"));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn mount(text: &str) -> Result<Mount, InvalidFlag> {
        read_mount(OsStr::new(text))
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
        };
        assert_eq!(read, plain);
        for text in ["volume=data,dst=/a/b", "destination=/a/b,volume=data"] {
            assert_eq!(mount(text).unwrap(), plain, "{text}");
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
            ("type=bind,source=/a,target=/b", "`type` is not supported"),
            ("source=/a,target=/b", "`source` is not supported"),
            ("volume=a", "key `target` is missing"),
            ("target=/a", "key `volume` is missing"),
            (
                "volume=A,target=/a",
                "invalid name `A`: only lower-case letters, digits and `-` are allowed",
            ),
            (
                "volume=a,target=b",
                "`b` is no value of `target`: it must be an absolute path",
            ),
            ("volume=a,target=/b,dst=/c", "key `target` is given twice"),
            (
                "volume=a,target=/b,ro,readOnly=false",
                "key `readOnly` is given twice",
            ),
            (
                "volume=a,target=/b,subPath=/c",
                "`/c` is no value of `subPath`: it must be a relative path without `..`",
            ),
            (
                "volume=a,target=/b,subPath=c/../..",
                "`c/../..` is no value of `subPath`: it must be a relative path without `..`",
            ),
            ("volume=a,target=/b,noexce", "unknown key `noexce`"),
            ("data:/b", "unknown key `data:/b`"),
        ] {
            assert_eq!(mount(text).unwrap_err().fault.to_string(), message, "{text}");
        }
        assert!(
            mount("type=bind,source=/a,target=/b")
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("`volume=NAME`")
        );
    }

    proptest! {
        #[test]
        fn any_absolute_target_in_quotes_comes_back_unchanged(path in proptest::collection::vec(1..=255u8, 0..60)) {
            let mut text = b"\"target=/".to_vec();
            for byte in &path {
                text.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
            }
            text.extend(b"\",volume=v");
            let mount = read_mount(&OsString::from_vec(text)).unwrap();
            prop_assert_eq!(mount.target.as_os_str().as_bytes(), [b"/", &path[..]].concat());
        }
    }
}
