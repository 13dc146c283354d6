//! The floor: the least time in which a VM like the pod's can come up and end.
//!
//! The pod's own QEMU arguments, with no devices and another initrd, whose `/init` is the agent: it restarts the VM
//! at once when the kernel's command line says `isopod.probe`, and QEMU ends at a restart. There are two initrds: one
//! with nothing but the agent, and the guest image, which shows what it costs to unpack.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cpio::newc;

use super::failed;
use crate::command::{self, command};
use crate::failure::Failure;

/// Switches of QEMU, each with a value, that belong to the pod's devices.
const LEFT_OUT: [&str; 6] = ["-name", "-chardev", "-blockdev", "-fsdev", "-netdev", "-device"];

/// Switches of QEMU that `isopod` uses and that take no value.
const WITHOUT_VALUE: [&str; 3] = ["-nodefaults", "-no-user-config", "-no-reboot"];

/// The switch for another firmware than the board's own.
const FIRMWARE: &str = "-bios";

/// The kernel parameter that makes the agent end the VM at once, and what it says before.
const PROBE: &str = "isopod.probe";
const ANSWER: &str = "isopod-probe ok";

/// A VM that ends at once.
pub(super) struct Floor {
    program: OsString,
    args: Vec<OsString>,
    serial: PathBuf,
}

impl Floor {
    /// The floor of the VM that `qemu` starts, the program first, with an initrd that is made of `agent`. The files
    /// go to `dir`, an absolute path.
    pub(super) fn new(qemu: &[OsString], agent: &Path, dir: &Path) -> Result<Self, Failure> {
        let initrd = dir.join("floor.cpio");
        let program = fs::read(agent).map_err(|error| failed("read", agent, error))?;
        let archive = archive(&program).map_err(|error| failed("pack", &initrd, error))?;
        fs::write(&initrd, archive).map_err(|error| failed("write", &initrd, error))?;
        let (program, args) = qemu
            .split_first()
            .ok_or_else(|| Failure::new("QEMU has no command line"))?;
        let serial = dir.join("floor.log");
        let floor = Self {
            program: program.clone(),
            args: floor_args(args, &initrd, &serial),
            serial,
        };
        floor.file("-kernel").map(|_| floor)
    }

    /// The same with the guest image, which is beside the kernel.
    pub(super) fn with_guest_image(&self) -> Result<Self, Failure> {
        let image = self.file("-kernel")?.with_file_name("initrd.cpio");
        let floor = self.with(&[("-initrd", image.into())]);
        floor.file("-initrd").map(|_| floor)
    }

    /// The same as one would write it by hand: without the settings of `isopod` for a faster VM, CPU and kernel.
    pub(super) fn untuned(&self) -> Self {
        let mut untuned = self.with(&[
            ("-machine", "q35,memory-backend=memory".into()),
            ("-accel", "tcg".into()),
            ("-cpu", "max".into()),
            ("-append", format!("console=ttyS0 quiet panic=-1 {PROBE}").into()),
        ]);
        if let Some(at) = untuned.args.iter().position(|arg| arg == FIRMWARE) {
            untuned.args.drain(at..at + 2);
        }
        untuned
    }

    /// The same with other values of some switches.
    fn with(&self, values: &[(&str, OsString)]) -> Self {
        let mut args = self.args.clone();
        for (switch, value) in values {
            if let Some(at) = args.iter().position(|arg| arg == switch) {
                args[at + 1].clone_from(value);
            }
        }
        Self {
            program: self.program.clone(),
            args,
            serial: self.serial.clone(),
        }
    }

    /// The value of a switch, which has to be a file.
    fn file(&self, switch: &str) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(self.value(switch).unwrap_or_default());
        if path.is_file() {
            return Ok(path);
        }
        Err(Failure::new(format!(
            "QEMU's `{switch} {}` is no file",
            path.display()
        )))
    }

    /// QEMU's program.
    pub(super) fn program(&self) -> &OsStr {
        &self.program
    }

    /// The value of a switch, up to the first comma.
    pub(super) fn value(&self, switch: &str) -> Option<String> {
        let at = self.args.iter().position(|arg| arg == switch)?;
        let value = self.args.get(at + 1)?.to_string_lossy().into_owned();
        Some(value.split(',').next().unwrap_or_default().to_owned())
    }

    pub(super) fn command(&self) -> Command {
        command(&self.program, &self.args)
    }

    /// Runs it once, and makes sure that the guest's first process ran.
    pub(super) fn run(&self) -> Result<Duration, Failure> {
        let mut command = self.command();
        let _ = fs::remove_file(&self.serial);
        let started = Instant::now();
        let status = command
            .stdin(Stdio::null())
            .status()
            .map_err(|error| command::not_started(&command, error))?;
        let wall = started.elapsed();
        let console = fs::read(&self.serial).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        if status.success() && console.contains(ANSWER) {
            return Ok(wall);
        }
        let last = console.lines().next_back().unwrap_or("nothing").to_owned();
        Err(Failure::new(format!(
            "the floor's guest did not run: {status}, and its console's last line is `{last}`"
        )))
    }
}

/// The pod's arguments, changed.
fn floor_args(args: &[OsString], initrd: &Path, serial: &Path) -> Vec<OsString> {
    let mut floor = Vec::new();
    let mut args = args.iter();
    while let Some(switch) = args.next() {
        if WITHOUT_VALUE.iter().any(|name| switch == name) {
            floor.push(switch.clone());
            continue;
        }
        let value = args.next().cloned().unwrap_or_default();
        let value = match switch.to_str() {
            Some(name) if LEFT_OUT.contains(&name) => continue,
            Some("-initrd") => initrd.into(),
            // QEMU's only escape in option lists: a comma is doubled.
            Some("-serial") => format!("file:{}", serial.display().to_string().replace(',', ",,")).into(),
            Some("-append") => [value.as_os_str(), OsStr::new(" "), OsStr::new(PROBE)]
                .into_iter()
                .collect(),
            _ => value,
        };
        floor.extend([switch.clone(), value]);
    }
    floor
}

/// An initrd with the agent as `/init`, the console that the kernel opens for it, and the directory that it mounts on.
fn archive(agent: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    let entries: [(&str, u32, &[u8]); 4] = [
        ("dev", 0o040_755, &[]),
        ("dev/console", 0o020_600, &[]),
        ("proc", 0o040_555, &[]),
        ("init", 0o100_755, agent),
    ];
    for (inode, (name, mode, content)) in (1..).zip(entries) {
        let mut entry = newc::Builder::new(name).ino(inode).mode(mode);
        if name == "dev/console" {
            entry = entry.rdev_major(5).rdev_minor(1);
        }
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut writer = entry.write(&mut archive, size);
        writer.write_all(content)?;
        writer.finish()?;
    }
    newc::trailer(&mut archive)?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_and_the_machine_stays() {
        let pod = "-name isopod -machine q35 -accel tcg -m 512 -object memory-backend-memfd,id=memory -kernel /k \
                   -initrd initrd -append quiet -serial file:console.log -chardev socket,id=agent -netdev user,id=net \
                   -blockdev driver=raw -device virtio-serial-pci -nodefaults -no-user-config -no-reboot -display none";
        let pod: Vec<OsString> = pod.split_whitespace().map(OsString::from).collect();
        let floor = floor_args(&pod, Path::new("/b/floor.cpio"), Path::new("/b/floor.log"));
        let floor: Vec<&str> = floor.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(
            floor,
            [
                "-machine",
                "q35",
                "-accel",
                "tcg",
                "-m",
                "512",
                "-object",
                "memory-backend-memfd,id=memory",
                "-kernel",
                "/k",
                "-initrd",
                "/b/floor.cpio",
                "-append",
                "quiet isopod.probe",
                "-serial",
                "file:/b/floor.log",
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "none"
            ]
        );
    }

    #[test]
    fn cpio_reads_the_initrd() {
        if !command::exists("cpio") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("floor.cpio");
        fs::write(&file, archive(b"agent").unwrap()).unwrap();
        let list = command("cpio", ["-tv"])
            .stdin(fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let kinds: Vec<&str> = list.lines().map(|line| &line[..10]).collect();
        assert_eq!(kinds, ["drwxr-xr-x", "crw-------", "dr-xr-xr-x", "-rwxr-xr-x"]);
        assert!(list.contains("5,   1"), "{list}");
    }
}
