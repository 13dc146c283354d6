//! The control file of the .deb (deb-control(5)), and what its binaries need of glibc.

use std::path::PathBuf;

use crate::command::{self, command};
use crate::failure::Failure;

/// What differs from build to build.
pub(super) struct Control {
    /// The package's version.
    pub(super) version: &'static str,
    /// Who makes the package: `NAME <ADDRESS>`.
    pub(super) maintainer: String,
    /// The oldest glibc that has every symbol of the binaries.
    pub(super) glibc: (u32, u32),
    /// What it takes on disk.
    pub(super) kibibytes: u64,
}

/// What pods are slower or poorer without, beside a kernel. Debian 12's virtiofsd comes with QEMU (qemu-system-common), and is a package from 13 on.
const RECOMMENDS: &str = "virtiofsd | qemu-system-common (<< 1:8), passt, e2fsprogs, uidmap";

impl Control {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let (major, minor) = self.glibc;
        let architecture = architecture();
        let qemu = match architecture {
            "arm64" => "qemu-system-arm",
            _ => "qemu-system-x86",
        };
        format!(
            "Package: isopod\n\
             Version: {}\n\
             Architecture: {}\n\
             Maintainer: {}\n\
             Section: admin\n\
             Priority: optional\n\
             Installed-Size: {}\n\
             Depends: libc6 (>= {major}.{minor}), libgcc-s1, {qemu}, systemd\n\
             Recommends: linux-image-{architecture} | linux-image-generic | linux-image, {RECOMMENDS}\n\
             Description: runs pods of container images, each in a small VM of its own\n \
             A pod is one or more ordinary container images (apps) that share volumes and a network. Isopod runs each pod in a VM with a\n \
             kernel and a systemd of its own, made of what the host has installed: no daemon, and no root where the host allows it.\n",
            self.version, architecture, self.maintainer, self.kibibytes
        )
    }
}

/// Debian's name of the architecture that this was built for.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The oldest glibc that has every versioned symbol which these programs take from it.
pub(super) fn glibc(programs: &[PathBuf]) -> Result<(u32, u32), Failure> {
    let mut read = command("readelf", ["-W", "--version-info"]);
    let text = command::quiet(read.args(programs)).ok_or_else(|| {
        Failure::new("cannot read what the binaries need of glibc: `readelf` failed")
            .hint("install `binutils`")
    })?;
    newest(&text).ok_or_else(|| Failure::new("the binaries name no version of glibc: are they static?"))
}

fn newest(text: &str) -> Option<(u32, u32)> {
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let mut numbers = rest[..end].split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides_which_glibc_is_needed() {
        let text = "  0x0010:   Name: GLIBC_2.9  Flags: none\n  0x0020:   Name: GLIBC_2.34  Flags: none\n GLIBC_2.2.5\nGLIBC_PRIVATE";
        assert_eq!(newest(text), Some((2, 34)));
        assert_eq!(newest("nothing"), None);
    }

    #[test]
    fn the_control_file_is_one_that_dpkg_reads() {
        let control = Control {
            version: "1.2.3",
            maintainer: "A B <a@example.org>".into(),
            glibc: (2, 36),
            kibibytes: 7,
        };
        let text = control.text();
        for line in text.lines() {
            let field = line
                .split_once(": ")
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'));
            assert!(field || line.starts_with(' '), "{line}");
        }
        assert!(text.contains("Depends: libc6 (>= 2.36), libgcc-s1, qemu-system-x86, systemd\n"));
    }
}
