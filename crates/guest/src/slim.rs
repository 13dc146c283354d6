//! Takes away libraries that programs name and the guest never calls.
//!
//! systemd names two dozen libraries; a third of them serve features that no pod has (journals, PAM, password hashes,
//! firewalls, encrypted credentials). Each one is unpacked into memory and linked at every boot. A program that names
//! such a library is changed in four bytes here and there, and never in its length:
//!
//! * the library's `DT_NEEDED` goes;
//! * where a version of it was asked for, one of a library that stays is (Linux Standard Base, "Symbol Versioning");
//! * symbols that no library defines any more become weak: they are null.
//!
//! A call of such a symbol would end the program; which libraries may go is a matter of [`NEVER_CALLED`], and newer
//! versions of systemd, which open them only when they need them, come to the same. Not here: sections or files that
//! become smaller, and anything about a file without sections, which stays as it is.

use std::collections::{BTreeMap, HashSet};

use object::LittleEndian;
use object::elf::{
    DT_NEEDED, DT_NULL, FileHeader64, SHN_UNDEF, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_VERNEED, STB_GLOBAL,
    STB_WEAK,
};
use object::read::elf::{FileHeader as _, SectionHeader as _};

use crate::elf::Object;

/// Libraries of which systemd, as the first process and as a service's between fork and exec, calls nothing in this guest.
const NEVER_CALLED: &[&str] = &[
    // Access lists of journals and devices.
    "libacl.so.1",
    // Hashes of passwords.
    "libcrypt.so.1",
    "libcrypt.so.2",
    // Encrypted credentials, verity, and the journal's seals.
    "libcrypto.so.3",
    "libcrypto.so.1.1",
    "libgcrypt.so.20",
    // nspawn's and networkd's firewall.
    "libip4tc.so.2",
    // `PAMName=`.
    "libpam.so.0",
    // Compressed journals and core dumps; `libkmod` knows two of them too, for modules.
    "liblz4.so.1",
    "liblzma.so.5",
    "libzstd.so.1",
];

/// Lengths of an `Elf64_Dyn` and an `Elf64_Sym`.
const DYN_BYTES: usize = 16;
const SYM_BYTES: usize = 24;

/// Whether the guest does without that library.
pub(crate) fn is_never_called(library: &str) -> bool {
    NEVER_CALLED.contains(&library)
}

/// Makes programs and libraries do without those that are not among them by intent.
pub(crate) fn leave_out(objects: &mut BTreeMap<String, Object>) {
    let defined: HashSet<Vec<u8>> = objects
        .values()
        .filter_map(|object| symbols(&object.content))
        .flatten()
        .filter(|symbol| symbol.defined)
        .map(|symbol| symbol.name)
        .collect();
    for object in objects.values_mut() {
        if object.needed.iter().any(|library| is_never_called(library))
            && let Some(changed) = without(&object.content, &defined)
        {
            object.content = changed;
            object.needed.retain(|library| !is_never_called(library));
        }
    }
}

/// A dynamic symbol.
struct Symbol {
    name: Vec<u8>,
    defined: bool,
    global: bool,
    /// Where its `st_info` is in the file.
    info_at: usize,
}

/// Where a section is in its file, and the number of the section with its texts.
struct Place {
    at: usize,
    len: usize,
    link: usize,
}

fn place(file: &[u8], kind: object::elf::SectionType) -> Option<Place> {
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let section = sections.iter().find(|section| section.sh_type(endian) == kind)?;
    let (at, len) = section.file_range(endian)?;
    Some(Place {
        at: usize::try_from(at).ok()?,
        len: usize::try_from(len).ok()?,
        link: usize::try_from(section.sh_link(endian)).ok()?,
    })
}

/// The text at `offset` of the string section `section`.
fn text(file: &[u8], section: usize, offset: usize) -> Option<&[u8]> {
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let strings = sections.section(object::SectionIndex(section)).ok()?;
    let strings = strings.data(endian, file).ok()?.get(offset..)?;
    strings.split(|byte| *byte == 0).next()
}

fn symbols(file: &[u8]) -> Option<Vec<Symbol>> {
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let table = place(file, SHT_DYNSYM)?;
    let strings = sections.section(object::SectionIndex(table.link)).ok()?;
    let strings = strings.data(endian, file).ok()?;
    let entries = file.get(table.at..table.at.checked_add(table.len)?)?;
    let symbol = |(i, entry): (usize, &[u8])| {
        let name = usize::try_from(number(entry, 0)?).ok()?;
        Some(Symbol {
            name: strings.get(name..)?.split(|byte| *byte == 0).next()?.to_vec(),
            defined: short(entry, 6)? != SHN_UNDEF.0,
            global: entry.get(4)? >> 4 == STB_GLOBAL.0,
            info_at: table.at + i * SYM_BYTES + 4,
        })
    };
    entries.chunks_exact(SYM_BYTES).enumerate().map(symbol).collect()
}

/// The file, changed; `None` where it is not as the linker makes them.
fn without(file: &[u8], defined: &HashSet<Vec<u8>>) -> Option<Vec<u8>> {
    let mut changed = file.to_vec();
    drop_needed(file, &mut changed)?;
    if let Some(versions) = place(file, SHT_GNU_VERNEED) {
        replace_versions(file, &mut changed, &versions)?;
    }
    for symbol in symbols(file)? {
        if symbol.global && !symbol.defined && !defined.contains(&symbol.name) {
            let info = changed.get_mut(symbol.info_at)?;
            *info = STB_WEAK.0 << 4 | *info & 0xf;
        }
    }
    Some(changed)
}

fn drop_needed(file: &[u8], changed: &mut [u8]) -> Option<()> {
    let dynamic = place(file, SHT_DYNAMIC)?;
    let entries = file.get(dynamic.at..dynamic.at.checked_add(dynamic.len)?)?;
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries.chunks_exact(DYN_BYTES) {
        let (tag, value) = (number(entry, 0)?, usize::try_from(number(entry, 8)?).ok()?);
        if u64::from(tag) == u64::try_from(DT_NEEDED.0).ok()? {
            let name = text(file, dynamic.link, value)?;
            if std::str::from_utf8(name).is_ok_and(is_never_called) {
                continue;
            }
        }
        kept.extend_from_slice(entry);
    }
    // What follows the last entry is `DT_NULL`, which is zeroes.
    debug_assert_eq!(DT_NULL.0, 0);
    kept.resize(entries.len(), 0);
    changed
        .get_mut(dynamic.at..dynamic.at + dynamic.len)?
        .copy_from_slice(&kept);
    Some(())
}

/// Asks of one library that stays, and for one version of its, wherever those of the libraries that go were asked.
fn replace_versions(file: &[u8], changed: &mut [u8], versions: &Place) -> Option<()> {
    let offset = |at: usize| usize::try_from(number(file, at)?).ok();
    let mut needs = Vec::new();
    let mut at = versions.at;
    loop {
        let name = text(file, versions.link, offset(at + 4)?)?;
        let goes = std::str::from_utf8(name).is_ok_and(is_never_called);
        needs.push((at, at.checked_add(offset(at + 8)?)?, goes));
        match offset(at + 12)? {
            0 => break,
            next => at = at.checked_add(next)?,
        }
    }
    // A need's `vn_file`; a version's `vna_hash` and `vna_name`.
    let (stays, version, _) = *needs.iter().find(|(.., goes)| !goes)?;
    let mut copy = |from: usize, to: usize| {
        let bytes = file.get(from..from.checked_add(4)?)?;
        changed.get_mut(to..to.checked_add(4)?)?.copy_from_slice(bytes);
        Some(())
    };
    for (need, mut at, _) in needs.into_iter().filter(|(.., goes)| *goes) {
        copy(stays + 4, need + 4)?;
        for _ in 0..short(file, need + 2)? {
            copy(version, at)?;
            copy(version + 8, at + 8)?;
            at = at.checked_add(offset(at + 12)?)?;
        }
    }
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::elf;
    use crate::inputs::Inputs;

    const SYSTEMD: &str = "/usr/lib/systemd/systemd";

    #[test]
    fn the_linker_takes_systemd_without_what_it_never_calls() {
        if !Path::new(SYSTEMD).is_file() {
            return;
        }
        let objects =
            elf::closure(Path::new("/"), &[PathBuf::from(SYSTEMD)], &mut Inputs::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut libraries = HashSet::new();
        for (path, object) in &objects {
            assert!(
                !object.needed.iter().any(|library| is_never_called(library)),
                "{path}"
            );
            let file = dir.path().join(path);
            let parent = file.parent().unwrap().to_owned();
            std::fs::create_dir_all(&parent).unwrap();
            std::fs::write(&file, &object.content).unwrap();
            libraries.insert(parent.display().to_string());
        }
        let linker = std::fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap();
        let libraries: Vec<_> = libraries.into_iter().collect();
        let systemd = dir.path().join(SYSTEMD.trim_start_matches('/'));
        let run = |options: &[&str], args: &[&str]| {
            let mut command = Command::new(&linker);
            command.arg("--inhibit-cache").args(options);
            command.args(["--library-path", &libraries.join(":")]);
            let done = command.arg(&systemd).args(args).output().unwrap();
            let error = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success() && error.is_empty(), "{error}");
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        assert!(run(&[], &["--version"]).starts_with("systemd "));
        let list = run(&["--list"], &[]);
        assert!(list.contains("libc.so.6"), "{list}");
        assert!(
            NEVER_CALLED.iter().all(|library| !list.contains(library)),
            "{list}"
        );
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_file_is_changed_or_not(damage in proptest::collection::vec((0usize..40_000, proptest::num::u8::ANY), 1..20)) {
            let mut file = std::fs::read("/usr/bin/mount").unwrap();
            for (at, byte) in damage {
                let at = at % file.len();
                file[at] = byte;
            }
            let _ = without(&file, &HashSet::new());
        }
    }
}
