//! Finds a virtiofsd that works here.

use std::path::{Path, PathBuf};

use isopod_plan::facts::{HostUser, Virtiofsd, VirtiofsdFlavour};

use crate::launch;

/// Where distributions keep it, outside of the search path: it is no program for people.
const PLACES: [&str; 6] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/libexec/qemu/virtiofsd",
    "/usr/local/libexec/virtiofsd",
    "/run/current-system/sw/bin/virtiofsd",
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
            let (flavour, version) = flavour(&program)?;
            let works = user == HostUser::Root || flavour == VirtiofsdFlavour::Rust;
            works.then_some(Virtiofsd {
                program,
                flavour,
                version,
            })
        })
}

/// Distinguishes the two programs by their `--version`: `virtiofsd version 7.2.22 ...` and `virtiofsd 1.14.0`.
fn flavour(program: &Path) -> Option<(VirtiofsdFlavour, (u32, u32))> {
    let output = launch::command(program).arg("--version").output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return None;
    }
    read_version(&text)
}

/// What a `--version` says; a version that cannot be read is the oldest.
fn read_version(text: &str) -> Option<(VirtiofsdFlavour, (u32, u32))> {
    if !text.contains("virtiofsd") {
        return None;
    }
    let c = text.contains("virtiofsd version") || text.contains("FUSE kernel interface");
    let flavour = match c {
        true => VirtiofsdFlavour::C,
        false => VirtiofsdFlavour::Rust,
    };
    let numbers = |word: &str| {
        let mut numbers = word.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    Some((
        flavour,
        text.split_whitespace().find_map(numbers).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_programs_are_distinguished_and_their_versions_read() {
        let c = "virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright\nusing FUSE kernel interface version 7.36\n";
        assert_eq!(read_version(c), Some((VirtiofsdFlavour::C, (7, 2))));
        assert_eq!(
            read_version("virtiofsd 1.14.0\n"),
            Some((VirtiofsdFlavour::Rust, (1, 14)))
        );
        assert_eq!(
            read_version("virtiofsd 1.13.2-dev\n"),
            Some((VirtiofsdFlavour::Rust, (1, 13)))
        );
        assert_eq!(
            read_version("virtiofsd\n"),
            Some((VirtiofsdFlavour::Rust, (0, 0)))
        );
        assert_eq!(read_version("unfsd 1.0\n"), None);
    }
}
