//! What is mounted where: /proc/self/mountinfo (proc_pid_mountinfo(5)), and which mount a path leads to.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) mount_point: PathBuf,
    pub(crate) fs_type: String,
    /// Read-only as a mount, or as a whole file system.
    pub(crate) read_only: bool,
}

pub(crate) fn bytes(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_vec()
}

/// What is mounted in this process's namespace.
pub(crate) fn read() -> std::io::Result<Vec<Mount>> {
    std::fs::read("/proc/self/mountinfo").map(|text| parse(&text))
}

/// Parses mountinfo. Lines that are none are left out: what is then missing is reported as missing.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let mount_point = unescape(fields.nth(2)?);
    let options = fields.next()?;
    // Optional fields, up to a single dash.
    fields.find(|&field| field == b"-")?;
    let fs_type = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let super_options = fields.nth(1)?;
    Some(Mount {
        id,
        parent,
        mount_point: PathBuf::from(OsString::from_vec(mount_point)),
        fs_type,
        read_only: has_ro(options) || has_ro(super_options),
    })
}

/// The layers of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) upper: PathBuf,
    /// The nearest first.
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) read_only: bool,
}

/// The layers of the overlay that is mounted at `at`, by the text of mountinfo. Their paths are the planner's, without
/// commas and colons.
pub(crate) fn overlay(text: &[u8], at: &Path) -> Option<Layers> {
    let of_mount = |line: &&[u8]| parse_line(line).is_some_and(|mount| mount.mount_point == at);
    let line = text.split(|&b| b == b'\n').rfind(of_mount)?;
    let mount = parse_line(line).filter(|mount| mount.fs_type == "overlay")?;
    let options = unescape(line.rsplit(|&b| b == b' ').next()?);
    let mut layers = Layers {
        upper: PathBuf::new(),
        lowers: Vec::new(),
        read_only: mount.read_only,
    };
    let path = |text: &[u8]| PathBuf::from(OsString::from_vec(text.to_vec()));
    for option in options.split(|&b| b == b',') {
        let mut parts = option.splitn(2, |&b| b == b'=');
        match (parts.next()?, parts.next()) {
            (b"upperdir", Some(value)) => layers.upper = path(value),
            (b"lowerdir" | b"lowerdir+", Some(value)) => {
                layers.lowers.extend(value.split(|&b| b == b':').map(path));
            }
            _ => {}
        }
    }
    (!layers.upper.as_os_str().is_empty()).then_some(layers)
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Undoes the kernel's `\ooo` for blank, tab, line feed and backslash (`mangle_path`, fs/seq_file.c).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, octal(tail)) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn octal(text: &[u8]) -> Option<u8> {
    let digits = text.get(..3)?;
    digits.iter().try_fold(0u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|&b| b == b',').any(|option| option == b"ro")
}

/// The mount that `path`, which has no symlink in it, leads to, as the kernel walks it: from the root, and wherever a
/// mount covers the place, on in that one. So a mount that lies below a later mount is not found.
pub(crate) fn visible<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let below = |mount: &&Mount| path.starts_with(&mount.mount_point);
    let length = |mount: &&Mount| mount.mount_point.as_os_str().as_bytes().len();
    let is_root = |mount: &&Mount| mount.parent == mount.id || !mounts.iter().any(|m| m.id == mount.parent);
    let mut here = mounts.iter().filter(is_root).filter(below).min_by_key(length)?;
    // Each step goes to a child; a forged list with a circle ends after as many steps as there are mounts.
    for _ in mounts {
        let children = mounts
            .iter()
            .filter(|mount| mount.parent == here.id && mount.id != here.id);
        match children.filter(below).min_by_key(length) {
            Some(child) => here = child,
            None => break,
        }
    }
    Some(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_lines_with_and_without_optional_fields() {
        let text = b"1 1 0:2 / / rw - rootfs rootfs rw\n\
            36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext4 /dev/root rw,errors=continue\n\
            40 1 0:3 / /a\\040b\\134c\\011\\012 ro,relatime - 9p isopod rw,trans=virtio\n\
            41 1 254:0 / /e rw - erofs /dev/vda ro\n\
            garbage\n42 1\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].mount_point, Path::new("/mnt2"));
        assert_eq!(
            (mounts[1].id, mounts[1].parent, mounts[1].fs_type.as_str()),
            (36, 35, "ext4")
        );
        assert_eq!(mounts[2].mount_point, Path::new("/a b\\c\t\n"));
        let read_only: Vec<_> = mounts.iter().map(|mount| mount.read_only).collect();
        assert_eq!(read_only, [false, false, true, true]);
    }

    #[test]
    fn the_layers_of_an_overlay() {
        let text = b"40 1 0:9 / /opt/stage2/a/rootfs rw,relatime - overlay overlay rw,lowerdir=/s/a:/i/0,upperdir=/w/a/upper,workdir=/w\n\
            41 1 0:9 / /opt/stage2/b/rootfs ro - overlay overlay rw,lowerdir+=/s,lowerdir+=/i,upperdir=/u,workdir=/w\n\
            42 1 254:0 / /e rw - erofs /dev/vda ro\n";
        let layers = |at: &str| overlay(text, Path::new(at));
        let of_a = layers("/opt/stage2/a/rootfs").unwrap();
        assert_eq!(of_a.upper, Path::new("/w/a/upper"));
        assert_eq!(of_a.lowers, [Path::new("/s/a"), Path::new("/i/0")]);
        let of_b = layers("/opt/stage2/b/rootfs").unwrap();
        assert_eq!(
            (of_b.lowers.len(), of_a.read_only, of_b.read_only),
            (2, false, true)
        );
        assert_eq!((layers("/e"), layers("/nowhere")), (None, None));
    }

    #[test]
    fn leaves_alone_what_is_no_escape() {
        for text in ["\\", "\\04", "\\0", "\\999", "\\777", "a\\x41"] {
            assert_eq!(unescape(text.as_bytes()), text.as_bytes());
        }
    }

    fn mount(id: u32, parent: u32, at: &str) -> Mount {
        Mount {
            id,
            parent,
            mount_point: at.into(),
            fs_type: "x".into(),
            read_only: false,
        }
    }

    #[test]
    fn finds_the_mount_that_a_path_leads_to() {
        let mounts = [
            mount(1, 1, "/"),
            mount(10, 1, "/mnt/a"),
            mount(11, 10, "/mnt/a"),
            mount(12, 1, "/mnt/ab"),
            mount(13, 1, "/hidden/below"),
            mount(14, 1, "/hidden"),
        ];
        let id = |path: &str| visible(&mounts, Path::new(path)).map(|mount| mount.id);
        assert_eq!(id("/"), Some(1));
        assert_eq!(id("/mnt/a"), Some(11), "the upper of two at one place");
        assert_eq!(id("/mnt/a/deep"), Some(11));
        assert_eq!(id("/mnt/ab"), Some(12));
        assert_eq!(id("/mnt/abc"), Some(1));
        assert_eq!(id("/hidden/below"), Some(14), "a later mount hides it");
    }

    #[test]
    fn a_circle_ends() {
        let mounts = [
            mount(1, 9, "/"),
            mount(2, 3, "/a"),
            mount(3, 2, "/a"),
            mount(4, 1, "/a"),
            mount(2, 4, "/a"),
        ];
        assert!(visible(&mounts, Path::new("/a")).is_some());
    }

    #[test]
    fn agrees_with_the_kernel_on_this_machine() {
        let mounts = parse(&std::fs::read("/proc/self/mountinfo").unwrap());
        assert!(!mounts.is_empty());
        assert_eq!(visible(&mounts, Path::new("/proc")).unwrap().fs_type, "proc");
    }
}
