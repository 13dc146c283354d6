//! `cargo xtask package`: a .deb and a tarball of the binaries, with what belongs to them.
//!
//! ```text
//! target/package/root/       what the .deb installs, below its own places
//!   usr/bin/isopod, usr/bin/containerd-shim-isopod-v2 (where it was built)
//!   usr/libexec/isopod/isopod-agent, and isopod-agent-ARCH for guests of the other architecture (where it was built)
//!   usr/lib/systemd/system/isopod@.service
//!   usr/share/man/man1, usr/share/{bash-completion,zsh,fish}
//!   usr/share/isopod/apparmor, usr/share/doc/isopod
//!   DEBIAN/                  control and scripts (deb(5))
//! target/package/isopod_VERSION_ARCH.deb
//! target/package/isopod-VERSION-MACHINE.tar.gz    the tree of `usr`, as a directory of its own
//! ```
//!
//! The same binaries give the same bytes: times are those of the last commit.

mod control;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::build::{self, Profile};
use crate::command::{self, command};
use crate::failure::Failure;
use crate::{out, place};
use control::{Control, glibc};

/// The binary of containerd's shim, which goes into the package where it was built.
const SHIM: &str = "containerd-shim-isopod-v2";

/// Where the completions of a shell go, below `usr/share`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/isopod"),
    ("zsh", "zsh/vendor-completions/_isopod"),
    ("fish", "fish/vendor_completions.d/isopod.fish"),
];

pub(crate) struct Packages {
    /// The package for Debian and what is made of it.
    pub(crate) deb: PathBuf,
    /// The archive for others.
    pub(crate) tarball: PathBuf,
}

/// Makes both of the binaries in `binaries`, or of a release build.
pub(crate) fn make(binaries: Option<&Path>) -> Result<Packages, Failure> {
    let dist = match binaries {
        Some(dir) => dir.to_owned(),
        None => {
            let isopod = build::isopod(Profile::Release)?;
            isopod.parent().unwrap_or(Path::new(".")).to_owned()
        }
    };
    let home = place::target().join("package");
    let root = home.join("root");
    remove(&root)?;
    programs(&dist, &root)?;
    manual(&dist.join("isopod"), &home.join("manual"), &root)?;
    documents(&root)?;
    let packages = Packages {
        deb: home.join(format!("isopod_{}_{}.deb", version(), control::architecture())),
        tarball: home.join(format!("isopod-{}-{}.tar.gz", version(), std::env::consts::ARCH)),
    };
    tarball(&root, &home, &packages.tarball)?;
    deb(&dist, &root, &packages.deb)?;
    for path in [&packages.deb, &packages.tarball] {
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        out::say(&format!(
            "made: {} ({:.1} MB)",
            path.display(),
            bytes as f64 / 1e6
        ));
    }
    Ok(packages)
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn programs(dist: &Path, root: &Path) -> Result<(), Failure> {
    install(&dist.join("isopod"), &root.join("usr/bin/isopod"), 0o755)?;
    let agent = root.join("usr/libexec/isopod/isopod-agent");
    install(&dist.join("isopod-agent"), &agent, 0o755)?;
    let foreign = build::foreign_agent_name();
    if dist.join(&foreign).is_file() {
        let place = root.join("usr/libexec/isopod").join(&foreign);
        install(&dist.join(&foreign), &place, 0o755)?;
    }
    let shim = dist.join(SHIM);
    if shim.is_file() {
        install(&shim, &root.join("usr/bin").join(SHIM), 0o755)?;
    }
    let unit = root.join("usr/lib/systemd/system/isopod@.service");
    install(Path::new("packaging/systemd/isopod@.service"), &unit, 0o644)?;
    let profile = root.join("usr/share/isopod/apparmor/isopod");
    install(Path::new("packaging/apparmor/isopod"), &profile, 0o644)
}

/// Who makes the package: what `DEBFULLNAME` and `DEBEMAIL` say, as Debian's own tools have it (debchange(1)), or else who made the last
/// commit.
fn maintainer() -> Result<String, Failure> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(name), Some(email)) = (said("DEBFULLNAME"), said("DEBEMAIL")) {
        return Ok(format!("{name} <{email}>"));
    }
    let author = command::quiet(&mut command("git", ["log", "-1", "--format=%an <%ae>"]));
    let author = author.map(|author| author.trim().to_owned());
    author.filter(|author| !author.is_empty()).ok_or_else(|| {
        Failure::new("nobody is the package's maintainer: this is no checkout")
            .hint("say who: `DEBFULLNAME='A B' DEBEMAIL=a@example.org cargo xtask package`")
    })
}

/// Man pages and completions, as the command writes them.
fn manual(isopod: &Path, dir: &Path, root: &Path) -> Result<(), Failure> {
    remove(dir)?;
    let program = place::absolute(isopod);
    command::run(command(program, ["internal-docs"]).arg(dir))?;
    let share = root.join("usr/share");
    for page in entries(&dir.join("man"))? {
        let name = page.file_name().unwrap_or_default();
        let page_in_place = share.join("man/man1").join(name);
        install(&page, &page_in_place, 0o644)?;
        gzip(&page_in_place)?;
    }
    for (shell, place) in COMPLETIONS {
        install(
            &dir.join(format!("completions/isopod.{shell}")),
            &share.join(place),
            0o644,
        )?;
    }
    Ok(())
}

fn documents(root: &Path) -> Result<(), Failure> {
    let doc = root.join("usr/share/doc/isopod");
    for page in entries(Path::new("docs"))?
        .iter()
        .filter(|page| page.extension().is_some_and(|e| e == "md"))
    {
        install(
            page,
            &doc.join("docs").join(page.file_name().unwrap_or_default()),
            0o644,
        )?;
    }
    install(Path::new("README.md"), &doc.join("README.md"), 0o644)?;
    install(Path::new("LICENSE"), &doc.join("copyright"), 0o644)?;
    let changelog = doc.join("changelog");
    install(Path::new("CHANGELOG.md"), &changelog, 0o644)?;
    gzip(&changelog)
}

fn tarball(root: &Path, home: &Path, to: &Path) -> Result<(), Failure> {
    let name = format!("isopod-{}", version());
    let dir = home.join(&name);
    remove(&dir)?;
    command::run(command("cp", ["-a"]).arg(root.join("usr")).arg(&dir))?;
    install(
        Path::new("packaging/INSTALL.md"),
        &dir.join("share/doc/isopod/INSTALL.md"),
        0o644,
    )?;
    let mut tar = command("tar", ["--owner=0", "--group=0", "--sort=name", "-czf"]);
    tar.arg(to)
        .arg(format!("--mtime=@{}", epoch()))
        .arg("-C")
        .arg(home)
        .arg(&name);
    command::run(&mut tar)
}

fn deb(dist: &Path, root: &Path, to: &Path) -> Result<(), Failure> {
    let shim = dist.join(SHIM);
    let mut programs = vec![dist.join("isopod")];
    programs.extend(shim.is_file().then_some(shim));
    let control = Control {
        version: version(),
        maintainer: maintainer()?,
        glibc: glibc(&programs)?,
        kibibytes: kibibytes(root)?,
    };
    write(&root.join("DEBIAN/control"), &control.text())?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = Path::new("packaging/debian").join(script);
        install(&from, &root.join("DEBIAN").join(script), 0o755)?;
    }
    // One package for Debian 12 and later: older ones do not read zstd.
    let mut dpkg = command("dpkg-deb", ["--root-owner-group", "-Zxz", "--build"]);
    command::run(dpkg.arg(root).arg(to).env("SOURCE_DATE_EPOCH", epoch()))
}

/// When the last commit was made, in seconds; outside of a checkout the beginning of all times.
fn epoch() -> String {
    let text = command::quiet(&mut command("git", ["log", "-1", "--format=%ct"]));
    text.map_or_else(|| "0".to_owned(), |text| text.trim().to_owned())
}

fn kibibytes(root: &Path) -> Result<u64, Failure> {
    let mut du = command("du", ["-sk", "--apparent-size"]);
    let text = command::quiet(du.arg(root)).unwrap_or_default();
    let number = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok());
    number.ok_or_else(|| Failure::new(format!("cannot tell how large `{}` is", root.display())))
}

fn gzip(path: &Path) -> Result<(), Failure> {
    let mut gzip = command("gzip", ["-9nf"]);
    gzip.arg(path);
    command::quiet(&mut gzip)
        .map(drop)
        .ok_or_else(|| Failure::new(format!("cannot compress `{}`", path.display())))
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<(), Failure> {
    let failed = |error| {
        Failure::new(format!("cannot copy `{}` to `{}`", from.display(), to.display())).caused_by(error)
    };
    fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    fs::copy(from, to).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot write `{}`", path.display())).caused_by(error);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}

fn remove(dir: &Path) -> Result<(), Failure> {
    match dir.exists() {
        true => fs::remove_dir_all(dir)
            .map_err(|error| Failure::new(format!("cannot remove `{}`", dir.display())).caused_by(error)),
        false => Ok(()),
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::new(format!("cannot read `{}`", dir.display())).caused_by(error);
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}
