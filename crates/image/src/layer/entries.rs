//! Which entries of a layer are the image's, and what they are called there: all of them, or those of an ACI's `rootfs/`.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::tree::Tree;
use isopod_archive::reader::{Entry, EntryKind};

/// Which entries of a layer are the image's.
#[derive(Debug, Default)]
pub(crate) enum Entries {
    #[default]
    All,
    /// Those below `rootfs/`, and of these only the listed ones with the directories above them, where there is a list
    /// (appc's `pathWhitelist`).
    Rootfs(Option<BTreeSet<Vec<u8>>>),
}

impl Entries {
    /// Those below `rootfs/`; of an empty list all.
    pub(crate) fn rootfs(whitelist: &[PathBuf]) -> Self {
        let above = whitelist.iter().flat_map(|path| path.ancestors());
        let kept = above.map(|path: &Path| clean(path.as_os_str().as_bytes()));
        Self::Rootfs((!whitelist.is_empty()).then(|| kept.collect()))
    }

    /// The entry as the image has it; `None`: it is not the image's.
    pub(crate) fn admit(&self, entry: Entry) -> Option<Entry> {
        if matches!(self, Self::All) {
            return Some(entry);
        }
        let name = below_rootfs(&entry.name)?;
        // A hard link's target is a name of the archive's; a symbolic link's is the image's own.
        let link = match entry.kind {
            EntryKind::HardLink => below_rootfs(&entry.link).unwrap_or_default(),
            _ => entry.link.clone(),
        };
        Some(Entry { name, link, ..entry })
    }

    /// Takes out of the merged tree what the list does not have: not before, since a file of the list may be a hard link to
    /// one that is not.
    pub(crate) fn prune(&self, tree: &mut Tree) {
        let Self::Rootfs(Some(list)) = self else { return };
        let mut pending = vec![(Tree::ROOT, Vec::new())];
        while let Some((id, path)) = pending.pop() {
            let Some(directory) = tree.directory_mut(id) else {
                continue;
            };
            let below = |name: &[u8]| match path.is_empty() {
                true => name.to_vec(),
                false => [path.as_slice(), name].join(&b'/'),
            };
            directory.links.retain(|name, _| list.contains(&below(name)));
            pending.extend(
                directory
                    .links
                    .iter()
                    .map(|(name, link)| (link.inode, below(name))),
            );
        }
    }
}

/// The name within `rootfs`; `None` for what is not there. `..` stays, for the merger to refuse.
fn below_rootfs(name: &[u8]) -> Option<Vec<u8>> {
    let name = clean(name);
    match name.strip_prefix(b"rootfs")? {
        b"" => Some(b".".to_vec()),
        rest => rest.strip_prefix(b"/").map(<[u8]>::to_vec),
    }
}

/// A name without `.` and slashes that say nothing; the root is `.`.
fn clean(name: &[u8]) -> Vec<u8> {
    let parts = name
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<&[u8]> = parts.collect();
    match parts.is_empty() {
        true => b".".to_vec(),
        false => parts.join(&b'/'),
    }
}
