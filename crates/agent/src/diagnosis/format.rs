//! Why the kernel does not execute a file that is there and may be executed: its format, or the interpreter that it names
//! (execve(2), elf(5)). It only reads, within the app's root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::mode_in_root;

/// How much of a file is read: headers and the interpreter's name stand at its beginning.
const HEAD_BYTES: u64 = 64 * 1024;

const ELF: &[u8] = b"\x7fELF";
/// Where a 64-bit ELF file says which machine it is for: class and machine.
const CLASS: usize = 4;
const MACHINE: std::ops::Range<usize> = 18..20;
/// A program header that names an interpreter.
const PT_INTERP: u64 = 3;

/// What is wrong with the file, in words that go on after "cannot execute it:".
pub(super) fn fault(root: &Path, file: &Path) -> String {
    let Some(head) = head(root, file) else {
        return "it cannot be read".to_owned();
    };
    let interpreter = match (head.strip_prefix(b"#!"), head.starts_with(ELF)) {
        (Some(line), _) => of_script(line),
        (None, true) if is_foreign(&head) => return "it is a program for another machine".to_owned(),
        (None, true) => of_elf(&head),
        (None, false) => {
            return "it is no program of this machine, and no script: those begin with `#!`".to_owned();
        }
    };
    let Some(interpreter) = interpreter.filter(|name| !name.is_empty()) else {
        return "the kernel does not take its format".to_owned();
    };
    let path = Path::new(OsStr::from_bytes(interpreter));
    let name = path.to_string_lossy();
    let name = name.escape_debug();
    match mode_in_root(root, path) {
        Err(_) => format!("its interpreter `{name}` does not exist"),
        Ok(_) => format!("its interpreter `{name}` cannot be executed"),
    }
}

fn head(root: &Path, file: &Path) -> Option<Vec<u8>> {
    let directory = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = rustix::fs::open(root, directory, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(&root, file, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let mut head = Vec::new();
    File::from(file).take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The interpreter of a script, from what follows its `#!`.
fn of_script(line: &[u8]) -> Option<&[u8]> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    words.find(|word| !word.is_empty())
}

/// Whether an ELF file is for another machine than this program.
fn is_foreign(head: &[u8]) -> bool {
    let mut own = vec![0; MACHINE.end];
    let read = File::open("/proc/self/exe").and_then(|mut file| file.read_exact(&mut own));
    read.is_ok() && (head.get(CLASS) != own.get(CLASS) || head.get(MACHINE) != own.get(MACHINE))
}

/// The interpreter of a dynamic 64-bit ELF file of this machine's byte order.
fn of_elf(head: &[u8]) -> Option<&[u8]> {
    let (table, size, count) = (number(head, 32, 8)?, number(head, 54, 2)?, number(head, 56, 2)?);
    let header = (0..count)
        .filter_map(|index| table.checked_add(index * size))
        .find(|at| number(head, *at, 4) == Some(PT_INTERP))?;
    let (at, length) = (
        number(head, header.checked_add(8)?, 8)?,
        number(head, header.checked_add(32)?, 8)?,
    );
    let name = head.get(usize::try_from(at).ok()?..)?;
    let name = name.get(..usize::try_from(length).ok()?)?;
    name.split(|byte| *byte == 0).next()
}

/// The little-endian number of so many bytes at `at`.
fn number(head: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = head.get(at..at.checked_add(bytes)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_program_from_execution_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("here"), "").unwrap();
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut foreign = own[..64].to_vec();
        foreign[18] ^= 1;
        let interpreter = String::from_utf8_lossy(of_elf(&own).unwrap()).into_owned();
        assert!(interpreter.contains("ld-"), "{interpreter}");
        for (content, expected) in [
            (
                &b"#!/bin/none -x\n"[..],
                "its interpreter `/bin/none` does not exist",
            ),
            (b"#! \t/here\r\nx", "its interpreter `/here\\r` does not exist"),
            (b"#!/here", "its interpreter `/here` cannot be executed"),
            (b"#!\n", "the kernel does not take its format"),
            (&foreign, "it is a program for another machine"),
            (&own, &format!("its interpreter `{interpreter}` does not exist")),
            (&own[..64], "the kernel does not take its format"),
            (
                b"echo x\n",
                "it is no program of this machine, and no script: those begin with `#!`",
            ),
        ] {
            std::fs::write(dir.path().join("file"), content).unwrap();
            assert_eq!(fault(dir.path(), Path::new("file")), expected);
        }
        assert_eq!(fault(dir.path(), Path::new("none")), "it cannot be read");
    }
}
