//! `--volume NAME,kind=host|empty|image,...`: rkt's flag, with the record rules of docker's `--mount`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::record::{Record, RecordKey, split};
use super::scalar::{absolute, read_bytes};
use super::{FlagFault, InvalidFlag};
use crate::words::shown;
use crate::{
    EmptyVolume, HostVolume, ImageReference, ImageSource, ImageVolume, Medium, Propagation, PullPolicy,
    Volume, VolumeKind, VolumeName,
};

const KEYS: [RecordKey; 11] = [
    &["kind"],
    &["source", "src"],
    &["readOnly", "readonly", "ro"],
    &["recursive"],
    &["propagation"],
    &["mode"],
    &["uid"],
    &["gid"],
    &["size"],
    &["medium"],
    &["image"],
];

/// Reads the value of `--volume`:
///
/// ```text
/// NAME,kind=host,source=ABSOLUTE[,readOnly=BOOL][,recursive=BOOL][,propagation=private|rslave]
/// NAME,kind=empty[,mode=OCTAL][,uid=N][,gid=N][,size=BYTES][,medium=memory|disk][,readOnly=BOOL]
/// NAME,kind=image,image=REFERENCE
/// ```
///
/// # Errors
/// [`InvalidFlag`] for a record, a name, a key or a value that is not of this form.
pub fn read_volume(text: &OsStr) -> Result<Volume, InvalidFlag> {
    read(text).map_err(|fault| InvalidFlag::new("--volume", text, fault))
}

fn read(text: &OsStr) -> Result<Volume, FlagFault> {
    let mut fields = split(text)?;
    let name = read_name(&fields.remove(0))?;
    let mut record = Record::read(fields, &KEYS)?;
    let read_only = record.boolean("readOnly")?;
    let kind = record.parsed("kind", "`host`, `empty` or `image`", |kind| match kind {
        "host" => Some("host"),
        "empty" => Some("empty"),
        "image" => Some("image"),
        _ => None,
    })?;
    let kind = kind.ok_or(FlagFault::MissingKey { key: "kind" })?;
    let volume = match kind {
        "host" => VolumeKind::Host(read_host(&mut record)?),
        "image" => VolumeKind::Image(read_image(&mut record)?),
        _ => VolumeKind::Empty(read_empty(&mut record)?),
    };
    match record.left_over() {
        Some(key) => Err(FlagFault::MisplacedKey { key, kind }),
        None => Ok(Volume {
            name,
            kind: volume,
            read_only,
        }),
    }
}

fn read_name(field: &[u8]) -> Result<VolumeName, FlagFault> {
    if field.contains(&b'=') {
        return Err(FlagFault::Form {
            fault: "it does not begin with the volume's name",
            hint: Some("write `--volume NAME,kind=host,source=PATH` or `--volume NAME,kind=empty`"),
        });
    }
    if field.iter().any(|b| matches!(b, b'/' | b':')) {
        return Err(FlagFault::form("it does not begin with the volume's name"));
    }
    Ok(VolumeName::new(shown(OsStr::from_bytes(field)))?)
}

fn read_host(record: &mut Record) -> Result<HostVolume, FlagFault> {
    let source = record
        .bytes("source")?
        .ok_or(FlagFault::MissingKey { key: "source" })?;
    let recursive = record.boolean("recursive")?.unwrap_or(true);
    let propagation = record.parsed("propagation", "`private` or `rslave`", |text| match text {
        "private" => Some(Propagation::Private),
        "rslave" => Some(Propagation::Rslave),
        _ => None,
    })?;
    Ok(HostVolume {
        source: absolute("source", source)?,
        recursive,
        propagation: propagation.unwrap_or_default(),
        must_be: crate::SourceRule::Any,
    })
}

fn read_image(record: &mut Record) -> Result<ImageVolume, FlagFault> {
    let text = record
        .bytes("image")?
        .ok_or(FlagFault::MissingKey { key: "image" })?;
    let reference = ImageReference::parse(&text).map_err(FlagFault::Reference)?;
    Ok(ImageVolume {
        image: ImageSource::Reference(reference),
        pull: PullPolicy::default(),
    })
}

fn read_empty(record: &mut Record) -> Result<EmptyVolume, FlagFault> {
    Ok(EmptyVolume {
        mode: record.parsed("mode", "an octal number of at most 7777", read_mode)?,
        uid: record.parsed("uid", "a number below 4294967295", read_id)?,
        gid: record.parsed("gid", "a number below 4294967295", read_id)?,
        size_bytes: record.parsed("size", "a size above 0, such as `64m`", |text| {
            read_bytes(text).filter(|bytes| *bytes > 0)
        })?,
        medium: record
            .parsed("medium", "`memory` or `disk`", |text| match text {
                "memory" => Some(Medium::Memory),
                "disk" => Some(Medium::Disk),
                _ => None,
            })?
            .unwrap_or_default(),
    })
}

/// Permission bits in octal, `0755` or `755`; at most 07777.
pub(crate) fn read_mode(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    digits
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .filter(|mode| *mode <= 0o7777)
}

/// A user or group id; the highest number means "unchanged" to chown(2) and is none.
pub(crate) fn read_id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn volume(text: &str) -> Result<Volume, InvalidFlag> {
        read_volume(OsStr::new(text))
    }

    fn host(source: &str) -> HostVolume {
        HostVolume {
            source: source.into(),
            recursive: true,
            propagation: Propagation::Private,
            must_be: crate::SourceRule::Any,
        }
    }

    #[test]
    fn reads_host_volumes() {
        let read = volume("data,kind=host,source=/srv/data").unwrap();
        assert_eq!(read.name.as_str(), "data");
        assert_eq!(
            (read.kind, read.read_only),
            (VolumeKind::Host(host("/srv/data")), None)
        );

        let read =
            volume("data,readOnly=true,recursive=false,propagation=rslave,source=/a b/%2F+c=d,kind=host")
                .unwrap();
        let expected = HostVolume {
            source: "/a b/%2F+c=d".into(),
            recursive: false,
            propagation: Propagation::Rslave,
            must_be: crate::SourceRule::Any,
        };
        assert_eq!(
            (read.kind, read.read_only),
            (VolumeKind::Host(expected), Some(true))
        );

        let read = volume(r#"data,kind=host,"source=/a,""b""",readOnly=0"#).unwrap();
        assert_eq!(
            (read.kind, read.read_only),
            (VolumeKind::Host(host("/a,\"b\"")), Some(false))
        );
    }

    #[test]
    fn reads_empty_volumes() {
        let read = volume("tmp,kind=empty").unwrap();
        assert_eq!(read.kind, VolumeKind::Empty(EmptyVolume::default()));
        let read = volume("tmp,kind=empty,mode=01777,uid=5,gid=6,size=64Mi,medium=disk").unwrap();
        let expected = EmptyVolume {
            mode: Some(0o1777),
            uid: Some(5),
            gid: Some(6),
            size_bytes: Some(64 << 20),
            medium: Medium::Disk,
        };
        assert_eq!(read.kind, VolumeKind::Empty(expected));
    }

    #[test]
    fn faults_name_the_key_and_the_value() {
        for (text, message) in [
            ("data", "key `kind` is missing"),
            (
                "Data,kind=empty",
                "invalid name `Data`: only lower-case letters, digits and `-` are allowed",
            ),
            ("kind=host,source=/a", "it does not begin with the volume's name"),
            ("/src:/dst", "it does not begin with the volume's name"),
            (
                "d,kind=hots,source=/a",
                "`hots` is not a valid value of `kind`: it must be `host`, `empty` or `image`",
            ),
            ("d,kind=host", "key `source` is missing"),
            ("d,kind=host,source", "key `source` has no value"),
            (
                "d,kind=host,source=a",
                "`a` is not a valid value of `source`: it must be an absolute path",
            ),
            (
                "d,kind=host,source=",
                "`` is not a valid value of `source`: it must be an absolute path",
            ),
            (
                "d,kind=host,source=/a\0",
                "`/a\\u{0}` is not a valid value of `source`: it must be a path without NUL bytes",
            ),
            (
                "d,kind=host,source=/a,mode=755",
                "key `mode` does not apply to a volume of kind `host`",
            ),
            (
                "d,kind=empty,source=/a",
                "key `source` does not apply to a volume of kind `empty`",
            ),
            (
                "d,kind=empty,recursive=1",
                "key `recursive` does not apply to a volume of kind `empty`",
            ),
            (
                "d,kind=empty,mode=888",
                "`888` is not a valid value of `mode`: it must be an octal number of at most 7777",
            ),
            (
                "d,kind=empty,mode=10000",
                "`10000` is not a valid value of `mode`: it must be an octal number of at most 7777",
            ),
            (
                "d,kind=empty,mode=+7",
                "`+7` is not a valid value of `mode`: it must be an octal number of at most 7777",
            ),
            (
                "d,kind=empty,uid=-1",
                "`-1` is not a valid value of `uid`: it must be a number below 4294967295",
            ),
            (
                "d,kind=empty,size=0",
                "`0` is not a valid value of `size`: it must be a size above 0, such as `64m`",
            ),
            (
                "d,kind=empty,readOnly=yes",
                "`yes` is not a valid value of `readOnly`: it must be `true` or `false`",
            ),
            ("d,kind=empty,kind=host", "key `kind` is given twice"),
            ("d,kind=host,source=/a,src=/b", "key `source` is given twice"),
            ("d,kind=host,sorce=/a", "unknown key `sorce`"),
        ] {
            let error = volume(text).unwrap_err();
            assert_eq!(error.fault.to_string(), message, "{text}");
        }
        assert_eq!(
            volume("d,kind=host,sorce=/a").unwrap_err().hint().unwrap(),
            "did you mean `source`?"
        );
        assert_eq!(
            volume("My_Data,kind=empty").unwrap_err().hint().unwrap(),
            "`my-data` would be valid"
        );
    }

    proptest! {
        #[test]
        fn any_absolute_path_in_quotes_comes_back_unchanged(path in proptest::collection::vec(1..=255u8, 0..60)) {
            let mut text = b"data,kind=host,\"source=/".to_vec();
            for byte in &path {
                text.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
            }
            text.extend(b"\",readOnly=true");
            let volume = read_volume(&OsString::from_vec(text)).unwrap();
            let VolumeKind::Host(host) = volume.kind else { panic!("not a host volume") };
            prop_assert_eq!(host.source.as_os_str().as_bytes(), [b"/", &path[..]].concat());
            prop_assert_eq!(volume.read_only, Some(true));
        }
    }
}
