//! A container's root, as containerd describes it: mounts that whoever runs the container makes. They are made in the mount namespace
//! of this process, and end with it.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

/// The options that are flags of mount(2).
const FLAGS: [(&str, MountFlags); 8] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("relatime", MountFlags::RELATIME),
    ("dirsync", MountFlags::DIRSYNC),
    ("sync", MountFlags::SYNCHRONOUS),
];

/// Options that say what is so anyway.
const DEFAULTS: [&str; 5] = ["rw", "bind", "rbind", "defaults", "loop"];

/// The most bytes of options that mount(2) takes.
const MOST_OPTIONS: usize = 4095;

/// Why a root is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount the {kind} file system that is the container's root on `{}`", target.display())]
pub(crate) struct RootfsError {
    kind: String,
    target: PathBuf,
    source: io::Error,
}

/// Mounts the root, one mount above the other.
///
/// # Errors
/// [`RootfsError`]; nothing stays mounted then.
pub(crate) fn make(mounts: &[Mount], target: &Path) -> Result<(), RootfsError> {
    for (made, one) in mounts.iter().enumerate() {
        let target = match one.target.is_empty() {
            true => target.to_owned(),
            false => target.join(one.target.trim_start_matches('/')),
        };
        if let Err(source) = mount_one(one, &target) {
            (0..made).for_each(|_| take_away(&target));
            return Err(RootfsError {
                kind: one.type_.clone(),
                target,
                source,
            });
        }
    }
    Ok(())
}

/// Unmounts what is there, if anything is.
pub(crate) fn take_away(target: &Path) {
    let _ = unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
}

fn mount_one(one: &Mount, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(target)?;
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in &one.options {
        match FLAGS.iter().find(|(name, _)| name == option) {
            Some((_, flag)) => flags |= *flag,
            None if DEFAULTS.contains(&&**option) => {}
            None => rest.push(option.clone()),
        }
    }
    let has = |word: &str| one.options.iter().any(|option| option == word);
    if one.type_ == "bind" || has("bind") || has("rbind") {
        match has("rbind") {
            true => mount_bind_recursive(&one.source, target)?,
            false => mount_bind(&one.source, target)?,
        }
        if flags.contains(MountFlags::RDONLY) {
            mount_remount(target, MountFlags::BIND | flags, c"")?;
        }
        return Ok(());
    }
    let (options, _held) = match rest.iter().map(|option| option.len() + 1).sum::<usize>() > MOST_OPTIONS {
        true => shorter(&rest)?,
        false => (rest, None),
    };
    let data = std::ffi::CString::new(options.join(","))?;
    let data = (!options.is_empty()).then_some(&*data);
    mount(&*one.source, target, &*one.type_, flags, data).map_err(Into::into)
}

/// The same options with the directories of overlayfs's lower layers by way of a descriptor of the directory that they have in
/// common: paths of a hundred layers are longer than what mount(2) takes.
fn shorter(options: &[String]) -> io::Result<(Vec<String>, Option<std::os::fd::OwnedFd>)> {
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    let Some(common) = lower.and_then(common_directory) else {
        return Ok((options.to_vec(), None));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(&common, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}", held.as_raw_fd());
    let replaced = |option: &String| match option.strip_prefix("lowerdir=") {
        Some(lower) => {
            let dirs = lower
                .split(':')
                .map(|dir| match Path::new(dir).strip_prefix(&common) {
                    Ok(rest) => format!("{short}/{}", rest.display()),
                    Err(_) => dir.to_owned(),
                });
            format!("lowerdir={}", dirs.collect::<Vec<_>>().join(":"))
        }
        None => option.clone(),
    };
    Ok((options.iter().map(replaced).collect(), Some(held)))
}

/// The deepest directory that all of the lower layers are below.
fn common_directory(lower: &str) -> Option<PathBuf> {
    let mut dirs = lower.split(':').map(|dir| Path::new(dir).parent());
    let mut common = dirs.next()??.to_owned();
    for dir in dirs {
        while !dir?.starts_with(&common) {
            if !common.pop() {
                return None;
            }
        }
    }
    Some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_a_directory_in_common() {
        let common = |lower| common_directory(lower).map(|dir| dir.display().to_string());
        assert_eq!(
            common("/a/snapshots/1/fs:/a/snapshots/22/fs").as_deref(),
            Some("/a/snapshots")
        );
        assert_eq!(common("/a/snapshots/1/fs").as_deref(), Some("/a/snapshots/1"));
        assert_eq!(common("/a/b:/c/d").as_deref(), Some("/"));
    }
}
