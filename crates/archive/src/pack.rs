//! A tree of files to an archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use crate::Keep;

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("cannot read `{}`", .path.to_string_lossy().escape_debug())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device, where none is kept.
    #[error("`{}` is a device, which is not copied", .0.to_string_lossy().escape_debug())]
    Device(PathBuf),
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// What the archive of `path` calls its tree: `.` for `DIR/.` and for a path that ends in no name, otherwise its last
/// name.
#[must_use]
pub fn tree_name(path: &Path) -> &OsStr {
    let contents = path.as_os_str().as_bytes().ends_with(b"/.");
    let name = path.file_name().filter(|_| !contents);
    name.unwrap_or(OsStr::new("."))
}

/// Packs the tree at `path`; of `DIR/.` what is in the directory. A last symbolic link is packed as one. With
/// [`Keep::Plain`] it is root's, without set-ID bits.
///
/// # Errors
/// [`PackError`]; the archive is then incomplete.
pub fn pack(path: &Path, archive: &mut dyn Write, keep: Keep) -> Result<(), PackError> {
    let mut packing = Packing {
        builder: Builder::new(archive),
        links: HashMap::new(),
        keep,
    };
    packing.tree(path, Path::new(tree_name(path)))?;
    packing.builder.finish().map_err(PackError::Write)
}

struct Packing<'a> {
    builder: Builder<&'a mut dyn Write>,
    /// Where a file with several names came first, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    keep: Keep,
}

impl Packing<'_> {
    /// Packs what is at `path` under `name`, children behind their parents and in order of name.
    fn tree(&mut self, path: &Path, name: &Path) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let mut pending = vec![(path.to_owned(), name.to_owned())];
        let data = path.symlink_metadata().map_err(read)?;
        // `DIR/` and `DIR/.` name what a link leads to.
        let follow = path.as_os_str().as_bytes().ends_with(b"/") && data.is_symlink();
        if follow {
            pending = vec![(path.canonicalize().map_err(read)?, name.to_owned())];
        }
        while let Some((path, name)) = pending.pop() {
            let read = |source| PackError::Read {
                path: path.clone(),
                source,
            };
            let data = path.symlink_metadata().map_err(read)?;
            self.entry(&path, &name, &data)?;
            if data.is_dir() {
                let children = path.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
                let mut children: Vec<_> = children.map_err(read)?.iter().map(|e| e.file_name()).collect();
                children.sort_unstable_by(|a, b| b.cmp(a));
                pending.extend(children.iter().map(|child| (path.join(child), name.join(child))));
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, data: &Metadata) -> Result<(), PackError> {
        let read = |source| PackError::Read {
            path: path.to_owned(),
            source,
        };
        let kind = data.file_type();
        let mut header = Header::new_gnu();
        header.set_metadata(data);
        header.set_size(0);
        if self.keep == Keep::Plain {
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(data.mode() & 0o1777);
        }
        if data.nlink() > 1 && !data.is_dir() {
            if let Some(first) = self.links.get(&(data.dev(), data.ino())) {
                header.set_entry_type(EntryType::Link);
                let linked = self.builder.append_link(&mut header, name, first);
                return linked.map_err(PackError::Write);
            }
            self.links.insert((data.dev(), data.ino()), name.to_owned());
        }
        if kind.is_file() {
            // Not followed and not waited for, should it have become something else.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let file = File::options().read(true).custom_flags(flags).open(path);
            let file = file.map_err(read)?;
            // A file that is written to meanwhile is as long as it was.
            header.set_size(data.len());
            let bytes = file.chain(io::repeat(0)).take(data.len());
            return self
                .builder
                .append_data(&mut header, name, bytes)
                .map_err(PackError::Write);
        }
        if kind.is_symlink() {
            let target = path.read_link().map_err(read)?;
            let linked = self.builder.append_link(&mut header, name, target);
            return linked.map_err(PackError::Write);
        }
        if kind.is_socket() {
            return Ok(());
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
}
