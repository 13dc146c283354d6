//! The memory of a VM that is restored: a copy of the template's memory, in a file that is in memory only (memfd_create(2)).
//!
//! ```text
//! Mapping::Shared     a copy of its own, mapped shared: virtiofsd maps it too, or the host gets back what the VM frees
//! Mapping::Private    one copy for all VMs of the template that run: each maps it privately, so that what a VM writes is its own
//! ```
//!
//! QEMU before 8.2 opens its memory's file for writing whatever it does with it. A guest that has broken out of its VM must not reach
//! that of others, or of those that will be restored: the common copy is therefore *sealed* (`F_SEAL_WRITE`), which only such a file can
//! be, and the file on disk is not given to any process of a VM.
//!
//! A sealed copy lives as long as somebody has it. Who made it, or took it over, writes into the template's directory where it is to be found
//! ([`Holder`]); the next one relies on what the kernel reports about that descriptor, not on the file.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, memfd_create};

use serde::{Deserialize, Serialize};

use super::Template;
use crate::process::Process;
use crate::sparse;

/// The common copy's name, before the key.
const NAME: &str = "isopod-template-";

const HOLDER: &str = "holder";

/// All that keeps a file as it is.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

/// An empty memory of so many bytes.
pub(crate) fn empty(bytes: u64) -> io::Result<File> {
    let memory = File::from(memfd_create("isopod-memory", MemfdFlags::CLOEXEC)?);
    memory.set_len(bytes)?;
    Ok(memory)
}

/// The size of a page of the guest, in bytes.
const PAGE: usize = 4096;

/// What Linux fills memory with when it frees what only its start needed (`POISON_FREE_INITMEM`): above all the archive that the guest image was
/// unpacked from. A page in use with nothing else in it is padding between parts of code, which no processor gets to.
const FREED: u8 = 0xcc;

/// Copies what is in `from` to `to`, which is empty, as [`sparse::copy`] does, but without the pages that hold nothing: those of
/// zeros, and those that the guest's kernel filled when it freed them, which become zeros.
pub(crate) fn copy_in_use(from: &File, to: &File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut buffer = vec![0; 256 * PAGE];
    for data in sparse::data(from)? {
        let data = data?;
        for at in data.clone().step_by(buffer.len()) {
            let most = usize::try_from(data.end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
            from.read_exact_at(&mut buffer[..most], at)?;
            for (i, page) in buffer[..most].chunks(PAGE).enumerate() {
                let is_filled = page[1..] == page[..page.len() - 1] && [0, FREED].contains(&page[0]);
                if !is_filled {
                    to.write_all_at(page, at + (i * PAGE) as u64)?;
                }
            }
        }
    }
    Ok(())
}

/// The common copy of the template: that of a VM that runs, or a new one.
pub(super) fn common(template: &Template) -> io::Result<OwnedFd> {
    // Of several that begin at once, one makes it.
    let dir = File::open(&template.dir)?;
    dir.lock()?;
    let found = held(template);
    let memory = match found {
        Some(memory) => memory,
        None => {
            let name = format!("{NAME}{}", template.key);
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let memory = File::from(memfd_create(name, flags)?);
            memory.set_len(template.memory.metadata()?.len())?;
            sparse::copy(&template.memory, &memory)?;
            rustix::fs::fcntl_add_seals(&memory, SEALS)?;
            memory
        }
    };
    // Where it cannot be written the next VM makes a copy, and no harm is done.
    if let Err(error) = write_holder(template, &memory) {
        tracing::debug!("cannot write who has the memory of a template: {error}");
    }
    Ok(memory.into())
}

/// Where the common copy is to be found.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    process: Process,
    descriptor: i32,
}

fn write_holder(template: &Template, memory: &File) -> io::Result<()> {
    let holder = Holder {
        process: Process::current().ok_or(io::ErrorKind::NotFound)?,
        descriptor: memory.as_raw_fd(),
    };
    fs::write(template.dir.join(HOLDER), serde_json::to_vec(&holder)?)
}

/// The common copy of a VM that runs, where it is one.
fn held(template: &Template) -> Option<File> {
    let text = fs::read(template.dir.join(HOLDER)).ok()?;
    let Holder { process, descriptor } = serde_json::from_slice(&text).ok()?;
    if !process.is_alive() {
        return None;
    }
    let place = PathBuf::from(format!("/proc/{}/fd/{descriptor}", process.pid));
    // Not opened before it is known to be what it should be: to open a pipe or a device does something.
    let name = PathBuf::from(format!("/memfd:{NAME}{} (deleted)", template.key));
    if fs::read_link(&place).ok()? != name {
        return None;
    }
    let memory = File::open(&place).ok()?;
    is_common(&memory, template).then_some(memory)
}

/// Whether nobody can have changed it since one of this user's processes sealed it.
fn is_common(memory: &File, template: &Template) -> bool {
    let sealed = rustix::fs::fcntl_get_seals(memory).is_ok_and(|seals| seals.contains(SEALS));
    let wanted = template.memory.metadata().map(|of| of.len()).ok();
    let own = rustix::process::geteuid().as_raw();
    let as_it_should = memory
        .metadata()
        .is_ok_and(|found| found.uid() == own && Some(found.len()) == wanted);
    sealed && as_it_should
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    const LENGTH: u64 = 4 * PAGE as u64;

    /// A template of four pages: text, zeros, what only the start needed, a hole.
    fn template(dir: &std::path::Path) -> Template {
        let memory = File::create(dir.join(super::super::MEMORY)).unwrap();
        for (i, byte) in [7, 0, FREED].into_iter().enumerate() {
            memory.write_all_at(&[byte; PAGE], (i * PAGE) as u64).unwrap();
        }
        memory.set_len(LENGTH).unwrap();
        fs::write(dir.join(super::super::STATE), "").unwrap();
        Template::open(dir.to_owned(), "k", 0).unwrap()
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_takes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let template = template(dir.path());
        let own = empty(LENGTH).unwrap();
        sparse::copy(&template.memory, &own).unwrap();
        assert_eq!(bytes(&own), bytes(&template.memory));
        assert!(own.metadata().unwrap().blocks() * 512 <= 3 * PAGE as u64);
        own.write_all_at(&[1], 0).unwrap();
        assert_eq!(bytes(&template.memory)[0], 7, "it is its own");
        let smaller = tempfile::tempfile_in(dir.path()).unwrap();
        copy_in_use(&template.memory, &smaller).unwrap();
        assert_eq!(bytes(&smaller), [vec![7; PAGE], vec![0; 3 * PAGE]].concat());
        assert_eq!(smaller.metadata().unwrap().blocks() * 512, PAGE as u64);
    }

    #[test]
    fn the_common_copy_is_one_that_nobody_can_change() {
        let dir = tempfile::tempdir().unwrap();
        let template = template(dir.path());
        let [first, second] = [(); 2].map(|()| File::from(common(&template).unwrap()));
        let inode = |file: &File| file.metadata().unwrap().ino();
        assert_eq!(inode(&first), inode(&second));
        assert_eq!(bytes(&first), bytes(&template.memory));
        // As QEMU opens it.
        let path = format!("/proc/self/fd/{}", first.as_raw_fd());
        let writable = File::options().read(true).write(true).open(path).unwrap();
        assert!(writable.write_all_at(&[1], 0).is_err() && writable.set_len(0).is_err());
        drop((first, second, writable));
        let third = File::from(common(&template).unwrap());
        assert_eq!(
            bytes(&third),
            bytes(&template.memory),
            "a new one, where nobody has it any more"
        );
    }

    /// Whatever the file says: another file, one that is not sealed, one of another length, another process's.
    #[test]
    fn what_is_not_the_common_copy_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let template = template(dir.path());
        let say = |descriptor: i32| {
            let process = Process::current().unwrap();
            let holder = serde_json::to_vec(&Holder { process, descriptor }).unwrap();
            fs::write(dir.path().join(HOLDER), holder).unwrap();
            held(&template).is_some()
        };
        let named = |flags, length| {
            let file = File::from(memfd_create(format!("{NAME}k"), flags | MemfdFlags::CLOEXEC).unwrap());
            file.set_len(length).unwrap();
            file
        };
        let length = LENGTH;
        assert!(!say(template.memory.as_fd().as_raw_fd()));
        assert!(
            !say(named(MemfdFlags::ALLOW_SEALING, length).as_raw_fd()),
            "not sealed"
        );
        let shorter = named(MemfdFlags::ALLOW_SEALING, length - 1);
        rustix::fs::fcntl_add_seals(&shorter, SEALS).unwrap();
        assert!(!say(shorter.as_raw_fd()), "of another length");
        let right = named(MemfdFlags::ALLOW_SEALING, length);
        rustix::fs::fcntl_add_seals(&right, SEALS).unwrap();
        assert!(say(right.as_raw_fd()));
        fs::write(dir.path().join(HOLDER), "1 2").unwrap();
        assert!(held(&template).is_none());
    }
}
