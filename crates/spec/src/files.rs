//! Volumes whose content the pod's author gives: literal files, or another image.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

use crate::words::shown;
use crate::{ImageSource, PullPolicy};

/// The most that the files of one volume hold together, in bytes: a projected volume of eight ConfigMaps, each of which
/// Kubernetes allows 1 MiB. They are in the guest's memory.
pub const MAX_FILES_BYTES: usize = 8 << 20;

/// A volume of literal files (Kubernetes' `configMap`, `secret`, `downwardAPI`, `projected`): every mount of it is
/// read-only. Its directories are root's, or [`Self::gid`]'s, with mode `0755`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesVolume {
    /// The files. No two have one path, and no path leads through another.
    pub files: Vec<VolumeFile>,
    /// The group of all of them (Kubernetes' `fsGroup`); `None`: 0. Their owner is root.
    pub gid: Option<u32>,
}

/// A file of a [`FilesVolume`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFile {
    /// Where it is in the volume: relative, of names alone.
    pub path: PathBuf,
    /// What it holds.
    pub content: FileContent,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, root where not said.
    pub uid: Option<u32>,
    /// Whether its author said that it holds a secret (Kubernetes' `secret`). None is shown in any case.
    #[serde(default)]
    pub secret: bool,
}

impl FilesVolume {
    /// What is wrong with the volume, in a sentence.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let bytes: usize = self.files.iter().map(|file| file.content.0.len()).sum();
        if bytes > MAX_FILES_BYTES {
            return Some(format!(
                "its files hold {bytes} bytes, and {MAX_FILES_BYTES} are the most"
            ));
        }
        let mut paths = BTreeSet::new();
        for VolumeFile { path, mode, .. } in &self.files {
            let mut parts = path.components();
            let names = path.as_os_str().as_encoded_bytes().split(|b| *b == b'/').count();
            let plain = parts.all(|part| matches!(part, Component::Normal(_)));
            if !plain || names != path.components().count() || path.to_str().is_none() {
                return Some(format!(
                    "`{}` is not a path within it: it must be names with `/` between them",
                    shown(path)
                ));
            }
            if mode & !0o7777 != 0 {
                return Some(format!(
                    "the mode {mode:o} of `{}` is more than permission bits",
                    shown(path)
                ));
            }
            if !paths.insert(path) {
                return Some(format!("it has `{}` twice", shown(path)));
            }
        }
        let through = paths.iter().find(|path| {
            path.ancestors()
                .skip(1)
                .any(|above| paths.contains(&above.to_owned()))
        });
        through.map(|path| format!("`{}` leads through a file", shown(path)))
    }
}

/// What a file holds. It may be a secret: it shows its length alone. In files of ours it is a text where it is UTF-8, a
/// list of bytes otherwise.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileContent(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TextOrBytes<'a> {
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl Serialize for FileContent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => TextOrBytes::Text(text.into()),
            Err(_) => TextOrBytes::Bytes(self.0.as_slice().into()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileContent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match TextOrBytes::deserialize(deserializer)? {
            TextOrBytes::Text(text) => text.into_owned().into_bytes(),
            TextOrBytes::Bytes(bytes) => bytes.into_owned(),
        }))
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A volume that is an image's root filesystem (Kubernetes' `image`): every mount of it is read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageVolume {
    pub image: ImageSource,
    /// When it is fetched again.
    pub pull: PullPolicy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(paths: &[&str]) -> FilesVolume {
        let file = |path: &&str| VolumeFile {
            path: path.into(),
            content: FileContent(b"hunter2".to_vec()),
            mode: 0o644,
            uid: None,
            secret: false,
        };
        FilesVolume {
            files: paths.iter().map(file).collect(),
            gid: None,
        }
    }

    #[test]
    fn paths_are_names_and_each_is_there_once() {
        assert_eq!(volume(&["a", "b/c", "b/d", "..data", "a b"]).fault(), None);
        for (paths, fault) in [
            (&["/a"][..], "`/a` is not a path within it"),
            (&["a/../b"], "`a/../b` is not a path"),
            (&["a/./b"], "is not a path"),
            (&["a//b"], "is not a path"),
            (&["a/"], "is not a path"),
            (&[""], "is not a path"),
            (&["a", "a"], "it has `a` twice"),
            (&["a", "a/b"], "`a/b` leads through a file"),
        ] {
            let found = volume(paths).fault().unwrap_or_default();
            assert!(found.contains(fault), "{paths:?}: {found}");
        }
        let mut large = volume(&["a"]);
        large.files[0].content = FileContent(vec![0; MAX_FILES_BYTES + 1]);
        assert!(large.fault().unwrap().contains("are the most"));
    }

    #[test]
    fn content_is_not_shown_and_is_kept_as_it_is() {
        assert!(!format!("{:?}", volume(&["a"])).contains("hunter2"));
        for content in [b"text\n".to_vec(), vec![0, 255, 10]] {
            let content = FileContent(content);
            let text = serde_json::to_string(&content).unwrap();
            assert_eq!(serde_json::from_str::<FileContent>(&text).unwrap(), content);
        }
        assert_eq!(
            serde_json::to_string(&FileContent(b"a".to_vec())).unwrap(),
            "\"a\""
        );
    }
}
