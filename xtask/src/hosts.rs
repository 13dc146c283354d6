//! `cargo xtask hosts`: installs the package in bare roots of Debian's releases, and runs pods there.
//!
//! ```text
//! target/hosts/SUITE/base/        what debootstrap made; kept
//! target/hosts/SUITE/archives/    packages that were downloaded; kept
//! target/hosts/SUITE/upper,work/  what one run changes, above `base`
//! target/hosts/SUITE/root/        both together, in a mount namespace of the run's own
//! ```
//!
//! Root's, since a root is entered; what happens in it is `hosts.sh`. The kernel is this host's: what differs is QEMU, systemd, the
//! guest's kernel and all libraries.

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::{busybox, out, package, place};

/// The releases whose roots are tried where none is named.
pub(crate) const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// Where Debian's packages come from.
const MIRROR: &str = "http://deb.debian.org/debian";

/// What is done in a root.
const SCRIPT: &str = include_str!("hosts.sh");

/// What is done beside installing the package and running a few pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct More {
    /// How many rounds of `bench boot` there are.
    pub(crate) bench: Option<usize>,
    /// Whether the quickstart runs, from source.
    pub(crate) source: bool,
}

/// Enters a root, in a mount namespace of its own: nothing is left mounted. Arguments: the suite's directory, package, image, test, this
/// program, the checkout, rounds of `bench boot` (0: none), an archive of the checkout (empty: none), Cargo's and rustup's directories.
const ENTER: &str = r#"
set -e
cd "$1"
mount -t overlay -o lowerdir=base,upperdir=upper,workdir=work none root
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount --rbind /dev root/dev
mount -t tmpfs tmpfs root/tmp
mount --bind archives root/var/cache/apt/archives
cp "$2" root/srv/isopod.deb
cp -a "$3" root/srv/busybox
cp "$4" root/srv/test
mkdir -p root/srv/target/debug "root$6"
cp "$5" root/srv/target/debug/xtask
if [ -n "$8" ]; then
    mkdir -p root/srv/source root/root/.cargo root/root/.rustup
    tar -xf "$8" -C root/srv/source
    mount --bind "$9" root/root/.cargo
    mount --bind "${10}" root/root/.rustup
fi
rm -f root/etc/resolv.conf && cp -L /etc/resolv.conf root/etc/resolv.conf
# Not chroot(2), in which nobody may make a user namespace (user_namespaces(7)).
cd root
pivot_root . mnt
umount -l /mnt
exec env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin BENCH="$7" SOURCE="$8" sh /srv/test
"#;

/// Runs the task: the package of `binaries`, or of a release build, in each of `suites`.
pub(crate) fn run(binaries: Option<&Path>, more: More, suites: &[String]) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(
            Failure::new("roots of other releases are entered as root").hint("`sudo cargo xtask hosts`")
        );
    }
    out::part("what this host has to bring");
    packages::ensure(Purpose::Hosts, Consent::Given)?;
    out::part("the package");
    let package = package::make(binaries)?;
    let image = busybox::make(&place::target().join("hosts/busybox"))?;
    let mut figures = Vec::new();
    for suite in suites {
        out::part(suite);
        let dir = root(suite)?;
        let (found, lines) = try_in(&dir, &package.deb, &image.layout, more)?;
        lines.iter().for_each(|line| out::say(line));
        out::say(&format!(
            "boot-report in Chromium: {}",
            browser::shows(&dir.join("upper/srv/report.html"))?
        ));
        out::say(&table(std::slice::from_ref(suite), std::slice::from_ref(&found)));
        figures.push(found);
    }
    out::part("figures: seconds, but for versions");
    out::say(&table(suites, &figures));
    Ok(())
}

/// The directory with the root of a release, made where there is none.
fn root(suite: &str) -> Result<PathBuf, Failure> {
    let dir = place::absolute(&place::target().join("hosts").join(suite));
    let base = dir.join("base");
    let failed = |error| Failure::new(format!("cannot make `{}`", dir.display())).caused_by(error);
    fs::create_dir_all(dir.join("archives")).map_err(failed)?;
    if !base.exists() {
        let new = dir.join("base.new");
        remove(&new)?;
        let mut make = command("debootstrap", ["--variant=minbase", suite]);
        command::run(make.arg(&new).arg(MIRROR).stdout(Stdio::null()))?;
        fs::rename(&new, &base).map_err(failed)?;
    }
    for fresh in ["upper", "work", "root"] {
        remove(&dir.join(fresh))?;
        fs::create_dir(dir.join(fresh)).map_err(failed)?;
    }
    Ok(dir)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match dir.exists() {
        true => fs::remove_dir_all(dir)
            .map_err(|error| Failure::new(format!("cannot remove `{}`", dir.display())).caused_by(error)),
        false => Ok(()),
    }
}

/// A figure and its name.
type Figure = (String, String);

/// Does what [`SCRIPT`] says; gives its figures, and its other words.
fn try_in(dir: &Path, deb: &Path, image: &Path, more: More) -> Result<(Vec<Figure>, Vec<String>), Failure> {
    let script = dir.join("test.sh");
    fs::write(&script, SCRIPT)
        .map_err(|error| Failure::new(format!("cannot write `{}`", script.display())).caused_by(error))?;
    let mut enter = command(
        "unshare",
        [
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            ENTER,
            "hosts",
        ],
    );
    enter.arg(dir);
    enter.args([deb, image].map(place::absolute)).arg(&script);
    let this = std::env::current_exe()
        .map_err(|error| Failure::new("cannot tell where this program is").caused_by(error))?;
    enter
        .arg(this)
        .arg(place::root())
        .arg(more.bench.unwrap_or(0).to_string());
    match more.source {
        true => enter.arg(archive(dir)?).args(toolchain()?),
        false => enter.arg(""),
    };
    let output = enter
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| command::not_started(&enter, error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        out::say(&text);
        return Err(Failure::new(format!(
            "the package does not work in `{}`",
            dir.display()
        )));
    }
    let (figures, words): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("@ "));
    Ok((
        figures.into_iter().filter_map(figure).collect(),
        words.into_iter().map(str::to_owned).collect(),
    ))
}

/// The last commit of the checkout, as an archive.
fn archive(dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("source.tar");
    command::run(
        command("git", ["archive", "--format=tar", "-o"])
            .arg(&path)
            .arg("HEAD"),
    )?;
    Ok(path)
}

/// The directories of Cargo, with the dependencies that it has fetched, and of rustup: what a newcomer downloads.
fn toolchain() -> Result<[PathBuf; 2], Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let of = |variable: &str, name: &str| {
        std::env::var_os(variable).map_or_else(|| home.join(name), PathBuf::from)
    };
    let dirs = [of("CARGO_HOME", ".cargo"), of("RUSTUP_HOME", ".rustup")];
    match dirs.iter().find(|dir| !dir.is_dir()) {
        Some(missing) => Err(Failure::new(format!("there is no `{}`", missing.display()))
            .hint("`--source` builds with the toolchain that rustup has installed for this user")),
        None => Ok(dirs),
    }
}

/// `@ NAME VALUE`.
fn figure(line: &str) -> Option<Figure> {
    let (name, value) = line.strip_prefix("@ ")?.split_once(' ')?;
    Some((name.to_owned(), value.to_owned()))
}

/// A column for each release.
fn table(suites: &[String], figures: &[Vec<Figure>]) -> String {
    let mut text = format!("{:<14}", "");
    suites.iter().for_each(|suite| text += &format!("  {suite:<22}"));
    let names = figures.first().into_iter().flatten().map(|(name, _)| name);
    for name in names {
        text += &format!("\n{name:<14}");
        for column in figures {
            let value = column
                .iter()
                .find(|(other, _)| other == name)
                .map_or("", |(_, value)| value);
            text += &format!("  {value:<22}");
        }
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_columns() {
        assert_eq!(
            figure("@ first-pod 3.4"),
            Some(("first-pod".into(), "3.4".into()))
        );
        assert_eq!(figure("first-pod 3.4"), None);
        let column = |value: &str| vec![("first-pod".to_owned(), value.to_owned())];
        let text = table(&["a".into(), "b".into()], &[column("3.4"), column("5")]);
        assert_eq!(
            text.lines()
                .nth(1)
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["first-pod", "3.4", "5"]
        );
    }
}
