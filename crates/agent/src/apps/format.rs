//! Why a program cannot be executed, found out before it is tried: it is not there or may not be executed, or its format or
//! the interpreter that it names is for another architecture (execve(2), elf(5)). Afterwards a filter of system calls may
//! forbid to look, and the C library would give a file that is no program to a shell. It only reads, within a root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use isopod_contract::exec::{STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use rustix::fs::{Access, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How much of a file is read: headers and the interpreter's name stand at its beginning.
const HEAD_BYTES: u64 = 64 * 1024;

const ELF: &[u8] = b"\x7fELF";
/// Where an ELF file says which machine it is for: class and machine.
const CLASS: usize = 4;
const MACHINE: std::ops::Range<usize> = 18..20;
/// `ELFCLASS32`.
const CLASS_32: u8 = 1;
/// Machines of programs, and of those of 32 bits that the same kernel executes, too: `EM_X86_64` and `EM_386`, `EM_AARCH64` and `EM_ARM`.
const COMPATIBLE: [([u8; 2], [u8; 2]); 2] = [([62, 0], [3, 0]), ([183, 0], [40, 0])];
/// A program header that names an interpreter.
const PT_INTERP: u64 = 3;

/// The path of the program `name`: itself with a slash in it, otherwise the first that this user may execute in the
/// directories of `search`; `None`: there is none.
pub(crate) fn find(name: &str, search: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let executable = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    let dirs = search.split(':').filter(|dir| !dir.is_empty());
    let mut found = dirs.map(|dir| Path::new(dir).join(name)).filter(executable);
    found.next()
}

/// Why `program`, a path below `root`, cannot be executed, in a shell's terms and in words; `None` where nothing stands
/// against it.
pub(crate) fn refusal(root: &Path, program: &Path) -> Option<(u8, String)> {
    let no = |why: &str| Some((STATUS_NOT_EXECUTABLE, why.to_owned()));
    let mode = match mode_in_root(root, program) {
        Ok(mode) => mode,
        Err(Errno::ACCESS | Errno::PERM) => return no("its user may not reach it"),
        Err(_) => return Some((STATUS_NOT_FOUND, "it does not exist".to_owned())),
    };
    if FileType::from_raw_mode(mode) != FileType::RegularFile || mode & 0o111 == 0 {
        return no("it is not executable");
    }
    if root == Path::new("/") && rustix::fs::access(program, Access::EXEC_OK).is_err() {
        return no("its user may not execute it");
    }
    // What may be executed may still be kept from being read, and the kernel does not care.
    fault(root, &head(root, program)?).map(|why| (STATUS_NOT_EXECUTABLE, why))
}

fn mode_in_root(root: &Path, inside: &Path) -> rustix::io::Result<u32> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let file = rustix::fs::openat2(&root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    rustix::fs::fstat(&file).map(|stat| stat.st_mode)
}

/// What is wrong with a file that begins so.
fn fault(root: &Path, head: &[u8]) -> Option<String> {
    let interpreter = match (head.strip_prefix(b"#!"), head.starts_with(ELF)) {
        (Some(line), _) => of_script(line).unwrap_or_default(),
        (None, true) if head.len() < MACHINE.end => {
            return Some("the kernel cannot execute its format".to_owned());
        }
        (None, true) if is_compatible(&own(), head) => return None,
        (None, true) if is_foreign(&own(), head) => {
            return Some("it is a program for another architecture".to_owned());
        }
        // One that is linked statically has none.
        (None, true) => of_elf(head)?,
        (None, false) => {
            return Some(
                "it is neither a program for this architecture nor a script that begins with `#!`".to_owned(),
            );
        }
    };
    if interpreter.is_empty() {
        return Some("the kernel cannot execute its format".to_owned());
    }
    let path = Path::new(OsStr::from_bytes(interpreter));
    let name = path.to_string_lossy();
    let name = name.escape_debug();
    match mode_in_root(root, path) {
        Err(_) => Some(format!("its interpreter `{name}` does not exist")),
        Ok(mode) if mode & 0o111 == 0 => Some(format!("its interpreter `{name}` cannot be executed")),
        Ok(_) => None,
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

/// The beginning of this program's own file; empty where it cannot be read.
fn own() -> Vec<u8> {
    let mut own = vec![0; MACHINE.end];
    let read = File::open("/proc/self/exe").and_then(|mut file| file.read_exact(&mut own));
    read.map(|()| own).unwrap_or_default()
}

/// Whether an ELF file is of 32 bits, for a processor whose programs the kernel of `own` executes.
fn is_compatible(own: &[u8], head: &[u8]) -> bool {
    let of = |file: &[u8]| file.get(MACHINE).map(<[u8]>::to_vec);
    let pair = COMPATIBLE.map(|(wide, narrow)| (Some(wide.to_vec()), Some(narrow.to_vec())));
    head.get(CLASS) == Some(&CLASS_32) && pair.contains(&(of(own), of(head)))
}

/// Whether an ELF file is for another architecture than `own`.
fn is_foreign(own: &[u8], head: &[u8]) -> bool {
    !own.is_empty() && (head.get(CLASS) != own.get(CLASS) || head.get(MACHINE) != own.get(MACHINE))
}

/// The interpreter of a dynamic 64-bit ELF file of this architecture's byte order.
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
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_keeps_a_program_from_execution_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("here", 0o644), ("sh", 0o755)] {
            std::fs::write(dir.path().join(name), "").unwrap();
            std::fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut foreign = own[..64].to_vec();
        foreign[18] ^= 1;
        let mut narrow = own[..64].to_vec();
        (narrow[CLASS], narrow[18], narrow[19]) = (1, if cfg!(target_arch = "x86_64") { 3 } else { 40 }, 0);
        let interpreter = String::from_utf8_lossy(of_elf(&own).unwrap()).into_owned();
        assert!(interpreter.contains("ld-"), "{interpreter}");
        let sh = "the kernel cannot execute its format";
        for (content, expected) in [
            (
                &b"#!/bin/none -x\n"[..],
                Some("its interpreter `/bin/none` does not exist"),
            ),
            (
                b"#! \t/here\r\nx",
                Some("its interpreter `/here\\r` does not exist"),
            ),
            (b"#!/here", Some("its interpreter `/here` cannot be executed")),
            (b"#!\n", Some(sh)),
            (b"#!/sh\n", None),
            (&foreign, Some("it is a program for another architecture")),
            (&narrow, None),
            (
                &own,
                Some(&format!("its interpreter `{interpreter}` does not exist")),
            ),
            (&own[..18], Some(sh)),
            (
                b"echo x\n",
                Some("it is neither a program for this architecture nor a script that begins with `#!`"),
            ),
        ] {
            assert_eq!(fault(dir.path(), content).as_deref(), expected);
        }
    }

    #[test]
    fn an_execution_that_would_fail_has_a_shells_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("bin")).unwrap();
        for (name, mode, text) in [
            ("sh", 0o755, "\x7fELF"),
            ("good", 0o755, "#!/bin/sh"),
            ("empty", 0o755, ""),
            ("plain", 0o644, "#!/bin/sh"),
        ] {
            std::fs::write(root.join("bin").join(name), text).unwrap();
            std::fs::set_permissions(root.join("bin").join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("/bin/good", root.join("bin/link")).unwrap();
        symlink("/bin/none", root.join("bin/dangling")).unwrap();
        for (program, status) in [
            ("/bin/good", None),
            ("/bin/link", None),
            ("/bin/empty", Some(126)),
            ("/bin/plain", Some(126)),
            ("/bin", Some(126)),
            ("/bin/dangling", Some(127)),
            ("/bin/missing", Some(127)),
            ("/missing/x", Some(127)),
        ] {
            let refused = refusal(root, Path::new(program));
            assert_eq!(refused.map(|(status, _)| status), status, "{program}");
        }
    }

    #[test]
    fn a_program_is_found_where_it_may_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("c/tool", 0o755)] {
            let path = dir.path().join(name);
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("a/dir")).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name).display().to_string());
        let search = format!(":{a}:{b}:{c}");
        assert_eq!(find("tool", &search), Some(dir.path().join("b/tool")));
        assert_eq!(find("dir", &search), None);
        assert_eq!(find("./none", &search), Some("./none".into()));
    }
}
