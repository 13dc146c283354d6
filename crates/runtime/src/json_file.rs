//! Files of versioned JSON: written beside and renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the files in a pod's directory that this build writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// Records and statuses are smaller than this.
const MAX_BYTES: u64 = 64 << 20;

/// Whether a file must be there after the host lost its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It must.
    Durable,
    /// The pod would be removed then anyway.
    Fleeting,
}

/// Room that is kept on the disk for the next [`write_reserved`]: twice what was written last, and at least this.
const RESERVE_BYTES: u64 = 4096;

/// Writes `value` as the file `name` of `dir`, as [`write`] does, and takes the room for the next time right away: on a
/// disk that fills up meanwhile, the last word of a pod can still be written.
pub(crate) fn write_reserved<T: Serialize>(
    dir: &Path,
    name: &str,
    value: &T,
    durability: Durability,
) -> io::Result<()> {
    write(dir, name, value, durability)?;
    let length = fs::metadata(dir.join(name))?.len();
    // What cannot be had now may be there when it is needed.
    let _ = open_new(&temporary(dir, name)).and_then(|file| {
        let room = RESERVE_BYTES.max(2 * length);
        Ok(rustix::fs::fallocate(
            file,
            rustix::fs::FallocateFlags::empty(),
            0,
            room,
        )?)
    });
    Ok(())
}

/// Removes what [`write_reserved`] keeps.
pub(crate) fn release(dir: &Path, name: &str) {
    let _ = fs::remove_file(temporary(dir, name));
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.new"))
}

/// A file with what is in it, and its room.
fn open_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Writes `value` as the file `name` of `dir`: whole, or as it was before.
pub(crate) fn write<T: Serialize>(
    dir: &Path,
    name: &str,
    value: &T,
    durability: Durability,
) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = temporary(dir, name);
    let mut file = open_new(&temporary)?;
    file.write_all(&text)?;
    file.set_len(u64::try_from(text.len()).map_err(io::Error::other)?)?;
    if durability == Durability::Durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, dir.join(name))?;
    if durability == Durability::Durable {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Reads the file `name` of `dir`; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    use io::Read as _;
    let file = match File::open(dir.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    let value = serde_json::from_slice(&text)?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests;
