//! The shared libraries that programs need, found as the dynamic linker in the guest will find them.
//!
//! The guest has neither /etc/ld.so.cache nor LD_LIBRARY_PATH, so only a library's RUNPATH and the linker's own
//! directories count, and nothing of the host's environment does (which is why this is not `ldd`). Libraries that a program
//! opens while it runs are known only where it says so, in the ELF note that
//! <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/> defines; of those, only [`DLOPENED`] are taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use isopod_spec::Architecture;
use object::LittleEndian;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};

use crate::inputs::{Inputs, ReadError};

/// Where the dynamic linkers of Debian (multiarch) and of Fedora, SUSE and Arch look by themselves.
fn linker_dirs(architecture: Architecture) -> [&'static str; 6] {
    let [first, second] = match architecture {
        Architecture::Amd64 => ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"],
        Architecture::Arm64 => ["usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu"],
    };
    [first, second, "usr/lib64", "lib64", "usr/lib", "lib"]
}

/// The architecture that an ELF file of 64 bits is for; `None` for others, and for what is none.
pub(crate) fn architecture(file: &[u8]) -> Option<Architecture> {
    let header = FileHeader64::<LittleEndian>::parse(file).ok()?;
    let machine = header.e_machine(header.endian().ok()?);
    let mut all = Architecture::ALL.into_iter();
    all.find(|one| one.elf_machine() == machine.0)
}

/// What is taken of the libraries that a program may open while it runs, if its note names it. Newer systemd opens most of
/// its libraries that way; the guest uses none of the features behind the others (TPM, LUKS, PAM, kmod, BPF, ...).
const DLOPENED: &[&str] = &[
    // Mount units.
    "libmount.so.1",
    // What libmount reads a device's file system type with.
    "libblkid.so.1",
    // SystemCallFilter= and its kin.
    "libseccomp.so.2",
];

/// `.note.dlopen`'s type.
const DLOPEN_NOTE: u32 = 0x407c_0c0a;

/// Why a program's libraries could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// A file is missing or may not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A program or library that is no ELF file.
    #[error("`{}` is not a 64-bit ELF file", .path.display())]
    Parse {
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: object::read::Error,
    },
    /// A program or library for another processor.
    #[error("`{}` is not a program or library for {wanted}", .path.display())]
    Foreign {
        path: PathBuf,
        /// The processor that the guest is for.
        wanted: Architecture,
    },
    /// No directory that the guest's linker looks into has a library.
    #[error("`{}` needs the library `{library}`, which is not in the linker's own directories", .path.display())]
    Library {
        /// What needs it.
        path: PathBuf,
        /// The library's name.
        library: String,
    },
}

impl ElfError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            _ => None,
        }
    }
}

/// What the dynamic linker reads in an ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dynamic {
    pub(crate) interpreter: Option<String>,
    pub(crate) needed: Vec<String>,
    run_path: Vec<String>,
    dlopened: Vec<String>,
}

/// Reads an ELF file's dynamic section.
pub(crate) fn dynamic(architecture: Architecture, path: &Path, file: &[u8]) -> Result<Dynamic, ElfError> {
    let parse = |source| ElfError::Parse {
        path: path.to_owned(),
        source,
    };
    let header = FileHeader64::<LittleEndian>::parse(file).map_err(parse)?;
    let endian = header.endian().map_err(parse)?;
    if header.e_machine(endian).0 != architecture.elf_machine() {
        return Err(ElfError::Foreign {
            path: path.to_owned(),
            wanted: architecture,
        });
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Dynamic::default();
    for segment in header.program_headers(endian, file).map_err(parse)? {
        if let Some(interpreter) = segment.interpreter(endian, file).map_err(parse)? {
            found.interpreter = Some(text(interpreter));
        }
    }
    let sections = header.sections(endian, file).map_err(parse)?;
    if let Some((entries, strings)) = sections.dynamic(endian, file).map_err(parse)? {
        let strings = sections.strings(endian, file, strings).map_err(parse)?;
        for entry in entries {
            let list = match entry.tag(endian) {
                DT_NEEDED => &mut found.needed,
                DT_RPATH | DT_RUNPATH => &mut found.run_path,
                _ => continue,
            };
            list.push(text(entry.string(endian, strings).map_err(parse)?));
        }
    }
    for section in sections.iter() {
        let Some(mut notes) = section.notes(endian, file).map_err(parse)? else {
            continue;
        };
        while let Some(note) = notes.next().map_err(parse)? {
            if note.name() == b"FDO" && note.n_type(endian).0 == DLOPEN_NOTE {
                found.dlopened.extend(dlopen_names(note.desc()));
            }
        }
    }
    Ok(found)
}

/// The libraries that a note offers: of each feature the alternatives, best first. The note is a JSON list.
fn dlopen_names(note: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Feature {
        #[serde(default)]
        soname: Vec<String>,
    }
    let end = note
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let features: Vec<Feature> = serde_json::from_slice(&note[..end]).unwrap_or_default();
    features.into_iter().flat_map(|feature| feature.soname).collect()
}

/// A program or library, as it will be in the guest.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) content: Vec<u8>,
    pub(crate) needed: Vec<String>,
}

/// Programs and all that they need, by path in the guest (without the leading slash).
pub(crate) fn closure(
    architecture: Architecture,
    root: &Path,
    programs: &[PathBuf],
    inputs: &mut Inputs,
) -> Result<BTreeMap<String, Object>, ElfError> {
    let mut objects = BTreeMap::new();
    for program in programs {
        load((architecture, root), program, &mut objects, inputs)?;
    }
    Ok(objects)
}

/// Loads a program as the dynamic linker does: breadth first, and each library once by its name, so that a library
/// without a RUNPATH can lean on what the program has found.
fn load(
    (architecture, root): (Architecture, &Path),
    program: &Path,
    objects: &mut BTreeMap<String, Object>,
    inputs: &mut Inputs,
) -> Result<(), ElfError> {
    let mut queue = VecDeque::from([program.to_owned()]);
    let mut names = BTreeSet::new();
    while let Some(path) = queue.pop_front() {
        let content = inputs.read(&path)?;
        let dynamic = dynamic(architecture, &path, &content)?;
        if let Some(interpreter) = &dynamic.interpreter {
            // It may be needed by its name too, and is in memory already.
            names.extend(interpreter.rsplit('/').next().map(str::to_owned));
            queue.push_back(root.join(interpreter.trim_start_matches('/')));
        }
        let offered = dynamic
            .dlopened
            .iter()
            .filter(|name| DLOPENED.contains(&name.as_str()));
        for (library, required) in dynamic
            .needed
            .iter()
            .map(|name| (name, true))
            .chain(offered.map(|name| (name, false)))
        {
            if names.contains(library) {
                continue;
            }
            match find_library((architecture, root), &path, &dynamic.run_path, library) {
                Some(found) => queue.push_back(found),
                None if required => {
                    return Err(ElfError::Library {
                        path,
                        library: library.clone(),
                    });
                }
                None => continue,
            }
            names.insert(library.clone());
        }
        objects.insert(
            guest_path(root, &path),
            Object {
                content,
                needed: dynamic.needed,
            },
        );
    }
    Ok(())
}

fn find_library(
    (architecture, root): (Architecture, &Path),
    user: &Path,
    run_path: &[String],
    library: &str,
) -> Option<PathBuf> {
    let origin = user.parent()?.to_str()?;
    let own = run_path.iter().flat_map(|paths| paths.split(':')).map(|dir| {
        match dir
            .strip_prefix("$ORIGIN")
            .or_else(|| dir.strip_prefix("${ORIGIN}"))
        {
            Some(rest) => PathBuf::from(format!("{origin}{rest}")),
            None => root.join(dir.trim_start_matches('/')),
        }
    });
    let dirs = linker_dirs(architecture);
    own.chain(dirs.iter().map(|dir| root.join(dir)))
        .map(|dir| dir.join(library))
        .find(|path| path.is_file())
}

/// Where a file of the host is in the guest, whose /bin, /sbin, /lib and /lib64 are links into /usr.
pub(crate) fn guest_path(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
    let path = path.trim_start_matches('/');
    match path.split('/').next() {
        Some("bin" | "sbin" | "lib" | "lib64") => format!("usr/{path}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_is_always_merged() {
        let guest = |path| guest_path(Path::new("/"), Path::new(path));
        assert_eq!(
            guest("/lib/x86_64-linux-gnu/libc.so.6"),
            "usr/lib/x86_64-linux-gnu/libc.so.6"
        );
        assert_eq!(
            guest("/lib64/ld-linux-x86-64.so.2"),
            "usr/lib64/ld-linux-x86-64.so.2"
        );
        assert_eq!(guest("/usr/bin/mount"), "usr/bin/mount");
        assert_eq!(guest("/library"), "library");
        assert_eq!(
            guest_path(Path::new("/tree"), Path::new("/tree/bin/mount")),
            "usr/bin/mount"
        );
    }

    #[test]
    fn a_dlopen_note_lists_its_libraries() {
        let note = br#"[{"soname":["libmount.so.1"],"feature":"mount","priority":"required"},{"soname":["liba.so.2","liba.so.1"]}]"#;
        let padded = [&note[..], &[0, 0]].concat();
        assert_eq!(dlopen_names(&padded), ["libmount.so.1", "liba.so.2", "liba.so.1"]);
        assert_eq!(dlopen_names(b"nonsense"), [""; 0]);
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_file_is_read_or_refused(damage in proptest::collection::vec((0usize..40_000, proptest::num::u8::ANY), 1..20)) {
            let mut file = std::fs::read("/usr/bin/mount").unwrap();
            for (at, byte) in damage {
                let at = at % file.len();
                file[at] = byte;
            }
            let _ = dynamic(Architecture::HOST, Path::new("mount"), &file);
        }
    }

    #[test]
    fn a_missing_library_is_named_with_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("usr/bin/mount");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.path().join("lib64")).unwrap();
        std::fs::copy("/usr/bin/mount", &program).unwrap();
        std::fs::copy(
            "/lib64/ld-linux-x86-64.so.2",
            dir.path().join("lib64/ld-linux-x86-64.so.2"),
        )
        .unwrap();
        let programs = [program.clone()];
        let all = |architecture| closure(architecture, dir.path(), &programs, &mut Inputs::default());
        let error = all(Architecture::Amd64).unwrap_err();
        assert!(
            matches!(&error, ElfError::Library { path, library } if *path == program && library.starts_with("lib"))
        );
        let foreign = all(Architecture::Arm64);
        assert!(matches!(foreign, Err(ElfError::Foreign { .. })));
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let error = all(Architecture::Amd64).unwrap_err();
        assert!(matches!(error, ElfError::Parse { .. }));
    }
}
