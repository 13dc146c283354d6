//! The processors that a VM can have, and how each of those who name them does.
//!
//! What follows from one is decided where it is about: the board of the VM in `isopod-plan` (`vm::board`), programs, libraries and
//! kernels in `isopod-guest`. Each of these is a `match` without a wildcard: a third architecture does not compile until all are
//! answered.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A processor's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Isopod runs on x86-64 and on 64-bit ARM");

impl Architecture {
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    pub const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::Amd64
    };

    /// The architecture of that name: images', the kernel's, or systemd's.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let is_named = |one: &Self| name == one.name() || name == one.kernel_name();
        let named = Self::ALL.into_iter().find(is_named);
        named.or((name == "x86-64").then_some(Self::Amd64))
    }

    /// That of a platform: `linux/ARCH`, `linux/ARCH/VARIANT` of which the variant does not matter here, or `ARCH`.
    #[must_use]
    pub fn of_platform(platform: &str) -> Option<Self> {
        let mut parts = platform.split('/');
        match (parts.next(), parts.next()) {
            (Some("linux"), Some(architecture)) => Self::read(architecture),
            (Some("linux"), None) => Some(Self::HOST),
            (Some(architecture), None) => Self::read(architecture),
            _ => None,
        }
    }

    /// What Go calls it, and thereby images, Debian and docker: `amd64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What the kernel calls it (uname(1)), and QEMU, and rustc: `x86_64`.
    #[must_use]
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// The number that its programs have in their headers (elf(5), `e_machine`).
    #[must_use]
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_the_names_that_it_has() {
        for one in Architecture::ALL {
            assert_eq!(Architecture::read(one.name()), Some(one));
            assert_eq!(Architecture::read(one.kernel_name()), Some(one));
        }
        assert_eq!(Architecture::read("x86-64"), Some(Architecture::Amd64));
        assert_eq!(Architecture::read("riscv64"), None);
        assert_eq!(Architecture::HOST.kernel_name(), std::env::consts::ARCH);
    }
}
