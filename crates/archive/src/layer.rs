//! What an app has in its root, an overlay, as archives: its upper layer as a layer of an image (image-spec, layer.md), and
//! all of it.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::overlay::is_whiteout;
use crate::pack::{PackError, Packed, Packing, children};
use crate::{Keep, attributes};

/// What the name of a whiteout begins with.
const WHITEOUT: &str = ".wh.";
/// The whiteout of all that lower layers have in its directory.
const OPAQUE: &str = ".wh..wh..opq";

/// Packs the upper layer of an overlay as an image's layer: what it takes away becomes whiteouts. Owners, set-ID bits,
/// devices and the extended attributes that images have are kept. The root's own entry comes first, as `.`.
///
/// # Errors
/// [`PackError`]; the archive is then incomplete.
pub fn pack_layer(upper: &Path, archive: &mut dyn Write) -> Result<Packed, PackError> {
    let mut packing = Packing::new(archive, Keep::Everything);
    packing.attributes = true;
    let mut pending = vec![(upper.to_owned(), PathBuf::from("."))];
    while let Some((path, name)) = pending.pop() {
        let read = |source| PackError::Read {
            path: name.clone(),
            source,
        };
        let data = path.symlink_metadata().map_err(read)?;
        if is_whiteout(&data) {
            let gone = name.file_name().unwrap_or_default();
            whiteout(&mut packing, &name.with_file_name(beside(gone)))?;
            continue;
        }
        if name
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(WHITEOUT.as_bytes()))
        {
            packing.packed.left_out.push(PackError::WhiteoutName(name));
            continue;
        }
        match packing.entry(&path, &name, &data) {
            Err(error @ (PackError::Socket(_) | PackError::Lengthless { .. })) => {
                packing.packed.left_out.push(error);
                continue;
            }
            entered => entered?,
        }
        packing.named(&name, &data);
        if data.is_dir() {
            directory(&mut packing, &path, &name)?;
            let children = children(&path).map_err(read)?;
            let children = children.iter().rev();
            let of_root = name == Path::new(".");
            let below = |child| {
                if of_root {
                    PathBuf::from(child)
                } else {
                    name.join(child)
                }
            };
            pending.extend(children.map(|child| (path.join(child), below(child))));
        }
    }
    packing.finish()
}

/// Packs the root at `path`, which is a directory, and what is in it; nothing that is mounted below it must be seen there.
/// Kept is what [`pack_layer`] keeps.
///
/// # Errors
/// [`PackError`]; the archive is then incomplete.
pub fn pack_root(path: &Path, archive: &mut dyn Write) -> Result<Packed, PackError> {
    let mut packing = Packing::new(archive, Keep::Everything);
    packing.attributes = true;
    packing.tree(&path.join("."), Path::new("."))?;
    packing.finish()
}

/// Says what an overlay's directory hides.
fn directory(packing: &mut Packing<'_>, path: &Path, name: &Path) -> Result<(), PackError> {
    let of_overlay = attributes::of_overlay(path).map_err(|source| PackError::Read {
        path: name.to_owned(),
        source,
    })?;
    if of_overlay.elsewhere {
        return Err(PackError::Elsewhere(name.to_owned()));
    }
    match of_overlay.opaque {
        true => whiteout(packing, &name.join(OPAQUE)),
        false => Ok(()),
    }
}

/// The whiteout of a name.
fn beside(name: &OsStr) -> OsString {
    let mut whiteout = OsString::from(WHITEOUT);
    whiteout.push(name);
    whiteout
}

fn whiteout(packing: &mut Packing<'_>, name: &Path) -> Result<(), PackError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(0);
    let appended = packing.builder.append_data(&mut header, name, io::empty());
    appended.map_err(PackError::Write)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

    use super::*;
    use crate::reader::{EntryKind, TarReader};

    /// The names of an archive's entries, with what a link leads to.
    fn names(archive: &[u8]) -> Vec<String> {
        let mut reader = TarReader::new(archive);
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            names.push(match &entry.kind {
                EntryKind::HardLink => format!("{name} -> {}", String::from_utf8_lossy(&entry.link)),
                _ => name,
            });
        }
        names
    }

    #[test]
    fn what_is_gone_is_a_whiteout() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("upper");
        fs::create_dir_all(upper.join("etc/.wh.odd")).unwrap();
        fs::write(upper.join("etc/a"), "a").unwrap();
        fs::hard_link(upper.join("etc/a"), upper.join("etc/b")).unwrap();
        if mknodat(
            CWD,
            upper.join("etc/gone"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .is_err()
        {
            return; // An older kernel lets only root make one.
        }
        let mut archive = Vec::new();
        let packed = pack_layer(&upper, &mut archive).unwrap();
        assert_eq!(
            names(&archive),
            [".", "etc", "etc/a", "etc/b -> etc/a", "etc/.wh.gone"]
        );
        assert!(packed.warning().is_some_and(|text| text.contains(".wh.odd")));

        if setxattr(
            upper.join("etc"),
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .is_ok()
        {
            archive.clear();
            let _ = pack_layer(&upper, &mut archive).unwrap();
            assert_eq!(names(&archive)[2], "etc/.wh..wh..opq");
            setxattr(
                upper.join("etc"),
                "trusted.overlay.redirect",
                b"/srv",
                XattrFlags::empty(),
            )
            .unwrap();
            let error = pack_layer(&upper, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, PackError::Elsewhere(_)), "{error}");
        }
    }

    #[test]
    fn attributes_of_images_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        if setxattr(&file, "user.own", b"value", XattrFlags::empty()).is_err() {
            return; // A file system without attributes.
        }
        for pack in [pack_layer, pack_root] {
            let mut archive = Vec::new();
            let _ = pack(dir.path(), &mut archive).unwrap();
            let header = b"SCHILY.xattr.user.own=value";
            assert!(archive.windows(header.len()).any(|window| window == header));
            let listed = names(&archive);
            assert_eq!(listed.last().map(String::as_str), Some("file"), "{listed:?}");
        }
    }
}
