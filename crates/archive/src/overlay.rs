//! What the upper layer of an overlay changes of the lower ones (Linux, `Documentation/filesystems/overlayfs.rst`): a
//! character device 0, 0 takes something away, an opaque directory hides what lower ones have, all else is added or
//! changed.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::attributes;
use crate::pack::{PackError, children};

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// No lower layer has it.
    Added,
    /// A lower layer has it, too.
    Changed,
    /// A lower layer has it, and the overlay has not.
    Deleted,
}

/// A path that the upper layer changes, from the overlay's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What became of it.
    pub kind: ChangeKind,
    /// The path, which begins with `/`.
    pub path: PathBuf,
}

/// Whether this is what takes a name away.
pub(crate) fn is_whiteout(data: &Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == 0
}

/// Reports each change that `upper` makes of `lowers`, the nearest first: parents before what is in them, in order of name.
///
/// # Errors
/// [`PackError`]: what cannot be read, and what `emit` fails with, as [`PackError::Write`].
pub fn changes(
    upper: &Path,
    lowers: &[PathBuf],
    emit: &mut dyn FnMut(Change) -> io::Result<()>,
) -> Result<(), PackError> {
    let mut pending = vec![Pending {
        upper: upper.to_owned(),
        lowers: lowers.to_vec(),
        place: "/".into(),
        deleted: false,
    }];
    while let Some(next) = pending.pop() {
        next.report(&mut pending, emit)?;
    }
    Ok(())
}

/// A path that is still to be reported.
struct Pending {
    upper: PathBuf,
    /// What lower layers have in this place, as far as it is seen; of a directory those that are merged with it.
    lowers: Vec<PathBuf>,
    place: PathBuf,
    /// Whether it is gone with what an opaque directory hides.
    deleted: bool,
}

impl Pending {
    fn report(
        self,
        pending: &mut Vec<Self>,
        emit: &mut dyn FnMut(Change) -> io::Result<()>,
    ) -> Result<(), PackError> {
        let is_root = self.place.parent().is_none();
        let read = |source| PackError::Read {
            path: self.place.clone(),
            source,
        };
        let is_lower = !self.lowers.is_empty();
        let mut emit_kind = |kind| {
            let path = self.place.clone();
            emit(Change { kind, path }).map_err(PackError::Write)
        };
        if self.deleted {
            return emit_kind(ChangeKind::Deleted);
        }
        let data = self.upper.symlink_metadata().map_err(read)?;
        if is_whiteout(&data) {
            return match is_lower {
                true => emit_kind(ChangeKind::Deleted),
                false => Ok(()),
            };
        }
        if !is_root {
            emit_kind(match is_lower {
                true => ChangeKind::Changed,
                false => ChangeKind::Added,
            })?;
        }
        if !data.is_dir() {
            return Ok(());
        }
        let of_overlay = attributes::of_overlay(&self.upper).map_err(read)?;
        if of_overlay.elsewhere {
            return Err(PackError::Elsewhere(self.place));
        }
        let is_dir = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|data| data.is_dir());
        let merged: Vec<&PathBuf> = self.lowers.iter().take_while(is_dir).collect();
        let mut names: Vec<(OsString, bool)> = children(&self.upper)
            .map_err(read)?
            .into_iter()
            .map(|name| (name, false))
            .collect();
        if of_overlay.opaque {
            let mut hidden = Vec::new();
            for lower in &merged {
                hidden.extend(children(lower).map_err(read)?);
            }
            hidden.retain(|name| names.binary_search_by(|(known, _)| known.cmp(name)).is_err());
            names.extend(hidden.into_iter().map(|name| (name, true)));
            names.sort();
            names.dedup();
        }
        for (name, deleted) in names.into_iter().rev() {
            let below = |lower: &&PathBuf| lower.join(&name);
            let there = |path: &PathBuf| path.symlink_metadata().is_ok_and(|data| !is_whiteout(&data));
            pending.push(Self {
                upper: self.upper.join(&name),
                lowers: merged.iter().map(below).filter(there).collect(),
                place: self.place.join(&name),
                deleted,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

    use super::*;

    fn reported(upper: &Path, lowers: &[PathBuf]) -> Vec<String> {
        let mut reported = Vec::new();
        changes(upper, lowers, &mut |change| {
            let kind = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Changed => 'C',
                ChangeKind::Deleted => 'D',
            };
            reported.push(format!("{kind} {}", change.path.display()));
            Ok(())
        })
        .unwrap();
        reported
    }

    #[test]
    fn what_is_new_changed_and_gone_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let [upper, seed, image] = ["upper", "seed", "image"].map(|name| dir.path().join(name));
        let write = |path: PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for file in ["etc/passwd", "etc/group", "srv/old", "lib", "made/in/image"] {
            write(image.join(file));
        }
        fs::create_dir_all(seed.join("data")).unwrap();
        for file in ["etc/passwd", "etc/new", "srv/new", "data/x", "lib/now/deep"] {
            write(upper.join(file));
        }
        let whiteout = |path: PathBuf| mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0);
        if whiteout(upper.join("etc/group")).is_err() {
            return; // An older kernel lets only root make one.
        }
        whiteout(upper.join("etc/never")).unwrap();
        let expected = [
            "C /data",
            "A /data/x",
            "C /etc",
            "D /etc/group",
            "A /etc/new",
            "C /etc/passwd",
            "C /lib",
            "A /lib/now",
            "A /lib/now/deep",
            "C /srv",
            "A /srv/new",
        ];
        assert_eq!(reported(&upper, &[seed.clone(), image.clone()]), expected);
        // Only root can say that a directory hides those below it.
        if setxattr(
            upper.join("srv"),
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .is_ok()
        {
            let of_srv = reported(&upper, &[seed, image]).split_off(9);
            assert_eq!(of_srv, ["C /srv", "A /srv/new", "D /srv/old"]);
        }
    }
}
