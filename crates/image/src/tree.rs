//! The merged file tree in memory: a table of inodes, and directories that name them.
//!
//! It holds no file contents: those are in the output already, and an inode knows where. Inodes that no name leads to
//! any more stay in the table until the end; the writer walks from the root and does not see them.

use std::collections::BTreeMap;

use isopod_archive::reader::Time;

/// The number of an inode: its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InodeId(pub(crate) u32);

/// A name of an inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) inode: InodeId,
    /// The last layer that wrote the name or something below it.
    pub(crate) layer: u32,
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) links: BTreeMap<Box<[u8]>, Link>,
    /// The last layer whose whiteouts took everything of lower layers out of it.
    pub(crate) emptied_by: Option<u32>,
}

/// Where the contents of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// In bytes.
    pub(crate) size: u64,
    /// The first block, where there is one.
    pub(crate) block: u32,
    /// Where in the temporary file the part is that fills no block; `None`: in the last block.
    pub(crate) tail: Option<u64>,
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Kind {
    Directory(Directory),
    File(Content),
    Symlink(Box<[u8]>),
    /// Major and minor number.
    CharDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
    Fifo,
}

/// Owner, permissions, time and extended attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The permission bits alone (`07777`).
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    /// As the file system keeps them ([`crate::erofs::encode_xattrs`]).
    pub(crate) xattrs: Box<[u8]>,
}

impl Metadata {
    /// What a directory gets that no entry of any layer describes.
    pub(crate) fn implied_directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Box::default(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) meta: Metadata,
}

/// A tree with a root directory.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    /// The root directory.
    pub(crate) const ROOT: InodeId = InodeId(0);

    pub(crate) fn new() -> Self {
        let root = Inode {
            kind: Kind::Directory(Directory::default()),
            meta: Metadata::implied_directory(),
        };
        Self { inodes: vec![root] }
    }

    /// How many inodes were ever added; the numbers of all are below.
    pub(crate) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Adds an inode without a name.
    pub(crate) fn add(&mut self, inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).expect("the limit of entries is below 2^32"));
        self.inodes.push(inode);
        id
    }

    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    pub(crate) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.0 as usize]
    }

    /// The names in `id` when it is a directory.
    pub(crate) fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self.inode(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The names in `id` when it is a directory.
    pub(crate) fn directory_mut(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self.inode_mut(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// The inode that `name` means in the directory `id`.
    pub(crate) fn child(&self, id: InodeId, name: &[u8]) -> Option<Link> {
        self.directory(id)?.links.get(name).copied()
    }

    /// Gives `name` in the directory `id` a new meaning. Not a directory: nothing happens.
    pub(crate) fn link(&mut self, id: InodeId, name: &[u8], link: Link) {
        if let Some(directory) = self.directory_mut(id) {
            directory.links.insert(name.into(), link);
        }
    }
}
