//! Where an app says why it ended: Kubernetes' file in its `/dev`, or one of the guest that is bound where the pod asks for
//! it, with which neither the image nor a volume has anything to do.

use std::path::{Path, PathBuf};

use isopod_spec::{App, AppName, LastWords};

use crate::layout;
use crate::path::{self, Lookup, NodeKind};
use crate::volumes::VolumeMount;

/// The file in the guest.
pub(crate) fn file(app: &AppName, words: &LastWords) -> PathBuf {
    match &words.path {
        Some(_) => layout::app_last_words(app),
        None => layout::app_dev(app).join(
            Path::new(LastWords::PATH)
                .strip_prefix("/dev")
                .unwrap_or(Path::new("")),
        ),
    }
}

/// Whether the file is the guest's own: a volume may have one in its place, as the kubelet's has, which is for its owner to read and to
/// empty.
pub(crate) fn own(words: &LastWords, mounts: &[VolumeMount]) -> bool {
    words.path.is_some()
        || mounts
            .iter()
            .all(|mount| &*mount.place != Path::new(LastWords::PATH))
}

/// Where the app finds the file, where it is bound there: links of the image followed.
pub(crate) fn place(words: &LastWords, image: Option<&dyn Lookup>) -> Option<PathBuf> {
    let path = words.path.as_deref()?;
    match image.map(|image| path::resolve(image, path)) {
        Some(Ok(found)) => Some(found.path),
        _ => Some(path.to_owned()),
    }
}

/// Why there can be no such file.
pub(crate) fn fault(app: &App, image: Option<&dyn Lookup>) -> Option<String> {
    let path = app.last_words.path.as_deref()?;
    let what = format!(
        "it cannot write why it ended to `{}`",
        isopod_spec::words::shown(path)
    );
    let found = match image.map(|image| path::resolve(image, path)) {
        Some(Ok(found)) => found,
        Some(Err(reason)) => return Some(format!("{what}: {reason}")),
        None => return None,
    };
    if ["/proc", "/sys"].iter().any(|api| found.path.starts_with(api)) {
        return Some(format!("{what}: it is a directory that the guest itself mounts"));
    }
    let directory = found.node.is_some_and(|node| node.kind == NodeKind::Directory);
    directory.then(|| format!("{what}: the image has a directory there"))
}
