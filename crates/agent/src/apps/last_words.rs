//! What an app left to be known of its end, in a file that anybody in the app may write to.
//!
//! The app decides what is there: a file that is not one, or a link, is not read, and no more than the end of a long one.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use isopod_contract::message::MAX_LAST_WORDS_BYTES;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// Reads the end of the file, as much as counts, and empties it for the next life. `None`: nothing is there.
pub(crate) fn take(path: &Path) -> Option<String> {
    let bytes = read(path).ok().filter(|bytes| !bytes.is_empty())?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A named pipe would be waited for.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut file = File::from(openat2(CWD, path, flags, Mode::empty(), resolve)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let most = u64::try_from(MAX_LAST_WORDS_BYTES).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(most)))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(most).read_to_end(&mut bytes)?;
    file.set_len(0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_file_is_taken_once_and_nothing_else_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("words");
        assert_eq!(take(&path), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(take(&path), None);
        std::fs::write(&path, "DONE\n").unwrap();
        assert_eq!((take(&path), take(&path)), (Some("DONE\n".into()), None));
        std::fs::write(&path, format!("begin{}", "x".repeat(MAX_LAST_WORDS_BYTES))).unwrap();
        assert_eq!(take(&path), Some("x".repeat(MAX_LAST_WORDS_BYTES)));
        std::fs::write(&path, "secret").unwrap();
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(take(&link), None);
        assert_eq!(take(path.parent().unwrap()), None);
        let pipe = path.with_file_name("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(take(&pipe), None);
    }
}
