//! A tree of files to an archive.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use crate::{Keep, attributes};

/// A file of this length at most is read before its length is written: those of `/sys` are shorter than they say.
const WHOLE_BYTES: u64 = 64 * 1024;

/// The most that is read of a file that says it is empty, as those of `/proc` do.
const MAX_LENGTHLESS_BYTES: u64 = 16 * 1024 * 1024;

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("cannot read `{}`", .path.to_string_lossy().escape_debug())]
    Read { path: PathBuf, source: io::Error },
    /// A device, where none is kept.
    #[error("`{}` is a device, which is not copied", .0.to_string_lossy().escape_debug())]
    Device(PathBuf),
    /// A socket, which is nothing without who listens.
    #[error("`{}` is a socket, which is not copied", .0.to_string_lossy().escape_debug())]
    Socket(PathBuf),
    /// A file that says it is empty, as those of `/proc` do, cannot be read, or only in part.
    #[error("cannot read `{}`, which does not report its size", .path.to_string_lossy().escape_debug())]
    Lengthless { path: PathBuf, source: io::Error },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// In a layer, a name that would be a whiteout there.
    #[error("the name of `{}` is that of a whiteout, which no file of a layer can have", .0.to_string_lossy().escape_debug())]
    WhiteoutName(PathBuf),
    /// An overlay's entry that leaves to another layer what it is.
    #[error("`{}` has its contents elsewhere in the overlay (`redirect_dir`, `metacopy`)", .0.to_string_lossy().escape_debug())]
    Elsewhere(PathBuf),
}

/// What a whole archive does not have as it is in the tree.
#[derive(Debug, Default)]
pub struct Packed {
    /// Files that became shorter meanwhile; in the archive zeros are at their ends.
    pub shorter: Vec<PathBuf>,
    /// Why something within the tree was left out: [`PackError::Socket`], [`PackError::Lengthless`] and
    /// [`PackError::WhiteoutName`].
    pub left_out: Vec<PackError>,
}

impl Packed {
    /// Why the archive is not the tree, in one line.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let (first, more) = self.shorter.split_first()?;
        let first = first.to_string_lossy();
        let first = first.escape_debug();
        Some(match more.len() {
            0 => format!("`{first}` became shorter while it was copied"),
            n => format!("`{first}` and {n} more became shorter while they were copied"),
        })
    }

    /// What was left out of it, in one line.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (first, more) = self.left_out.split_first()?;
        let source = std::error::Error::source(first).map(|source| format!(": {source}"));
        let first = format!("{first}{}", source.unwrap_or_default());
        Some(match more.len() {
            0 => first,
            n => format!("{first} (and {n} more)"),
        })
    }
}

/// What the archive of `path` calls its tree: `.` for `DIR/.` and for a path that ends in no name, otherwise its last
/// name.
#[must_use]
pub fn tree_name(path: &Path) -> &OsStr {
    let contents = path.as_os_str().as_bytes().ends_with(b"/.");
    let name = path.file_name().filter(|_| !contents);
    name.unwrap_or(OsStr::new("."))
}

/// What becomes of a symbolic link that a path ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is packed as one.
    Kept,
    /// What it leads to is, under the link's name (docker's `cp -L`).
    Followed,
}

/// Packs the tree at `path`; of `DIR/.` what is in the directory. With [`Keep::Plain`] it is root's, without set-ID bits. What
/// is within the tree and cannot be in an archive is left out.
///
/// # Errors
/// [`PackError`]; the archive is then incomplete.
pub fn pack(
    path: &Path,
    archive: &mut dyn Write,
    keep: Keep,
    last_link: LastLink,
) -> Result<Packed, PackError> {
    let mut packing = Packing::new(archive, keep);
    let followed;
    let from = match last_link {
        LastLink::Kept => path,
        LastLink::Followed => {
            followed = path.canonicalize().map_err(|source| PackError::Read {
                path: path.to_owned(),
                source,
            })?;
            &followed
        }
    };
    packing.tree(from, Path::new(tree_name(path)))?;
    packing.finish()
}

/// An archive that is being written.
pub(crate) struct Packing<'a> {
    pub(crate) builder: Builder<&'a mut dyn Write>,
    /// Where a file with several names came first, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    keep: Keep,
    /// Whether extended attributes that an image's files have are kept.
    pub(crate) attributes: bool,
    pub(crate) packed: Packed,
}

impl<'a> Packing<'a> {
    pub(crate) fn new(archive: &'a mut dyn Write, keep: Keep) -> Self {
        Self {
            builder: Builder::new(archive),
            links: HashMap::new(),
            keep,
            attributes: false,
            packed: Packed::default(),
        }
    }

    pub(crate) fn finish(mut self) -> Result<Packed, PackError> {
        self.builder.finish().map_err(PackError::Write)?;
        Ok(self.packed)
    }

    /// Packs what is at `path` under `name`, children behind their parents and in order of name.
    pub(crate) fn tree(&mut self, path: &Path, top: &Path) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let mut pending = vec![(path.to_owned(), top.to_owned())];
        let data = path.symlink_metadata().map_err(read)?;
        // `DIR/` and `DIR/.` name what a link leads to.
        let follow = path.as_os_str().as_bytes().ends_with(b"/") && data.is_symlink();
        if follow {
            pending = vec![(path.canonicalize().map_err(read)?, top.to_owned())];
        }
        while let Some((path, name)) = pending.pop() {
            let read = |source| PackError::Read {
                path: path.clone(),
                source,
            };
            let data = path.symlink_metadata().map_err(read)?;
            match self.entry(&path, &name, &data) {
                Err(error @ (PackError::Socket(_) | PackError::Lengthless { .. })) if name != top => {
                    self.packed.left_out.push(error);
                    continue;
                }
                entered => entered?,
            }
            self.named(&name, &data);
            if data.is_dir() {
                let children = children(&path).map_err(read)?;
                let children = children.iter().rev();
                pending.extend(children.map(|child| (path.join(child), name.join(child))));
            }
        }
        Ok(())
    }

    /// Remembers the first name of a file with several.
    pub(crate) fn named(&mut self, name: &Path, data: &Metadata) {
        if data.nlink() > 1 && !data.is_dir() {
            let first = self.links.entry((data.dev(), data.ino()));
            first.or_insert_with(|| name.to_owned());
        }
    }

    pub(crate) fn entry(&mut self, path: &Path, name: &Path, data: &Metadata) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let kind = data.file_type();
        if kind.is_socket() {
            return Err(PackError::Socket(path.to_owned()));
        }
        let mut header = Header::new_gnu();
        header.set_metadata(data);
        header.set_size(0);
        if self.keep == Keep::Plain {
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(data.mode() & 0o1777);
        }
        if let Some(first) = self.links.get(&(data.dev(), data.ino())) {
            header.set_entry_type(EntryType::Link);
            let linked = self.builder.append_link(&mut header, name, first);
            return linked.map_err(PackError::Write);
        }
        if self.attributes {
            let attributes = attributes::of_image(path).map_err(read)?;
            let attributes = attributes.iter().map(|(key, value)| (key.as_str(), &value[..]));
            let appended = self.builder.append_pax_extensions(attributes);
            appended.map_err(PackError::Write)?;
        }
        if kind.is_file() {
            return self.file(path, name, data.len(), &mut header);
        }
        if kind.is_symlink() {
            let target = path.read_link().map_err(read)?;
            let linked = self.builder.append_link(&mut header, name, target);
            return linked.map_err(PackError::Write);
        }
        if kind.is_char_device() || kind.is_block_device() {
            if self.keep == Keep::Plain {
                return Err(PackError::Device(path.to_owned()));
            }
            let device = data.rdev();
            let set = header.set_device_major(rustix::fs::major(device));
            set.and_then(|()| header.set_device_minor(rustix::fs::minor(device)))
                .map_err(PackError::Write)?;
        }
        self.builder
            .append_data(&mut header, name, io::empty())
            .map_err(PackError::Write)
    }

    /// Packs a file; one that is written to meanwhile is as long as it was.
    fn file(&mut self, path: &Path, name: &Path, length: u64, header: &mut Header) -> Result<(), PackError> {
        let read = |source| {
            let path = path.to_owned();
            match length {
                0 => PackError::Lengthless { path, source },
                _ => PackError::Read { path, source },
            }
        };
        // Not followed and not waited for, should it have become something else.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path);
        let file = file.map_err(read)?;
        if length <= WHOLE_BYTES {
            let bytes = whole(file, length).map_err(read)?;
            header.set_size(bytes.len() as u64);
            let appended = self.builder.append_data(header, name, &bytes[..]);
            return appended.map_err(PackError::Write);
        }
        header.set_size(length);
        let mut content = file.take(length);
        let padded = content.by_ref().chain(io::repeat(0)).take(length);
        let appended = self.builder.append_data(header, name, padded);
        appended.map_err(PackError::Write)?;
        if content.limit() > 0 {
            self.packed.shorter.push(path.to_owned());
        }
        Ok(())
    }
}

/// The names in a directory, in order.
pub(crate) fn children(path: &Path) -> io::Result<Vec<OsString>> {
    let entries = path.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<OsString> = entries.iter().map(fs::DirEntry::file_name).collect();
    names.sort_unstable();
    Ok(names)
}

/// What is in a file of this length, or in one that does not say how long it is.
fn whole(file: File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if length > 0 {
        file.take(length).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let read = file.take(MAX_LENGTHLESS_BYTES + 1).read_to_end(&mut bytes)?;
    match read as u64 > MAX_LENGTHLESS_BYTES {
        true => Err(Errno::FBIG.into()),
        false => Ok(bytes),
    }
}
