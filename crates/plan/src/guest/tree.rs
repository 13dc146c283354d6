//! The pod's part of the guest: every file that its cpio archive brings, as a value.
//!
//! What grows with volumes times apps is not kept twice: the files of mount units follow from the plan's mounts, and
//! texts that name every mount are made while they are written. A hundred thousand mounts fit into 100 MB so.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::ffi::{OsStr, OsString};
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest::entry::{Content, Entry, EntryKind, WriteText};
use crate::guest::units::mount::Mounts;
use crate::path::{self, Lookup, Node, NodeKind};

/// A tree of files, by absolute path. Parents come before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestTree {
    /// The entries, but for the files of mount units.
    pub entries: Entries,
    /// The mounts whose files are in the tree too.
    mounts: Arc<Mounts>,
}

/// Entries by path, parents before children. Paths are compared as bytes, which is why this is not a map of paths: those
/// are compared component by component, and that was half of the time of planning ten thousand mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(BTreeMap<OsString, Entry>);

impl Entries {
    /// Puts an entry at `path`, in place of the one that was there.
    pub fn insert(&mut self, path: &Path, entry: Entry) {
        self.0.insert(key(path).into_owned(), entry);
    }

    /// Takes away what is at `path`.
    pub(crate) fn remove(&mut self, path: &Path) {
        self.0.remove::<OsStr>(&key(path));
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.0.get::<OsStr>(&key(path))
    }

    /// Whether something is at `path`.
    #[must_use]
    pub fn contains_key(&self, path: &Path) -> bool {
        self.0.contains_key::<OsStr>(&key(path))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every path with its entry, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.into_iter()
    }
}

/// What [`Entries`] iterates with.
type Iter<'a> = std::iter::Map<
    btree_map::Iter<'a, OsString, Entry>,
    fn((&'a OsString, &'a Entry)) -> (&'a Path, &'a Entry),
>;

impl<'a> IntoIterator for &'a Entries {
    type Item = (&'a Path, &'a Entry);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(path, entry)| (Path::new(path), entry))
    }
}

impl Index<&Path> for Entries {
    type Output = Entry;

    fn index(&self, path: &Path) -> &Entry {
        &self.0[&*key(path)]
    }
}

/// The one way to write `path`: without a slash too many.
fn key(path: &Path) -> Cow<'_, OsStr> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let doubled = bytes.windows(2).any(|pair| pair == b"//");
    if doubled || (bytes.len() > 1 && bytes.ends_with(b"/")) {
        return Cow::Owned(path.components().collect::<PathBuf>().into_os_string());
    }
    Cow::Borrowed(path.as_os_str())
}

impl GuestTree {
    /// Adds the files of mount units, and the directories that they are in.
    pub fn add_mounts(&mut self, mounts: &Arc<Mounts>) {
        for dir in mounts.directories() {
            self.directory(&dir, 0o755);
        }
        self.mounts = Arc::clone(mounts);
    }

    /// Every path with its entry, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, Path>, Cow<'_, Entry>)> {
        let kept = self.entries.iter();
        let kept = kept.map(|(path, entry)| (Cow::Borrowed(path), Cow::Borrowed(entry)));
        let of_mounts = Mounts::files(&self.mounts);
        kept.chain(of_mounts.map(|(path, kind)| (Cow::Owned(path), Cow::Owned(Entry::of_root(kind)))))
    }

    /// Adds a directory of root, and with `0o755` those above it that are not there yet.
    pub fn directory(&mut self, path: &Path, mode: u32) {
        self.add(path, EntryKind::Directory, mode);
    }

    /// Adds a file of root.
    pub fn file(&mut self, path: &Path, content: impl Into<Vec<u8>>, mode: u32) {
        self.add(path, EntryKind::File(Content::Bytes(content.into())), mode);
    }

    /// Adds a file of root's whose text is made when it is written.
    pub fn deferred(&mut self, path: &Path, text: impl WriteText + 'static, mode: u32) {
        self.add(path, EntryKind::File(Content::Deferred(Arc::new(text))), mode);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &Path, target: impl Into<PathBuf>) {
        self.add(path, EntryKind::Symlink(target.into()), 0o777);
    }

    /// Adds an entry of root's and the directories above it.
    pub fn add(&mut self, path: &Path, kind: EntryKind, mode: u32) {
        self.insert(
            path,
            Entry {
                kind,
                mode,
                uid: 0,
                gid: 0,
            },
        );
    }

    /// Adds an entry and, of root's and with `0o755`, the directories above it.
    pub fn insert(&mut self, path: &Path, entry: Entry) {
        for parent in path.ancestors().skip(1).take_while(|p| p.parent().is_some()) {
            if self.entries.contains_key(parent) {
                break;
            }
            let directory = Entry {
                kind: EntryKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            self.entries.insert(parent, directory);
        }
        self.entries.insert(path, entry);
    }

    /// Gives `dir` below `root` the mode and owner that it has in `image`, where it is a directory there.
    pub(crate) fn copy_attributes(&mut self, root: &Path, dir: &Path, image: &dyn Lookup) {
        if let Some(Node {
            kind: NodeKind::Directory,
            mode,
            uid,
            gid,
        }) = image.node(dir)
        {
            let kind = EntryKind::Directory;
            self.insert(&path::below(root, dir), Entry { kind, mode, uid, gid });
        }
    }

    /// The text of a file, for tests and for people.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<String> {
        let found = self.iter().find(|(at, _)| at.as_os_str() == path.as_os_str());
        match &found?.1.kind {
            EntryKind::File(content) => String::from_utf8(content.bytes().ok()?.into_owned()).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_entry_however_it_is_written() {
        let mut tree = GuestTree::default();
        tree.directory(Path::new("/a//b/"), 0o700);
        tree.directory(Path::new("/a-c"), 0o755);
        tree.file(Path::new("/a/b/c"), "x", 0o644);
        assert!(tree.entries.contains_key(Path::new("/a/b")));
        assert_eq!(tree.entries[Path::new("/a/b/")].mode, 0o700);
        let paths: Vec<&str> = tree
            .entries
            .iter()
            .filter_map(|(path, _)| path.to_str())
            .collect();
        assert_eq!(paths, ["/a", "/a-c", "/a/b", "/a/b/c"]);
    }
}
