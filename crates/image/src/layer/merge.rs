//! Applies one entry of a layer to the tree.

use std::io::{self, Read};

use crate::erofs::{self, CopyError, Writer, XattrError};
use crate::limits::Limits;
use crate::tree::{Directory, Inode, InodeId, Kind, Link, Metadata, Tree};
use isopod_archive::reader::{Entry, EntryKind, show};

/// The prefix of a whiteout's name (OCI image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The whiteout of everything that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping, in images of the first years; Docker ignores it too.
const AUFS: &[u8] = b".wh..wh.";
/// The longest name of a file, in bytes (`NAME_MAX`).
const MAX_NAME_BYTES: usize = 255;
/// The longest name of an entry and target of a link, in bytes (`PATH_MAX` with its NUL).
const MAX_PATH_BYTES: usize = 4095;
/// How many symbolic links are followed for one entry (`MAXSYMLINKS` of Linux, path_resolution(7)).
const MAX_SYMLINKS: u32 = 40;
/// What an inode and its name take in memory besides the bytes that vary.
const INODE_OVERHEAD_BYTES: u64 = 200;

/// Why an entry cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The name contains `..`.
    #[error("a name must not contain `..`")]
    ParentComponent,
    /// The name or link target is too long.
    #[error("a name is longer than 255 bytes, or a path longer than 4095")]
    TooLong,
    /// A link without a target.
    #[error("the link has no target")]
    EmptyTarget,
    /// Something on the way is not a directory.
    #[error("`{0}` on the way to it is not a directory")]
    NotADirectory(String),
    /// Too many symbolic links on the way.
    #[error("more than 40 symbolic links are on the way to it")]
    SymlinkLoop,
    /// The root is something else than a directory.
    #[error("the root of the image must be a directory")]
    Root,
    /// A whiteout of nothing that can be named, or a directory named like one.
    #[error("a name that begins with `.wh.` must be a whiteout of a file name")]
    Whiteout,
    /// The target of a hard link is not there.
    #[error("the target `{0}` of the hard link does not exist")]
    NoTarget(String),
    /// The target of a hard link is a directory.
    #[error("the target `{0}` of the hard link is a directory")]
    DirectoryTarget(String),
    /// The extended attributes cannot be kept.
    #[error(transparent)]
    Xattr(#[from] XattrError),
    /// [`Limits::entries`].
    #[error("the image has more than {0} entries")]
    TooManyEntries(u64),
    /// [`Limits::metadata_bytes`].
    #[error("names and attributes take more than {0} bytes")]
    TooMuchMetadata(u64),
    /// [`Limits::uncompressed_bytes`], which holes count for too.
    #[error("with this sparse file, the image has more than {0} bytes")]
    TooLarge(u64),
    /// The contents cannot be read from the layer.
    #[error("cannot read its contents")]
    Read(#[source] io::Error),
    /// The contents cannot be written to the store.
    #[error("cannot write its contents to the store")]
    Write(#[source] io::Error),
}

/// What the layers so far took of the [`Limits`].
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) uncompressed_bytes: u64,
    entries: u64,
    metadata_bytes: u64,
}

impl Usage {
    fn add(&mut self, metadata_bytes: usize, limits: &Limits) -> Result<(), EntryError> {
        self.entries += 1;
        self.metadata_bytes += metadata_bytes as u64 + INODE_OVERHEAD_BYTES;
        if self.entries > limits.entries {
            return Err(EntryError::TooManyEntries(limits.entries));
        }
        if self.metadata_bytes > limits.metadata_bytes {
            return Err(EntryError::TooMuchMetadata(limits.metadata_bytes));
        }
        Ok(())
    }

    /// Counts the holes of a sparse file as what they become: zeros.
    fn add_holes(&mut self, bytes: u64, limits: &Limits) -> Result<(), EntryError> {
        self.uncompressed_bytes = self.uncompressed_bytes.saturating_add(bytes);
        match self.uncompressed_bytes > limits.uncompressed_bytes {
            true => Err(EntryError::TooLarge(limits.uncompressed_bytes)),
            false => Ok(()),
        }
    }
}

/// A directory on the way to an entry.
struct Step {
    name: Box<[u8]>,
    /// `None`: it is missing.
    inode: Option<InodeId>,
}

/// What an entry's name asks for.
enum Target<'a> {
    /// The image's root.
    Root,
    /// A name in a directory.
    Name(Vec<&'a [u8]>, &'a [u8]),
    /// Taking a name of lower layers out of a directory.
    Whiteout(Vec<&'a [u8]>, &'a [u8]),
    /// Taking all names of lower layers out of a directory.
    Opaque(Vec<&'a [u8]>),
    /// Nothing.
    Ignored,
}

/// Applies the entries of one layer.
pub(crate) struct Merger<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) writer: &'a mut Writer,
    pub(crate) usage: &'a mut Usage,
    pub(crate) limits: &'a Limits,
    /// The number of the layer, from 1 on.
    pub(crate) layer: u32,
}

impl Merger<'_> {
    /// Applies `entry`, whose contents `data` reads.
    pub(crate) fn apply(&mut self, entry: Entry, data: &mut impl Read) -> Result<(), EntryError> {
        let xattr_bytes: usize = entry
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.usage
            .add(entry.name.len() + entry.link.len() + xattr_bytes, self.limits)?;
        self.usage.add_holes(entry.holes, self.limits)?;
        let name = entry.name.clone();
        match parse_name(&name)? {
            Target::Ignored => Ok(()),
            Target::Root if entry.kind == EntryKind::Directory => {
                self.tree.inode_mut(Tree::ROOT).meta = metadata(entry)?;
                Ok(())
            }
            Target::Root => Err(EntryError::Root),
            Target::Opaque(parents) => {
                if let Some(dir) = self.find_dir(&parents)? {
                    self.empty(dir);
                }
                Ok(())
            }
            Target::Whiteout(parents, name) => {
                if let Some(dir) = self.find_dir(&parents)? {
                    self.white_out(dir, name);
                }
                Ok(())
            }
            Target::Name(parents, name) => {
                let dir = self.make_dir(&parents)?;
                let inode = self.inode(dir, name, entry, data)?;
                self.tree.link(
                    dir,
                    name,
                    Link {
                        inode,
                        layer: self.layer,
                    },
                );
                Ok(())
            }
        }
    }

    /// The inode that `entry` gives to `name` in `dir`.
    fn inode(
        &mut self,
        dir: InodeId,
        name: &[u8],
        entry: Entry,
        data: &mut impl Read,
    ) -> Result<InodeId, EntryError> {
        let (major, minor) = entry.device;
        let kind = match entry.kind {
            EntryKind::HardLink => return self.hard_link_target(&entry.link),
            EntryKind::Directory => {
                let old = self.tree.child(dir, name).map(|link| link.inode);
                if let Some(old) = old.filter(|old| self.tree.directory(*old).is_some()) {
                    self.tree.inode_mut(old).meta = metadata(entry)?;
                    return Ok(old);
                }
                Kind::Directory(Directory::default())
            }
            EntryKind::Symlink => match entry.link.len() {
                0 => return Err(EntryError::EmptyTarget),
                1..=MAX_PATH_BYTES => Kind::Symlink(entry.link.as_slice().into()),
                _ => return Err(EntryError::TooLong),
            },
            EntryKind::CharDevice => Kind::CharDevice(major, minor),
            EntryKind::BlockDevice => Kind::BlockDevice(major, minor),
            EntryKind::Fifo => Kind::Fifo,
            EntryKind::File => {
                let size = entry.size;
                let meta = metadata(entry)?;
                let content =
                    self.writer
                        .add_file(data, size, meta.xattrs.len())
                        .map_err(|error| match error {
                            CopyError::Read(source) => EntryError::Read(source),
                            CopyError::Write(source) => EntryError::Write(source),
                        })?;
                return Ok(self.tree.add(Inode {
                    kind: Kind::File(content),
                    meta,
                }));
            }
        };
        let mut meta = metadata(entry)?;
        if matches!(kind, Kind::Symlink(_)) {
            // Linux shows no other (symlink(7)).
            meta.mode = 0o777;
        }
        Ok(self.tree.add(Inode { kind, meta }))
    }

    fn hard_link_target(&mut self, target: &[u8]) -> Result<InodeId, EntryError> {
        let mut components = components(target)?;
        let name = components.pop().ok_or(EntryError::EmptyTarget)?;
        let found = self
            .find_dir(&components)?
            .and_then(|dir| self.tree.child(dir, name));
        let inode = found.ok_or_else(|| EntryError::NoTarget(show(target)))?.inode;
        match self.tree.directory(inode) {
            None => Ok(inode),
            Some(_) => Err(EntryError::DirectoryTarget(show(target))),
        }
    }

    /// The directory that `components` lead to; `None` when there is none.
    fn find_dir(&self, components: &[&[u8]]) -> Result<Option<InodeId>, EntryError> {
        match self.resolve(components) {
            Ok(trail) => Ok(trail.last().map_or(Some(Tree::ROOT), |step| step.inode)),
            Err(EntryError::NotADirectory(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that `components` lead to. What is missing is made, and all that it lies in counts as written
    /// by this layer; what only leads there, like a symbolic link, does not.
    fn make_dir(&mut self, components: &[&[u8]]) -> Result<InodeId, EntryError> {
        let mut dir = Tree::ROOT;
        for Step { name, inode } in self.resolve(components)? {
            let inode = inode.map_or_else(|| self.imply_directory(&name), Ok)?;
            self.tree.link(
                dir,
                &name,
                Link {
                    inode,
                    layer: self.layer,
                },
            );
            dir = inode;
        }
        Ok(dir)
    }

    fn imply_directory(&mut self, name: &[u8]) -> Result<InodeId, EntryError> {
        self.usage.add(name.len(), self.limits)?;
        if name.len() > MAX_NAME_BYTES {
            return Err(EntryError::TooLong);
        }
        let (kind, meta) = (
            Kind::Directory(Directory::default()),
            Metadata::implied_directory(),
        );
        Ok(self.tree.add(Inode { kind, meta }))
    }

    /// The way that `components` lead from the root, following symbolic links and never leaving it. Its end may be
    /// missing.
    fn resolve(&self, components: &[&[u8]]) -> Result<Vec<Step>, EntryError> {
        let mut trail: Vec<Step> = Vec::new();
        let mut pending: Vec<Box<[u8]>> = components.iter().rev().map(|&name| name.into()).collect();
        let mut symlinks = 0;
        while let Some(name) = pending.pop() {
            if &*name == b".." {
                trail.pop();
                continue;
            }
            let dir = trail.last().map_or(Some(Tree::ROOT), |step| step.inode);
            let Some(link) = dir.and_then(|dir| self.tree.child(dir, &name)) else {
                trail.push(Step { name, inode: None });
                continue;
            };
            match &self.tree.inode(link.inode).kind {
                Kind::Directory(_) => trail.push(Step {
                    name,
                    inode: Some(link.inode),
                }),
                Kind::Symlink(target) => {
                    symlinks += 1;
                    if symlinks > MAX_SYMLINKS {
                        return Err(EntryError::SymlinkLoop);
                    }
                    if target.starts_with(b"/") {
                        trail.clear();
                    }
                    pending.extend(significant(target).rev().map(Into::into));
                }
                _ => return Err(EntryError::NotADirectory(show(&name))),
            }
        }
        Ok(trail)
    }

    /// Takes `name` out of `dir`, unless this layer wrote it: then only what lower layers have below it.
    fn white_out(&mut self, dir: InodeId, name: &[u8]) {
        match self.tree.child(dir, name) {
            Some(link) if link.layer == self.layer => self.empty(link.inode),
            _ => {
                if let Some(directory) = self.tree.directory_mut(dir) {
                    directory.links.remove(name);
                }
            }
        }
    }

    /// Takes everything that lower layers have out of `dir` and what is below it. A directory is emptied but once
    /// for a layer: all that comes into it later is the layer's own.
    fn empty(&mut self, dir: InodeId) {
        let layer = self.layer;
        let mut pending = vec![dir];
        while let Some(dir) = pending.pop() {
            let Some(directory) = self.tree.directory_mut(dir) else {
                continue;
            };
            if directory.emptied_by.replace(layer) == Some(layer) {
                continue;
            }
            directory.links.retain(|_, link| link.layer == layer);
            pending.extend(directory.links.values().map(|link| link.inode));
        }
    }
}

/// The components of `path` that mean something.
fn significant(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

/// The components of an entry's name or a hard link's target.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, EntryError> {
    if path.len() > MAX_PATH_BYTES || significant(path).any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(EntryError::TooLong);
    }
    if significant(path).any(|name| name == b"..") {
        return Err(EntryError::ParentComponent);
    }
    Ok(significant(path).collect())
}

fn parse_name(name: &[u8]) -> Result<Target<'_>, EntryError> {
    let mut components = components(name)?;
    let Some(last) = components.pop() else {
        return Ok(Target::Root);
    };
    if last == OPAQUE && !components.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Ok(Target::Opaque(components));
    }
    if last.starts_with(AUFS) || components.iter().any(|name| name.starts_with(AUFS)) {
        return Ok(Target::Ignored);
    }
    if components.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Err(EntryError::Whiteout);
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Target::Name(components, last)),
        Some(b"" | b"." | b"..") => Err(EntryError::Whiteout),
        Some(name) => Ok(Target::Whiteout(components, name)),
    }
}

fn metadata(entry: Entry) -> Result<Metadata, EntryError> {
    let (kept, other): (Vec<_>, Vec<_>) = entry
        .xattrs
        .into_iter()
        .partition(|(name, _)| erofs::is_linux_xattr(name));
    if !other.is_empty() {
        let names: Vec<_> = other.iter().map(|(name, _)| show(name)).collect();
        tracing::warn!(
            entry = show(&entry.name),
            ?names,
            "left out extended attributes that Linux does not have"
        );
    }
    Ok(Metadata {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: erofs::encode_xattrs(&kept)?,
    })
}
