//! A tar file that holds an image, used as it is: its headers are read once, its members at their offsets.
//!
//! The members of a compressed one have no offsets: it is decompressed into a file without a name on the store's disk,
//! which is gone with this process, however that ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{Bounded, SourceError};
use crate::layer::decoder;
use crate::limits::Limits;
use crate::section::Section;
use isopod_archive::reader::{self, EntryKind, TarError, TarReader};

/// How many links may lead from one member to another; `docker save` of old needs one.
const MAX_LINKS: u32 = 8;

/// Where the members of an archive are.
#[derive(Debug)]
pub(super) struct Archive {
    file: Section,
    members: BTreeMap<Vec<u8>, Member>,
}

#[derive(Debug)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// To another member, by its full name.
    Link(Vec<u8>),
}

impl Archive {
    /// Reads the headers of the tar file `path`, which is decompressed into the directory `scratch` if it is compressed.
    /// Of two members with one name the later counts.
    pub(super) fn open(path: &Path, limits: &Limits, scratch: &Path) -> Result<Self, SourceError> {
        let file = Section::open(path).map_err(|source| SourceError::file(path, source))?;
        let file = plain(file, path, limits, scratch)?;
        let invalid = |source| SourceError::Archive {
            path: path.to_owned(),
            source,
        };
        let mut members = BTreeMap::new();
        let mut reader = TarReader::new(file.clone());
        let mut count = 0;
        while let Some(entry) = reader.next_entry().map_err(invalid)? {
            count += 1;
            if count > limits.entries {
                return Err(SourceError::TooManyMembers {
                    path: path.to_owned(),
                    max: limits.entries,
                });
            }
            let name = clean(&entry.name);
            let member = match entry.kind {
                EntryKind::File if entry.holes > 0 => {
                    return Err(invalid(TarError::Entry {
                        name: reader::show(&entry.name),
                        reason: "sparse files are not supported in an archive that holds an image",
                    }));
                }
                EntryKind::File => Member::File {
                    offset: entry.offset,
                    size: entry.size,
                },
                EntryKind::HardLink => Member::Link(clean(&entry.link)),
                EntryKind::Symlink if entry.link.starts_with(b"/") => continue,
                EntryKind::Symlink => Member::Link(clean(&[&name, &b"/../"[..], &entry.link].concat())),
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self { file, members })
    }

    /// The member `name`, through links within the archive; `None` when there is none, or it is cut off.
    pub(super) fn member(&self, name: &str) -> Option<Section> {
        let mut name = clean(name.as_bytes());
        for _ in 0..=MAX_LINKS {
            match self.members.get(&name)? {
                Member::File { offset, size } => return self.file.part(*offset, *size),
                Member::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

/// The tar file `file`, whose path is `path`, or what it is decompressed to, in a file of the directory `scratch`.
pub(crate) fn plain(
    file: Section,
    path: &Path,
    limits: &Limits,
    scratch: &Path,
) -> Result<Section, SourceError> {
    let mut magic = Vec::new();
    file.clone()
        .take(4)
        .read_to_end(&mut magic)
        .map_err(|source| SourceError::file(path, source))?;
    match magic.as_slice() {
        // gzip, a frame of zstd or a skippable one, xz.
        [0x1f, 0x8b, ..]
        | [0x28, 0xb5, 0x2f, 0xfd]
        | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
        | [0xfd, b'7', b'z', b'X'] => {
            tracing::info!("decompressing archive `{}`", path.display());
            decompress(file, limits, scratch).map_err(|source| SourceError::Decompress {
                path: path.to_owned(),
                source,
            })
        }
        [b'B', b'Z', b'h', ..] => Err(SourceError::Bzip2 {
            path: path.to_owned(),
        }),
        _ => Ok(file),
    }
}

fn decompress(file: Section, limits: &Limits, scratch: &Path) -> io::Result<Section> {
    let mut plain = Bounded {
        inner: decoder(BufReader::new(file))?,
        left: limits.uncompressed_bytes,
    };
    let mut out: File = tempfile::tempfile_in(scratch)?;
    io::copy(&mut plain, &mut out)?;
    Section::of(out)
}

/// A name without `.`, `..` and duplicate slashes.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
