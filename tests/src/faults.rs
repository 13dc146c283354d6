//! Broken guests and programs, without a change of `isopod`: a program of another making in the search path, and files
//! that come to the guest beside its own.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cpio::newc::{Builder, ModeFileType, trailer};

use crate::Bench;

/// QEMU's name.
pub const QEMU: &str = "qemu-system-x86_64";

/// What proc_pid_smaps(5) of a QEMU says of its guest's memory: under QEMU's own name for it, or ours where the VM was restored.
#[must_use]
pub fn guest_memory(smaps: &str) -> Option<&str> {
    let names = ["/memfd:memory-backend", "/memfd:isopod-memory"];
    let found = names.iter().find_map(|name| smaps.split_once(name));
    found.map(|(_, rest)| rest)
}

impl Bench {
    /// Puts a shell script into the search path before the program of that name. `$real` is that program's path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn shadow(&mut self, program: &str, script: &str) {
        self.shadow_bytes(program, format!("{script}\n").as_bytes());
    }

    fn shadow_bytes(&mut self, program: &str, script: &[u8]) {
        // No template is of another QEMU, and a VM that cannot be restored boots, with a word about it.
        self.leave_templates();
        let real = std::env::split_paths(&self.path)
            .map(|dir| dir.join(program))
            .find(|path| path.is_file());
        let real = real.map(|path| path.display().to_string()).unwrap_or_default();
        let dir = self.dir().join("shadow");
        fs::create_dir_all(&dir).expect("a directory for programs");
        let path = dir.join(program);
        let head = format!("#!/bin/sh\nreal='{real}'\n");
        fs::write(&path, [head.as_bytes(), script].concat()).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
        if !self.path.to_string_lossy().starts_with(&*dir.to_string_lossy()) {
            let mut search = OsString::from(dir);
            search.push(":");
            search.push(&self.path);
            self.path = search;
        }
    }

    /// Puts files, with their modes, over those of the guest image of every guest that boots here from now on: QEMU is started by
    /// way of a script that gives the kernel one more archive.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn break_guest(&mut self, files: &[(&str, u32, &[u8])]) {
        // QEMU's root has the program in it and nothing else of ours, and nowhere to write: so the archive comes in the
        // script, and what the guest gets is a file in memory.
        let archive = pack(files).expect("an archive");
        self.shadow_bytes(QEMU, &[BREAK.as_bytes(), &archive].concat());
    }

    /// Puts files, with their modes, over those of the one pod that is starting here: behind what comes to its VM, of which
    /// the last has its way. No mount is made ahead of systemd in such a guest, so that its mount units are what mounts.
    ///
    /// # Panics
    /// When there is no such pod, or its files cannot be written.
    pub fn tamper(&self, files: &[(&str, u32, &[u8])]) {
        self.rewrite(|ahead| " ".repeat(ahead.len()), files);
    }

    /// Makes every mount of an app's volume ahead of systemd fail: its mount point is not there.
    ///
    /// # Panics
    /// As [`Self::tamper`].
    pub fn break_mounts_ahead(&self) {
        self.rewrite(|ahead| ahead.replace("stage2", "stage9"), &[]);
    }

    /// Puts something of the same length in the place of the mounts ahead of systemd, and adds files. The guest reads them when
    /// it has booted.
    fn rewrite(&self, mounts_ahead: impl Fn(&str) -> String, files: &[(&str, u32, &[u8])]) {
        let mut path = None;
        eventually("a pod starts", || {
            let mut dirs = pods(self).into_iter();
            path = dirs.find_map(|dir| {
                Some(dir.join("pod.cpio")).filter(|path| {
                    path.is_file() && path.parent().is_some_and(|dir| dir.join("qemu.lock").exists())
                })
            });
            path.is_some()
        });
        let path = path.expect("its files");
        let mut archive = fs::read(&path).expect("its files");
        let place = |text: &[u8], of: &str| text.windows(of.len()).position(|at| at == of.as_bytes());
        let begin = place(&archive, "\"mountsAhead\": [").expect("mounts ahead") + "\"mountsAhead\": [".len();
        let end = begin + place(&archive[begin..], "]").expect("their end");
        let ahead = String::from_utf8_lossy(&archive[begin..end]).into_owned();
        archive[begin..end].copy_from_slice(mounts_ahead(&ahead).as_bytes());
        archive.extend(pack(files).expect("an archive"));
        let new = path.with_extension("new");
        fs::write(&new, archive)
            .and_then(|()| fs::rename(&new, &path))
            .expect("its files anew");
    }
}

/// What a shell makes of the script: Perl, for memfd_create(2), number 319 on this architecture.
const BREAK: &str = r#"exec perl -x "$0" "$real" "$@"
#!perl
use strict;
my ($real, @args) = @ARGV;
my $fd = syscall(319, my $name = "initrd", 0);
$^F = $fd;
open(my $out, ">&=", $fd) or die "memfd: $!";
my ($at) = grep { $args[$_] eq "-initrd" } 0 .. $#args;
open(my $in, "<", $args[$at + 1]) or die "$args[$at + 1]: $!";
binmode $_ for $out, $in, \*DATA;
$out->autoflush(1);
local $/;
my $image = <$in>;
print {$out} $image, "\0" x (-length($image) % 512), scalar(<DATA>);
$args[$at + 1] = "/proc/self/fd/$fd";
exec $real, @args;
__END__
"#;

fn pack(files: &[(&str, u32, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut inodes = 0x7000_0000..;
    for (path, mode, content) in files {
        let path = Path::new(path.trim_start_matches('/'));
        let parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty())
            .collect();
        for dir in parents.into_iter().rev() {
            let dir = Builder::new(&dir.to_string_lossy())
                .ino(inodes.next().unwrap_or(0))
                .nlink(2)
                .mode(0o755);
            dir.set_mode_file_type(ModeFileType::Directory)
                .write(&mut archive, 0)
                .finish()?;
        }
        let file = Builder::new(&path.to_string_lossy())
            .ino(inodes.next().unwrap_or(0))
            .nlink(1)
            .mode(*mode);
        let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        let mut file = file
            .set_mode_file_type(ModeFileType::Regular)
            .write(&mut archive, size);
        file.write_all(content)?;
        file.finish()?;
    }
    trailer(&mut archive)?;
    Ok(archive)
}

/// Waits until `done` is true, for half a minute.
///
/// # Panics
/// When it does not become true.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The directories of pods in the state of `bench`.
#[must_use]
pub fn pods(bench: &Bench) -> Vec<std::path::PathBuf> {
    crate::leftovers::pods(&bench.state())
}

/// The directories of pods in the state directory `state`.
#[must_use]
pub fn pods_in(state: &Path) -> Vec<std::path::PathBuf> {
    crate::leftovers::pods(state)
}

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: rustix::process::Signal) {
    crate::running::kill(pid, signal);
}

/// A process that is stopped as long as this is there.
pub struct Stopped(i32);

impl Stopped {
    /// Stops it.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        kill(pid, rustix::process::Signal::STOP);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0, rustix::process::Signal::CONT);
    }
}

/// The command line of a process.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).expect("a process");
    let words = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let mut words: Vec<String> = words.collect();
    words.pop();
    words
}
