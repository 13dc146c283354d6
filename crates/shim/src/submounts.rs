//! Whether something is mounted below a directory of the host.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Whether something is mounted below `dir`, as this process sees it.
pub(crate) fn exist(dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else {
        return false;
    };
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    below(&mounts, &dir)
}

/// `mounts` is what proc_pid_mountinfo(5) says: the fifth field of a line is where something is mounted.
fn below(mounts: &[u8], dir: &Path) -> bool {
    let lines = mounts.split(|byte| *byte == b'\n');
    let places = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    places
        .map(unescaped)
        .any(|place| place != dir && place.starts_with(dir))
}

/// Spaces, tabs, line breaks and backslashes are written as a backslash and three octal digits.
fn unescaped(mut text: &[u8]) -> PathBuf {
    let mut path = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        let digits = rest
            .first_chunk::<3>()
            .and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text = match escaped.filter(|_| *first == b'\\') {
            Some(byte) => {
                path.push(byte);
                &rest[3..]
            }
            None => {
                path.push(*first);
                rest
            }
        };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_is_found_by_whole_names() {
        let mounts = b"24 1 0:22 / /srv rw shared:1 - ext4 /dev/vda rw\n\
            31 24 0:30 / /srv/a\\040b/c rw - tmpfs none rw\n32 24 0:31 / /srvx rw - tmpfs none rw\n";
        let below = |dir: &str| below(mounts, Path::new(dir));
        assert!(below("/") && below("/srv") && below("/srv/a b"));
        assert!(!below("/srv/a b/c") && !below("/srv/a") && !below("/srvx") && !below("/sr"));
    }
}
