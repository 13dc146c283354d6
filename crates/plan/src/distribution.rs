//! The host's distribution, as its os-release(5) names it, and what it calls the packages that a pod needs: hints name the command
//! that installs them there.

use isopod_spec::Architecture;

/// What os-release(5) says, as far as hints follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Whose packages and commands it has.
    pub family: Family,
    /// `ID`: `debian`, `ubuntu`, `fedora`, ...
    pub id: String,
    /// `PRETTY_NAME`, for people.
    pub name: String,
    /// The number that `VERSION_ID` begins with; of what is made of Debian or Ubuntu that of the Debian or Ubuntu which it is made of.
    /// Testing branches, rolling distributions and what does not say have none.
    pub version: Option<u32>,
}

/// Distributions with the same names and the same package manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Debian and what is made of it.
    Debian,
    /// Ubuntu and what is made of it.
    Ubuntu,
    Fedora,
    /// RHEL and what is made of it.
    Rhel,
    /// Arch and what is made of it.
    Arch,
    /// openSUSE and SLES.
    Suse,
    /// NixOS.
    Nix,
    /// Another, or nobody knows.
    #[default]
    Other,
}

/// What may have to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The hypervisor of VMs of that architecture.
    Qemu(Architecture),
    /// A kernel of this host's architecture, with all its modules.
    Kernel,
    Systemd,
    /// The file server of host volumes.
    Virtiofsd,
    /// The router, and pasta(1).
    Passt,
    /// What makes networks with names.
    Netavark,
    /// Their name server.
    Aardvark,
    /// `mkfs.ext4` and `debugfs`.
    Ext4,
    /// `newuidmap` and `newgidmap`.
    UidMap,
    /// `ip` and `tc`.
    Iproute,
}

impl Distribution {
    /// Reads the text of an os-release file; an empty one is of no known distribution.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\''])
        };
        let ids = std::iter::once(field("ID")).chain(field("ID_LIKE").split_whitespace());
        let family = ids.filter_map(family).next().unwrap_or_default();
        let number = || {
            let digits = field("VERSION_ID").split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok())
        };
        let names = ["UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME"];
        let version = match (family, field("ID")) {
            // They count as what they are made of.
            (Family::Debian, "debian" | "raspbian") | (Family::Ubuntu, "ubuntu") => number(),
            (Family::Debian | Family::Ubuntu, _) => names.iter().find_map(|name| release(field(name))),
            _ => number(),
        };
        Self {
            family,
            id: field("ID").to_owned(),
            name: field("PRETTY_NAME").to_owned(),
            version,
        }
    }

    /// What to do where `need` is missing: the end of "... : ", with the command in backticks.
    #[must_use]
    pub fn install(&self, need: Need) -> String {
        let package = self.package(need);
        match self.family {
            Family::Debian | Family::Ubuntu => format!("install it: `sudo apt install {package}`"),
            Family::Fedora | Family::Rhel => format!("install it: `sudo dnf install {package}`"),
            Family::Arch => format!("install it: `sudo pacman -S {package}`"),
            Family::Suse => format!("install it: `sudo zypper install {package}`"),
            Family::Nix => format!("add `{package}` to `environment.systemPackages`"),
            Family::Other => format!("install your distribution's package of {package}"),
        }
    }

    /// What it calls a package.
    #[must_use]
    pub fn package(&self, need: Need) -> &'static str {
        use {Architecture as A, Family as F};
        match (need, self.family) {
            // It has KVM only: it runs VMs of the host's architecture.
            (Need::Qemu(_), F::Rhel) => "qemu-kvm",
            (Need::Qemu(_), F::Nix) => "qemu",
            (Need::Qemu(A::Amd64), F::Debian | F::Ubuntu | F::Arch) => "qemu-system-x86",
            (Need::Qemu(A::Amd64), F::Fedora) => "qemu-system-x86-core",
            (Need::Qemu(A::Amd64), F::Suse) => "qemu-x86",
            (Need::Qemu(A::Amd64), F::Other) => "QEMU for x86-64",
            (Need::Qemu(A::Arm64), F::Debian | F::Ubuntu) => "qemu-system-arm",
            (Need::Qemu(A::Arm64), F::Fedora) => "qemu-system-aarch64-core",
            (Need::Qemu(A::Arm64), F::Arch) => "qemu-system-aarch64",
            (Need::Qemu(A::Arm64), F::Suse) => "qemu-arm",
            (Need::Qemu(A::Arm64), F::Other) => "QEMU for 64-bit ARM",
            (Need::Kernel, F::Debian) => match A::HOST {
                A::Amd64 => "linux-image-amd64",
                A::Arm64 => "linux-image-arm64",
            },
            (Need::Kernel, F::Ubuntu) => "linux-image-generic",
            (Need::Kernel, F::Fedora | F::Rhel) => "kernel",
            (Need::Kernel, F::Arch) => "linux",
            (Need::Kernel, F::Suse) => "kernel-default",
            (Need::Kernel, F::Nix) => "linuxPackages.kernel",
            (Need::Kernel, F::Other) => "the kernel, with its modules",
            (Need::Systemd, _) => "systemd",
            (Need::Virtiofsd, _) if self.virtiofsd_is_qemus() => "qemu-system-common",
            (Need::Virtiofsd, _) => "virtiofsd",
            (Need::Passt, _) => "passt",
            (Need::Netavark, _) => "netavark",
            (Need::Aardvark, _) => "aardvark-dns",
            (Need::Ext4, _) => "e2fsprogs",
            (Need::UidMap, F::Debian | F::Ubuntu) => "uidmap",
            (Need::UidMap, F::Fedora | F::Rhel) => "shadow-utils",
            (Need::UidMap, _) => "shadow",
            (Need::Iproute, F::Fedora | F::Rhel) => "iproute-tc",
            (Need::Iproute, _) => "iproute2",
        }
    }

    /// Whether virtiofsd comes with QEMU, and needs root: up to Debian 12 and Ubuntu 22.04. Branches without a version are newer.
    #[must_use]
    pub fn virtiofsd_is_qemus(&self) -> bool {
        let last = match self.family {
            Family::Debian => 12,
            Family::Ubuntu => 22,
            _ => return false,
        };
        self.version.is_some_and(|version| version <= last)
    }

    /// Why its kernel may lack 9p, in brackets and with a space before them; empty where it usually has it.
    #[must_use]
    pub fn without_9p(&self) -> &'static str {
        match self.family {
            Family::Debian => " (Debian's cloud kernels leave it out)",
            Family::Ubuntu => " (Ubuntu has it in `linux-modules-extra`)",
            Family::Rhel => " (RHEL's kernels leave it out)",
            _ => "",
        }
    }
}

fn family(id: &str) -> Option<Family> {
    Some(match id {
        "debian" | "raspbian" => Family::Debian,
        "ubuntu" => Family::Ubuntu,
        "fedora" => Family::Fedora,
        "rhel" | "centos" | "rocky" | "almalinux" | "ol" => Family::Rhel,
        "arch" | "archlinux" => Family::Arch,
        "suse" | "opensuse" | "sles" | "opensuse-leap" | "opensuse-tumbleweed" => Family::Suse,
        "nixos" => Family::Nix,
        _ => return None,
    })
}

/// The number of a release of Debian or Ubuntu in which virtiofsd comes with QEMU, by its name; later ones need no number.
fn release(name: &str) -> Option<u32> {
    Some(match name {
        "bullseye" => 11,
        "bookworm" => 12,
        "focal" => 20,
        "jammy" => 22,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// os-release files as the distributions have them, what they are, and how QEMU and virtiofsd are installed there.
    #[test]
    fn each_distribution_has_its_own_hints() {
        let cases: [(&str, Family, Option<u32>, &str, &str); 13] = [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
                Family::Debian,
                Some(12),
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install qemu-system-common`",
            ),
            // sid: no VERSION_ID.
            (
                "PRETTY_NAME=\"Debian GNU/Linux forky/sid\"\nID=debian\nVERSION_CODENAME=forky\n",
                Family::Debian,
                None,
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install virtiofsd`",
            ),
            (
                "NAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n",
                Family::Ubuntu,
                Some(24),
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install virtiofsd`",
            ),
            // What is made of them counts otherwise: Mint 22 is of Ubuntu 24.04, Mint 21 of 22.04, LMDE 6 of Debian 12.
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n",
                Family::Ubuntu,
                None,
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install virtiofsd`",
            ),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21\"\nUBUNTU_CODENAME=jammy\n",
                Family::Ubuntu,
                Some(22),
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install qemu-system-common`",
            ),
            (
                "ID=linuxmint\nID_LIKE=debian\nVERSION_ID=\"6\"\nVERSION_CODENAME=faye\nDEBIAN_CODENAME=bookworm\n",
                Family::Debian,
                Some(12),
                "install it: `sudo apt install qemu-system-x86`",
                "install it: `sudo apt install qemu-system-common`",
            ),
            (
                "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=43\n",
                Family::Fedora,
                Some(43),
                "install it: `sudo dnf install qemu-system-x86-core`",
                "install it: `sudo dnf install virtiofsd`",
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.6\"\n",
                Family::Rhel,
                Some(9),
                "install it: `sudo dnf install qemu-kvm`",
                "install it: `sudo dnf install virtiofsd`",
            ),
            (
                "NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\n",
                Family::Arch,
                None,
                "install it: `sudo pacman -S qemu-system-x86`",
                "install it: `sudo pacman -S virtiofsd`",
            ),
            (
                "ID=endeavouros\nID_LIKE=arch\n",
                Family::Arch,
                None,
                "install it: `sudo pacman -S qemu-system-x86`",
                "install it: `sudo pacman -S virtiofsd`",
            ),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\nVERSION_ID=\"20261101\"\n",
                Family::Suse,
                Some(20_261_101),
                "install it: `sudo zypper install qemu-x86`",
                "install it: `sudo zypper install virtiofsd`",
            ),
            (
                "ID=nixos\nVERSION_ID=\"25.11\"\n",
                Family::Nix,
                Some(25),
                "add `qemu` to `environment.systemPackages`",
                "add `virtiofsd` to `environment.systemPackages`",
            ),
            (
                "ID=void\n",
                Family::Other,
                None,
                "install your distribution's package of QEMU for x86-64",
                "install your distribution's package of virtiofsd",
            ),
        ];
        for (text, family, version, qemu, virtiofsd) in cases {
            let found = Distribution::read(text);
            assert_eq!((found.family, found.version), (family, version), "{text}");
            assert_eq!(found.install(Need::Qemu(Architecture::Amd64)), qemu, "{text}");
            assert_eq!(found.install(Need::Virtiofsd), virtiofsd, "{text}");
            let of_debian = matches!(found.family, Family::Debian | Family::Ubuntu);
            for need in [
                Need::Kernel,
                Need::Passt,
                Need::Netavark,
                Need::Aardvark,
                Need::Ext4,
                Need::UidMap,
                Need::Iproute,
                Need::Systemd,
            ] {
                assert_eq!(found.install(need).contains("apt"), of_debian, "{text}");
            }
        }
        assert_eq!(Distribution::read(""), Distribution::default());
    }
}
