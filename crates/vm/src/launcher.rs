//! The launcher: a short-lived process that every process of a pod's VM begins as.
//!
//! ```text
//! isopod ── spawns ──> isopod LAUNCHER ... -- PROGRAM ARGS
//!                        1. dies with the supervisor from here on (PR_SET_PDEATHSIG)
//!                        2. enters namespaces of its own: mounts, processes, IPC, the network where it needs no other (and a
//!                           user namespace when not root); what follows, a child does ([`child`])
//!                        3. gives to the apps' users what is to be theirs, and binds the volumes below one directory, read-only where they are
//!                        4. gets a root of its own, with nothing in it but its files ([`root`])
//!                        5. gives up what privileges its program does not need, its user too ([`privileges`])
//!                        6. becomes PROGRAM
//! ```
//!
//! The mounts live in the namespace of the process that serves them, so they end with it, however it ends: nothing is
//! ever left to be unmounted. It is a program of its own because entering a user namespace needs a process with one
//! thread, and because an error can be reported in words (on standard error, exit status [`FAILED`]).
//!
//! Volumes are bound from the paths that were found when facts were gathered. No link is followed on the way any more, wherever
//! in the path, and what is there must be the very file or directory that was looked at (device and inode): a path that leads
//! elsewhere by now is refused.

pub mod change;
mod child;
mod giving;
mod privileges;
pub mod root;
pub(crate) mod sys;
mod user_map;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use isopod_plan::facts::{FileId, Owner, SourceKind};
use isopod_plan::vm::confinement::Isolation;
use isopod_plan::vm::qemu::Access;
use isopod_plan::vm::sharing::SharedVolume;
use isopod_plan::vm::user_maps::UserMaps;
use isopod_spec::{Propagation, Submounts, VolumeName};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::command::command;
use child::{Forked, Parent};
use root::{Proc, Root};

/// The first argument that makes `isopod` a launcher.
pub const LAUNCHER: &str = "internal-launcher";

/// The exit status of a launcher that could not become its program.
pub const FAILED: u8 = 124;

/// What a launcher does before it becomes a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// The process that it dies with: its parent.
    pub parent: u32,
    /// The directory below which volumes are bound, and the volumes.
    pub share: Option<(PathBuf, Vec<SharedVolume>)>,
    /// The root that it gets; none leaves it the host's.
    pub root: Option<Root>,
    /// Who the caller is in the user namespace that an ordinary user's launcher enters.
    pub owner: Owner,
    /// The maps of that namespace, where it is to have other users beside the caller; the process is root in it then.
    pub maps: Option<UserMaps>,
    /// The namespaces that it enters beside that of its mounts; where it has neither volumes nor a root, none.
    pub isolation: Isolation,
    /// The user that it becomes; none leaves it who it is. Its capabilities go with it.
    pub user: Option<u32>,
    /// Whether the program may keep its capabilities.
    pub capabilities: Capabilities,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// What becomes of a launcher's capabilities (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// The program needs them, and drops itself what it does not.
    Kept,
    /// It has none but `CAP_NET_BIND_SERVICE`, for ports below 1024.
    BindsPorts,
    /// It has none, even as root.
    Dropped,
}

impl Capabilities {
    /// The switch that says it.
    fn switch(self) -> Option<&'static str> {
        match self {
            Self::Kept => None,
            Self::BindsPorts => Some("--binds-ports"),
            Self::Dropped => Some("--no-capabilities"),
        }
    }
}

/// The switch that says it.
fn isolation_switch(isolation: Isolation) -> Option<&'static str> {
    match isolation {
        Isolation::Mounts => None,
        Isolation::Processes => Some("--own-processes"),
        Isolation::Network => Some("--own-network"),
    }
}

/// Why a launcher did not become its program.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// It was not called as [`Launcher::argv`] calls it.
    #[error("`isopod {LAUNCHER}` is called by isopod itself, and not with `{0}`")]
    Usage(String),
    /// The supervisor ended meanwhile.
    #[error("the supervisor has ended")]
    Orphaned,
    /// No namespace, or no other user.
    #[error("cannot confine the process: {what}")]
    Namespace {
        /// The step that failed.
        what: &'static str,
        source: std::io::Error,
    },
    /// A volume that cannot be bound.
    #[error("cannot share `{}` as volume `{name}`: {what}", path.display())]
    Volume {
        name: VolumeName,
        path: PathBuf,
        /// The step that failed.
        what: &'static str,
        /// Why, where the system said.
        source: Option<std::io::Error>,
    },
    /// What a running server serves could not be changed.
    #[error("cannot {what}")]
    Change {
        /// The step that failed.
        what: &'static str,
        source: std::io::Error,
    },
    /// A file that cannot be had in the process's own root.
    #[error("cannot give `{}` to the process", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The program could not be executed.
    #[error("cannot execute `{}`", program.display())]
    Exec {
        program: PathBuf,
        source: std::io::Error,
    },
}

impl Launcher {
    /// The arguments that make `isopod` this launcher.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![LAUNCHER.into(), self.parent.to_string().into()];
        argv.extend(self.capabilities.switch().map(OsString::from));
        argv.extend(isolation_switch(self.isolation).map(OsString::from));
        let Owner { uid, gid } = self.owner;
        if (uid, gid) != (0, 0) {
            argv.extend(["--owner".into(), format!("{uid}:{gid}").into()]);
        }
        if let Some(maps) = &self.maps {
            argv.extend(user_map::words(maps));
        }
        if let Some(user) = self.user {
            argv.extend(["--user".into(), user.to_string().into()]);
        }
        if let Some(root) = &self.root {
            argv.extend(["--root".into(), root.dir.clone().into()]);
            argv.extend((root.proc == Proc::Namespace).then(|| OsString::from("--processes")));
            for (access, file) in &root.files {
                let flag = match access {
                    Access::Read => "--read",
                    Access::Write => "--write",
                };
                argv.extend([flag.into(), file.clone().into()]);
            }
        }
        if let Some((dir, volumes)) = &self.share {
            argv.extend(["--share".into(), dir.into()]);
            for volume in volumes {
                argv.extend([
                    flags(volume).into(),
                    volume.name.as_str().into(),
                    volume.source.clone().into(),
                ]);
            }
        }
        argv.push("--".into());
        argv.extend(self.command.iter().cloned());
        argv
    }

    /// Reads the arguments, the first one ([`LAUNCHER`]) left out.
    ///
    /// # Errors
    /// [`LauncherError::Usage`].
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, LauncherError> {
        let mut args = args.into_iter();
        let usage = |arg: Option<OsString>| {
            LauncherError::Usage(arg.unwrap_or_default().to_string_lossy().into_owned())
        };
        let parent = args.next();
        let parent = parent
            .as_deref()
            .and_then(OsStr::to_str)
            .and_then(|p| p.parse().ok());
        let parent = parent.ok_or_else(|| usage(None))?;
        let mut share: Option<(PathBuf, Vec<SharedVolume>)> = None;
        let mut root: Option<Root> = None;
        let mut capabilities = Capabilities::Kept;
        let (mut isolation, mut user) = (Isolation::Mounts, None);
        let mut owner = Owner { uid: 0, gid: 0 };
        let mut maps = None;
        loop {
            let arg = args.next().ok_or_else(|| usage(None))?;
            let mut path = || args.next().map(PathBuf::from).ok_or_else(|| usage(None));
            match (arg.as_bytes(), &mut share, &mut root) {
                (b"--", ..) => break,
                (b"--no-capabilities", None, None) => capabilities = Capabilities::Dropped,
                (b"--binds-ports", None, None) => capabilities = Capabilities::BindsPorts,
                (b"--own-processes", None, None) => isolation = Isolation::Processes,
                (b"--own-network", None, None) => isolation = Isolation::Network,
                (b"--owner", None, None) => {
                    let word = path()?;
                    let ids = word.to_str().and_then(|word| word.split_once(':'));
                    let ids = ids.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
                    let (uid, gid) = ids.ok_or_else(|| usage(Some(arg)))?;
                    owner = Owner { uid, gid };
                }
                (user_map::SWITCH, None, None) => {
                    let words = [path()?, path()?, path()?, path()?];
                    maps = Some(user_map::read(words).ok_or_else(|| usage(Some(arg)))?);
                }
                (b"--user", None, None) => {
                    let number = path()?.to_str().and_then(|number| number.parse().ok());
                    user = Some(number.ok_or_else(|| usage(Some(arg)))?);
                }
                (b"--root", None, None) => {
                    let (dir, files) = (path()?, Vec::new());
                    let proc = Proc::Itself;
                    root = Some(Root { proc, dir, files });
                }
                (b"--processes", None, Some(root)) => root.proc = Proc::Namespace,
                (b"--read", None, Some(root)) => root.files.push((Access::Read, path()?)),
                (b"--write", None, Some(root)) => root.files.push((Access::Write, path()?)),
                (b"--share", None, _) => share = Some((path()?, Vec::new())),
                (_, Some((_, volumes)), _) => {
                    let (name, source) = (args.next(), args.next());
                    volumes.push(volume(&arg, name, source).ok_or_else(|| usage(Some(arg)))?);
                }
                _ => return Err(usage(Some(arg))),
            }
        }
        Ok(Self {
            parent,
            share,
            root,
            owner,
            maps,
            isolation,
            user,
            capabilities,
            command: args.collect(),
        })
    }

    /// Does all that, and becomes the program. Returns only when it could not, or where a child became the program and has ended:
    /// as what this process is to end.
    ///
    /// # Errors
    /// [`LauncherError`].
    pub fn run(mut self) -> Result<ExitCode, LauncherError> {
        let mut parent = Parent::Number(self.parent);
        die_with(&parent)?;
        privileges::set_limits();
        if self.share.is_some() || self.root.is_some() {
            enter_namespaces(self.isolation, self.owner, self.maps.as_ref())?;
            // It may be another user now, which takes the wish back.
            die_with(&parent)?;
            if self.isolation != Isolation::Mounts {
                let forked =
                    child::fork().map_err(|source| LauncherError::Namespace { what: "fork", source })?;
                parent = match forked {
                    Forked::Child(parent) => parent,
                    Forked::Ended(status) => return Ok(status),
                };
            }
        }
        self.prepare()?;
        // A change of user takes it back.
        die_with(&parent)?;
        Err(self.exec())
    }

    fn prepare(&mut self) -> Result<(), LauncherError> {
        if let Some((dir, volumes)) = &self.share {
            bind_all(dir, volumes)?;
        }
        if let Some(root) = &self.root {
            if let Some(program) = self.command.first_mut() {
                // By the place that it really has: programs look for what belongs to them beside themselves.
                let exec = |source| LauncherError::Exec {
                    program: program.clone().into(),
                    source,
                };
                *program = std::fs::canonicalize(&*program).map_err(exec)?.into();
            }
            root::enter(root, self.command.first().map(Path::new))?;
        }
        let kept = match self.capabilities {
            Capabilities::Kept => None,
            Capabilities::BindsPorts => Some(CapabilitySet::NET_BIND_SERVICE),
            Capabilities::Dropped => Some(CapabilitySet::empty()),
        };
        let failed = |what| move |source| LauncherError::Namespace { what, source };
        match (self.user, kept) {
            (None, None) => Ok(()),
            (None, Some(kept)) => privileges::keep_capabilities(kept).map_err(failed("give up capabilities")),
            (Some(user), kept) => privileges::become_user(user, kept.unwrap_or(CapabilitySet::empty()))
                .map_err(failed("become its own user")),
        }
    }

    fn exec(self) -> LauncherError {
        let Some((program, args)) = self.command.split_first() else {
            return LauncherError::Usage("no program".into());
        };
        let source = command(Path::new(program))
            .stdin(Stdio::inherit())
            .args(args)
            .exec();
        LauncherError::Exec {
            program: program.into(),
            source,
        }
    }
}

/// Asks for the end when the parent ends, which must not have ended.
fn die_with(parent: &Parent) -> Result<(), LauncherError> {
    parent.die_with().map_err(|_| LauncherError::Orphaned)
}

/// A volume's switches as one argument: `KIND,ACCESS,DEPTH,PROPAGATION,DEVICE:INODE,UID:GID`; the last is to whom it is given.
fn flags(volume: &SharedVolume) -> String {
    let kind = if volume.kind == SourceKind::File {
        "file"
    } else {
        "dir"
    };
    let access = match (volume.read_only, volume.submounts) {
        (false, _) => "rw",
        (true, Submounts::ReadOnly) => "ro",
        (true, Submounts::AsOnHost) => "ro-above",
    };
    let depth = if volume.recursive { "rec" } else { "one" };
    let propagation = if volume.propagation == Propagation::Rslave {
        "rslave"
    } else {
        "private"
    };
    let id = match volume.id {
        Some(FileId { device, inode }) => format!("{device}:{inode}"),
        None => "any".to_owned(),
    };
    let taker = match volume.given_to {
        Some(Owner { uid, gid }) => format!("{uid}:{gid}"),
        None => "nobody".to_owned(),
    };
    format!("{kind},{access},{depth},{propagation},{id},{taker}")
}

fn volume(flags: &OsStr, name: Option<OsString>, source: Option<OsString>) -> Option<SharedVolume> {
    let [kind, access, depth, propagation, id, taker] =
        <[&str; 6]>::try_from(flags.to_str()?.split(',').collect::<Vec<_>>()).ok()?;
    let id = match id {
        "any" => None,
        id => {
            let (device, inode) = id.split_once(':')?;
            let (device, inode) = (device.parse().ok()?, inode.parse().ok()?);
            Some(FileId { device, inode })
        }
    };
    let given_to = match taker {
        "nobody" => None,
        taker => {
            let (uid, gid) = taker.split_once(':')?;
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            Some(Owner { uid, gid })
        }
    };
    Some(SharedVolume {
        name: VolumeName::new(name?.into_string().ok()?).ok()?,
        source: source?.into(),
        kind: if kind == "file" {
            SourceKind::File
        } else {
            SourceKind::Directory
        },
        id,
        read_only: access != "rw",
        submounts: match access {
            "ro-above" => Submounts::AsOnHost,
            _ => Submounts::ReadOnly,
        },
        recursive: depth == "rec",
        propagation: if propagation == "rslave" {
            Propagation::Rslave
        } else {
            Propagation::Private
        },
        given_to,
    })
}

/// Enters a mount namespace and those of `isolation`; not as root, together with a user namespace in which the user is
/// `owner`, mostly root.
fn enter_namespaces(
    isolation: Isolation,
    owner: Owner,
    maps: Option<&UserMaps>,
) -> Result<(), LauncherError> {
    let failed = |what| move |source: std::io::Error| LauncherError::Namespace { what, source };
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let spaces = UnshareFlags::NEWNS
        | match isolation {
            Isolation::Mounts => UnshareFlags::empty(),
            Isolation::Processes => UnshareFlags::NEWPID | UnshareFlags::NEWIPC,
            Isolation::Network => UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWNET,
        };
    if uid.is_root() {
        sys::unshare(spaces).map_err(failed("unshare(CLONE_NEWNS)"))?;
    } else if let Some(maps) = maps {
        user_map::enter(maps)?;
        sys::unshare(spaces).map_err(failed("unshare(CLONE_NEWNS)"))?;
    } else {
        let spaces = spaces | UnshareFlags::NEWUSER;
        sys::unshare(spaces).map_err(failed("unshare(CLONE_NEWUSER | CLONE_NEWNS)"))?;
        let write = |file: &str, text: String| std::fs::write(Path::new("/proc/self").join(file), text);
        write("setgroups", "deny".into()).map_err(failed("write to /proc/self/setgroups"))?;
        write("uid_map", format!("{} {uid} 1", owner.uid)).map_err(failed("write to /proc/self/uid_map"))?;
        write("gid_map", format!("{} {gid} 1", owner.gid)).map_err(failed("write to /proc/self/gid_map"))?;
    }
    slave_root()
}

/// Mounts of the host still come in (for `rslave` volumes), none of ours goes out.
fn slave_root() -> Result<(), LauncherError> {
    let slave = rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(|e| LauncherError::Namespace {
        what: "make `/` a slave",
        source: e.into(),
    })
}

/// Mounts a small file system on `dir`, binds each volume below it under its name, and closes it to writes.
fn bind_all(dir: &Path, volumes: &[SharedVolume]) -> Result<(), LauncherError> {
    let failed = |what| move |source: std::io::Error| LauncherError::Namespace { what, source };
    let options = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", dir, "tmpfs", options, Some(c"mode=0755"))
        .map_err(|e| failed("mount a tmpfs for the volumes")(e.into()))?;
    for volume in volumes {
        bind(dir, volume).map_err(|(what, source)| volume_error(volume, what, source))?;
    }
    sys::make_read_only(dir).map_err(failed("make the directory of the volumes read-only"))
}

fn volume_error(volume: &SharedVolume, what: &'static str, source: Option<std::io::Error>) -> LauncherError {
    LauncherError::Volume {
        name: volume.name.clone(),
        path: volume.source.clone(),
        what,
        source,
    }
}

type Step = (&'static str, Option<std::io::Error>);

/// The volume's mount, as it is to be shared, attached nowhere yet.
fn copy(volume: &SharedVolume) -> Result<OwnedFd, Step> {
    let failed = |what| move |source: rustix::io::Errno| (what, Some(source.into()));
    // The path has no links any more; one that is there now, at its end or above, has been put there since.
    let kind = match volume.kind {
        SourceKind::Directory => OFlags::DIRECTORY,
        SourceKind::File => OFlags::empty(),
    };
    let (how, resolve) = (OFlags::PATH | OFlags::CLOEXEC | kind, ResolveFlags::NO_SYMLINKS);
    let source = match openat2(CWD, &volume.source, how, Mode::empty(), resolve) {
        Err(Errno::NOTDIR) => return Err(("it is no longer a directory", None)),
        Err(Errno::LOOP) => {
            let what = "a symbolic link is in its path, which was not there when it was looked at";
            return Err((what, None));
        }
        source => source.map_err(failed("open"))?,
    };
    let stat = rustix::fs::fstat(&source).map_err(failed("fstat"))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => SourceKind::Directory,
        FileType::RegularFile => SourceKind::File,
        _ => return Err(("it is neither a directory nor a regular file any more", None)),
    };
    if found != volume.kind {
        return Err(("it is no longer a file", None));
    }
    let (device, inode) = (stat.st_dev, stat.st_ino);
    if volume.id.is_some_and(|id| id != FileId { device, inode }) {
        return Err(("it is another file or directory than when it was looked at", None));
    }
    if let Some(owner) = volume.given_to {
        let depth = match volume.recursive {
            true => giving::Depth::All,
            false => giving::Depth::OneFileSystem,
        };
        giving::give(&source, owner, depth).map_err(failed("give its files to the app's user"))?;
    }
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if volume.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(&source, c"", flags).map_err(failed("open_tree"))?;
    let private = volume.propagation == Propagation::Private;
    let all_read_only = volume.read_only && volume.submounts == Submounts::ReadOnly;
    let set = sys::set_attributes(&tree, all_read_only, private).and_then(|()| match volume.read_only {
        true => sys::make_detached_read_only(&tree),
        false => Ok(()),
    });
    set.map_err(|source| ("mount_setattr", Some(source)))?;
    Ok(tree)
}

fn bind(dir: &Path, volume: &SharedVolume) -> Result<(), Step> {
    let tree = copy(volume)?;
    let failed = |what| move |source: rustix::io::Errno| (what, Some(source.into()));
    let place = dir.join(volume.name.as_str());
    let made = match volume.kind {
        SourceKind::Directory => std::fs::create_dir(&place),
        SourceKind::File => std::fs::write(&place, b""),
    };
    made.map_err(|source| ("make its mount point", Some(source)))?;
    rustix::mount::move_mount(&tree, c"", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("move_mount"))
}

#[cfg(test)]
mod tests;
