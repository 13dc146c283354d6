//! A user namespace with more users than the caller: his subordinates, whom newuidmap(1) and newgidmap(1) may map for him.
//!
//! ```text
//! launcher ── forks ──> helper, still outside: may execute what is set-user-ID
//!    │ unshare(CLONE_NEWUSER)
//!    ├── closes a pipe ──────>│ newuidmap LAUNCHER ..., newgidmap LAUNCHER ...
//!    │<───────────── ends ────┘
//!    │ becomes root in the namespace, who is one of the subordinates, or the caller
//! ```

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use isopod_plan::vm::user_maps::{IdMap, UserMaps};
use rustix::process::{DumpableBehavior, Gid, Pid, Uid, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use super::{LauncherError, sys};
use crate::command::command;

/// The switch that says it.
pub(super) const SWITCH: &[u8] = b"--maps";

/// The switch with its values: both programs, both maps.
pub(super) fn words(maps: &UserMaps) -> [OsString; 5] {
    [
        "--maps".into(),
        maps.newuidmap.clone().into(),
        maps.newgidmap.clone().into(),
        text(&maps.users).into(),
        text(&maps.groups).into(),
    ]
}

/// Reads the values.
pub(super) fn read([newuidmap, newgidmap, users, groups]: [PathBuf; 4]) -> Option<UserMaps> {
    Some(UserMaps {
        newuidmap,
        newgidmap,
        users: lines(&users)?,
        groups: lines(&groups)?,
    })
}

fn text(map: &[IdMap]) -> String {
    let line = |line: &IdMap| format!("{}:{}:{}", line.inside, line.outside, line.count);
    map.iter().map(line).collect::<Vec<_>>().join(",")
}

fn lines(text: &Path) -> Option<Vec<IdMap>> {
    let line = |line: &str| {
        let numbers: Option<Vec<u32>> = line.split(':').map(|number| number.parse().ok()).collect();
        let [inside, outside, count] = numbers?[..] else {
            return None;
        };
        Some(IdMap {
            inside,
            outside,
            count,
        })
    };
    str::from_utf8(text.as_os_str().as_bytes())
        .ok()?
        .split(',')
        .map(line)
        .collect()
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> LauncherError {
    move |source| LauncherError::Namespace { what, source }
}

/// Enters such a namespace, and becomes root in it.
pub(super) fn enter(maps: &UserMaps) -> Result<(), LauncherError> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (mut reader, writer) = io::pipe().map_err(failed("make a pipe"))?;
    let Some(helper) = sys::fork().map_err(failed("fork"))? else {
        drop(writer);
        // Returns when the launcher is in its namespace, or has ended.
        let _ = reader.read(&mut [0]);
        let status = match map(maps, own) {
            Ok(()) => 0,
            Err(error) => {
                // The supervisor reads it beside what the launcher says.
                let _ = writeln!(io::stderr(), "{error}");
                i32::from(super::FAILED)
            }
        };
        sys::exit(status);
    };
    drop(reader);
    let entered = sys::unshare(UnshareFlags::NEWUSER);
    drop(writer);
    let mapped = end_of(helper);
    entered.map_err(failed("unshare(CLONE_NEWUSER)"))?;
    mapped.map_err(failed(
        "map its users: `newuidmap` and `newgidmap` (`/etc/subuid`, `/etc/subgid`)",
    ))?;
    become_root().map_err(failed("become root in its user namespace"))
}

/// Lets both programs write the maps of process `pid`.
fn map(maps: &UserMaps, pid: i32) -> io::Result<()> {
    for (program, map) in [(&maps.newuidmap, &maps.users), (&maps.newgidmap, &maps.groups)] {
        let numbers = map
            .iter()
            .flat_map(|line| [line.inside, line.outside, line.count]);
        let status = command(program)
            .arg(pid.to_string())
            .args(numbers.map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("`{}`: {status}", program.display())));
        }
    }
    Ok(())
}

fn end_of(helper: Pid) -> io::Result<()> {
    loop {
        match waitpid(Some(helper), WaitOptions::empty()) {
            Ok(Some((_, status))) if status.exit_status() == Some(0) => return Ok(()),
            Ok(Some(_)) => return Err(io::Error::other("they refused")),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The groups beside its own stay: that of /dev/kvm may be among them.
fn become_root() -> io::Result<()> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    // A process that has changed its user does not show itself in /proc, not even to itself.
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::Dumpable,
    )?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::launcher) fn line(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap {
            inside,
            outside,
            count,
        }
    }

    #[test]
    fn maps_come_back_and_damaged_ones_do_not() {
        let map = [line(0, 1000, 1), line(1, 100_000, 65_536)];
        assert_eq!(text(&map), "0:1000:1,1:100000:65536");
        assert_eq!(lines(text(&map).as_ref()).as_deref(), Some(&map[..]));
        for wrong in ["", "1:2", "1:2:3:4", "1:2:x", "1:2:3,"] {
            assert_eq!(lines(wrong.as_ref()), None, "{wrong}");
        }
    }
}
