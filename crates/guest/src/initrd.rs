//! What the guest's root file system holds, the same for every pod.
//!
//! ```text
//! /init -> /isopod/agent      the kernel's first program: loads modules, then becomes systemd
//! /isopod/agent               the static agent
//! /isopod/modules/            NAME.ko and `order` (see the module `modules`)
//! /isopod/errors/             for the units' `StandardError=file:/isopod/errors/%n`: what mount(8) had to say
//! /isopod/dev/                what an app sees as /dev: nodes, links, and the mount points pts, shm, mqueue
//! /isopod/sys                 where the agent mounts what apps see as /sys
//! /usr/lib/systemd/           systemd, what it runs to end the VM, and their private libraries
//! /usr/bin/                   mount and umount, which systemd runs for every mount unit
//! /usr/lib/..., /usr/lib64/   the libraries of all these
//! /bin /sbin /lib /lib64      links into /usr
//! /etc/systemd/system.conf    how systemd behaves here: quick and quiet
//! /etc/machine-id             fixed, so that systemd neither makes one up nor sees a first boot
//! /usr/lib/systemd/system/    default.target, which starts the agent, and the agent's service
//! /dev /proc /sys /run        where systemd mounts
//! /mnt /opt/stage2 /tmp /var  where what comes to the VM puts things
//! ```
//!
//! Not here, on purpose: other units (the planner writes them, with `DefaultDependencies=no`), udev, journald, D-Bus, a
//! shell, generators, and /etc/initrd-release (which would make systemd believe that a real root follows).

use std::collections::BTreeSet;
use std::path::PathBuf;

use isopod_contract::layout::{self, MODULES_ORDER};

use crate::archive::{Archive, Node};
use crate::build_error::{BuildError, OLDEST_SYSTEMD};
use crate::elf;
use crate::inputs::Inputs;
use crate::modules::{self, Signatures, Tree};
use crate::more_modules;
use crate::sources::Sources;

/// systemd itself.
const SYSTEMD: &str = "usr/lib/systemd/systemd";
/// What the guest runs of the host's programs, and where else it may be on a host whose /usr is not merged.
const PROGRAMS: &[(&str, &str)] = &[(SYSTEMD, "lib/systemd/systemd")];
/// Parts of systemd that not every version or package has.
const OPTIONAL_PROGRAMS: &[(&str, &str)] = &[
    // Starts services, since version 255.
    ("usr/lib/systemd/systemd-executor", "lib/systemd/systemd-executor"),
    // What PID 1 becomes to power off or reboot.
    ("usr/lib/systemd/systemd-shutdown", "lib/systemd/systemd-shutdown"),
];
/// systemd's largest private library, whose name has the version: `libsystemd-shared-252.so`.
const VERSIONED_LIBRARY: &str = "libsystemd-shared-";

/// Directories that are not the parents of anything, with their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("run", 0o755),
    (layout::SHARE_DIR, 0o755),
    (layout::ROOTS, 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("usr/lib64", 0o755),
    ("usr/sbin", 0o755),
    ("var/lib", 0o755),
    ("var/tmp", 0o1777),
    (layout::ERROR_DIR, 0o700),
    (layout::APP_SYS, 0o555),
];

/// Mount points in what an app sees as /dev.
const DEV_DIRECTORIES: &[(&str, u32)] = &[("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

const LINKS: &[(&str, &str)] = &[
    ("init", layout::AGENT),
    // What systemd runs for a mount unit: the agent does it in a third of util-linux's time.
    ("usr/bin/mount", layout::AGENT),
    ("usr/bin/umount", layout::AGENT),
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("var/run", "/run"),
    (
        "usr/lib/systemd/system/default.target.wants/isopod-agent.service",
        "../isopod-agent.service",
    ),
];

/// Links in what an app sees as /dev.
const DEV_LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// Character devices: mode, major, minor. Source: the kernel's Documentation/admin-guide/devices.txt.
const DEVICES: &[(&str, u32, u32, u32)] = &[
    // Until systemd mounts devtmpfs: the kernel opens the console for the first program.
    ("dev/console", 0o600, 5, 1),
    ("dev/null", 0o666, 1, 3),
];

/// Those in what an app sees as /dev.
const DEV_DEVICES: &[(&str, u32, u32, u32)] = &[
    ("null", 0o666, 1, 3),
    ("zero", 0o666, 1, 5),
    ("full", 0o666, 1, 7),
    ("random", 0o666, 1, 8),
    ("urandom", 0o666, 1, 9),
    ("tty", 0o666, 5, 0),
];

const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\n",
    ),
    (
        "etc/os-release",
        "ID=isopod\nNAME=Isopod\nPRETTY_NAME=\"Isopod guest\"\n",
    ),
    // "isopod" in ASCII, and no pod's own: nothing in the guest is identified by it.
    ("etc/machine-id", "69736f706f6400000000000000000001\n"),
    ("etc/systemd/system.conf", SYSTEM_CONF),
    ("usr/lib/systemd/system/default.target", DEFAULT_TARGET),
    ("usr/lib/systemd/system/isopod-agent.service", AGENT_SERVICE),
];

/// systemd isolates its default target, and tries a second way when it may not.
const DEFAULT_TARGET: &str = "\
[Unit]
Description=The VM
DefaultDependencies=no
AllowIsolate=yes
";

const AGENT_SERVICE: &str = "\
[Unit]
Description=Isopod agent
DefaultDependencies=no
# A guest without its agent is lost to the host, which sees the VM end (QEMU's -no-reboot).
FailureAction=reboot-immediate
SuccessAction=reboot-immediate

[Service]
ExecStart=/isopod/agent serve
StandardInput=null
StandardOutput=null
StandardError=null
OOMScoreAdjust=-1000
# What apps' units have: the controllers are there before the pod then, in a template too.
MemoryAccounting=yes
IOAccounting=yes
TasksAccounting=yes
";

/// systemd-system.conf(5).
const SYSTEM_CONF: &str = "\
[Manager]
# There is no journal, and without one systemd turns the outputs `journal` and `kmsg` into /dev/null. A unit that has no
# output of its own complains on the VM's console.
LogTarget=kmsg
LogLevel=warning
LogColor=no
ShowStatus=no
DefaultStandardOutput=null
DefaultStandardError=tty
# If systemd crashes, end the VM (it is started with -no-reboot) instead of standing still.
CrashReboot=yes
CrashShell=no
CtrlAltDelBurstAction=reboot-force
# Nobody reads the accounts, and each controller costs time for every unit.
DefaultCPUAccounting=no
DefaultIOAccounting=no
DefaultIPAccounting=no
DefaultMemoryAccounting=no
DefaultTasksAccounting=no
# The pod has the VM for itself.
DefaultTasksMax=infinity
DefaultTimeoutStartSec=30s
DefaultTimeoutStopSec=10s
# One killed process is the app's business, not the end of the app.
DefaultOOMPolicy=continue
";

/// The image's files, and what is worth knowing about them.
pub(crate) struct Content {
    pub(crate) archive: Archive,
    /// The modules that only some pods get.
    pub(crate) more_modules: Archive,
    pub(crate) modules: BTreeSet<String>,
    pub(crate) systemd_version: u32,
}

/// Collects everything from the host.
pub(crate) fn collect(sources: &Sources, inputs: &mut Inputs) -> Result<Content, BuildError> {
    let mut archive = Archive::default();
    for (path, mode) in DIRECTORIES {
        archive.add(path, Node::Directory, *mode);
    }
    for (path, target) in LINKS {
        archive.add(path, Node::Symlink((*target).to_owned()), 0o777);
    }
    for (path, mode, major, minor) in DEVICES {
        archive.add(path, Node::CharDevice(*major, *minor), *mode);
    }
    for (path, text) in FILES {
        archive.add(path, Node::File(text.as_bytes().to_vec()), 0o644);
    }
    add_dev(&mut archive);
    archive.add(layout::AGENT, Node::File(agent(sources, inputs)?), 0o755);
    let (modules, more_modules) = add_modules(&mut archive, sources, inputs)?;
    let systemd_version = add_programs(&mut archive, sources, inputs)?;
    Ok(Content {
        archive,
        more_modules,
        modules,
        systemd_version,
    })
}

/// What an app sees as /dev.
fn add_dev(archive: &mut Archive) {
    let path = |name: &str| format!("{}/{name}", layout::DEV);
    for (name, mode) in DEV_DIRECTORIES {
        archive.add(&path(name), Node::Directory, *mode);
    }
    for (name, target) in DEV_LINKS {
        archive.add(&path(name), Node::Symlink((*target).to_owned()), 0o777);
    }
    for (name, mode, major, minor) in DEV_DEVICES {
        archive.add(&path(name), Node::CharDevice(*major, *minor), *mode);
    }
}

/// The agent runs before there is anything to link it with.
fn agent(sources: &Sources, inputs: &mut Inputs) -> Result<Vec<u8>, BuildError> {
    let content = inputs.read(&sources.agent)?;
    if elf::dynamic(sources.architecture, &sources.agent, &content)?
        .interpreter
        .is_some()
    {
        return Err(BuildError::AgentNotStatic {
            path: sources.agent.clone(),
        });
    }
    Ok(content)
}

fn add_modules(
    archive: &mut Archive,
    sources: &Sources,
    inputs: &mut Inputs,
) -> Result<(BTreeSet<String>, Archive), BuildError> {
    let tree = Tree::read(&sources.modules_dir, inputs)?;
    let mut set = modules::collect(&tree, signatures(sources, inputs)?, inputs)?;
    let more = more_modules::archive(&tree, &mut set);
    for (name, content) in set.files {
        archive.add(&modules::path(&format!("{name}.ko")), Node::File(content), 0o644);
    }
    archive.add(
        &modules::path(MODULES_ORDER),
        Node::File(set.order.into_bytes()),
        0o644,
    );
    Ok((set.present, more))
}

/// Signatures stay unless the kernel's configuration is known not to insist on them.
fn signatures(sources: &Sources, inputs: &mut Inputs) -> Result<Signatures, BuildError> {
    let beside = sources.modules_dir.join("config");
    let in_boot = sources
        .root
        .join("boot")
        .join(format!("config-{}", sources.release));
    for path in [in_boot, beside] {
        if let Some(config) = inputs.read_optional(&path)? {
            let forced = String::from_utf8_lossy(&config)
                .lines()
                .any(|line| line == "CONFIG_MODULE_SIG_FORCE=y");
            return Ok(if forced {
                Signatures::Keep
            } else {
                Signatures::Strip
            });
        }
    }
    Ok(Signatures::Keep)
}

/// Adds systemd, mount and their libraries; returns systemd's version.
fn add_programs(archive: &mut Archive, sources: &Sources, inputs: &mut Inputs) -> Result<u32, BuildError> {
    let place = |(merged, other): &(&str, &str)| {
        let candidates = [sources.root.join(merged), sources.root.join(other)];
        candidates.into_iter().find(|path| path.is_file())
    };
    let mut programs: Vec<PathBuf> = Vec::new();
    for program in PROGRAMS {
        let missing = || BuildError::ProgramMissing {
            path: sources.root.join(program.0),
        };
        programs.push(place(program).ok_or_else(missing)?);
    }
    let systemd = programs[0].clone();
    programs.extend(OPTIONAL_PROGRAMS.iter().filter_map(place));
    let objects = elf::closure(sources.architecture, &sources.root, &programs, inputs)?;
    let needed = objects
        .get(SYSTEMD)
        .map(|object| object.needed.as_slice())
        .unwrap_or_default();
    let version = systemd_version(needed).ok_or_else(|| BuildError::SystemdVersion {
        path: systemd.clone(),
    })?;
    if version < OLDEST_SYSTEMD {
        return Err(BuildError::SystemdTooOld {
            path: systemd,
            version,
        });
    }
    for (path, object) in objects {
        archive.add(&path, Node::File(object.content), 0o755);
    }
    Ok(version)
}

fn systemd_version(libraries: &[String]) -> Option<u32> {
    let name = libraries
        .iter()
        .find_map(|library| library.strip_prefix(VERSIONED_LIBRARY))?;
    name.split(|character: char| !character.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_a_library_name() {
        let version = |name: &str| systemd_version(&["libc.so.6".to_owned(), name.to_owned()]);
        assert_eq!(version("libsystemd-shared-252.so"), Some(252));
        assert_eq!(version("libsystemd-shared-254.5-2.fc39.so"), Some(254));
        assert_eq!(version("libsystemd.so.0"), None);
        assert_eq!(version("libsystemd-shared-.so"), None);
    }

    /// What the agent and the planner's units look for is where the image has it: the other paths are the same constants.
    #[test]
    fn systemd_is_where_the_agent_looks_for_it() {
        assert_eq!(layout::SYSTEMD.trim_start_matches('/'), SYSTEMD);
    }
}
