//! Copies of files with holes (lseek(2), `SEEK_DATA`), which keep them: disks of pods, memory of VMs.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Copies what is in `from` to `to`, which is empty: nothing is copied where their file system lets both have it (`FICLONE`,
/// ioctl_ficlone(2)), and holes never are.
///
/// # Errors
/// The system's.
pub(crate) fn copy(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    // Memory that is sealed against growing has it already.
    if to.metadata()?.len() != length {
        to.set_len(length)?;
    }
    for data in data(from)? {
        let Range { start, end } = data?;
        rustix::fs::seek(to, SeekFrom::Start(start))?;
        let mut offset = start;
        while offset < end {
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX);
            if rustix::fs::sendfile(to, from, Some(&mut offset), most)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(())
}

/// The parts of the file that are no holes, in order.
///
/// # Errors
/// The system's, here and for each.
pub(crate) fn data(file: &File) -> io::Result<impl Iterator<Item = io::Result<Range<u64>>>> {
    let length = file.metadata()?.len();
    let mut at = 0;
    let next = move || -> io::Result<Option<Range<u64>>> {
        if at >= length {
            return Ok(None);
        }
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(None),
            found => found?,
        };
        at = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        Ok(Some(start..at))
    };
    let mut next = Some(next);
    Ok(std::iter::from_fn(move || {
        let found = next.as_mut()?().transpose();
        // Nothing comes after an error.
        if !matches!(found, Some(Ok(_))) {
            next = None;
        }
        found
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let [from, to] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(&[7; 5000], 1 << 20).unwrap();
        from.set_len(4 << 20).unwrap();
        copy(&from, &to).unwrap();
        let read = |file: &File| {
            let mut bytes = vec![0; 4 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!(read(&from), read(&to));
        assert_eq!(to.metadata().unwrap().len(), 4 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 64 << 10);
        let parts: Vec<_> = data(&from).unwrap().map(Result::unwrap).collect();
        assert_eq!((parts.len(), parts[1].start), (2, 1 << 20));
        let empty = tempfile::tempfile().unwrap();
        copy(&empty, &tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(data(&empty).unwrap().count(), 0);
    }
}
