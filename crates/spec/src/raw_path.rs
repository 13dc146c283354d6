//! Paths of the host in files of Isopod's own (`#[serde(with = "raw_path")]`): a string, or its bytes where it is not UTF-8,
//! which a path of Linux need not be. serde's own form for a path has no way to write that one.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<'a> {
    Text(Cow<'a, str>),
    Raw { bytes: Cow<'a, [u8]> },
}

impl<'a> Form<'a> {
    fn of(path: &'a Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.into()),
            None => Self::Raw {
                bytes: path.as_os_str().as_bytes().into(),
            },
        }
    }

    fn into_path(self) -> PathBuf {
        match self {
            Self::Text(text) => text.into_owned().into(),
            Self::Raw { bytes } => OsString::from_vec(bytes.into_owned()).into(),
        }
    }
}

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Form::of(path).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Form::deserialize(deserializer).map(Form::into_path)
}

/// The same for one that may be absent.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Form, PathBuf, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde's own signature")]
    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Form::of).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Form<'_>>::deserialize(deserializer)?.map(Form::into_path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    #[test]
    fn a_pod_with_any_paths_of_the_host_is_read_as_it_was_written() {
        let raw = || PathBuf::from(OsString::from_vec(b"/a\xff\n\"".to_vec()));
        let image = ImageReference::parse(OsString::from_vec(b"oci:/i\xfe".to_vec()).as_os_str()).unwrap();
        let app = |name: &str| App::new(AppName::new(name).unwrap(), ImageSource::Reference(image.clone()));
        let mut root = app("two");
        root.root = AppRoot::Directory(RootDirectory {
            path: raw(),
            writes: RootWrites::Layer,
        });
        let mut pod = PodSpec::new(vec![app("one"), root]);
        let volume = VolumeName::new("v").unwrap();
        pod.apps[0].mounts.push(Mount {
            volume: volume.clone(),
            target: "/v".into(),
            read_only: None,
            sub_path: Some(OsString::from_vec(vec![0xff]).into()),
            flags: MountFlags::default(),
            owners: Owners::default(),
        });
        pod.volumes.push(Volume {
            name: volume,
            kind: VolumeKind::Host(HostVolume {
                source: raw(),
                recursive: true,
                propagation: Propagation::Private,
                must_be: SourceRule::Any,
            }),
            read_only: None,
        });
        pod.vm.kernel = GuestKernel {
            kernel: Some(KernelChoice::File(raw())),
            modules: Some(raw()),
            root: Some("/ordinary".into()),
        };
        let text = serde_json::to_string(&pod).unwrap();
        assert!(text.contains("\"root\":\"/ordinary\""), "{text}");
        assert_eq!(serde_json::from_str::<PodSpec>(&text).unwrap(), pod);
    }
}
