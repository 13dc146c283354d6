//! Templates on disk ([`isopod_plan::vm::template`] says what one is, [`crate::template_maker`] makes one, [`restore`] restores a VM from it).
//!
//! ```text
//! STATE/templates/KEY/            a template; never changed once it has its name
//!   memory                        the VM's memory, sparse
//!   state                         the state of its devices, as QEMU wrote it
//!   template.json                 Description
//!   holder                        who has its memory in memory (memory)
//! STATE/templates/.new-KEY/       one that is being made
//! STATE/templates/locks/KEY       flock(2), held by who makes it
//! STATE/templates/make.log        what the last one said that was made in the background
//! ```
//!
//! A template gets its name in one step, when a VM was restored from it and its agent has answered: whatever ends its maker leaves
//! nothing that counts as one.

pub(crate) mod memory;
pub mod restore;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use isopod_plan::facts::TemplateFacts;
use serde::{Deserialize, Serialize};

use crate::{Settings, private};

/// In the state directory: templates.
pub const TEMPLATES: &str = "templates";

/// The version of [`Description`] that is written and read.
pub(crate) const VERSION: u32 = 1;

pub(crate) const MEMORY: &str = "memory";
pub(crate) const STATE: &str = "state";
pub(crate) const DESCRIPTION: &str = "template.json";
const NEW: &str = ".new-";
const LOCKS: &str = "locks";

/// The templates of a state directory.
#[derive(Clone, Debug)]
pub struct Templates {
    pub(crate) root: PathBuf,
}

/// What is known of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Description {
    /// The version of the format.
    pub version: u32,
    /// The VM's memory, in MiB.
    pub memory_mib: u32,
    pub cpus: u32,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// The key of the guest image that was booted.
    pub guest: String,
    /// The QEMU that saved it ([`identity`]).
    pub qemu: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// How long the state is, in bytes.
    pub state_bytes: u64,
    /// Its CRC-32C.
    pub state_crc: u32,
}

/// A template that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// What is known of it.
    pub description: Description,
    /// What it takes of the disk, in bytes.
    pub disk_bytes: u64,
}

/// A template's files, open: they stay as they are, whoever removes it.
#[derive(Debug)]
pub struct Template {
    dir: PathBuf,
    key: String,
    memory: File,
    state: File,
    state_crc: u32,
}

/// The right to make a template.
#[derive(Debug)]
pub struct MakeLock(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Templates {
    /// Those of a state directory, where there may be none yet.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self {
            root: state_dir.join(TEMPLATES),
        }
    }

    /// All that are whole, by their keys.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self
            .names()
            .into_iter()
            .filter(|name| !name.starts_with(NEW))
            .filter_map(|key| {
                Some(Entry {
                    description: self.description(&key)?,
                    disk_bytes: taken(&self.root.join(&key)),
                    key,
                })
            })
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    /// Opens one; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&self, key: &str) -> io::Result<Option<Template>> {
        let Some(description) = self.description(key) else {
            return Ok(None);
        };
        let template = Template::open(self.root.join(key), key, description.state_crc)?;
        let whole = template.state.metadata()?.len() == description.state_bytes
            && template.memory.metadata()?.len() == u64::from(description.memory_mib) << 20;
        Ok(whole.then_some(template))
    }

    /// Removes one. VMs that were restored from it go on.
    ///
    /// # Errors
    /// It cannot be removed. `NotFound` where there is none.
    pub fn remove(&self, key: &str) -> io::Result<()> {
        // Without its name first: half of it is none.
        let garbage = self.root.join(format!("{NEW}{key}-{}", std::process::id()));
        fs::rename(self.root.join(key), &garbage)?;
        fs::remove_dir_all(garbage)
    }

    /// Removes what killed processes left, and the templates of other guest images than `guests` and of programs that have changed
    /// since. Their keys.
    pub fn sweep(&self, guests: &BTreeSet<String>) -> Vec<String> {
        for name in self.names() {
            let Some(rest) = name.strip_prefix(NEW) else {
                continue;
            };
            let key = rest.split('-').next().unwrap_or(rest);
            if self.try_lock(key).is_ok_and(|lock| lock.is_some()) {
                let _ = fs::remove_dir_all(self.root.join(&name));
            }
        }
        let mut swept = Vec::new();
        for name in self.names().into_iter().filter(|name| !name.starts_with(NEW)) {
            let stale = self
                .description(&name)
                .is_none_or(|found| !guests.contains(&found.guest) || !is_current(&found.qemu));
            if stale && self.remove(&name).is_ok() {
                swept.push(name);
            }
        }
        swept
    }

    /// The right to make the template `key`; `None` where another process has it.
    ///
    /// # Errors
    /// The lock cannot be made.
    pub fn try_lock(&self, key: &str) -> io::Result<Option<MakeLock>> {
        let lock = self.lock_file(key)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(MakeLock(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The same, as soon as no other process has it.
    ///
    /// # Errors
    /// The lock cannot be made.
    pub fn lock(&self, key: &str) -> io::Result<MakeLock> {
        let lock = self.lock_file(key)?;
        lock.lock()?;
        Ok(MakeLock(lock))
    }

    fn lock_file(&self, key: &str) -> io::Result<File> {
        let dir = self.root.join(LOCKS);
        private::dir(&dir)?;
        private::file(&dir.join(key))
    }

    /// Begins one: its directory, empty. The caller has the right to make it.
    pub(crate) fn begin(&self, key: &str) -> io::Result<PathBuf> {
        let dir = self.new_dir(key);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        private::dir(&dir)?;
        // Its processes get its path.
        dir.canonicalize()
    }

    /// Gives it its name.
    pub(crate) fn publish(&self, key: &str) -> io::Result<()> {
        let place = self.root.join(key);
        // One that could not be opened.
        let _ = fs::remove_dir_all(&place);
        fs::rename(self.new_dir(key), place)?;
        File::open(&self.root)?.sync_all()
    }

    pub(crate) fn new_dir(&self, key: &str) -> PathBuf {
        self.root.join(format!("{NEW}{key}"))
    }

    fn description(&self, key: &str) -> Option<Description> {
        let text = fs::read(self.root.join(key).join(DESCRIPTION)).ok()?;
        let description: Description = serde_json::from_slice(&text).ok()?;
        (description.version == VERSION).then_some(description)
    }

    /// The directories in it but that of the locks.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != LOCKS)
            .collect()
    }
}

impl Template {
    pub(crate) fn open(dir: PathBuf, key: &str, state_crc: u32) -> io::Result<Self> {
        Ok(Self {
            memory: File::open(dir.join(MEMORY))?,
            state: File::open(dir.join(STATE))?,
            key: key.to_owned(),
            dir,
            state_crc,
        })
    }
}

/// What planning needs to know of templates.
#[must_use]
pub fn facts(settings: &Settings, qemu: &Path) -> TemplateFacts {
    let templates = Templates::of(&settings.state_dir);
    let names = templates.names().into_iter();
    TemplateFacts {
        otherwise: settings.start,
        qemu: identity(qemu).unwrap_or_default(),
        cpu: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        there: names.filter(|key| templates.description(key).is_some()).collect(),
    }
}

/// What distinguishes a program from any other that is or was at its path: `PATH:LENGTH:TIME:INODE`.
pub(crate) fn identity(program: &Path) -> io::Result<String> {
    let found = fs::metadata(program)?;
    Ok(format!(
        "{}:{}:{}.{:09}:{}",
        program.display(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ino()
    ))
}

/// Whether the program of that identity is as it was.
fn is_current(qemu: &str) -> bool {
    let path = qemu.rsplitn(4, ':').nth(3);
    path.is_some_and(|path| identity(Path::new(path)).is_ok_and(|found| found == qemu))
}

/// What a processor can do and which it is, of proc_cpuinfo(5): what a guest may have found out at its boot.
fn processor(cpuinfo: &str) -> String {
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let lines = first.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().trim_end();
        [
            "vendor_id",
            "model name",
            "model",
            "stepping",
            "microcode",
            "flags",
        ]
        .contains(&name)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How many bytes of the disk a directory's files take.
fn taken(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    // stat(2): blocks of 512 bytes.
    let blocks = entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks()));
    blocks.sum::<u64>() * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(guest: &str, qemu: &str) -> Description {
        Description {
            version: VERSION,
            memory_mib: 1,
            cpus: 1,
            accel: "tcg".into(),
            guest: guest.into(),
            qemu: qemu.into(),
            created_ms: 0,
            state_bytes: 3,
            state_crc: crc32c::crc32c(b"abc"),
        }
    }

    /// Writes one that is being made, without the name that it gets last.
    fn write(templates: &Templates, key: &str, description: &Description) {
        let dir = templates.begin(key).unwrap();
        File::create(dir.join(MEMORY)).unwrap().set_len(1 << 20).unwrap();
        fs::write(dir.join(STATE), "abc").unwrap();
        let text = serde_json::to_vec(description).unwrap();
        fs::write(dir.join(DESCRIPTION), text).unwrap();
    }

    fn keys(templates: &Templates) -> Vec<String> {
        templates.list().into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn a_template_is_there_when_it_has_its_name_and_is_whole() {
        let state = tempfile::tempdir().unwrap();
        let templates = Templates::of(state.path());
        assert!(templates.list().is_empty() && templates.open("k").unwrap().is_none());
        let program = state.path().join("qemu");
        fs::write(&program, "1").unwrap();
        let qemu = identity(&program).unwrap();
        write(&templates, "k", &description("g", &qemu));
        assert!(keys(&templates).is_empty(), "it is being made");
        templates.publish("k").unwrap();
        assert_eq!(keys(&templates), ["k"]);
        assert!(templates.open("k").unwrap().is_some());
        fs::write(state.path().join("templates/k/state"), "ab").unwrap();
        assert!(templates.open("k").unwrap().is_none(), "half a state is none");
        templates.remove("k").unwrap();
        assert!(keys(&templates).is_empty());
        assert_eq!(templates.remove("k").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_stale_or_left_is_swept_and_what_is_being_made_is_not() {
        let state = tempfile::tempdir().unwrap();
        let templates = Templates::of(state.path());
        let program = state.path().join("a:b");
        fs::write(&program, "1").unwrap();
        let qemu = identity(&program).unwrap();
        for (key, guest) in [("current", "g"), ("other-guest", "old")] {
            write(&templates, key, &description(guest, &qemu));
            templates.publish(key).unwrap();
        }
        write(
            &templates,
            "another",
            &description("g", &qemu.replace(":1:", ":2:")),
        );
        templates.publish("another").unwrap();
        write(&templates, "making", &description("g", &qemu));
        write(&templates, "left", &description("g", &qemu));
        let lock = templates.lock("making").unwrap();
        assert!(templates.try_lock("making").unwrap().is_none());
        let mut swept = templates.sweep(&["g".to_owned()].into());
        swept.sort();
        assert_eq!(swept, ["another", "other-guest"]);
        assert_eq!(keys(&templates), ["current"]);
        assert!(templates.new_dir("making").exists() && !templates.new_dir("left").exists());
        drop(lock);
        assert!(templates.try_lock("making").unwrap().is_some());
        fs::write(&program, "22").unwrap();
        assert_eq!(templates.sweep(&["g".to_owned()].into()), ["current"]);
        assert!(!templates.new_dir("making").exists());
    }

    #[test]
    fn a_processor_is_what_its_first_cpu_says_but_for_what_changes() {
        let cpuinfo = "processor\t: 0\nmodel name\t: X\ncpu MHz\t\t: 1.5\nflags\t\t: a b\n\nprocessor\t: 1\nmodel name\t: Y\n";
        assert_eq!(processor(cpuinfo), "model name\t: X\nflags\t\t: a b");
        let now = fs::read_to_string("/proc/cpuinfo").unwrap();
        assert!(processor(&now).contains("model name"));
    }
}
