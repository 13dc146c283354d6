//! Finds a virtiofsd that works here.

use std::path::{Path, PathBuf};

use isopod_plan::facts::{HostUser, Virtiofsd, VirtiofsdFlavour};

use crate::launch;

/// Where distributions keep it, outside of the search path: it is no program for people.
const PLACES: [&str; 4] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/libexec/qemu/virtiofsd",
];

/// The first virtiofsd of `search` (directories) and the usual places that works for `user`: Debian 12's own, in C,
/// works for root only, since it changes groups, which a user namespace of one user does not allow.
#[must_use]
pub fn find(search: &[PathBuf], user: HostUser) -> Option<Virtiofsd> {
    let named = search.iter().map(|dir| dir.join("virtiofsd"));
    named
        .chain(PLACES.iter().map(PathBuf::from))
        .filter(|program| program.is_file())
        .find_map(|program| {
            let flavour = flavour(&program)?;
            let works = user == HostUser::Root || flavour == VirtiofsdFlavour::Rust;
            works.then_some(Virtiofsd { program, flavour })
        })
}

/// Tells the two programs apart by their `--version`: `virtiofsd version 7.2.22 ...` and `virtiofsd 1.14.0`.
fn flavour(program: &Path) -> Option<VirtiofsdFlavour> {
    let output = launch::command(program).arg("--version").output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !text.contains("virtiofsd") {
        return None;
    }
    let c = text.contains("virtiofsd version") || text.contains("FUSE kernel interface");
    Some(if c {
        VirtiofsdFlavour::C
    } else {
        VirtiofsdFlavour::Rust
    })
}
