//! What a task needs of the distribution, and its installation: Debian's package manager and no other.

use std::fs;
use std::process::{Command, Stdio};

use crate::command::{self, command};
use crate::failure::Failure;
use crate::out;

/// What running a pod needs: the VM, its kernel, its init and mount(8), its network, and something to run.
const RUN: [&str; 6] = [
    "qemu-system-x86",
    "passt",
    "linux-image-amd64",
    "systemd",
    "mount",
    "busybox-static",
];

/// What the tests need beside [`RUN`], and for what.
const TEST: [&str; 34] = [
    // the same command lines
    "podman",
    "runc",
    // oracles for layers, image transports and the root file system
    "umoci",
    "skopeo",
    "buildah",
    "docker-registry",
    "apache2-utils",
    "openssl",
    "erofs-utils",
    "attr",
    "libcap2-bin",
    "cpio",
    "zstd",
    // building the crate virtiofsd
    "libcap-ng-dev",
    "libseccomp-dev",
    "pkg-config",
    // dependency lists of kernel modules
    "kmod",
    // network namespaces and what is in them
    "iproute2",
    // users of an ordinary user
    "uidmap",
    "containernetworking-plugins",
    "netavark",
    "aardvark-dns",
    "iptables",
    // engines whose containers are pods
    "containerd",
    "nftables",
    // pods of arm64: the VM, a distribution for its guest, a linker for its agent
    "qemu-system-arm",
    "mmdebstrap",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    // shells that complete
    "fish",
    "zsh",
    // a clock that jumps
    "faketime",
    // examples of the manual
    "curl",
    "jq",
];

/// What the comparison of imports needs beside [`RUN`].
const BENCH_IMPORT: [&str; 4] = ["debootstrap", "umoci", "skopeo", "podman"];

/// What trying the package in other releases' roots needs beside [`RUN`], and what shows a page of it.
const HOSTS: [&str; 3] = ["debootstrap", "binutils", "chromium"];

/// For whom packages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run a pod.
    Run,
    /// To run the tests.
    Test,
    /// To compare imports with other tools'.
    BenchImport,
    /// To try the package in other releases' roots.
    Hosts,
}

/// Whether packages may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Given,
    /// The user is to be asked.
    Ask,
}

/// Who installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Installer {
    Root,
    Sudo,
}

/// Makes sure that the packages for `purpose` are there.
pub(crate) fn ensure(purpose: Purpose, consent: Consent) -> Result<(), Failure> {
    if !command::exists("dpkg-query") || !command::exists("apt-get") {
        let names = RUN.join(", ");
        return Err(
            Failure::new("this host has no `dpkg-query` and `apt-get`: it is no Debian").hint(format!(
                "build with `cargo build` and install what Debian calls {names} in your distribution's way"
            )),
        );
    }
    let wanted = wanted(purpose, debian_version());
    let missing = missing(&wanted)?;
    if missing.is_empty() {
        out::say(&format!("installed: {}", wanted.join(" ")));
        return Ok(());
    }
    out::say(&format!("missing: {}", missing.join(" ")));
    let installer = installer(&missing)?;
    let mut install = install_command(installer, &missing);
    agree(consent, &install)?;
    let updated = lists_lack(&missing);
    if updated {
        command::run(&mut apt_get(installer, &["update"]))?;
    }
    if command::status(&mut install)?.success() {
        return verify(&wanted);
    }
    if updated {
        return Err(not_installed(&missing));
    }
    // Lists that are old name files that the mirrors have no more.
    out::say("failed; once more with fresh package lists");
    command::run(&mut apt_get(installer, &["update"]))?;
    command::run(&mut install)?;
    verify(&wanted)
}

/// The packages for `purpose`. From Debian 13 on virtiofsd has a package of its own; before, it comes with QEMU. Testing branches have
/// no version.
fn wanted(purpose: Purpose, debian: Option<u32>) -> Vec<&'static str> {
    let mut wanted = RUN.to_vec();
    if debian.is_none_or(|version| version >= 13) {
        wanted.push("virtiofsd");
    }
    match purpose {
        Purpose::Run => {}
        Purpose::Test => wanted.extend(TEST),
        Purpose::BenchImport => wanted.extend(BENCH_IMPORT),
        Purpose::Hosts => wanted.extend(HOSTS),
    }
    wanted
}

/// The version of Debian, or what Ubuntu has of the same age; `None` for testing branches.
fn debian_version() -> Option<u32> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let ubuntu = text.lines().any(|line| line == "ID=ubuntu");
    let version: u32 = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_ID="))?
        .trim_matches('"')
        .split('.')
        .next()?
        .parse()
        .ok()?;
    Some(match (ubuntu, version) {
        (true, ..=22) => 12,
        (true, _) => 13,
        (false, version) => version,
    })
}

/// Those of `wanted` that are not installed.
fn missing(wanted: &[&'static str]) -> Result<Vec<&'static str>, Failure> {
    let mut query = command(
        "dpkg-query",
        ["--show", "--showformat=${db:Status-Status} ${Package}\n"],
    );
    query.args(wanted).stderr(Stdio::null());
    // It fails when it does not know one of them, and says all about the others nevertheless.
    let output = query
        .output()
        .map_err(|error| command::not_started(&query, error))?;
    Ok(not_listed(wanted, &String::from_utf8_lossy(&output.stdout)))
}

fn not_listed(wanted: &[&'static str], listing: &str) -> Vec<&'static str> {
    let installed = |package: &str| {
        listing
            .lines()
            .any(|line| line.strip_prefix("installed ") == Some(package))
    };
    wanted
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

fn installer(missing: &[&str]) -> Result<Installer, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(Installer::Root);
    }
    if command::exists("sudo") {
        return Ok(Installer::Sudo);
    }
    let by_hand = command::shown(&install_command(Installer::Root, missing));
    Err(Failure::new("cannot install packages: neither root nor `sudo`")
        .hint(format!("let root run `{by_hand}`, then try again")))
}

fn agree(consent: Consent, install: &Command) -> Result<(), Failure> {
    if consent == Consent::Given {
        return Ok(());
    }
    out::say(&format!("to be installed with: {}", command::shown(install)));
    let refused = |why: &str| Failure::new(format!("nothing was installed: {why}"));
    match out::ask("Install them now?") {
        Some(true) => Ok(()),
        Some(false) => Err(refused("you did not agree").hint("install them yourself, then try again")),
        None => Err(refused("there is no terminal to ask at").hint("agree with `--yes`")),
    }
}

/// Whether the package lists have to be fetched first: a fresh container has none.
fn lists_lack(packages: &[&str]) -> bool {
    let known =
        |package: &str| command::quiet(&mut command("apt-cache", ["show", "--no-all-versions", package]));
    packages.iter().any(|package| known(package).is_none())
}

fn install_command(installer: Installer, packages: &[&str]) -> Command {
    let mut command = apt_get(installer, &["install", "--yes", "--no-install-recommends"]);
    command.args(packages);
    command
}

/// `apt-get` that asks no questions. sudo drops the caller's environment, so env(1) sets it behind sudo.
fn apt_get(installer: Installer, args: &[&str]) -> Command {
    let mut command = match installer {
        Installer::Root => command("env", [""; 0]),
        Installer::Sudo => command("sudo", ["env"]),
    };
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(args);
    command
}

/// apt-get can succeed and leave a package out, where another conflicts with it.
fn verify(wanted: &[&'static str]) -> Result<(), Failure> {
    let still = missing(wanted)?;
    if still.is_empty() {
        Ok(())
    } else {
        Err(not_installed(&still))
    }
}

fn not_installed(packages: &[&str]) -> Failure {
    Failure::new(format!("cannot install {}", packages.join(" "))).hint("what `apt-get` says above is why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let listing =
            "installed mount\nconfig-files systemd\nnot-installed busybox-static\ninstalled busybox\n";
        assert_eq!(
            not_listed(&["mount", "systemd", "busybox-static", "umoci"], listing),
            ["systemd", "busybox-static", "umoci"]
        );
    }

    #[test]
    fn dpkg_answers_for_known_and_unknown_packages_at_once() {
        if !command::exists("dpkg-query") {
            return;
        }
        assert_eq!(
            missing(&["dpkg", "no-such-package-of-isopod", "base-files"]).unwrap(),
            ["no-such-package-of-isopod"]
        );
    }

    #[test]
    fn virtiofsd_is_a_package_from_debian_13_on() {
        assert!(!wanted(Purpose::Run, Some(12)).contains(&"virtiofsd"));
        assert!(wanted(Purpose::Run, Some(13)).contains(&"virtiofsd"));
        assert!(wanted(Purpose::Run, None).contains(&"virtiofsd"));
        assert!(wanted(Purpose::Test, Some(12)).contains(&"umoci"));
    }

    #[test]
    fn the_command_for_apt() {
        let shown = |installer| command::shown(&install_command(installer, &["mount", "umoci"]));
        let root =
            "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends mount umoci";
        assert_eq!(shown(Installer::Root), root);
        assert_eq!(
            shown(Installer::Sudo).replace(" \\\n   ", ""),
            format!("sudo {root}")
        );
    }
}
