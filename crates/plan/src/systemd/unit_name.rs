//! The names of mount units: systemd's escaping of paths (systemd.unit(5), "String Escaping for Inclusion in Unit
//! Names"), and its hashing of names that come out too long.
//!
//! systemd refuses a mount unit whose name is not the one it computes from `Where=`, so these functions must agree
//! with it to the byte; the tests hold them against `systemd-escape` and the manager itself.

use std::hash::Hasher;
use std::path::Path;

use siphasher::sip::SipHasher24;

/// systemd's `UNIT_NAME_MAX`: 256 bytes with the final NUL.
const UNIT_NAME_MAX: usize = 255;

/// The first systemd that hashes the names of long paths (`unit_name_hash_long`); an older one refuses them.
pub const HASHED_NAMES_SINCE: u32 = 247;

/// systemd's `LONG_UNIT_NAME_HASH_KEY` (src/basic/unit-name.c).
const LONG_UNIT_NAME_HASH_KEY: [u8; 16] = [
    0xec, 0xf2, 0x37, 0xfb, 0x58, 0x32, 0x4a, 0x32, 0x84, 0x9f, 0x06, 0x9b, 0x0d, 0x21, 0xeb, 0x9a,
];

/// Escapes an absolute, clean path for a unit name, as `systemd-escape --path`; without a suffix, at any length.
#[must_use]
pub fn escape_path(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let inner = bytes.strip_prefix(b"/").unwrap_or(bytes);
    if inner.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::with_capacity(inner.len() + 16);
    for (i, &byte) in inner.iter().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if i == 0 => push_hex(&mut out, byte),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => out.push(char::from(byte)),
            _ => push_hex(&mut out, byte),
        }
    }
    out
}

fn push_hex(out: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\x");
    out.push(char::from(HEX[usize::from(byte >> 4)]));
    out.push(char::from(HEX[usize::from(byte & 15)]));
}

/// The name of the unit with `suffix` (`.mount`, with its dot) for `path`, as `systemd-escape --path --suffix=mount`.
#[must_use]
pub fn for_path(path: &Path, suffix: &str) -> String {
    let name = escape_path(path) + suffix;
    if name.len() <= UNIT_NAME_MAX {
        name
    } else {
        hash_long(&name, suffix)
    }
}

/// Whether the unit name for `path` is one that only systemd 247 and later have.
#[must_use]
pub fn is_hashed(path: &Path, suffix: &str) -> bool {
    escape_path(path).len() + suffix.len() > UNIT_NAME_MAX
}

/// systemd's `unit_name_hash_long`: as much of the name as fits, `_`, its SipHash-2-4 (the final NUL included) as 16
/// digits in the order of its little-endian bytes, the suffix.
fn hash_long(name: &str, suffix: &str) -> String {
    let mut hasher = SipHasher24::new_with_key(&LONG_UNIT_NAME_HASH_KEY);
    hasher.write(name.as_bytes());
    hasher.write(&[0]);
    let keep = UNIT_NAME_MAX - "_".len() - 16 - suffix.len();
    format!("{}_{:016x}{suffix}", &name[..keep], hasher.finish().swap_bytes())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn oracle(paths: &[Vec<u8>]) -> Vec<String> {
        let out = Command::new("systemd-escape")
            .args(["--path", "--suffix=mount", "--"])
            .args(paths.iter().map(|p| OsStr::from_bytes(p)))
            .output()
            .expect("systemd-escape is part of systemd");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    fn ours(path: &[u8]) -> String {
        for_path(Path::new(OsStr::from_bytes(path)), ".mount")
    }

    #[test]
    fn known_names() {
        for (path, name) in [
            ("/", "-.mount"),
            ("/mnt/my-data", "mnt-my\\x2ddata.mount"),
            ("/.hidden/.x", "\\x2ehidden-.x.mount"),
            ("/a b%c", "a\\x20b\\x25c.mount"),
            ("/ä", "\\xc3\\xa4.mount"),
        ] {
            assert_eq!(ours(path.as_bytes()), name);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn names_equal_systemd_escape(parts in prop::collection::vec(prop::collection::vec("[ -.0-~\u{1}-\u{1f}äß☃]{1,90}", 1..6), 1..20)) {
            let paths: Vec<Vec<u8>> = parts
                .into_iter()
                .map(|p| format!("/{}", p.join("/")).into_bytes())
                .filter(|p| !p.split(|b| *b == b'/').any(|c| c == b".." || c == b"."))
                .collect();
            prop_assume!(!paths.is_empty());
            // The command does not hash long names as the manager does; tests/systemd.rs asks the manager.
            for (path, expected) in paths.iter().zip(oracle(&paths)) {
                if expected.len() <= UNIT_NAME_MAX {
                    prop_assert_eq!(ours(path), expected);
                }
            }
        }
    }
}
