//! `cargo xtask bench import`: a Debian root filesystem of some 130 MB, from an OCI archive until it can be booted.
//!
//! ```text
//! A  isopod image import oci-archive:debian.tar         one read-only file that the guest mounts
//! B  skopeo copy oci-archive:... oci:..., umoci unpack   a tree of files
//! C  podman load --input debian.tar                      a layer in overlay storage
//! ```
//!
//! They alternate, each into a directory of its own that is empty at the beginning and removed afterwards, so nothing is
//! found from the round before. B and C do not wait for the disk, A does. Memory is that of each process itself, of B
//! the larger one's. The tree is debootstrap's smallest, without the package manager's downloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::failed;
use super::stats::Summary;
use super::watch::{self, Watch};
use crate::build::{self, Profile};
use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::{out, place};

/// Debian 12: what the figures in the documentation were taken of.
const SUITE: &str = "bookworm";

/// What one side took.
struct Taken {
    wall: Duration,
    peak_kib: u64,
}

/// One side of the comparison.
struct Side {
    name: &'static str,
    commands: fn(&Setting, &Path) -> Vec<Command>,
}

struct Setting {
    isopod: PathBuf,
    archive: PathBuf,
}

const SIDES: [Side; 3] = [
    Side {
        name: "`isopod image import`",
        commands: isopod,
    },
    Side {
        name: "`skopeo copy` and `umoci unpack`",
        commands: skopeo_and_umoci,
    },
    Side {
        name: "`podman load`",
        commands: podman,
    },
];

/// Measures `runs` rounds and prints the table.
pub(crate) fn import(runs: usize) -> Result<(), Failure> {
    packages::ensure(Purpose::BenchImport, Consent::Given)?;
    let isopod = build::isopod(Profile::Release)?;
    let dir = place::absolute(&place::target().join("bench/import"));
    let work = dir.join("work");
    fs::create_dir_all(&dir).map_err(|error| failed("create", &dir, error))?;
    let setting = Setting {
        isopod: place::absolute(&isopod),
        archive: archive(&dir)?,
    };
    let mut taken: Vec<Vec<Taken>> = SIDES.iter().map(|_| Vec::new()).collect();
    for number in 1..=runs {
        for (side, taken) in SIDES.iter().zip(&mut taken) {
            taken.push(measure(side, &setting, &work)?);
        }
        let walls = taken.iter().filter_map(|side| side.last());
        let walls: Vec<String> = walls
            .map(|taken| format!("{:.2}", taken.wall.as_secs_f64()))
            .collect();
        out::say(&format!("round {number} of {runs}: {} s", walls.join(", ")));
    }
    let size = fs::metadata(&setting.archive).map_or(0, |meta| meta.len());
    out::say(&format!(
        "\n`cargo xtask bench import --runs {runs}`, an archive of {} MB:\n\n{}",
        size / 1_000_000,
        table(&taken)
    ));
    Ok(())
}

/// The OCI archive, made once.
fn archive(dir: &Path) -> Result<PathBuf, Failure> {
    let archive = dir.join("debian.tar");
    if archive.is_file() {
        return Ok(archive);
    }
    let (root, layout, layer) = (dir.join("root"), dir.join("oci"), dir.join("layer.tar"));
    for old in [&root, &layout] {
        remove(old)?;
    }
    let text = |path: &Path| path.display().to_string();
    let image = format!("{}:debian", text(&layout));
    let clean = format!("rm -rf {0}/var/cache/apt/* {0}/var/lib/apt/lists/*", text(&root));
    let debootstrap = ["--variant=minbase", SUITE, &text(&root)];
    let tar = ["--numeric-owner", "-C", &text(&root), "-cf", &text(&layer), "."];
    let add = ["raw", "add-layer", "--image", &image, &text(&layer)];
    // The name is final when the archive is whole.
    let partial = dir.join("debian.tar.part");
    let to = format!("oci-archive:{}:debian:bench", text(&partial));
    let from = format!("oci:{image}");
    for mut command in [
        command("debootstrap", debootstrap),
        command("sh", ["-c", &clean]),
        command("tar", tar),
        command("umoci", ["init", "--layout", &text(&layout)]),
        command("umoci", ["new", "--image", &image]),
        command("umoci", add),
        command("skopeo", ["--insecure-policy", "copy", "--quiet", &from, &to]),
    ] {
        command::run(&mut command)?;
    }
    for old in [&root, &layout, &layer] {
        remove(old)?;
    }
    fs::rename(&partial, &archive).map_err(|error| failed("rename", &partial, error))?;
    Ok(archive)
}

fn isopod(setting: &Setting, work: &Path) -> Vec<Command> {
    let (dir, from) = (work.display(), setting.archive.display());
    vec![command(
        &setting.isopod,
        [
            "--dir",
            &dir.to_string(),
            "image",
            "import",
            &format!("oci-archive:{from}"),
        ],
    )]
}

fn skopeo_and_umoci(setting: &Setting, work: &Path) -> Vec<Command> {
    let (work, from) = (work.display(), setting.archive.display());
    let (from, to) = (
        format!("oci-archive:{from}:debian:bench"),
        format!("oci:{work}/oci:debian"),
    );
    let (image, bundle) = (format!("{work}/oci:debian"), format!("{work}/bundle"));
    vec![
        command("skopeo", ["--insecure-policy", "copy", "--quiet", &from, &to]),
        command("umoci", ["unpack", "--image", &image, &bundle]),
    ]
}

fn podman(setting: &Setting, work: &Path) -> Vec<Command> {
    let (work, from) = (work.display(), setting.archive.display());
    let args = [
        format!("--root={work}/root"),
        format!("--runroot={work}/run"),
        "--storage-driver=overlay".to_owned(),
        "load".to_owned(),
        "--quiet".to_owned(),
        format!("--input={from}"),
    ];
    vec![command("podman", args)]
}

/// Runs one side once.
fn measure(side: &Side, setting: &Setting, work: &Path) -> Result<Taken, Failure> {
    remove(work)?;
    fs::create_dir(work).map_err(|error| failed("create", work, error))?;
    let mut taken = Taken {
        wall: Duration::ZERO,
        peak_kib: 0,
    };
    for command in (side.commands)(setting, work) {
        let shown = command::shown(&command);
        let observed = watch::run(command, &work.with_extension("log"), Watch::Process)?;
        if !observed.status.success() {
            return Err(Failure::new(format!(
                "`{shown}` failed: {}\n{}",
                observed.status, observed.stderr
            )));
        }
        taken.wall += observed.wall;
        taken.peak_kib = taken.peak_kib.max(observed.peak_kib);
    }
    remove(work)?;
    Ok(taken)
}

/// Removes a file or tree; podman leaves its storage mounted onto itself.
fn remove(path: &Path) -> Result<(), Failure> {
    for mount in [path.join("root/overlay"), path.join("root")] {
        let _ = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH);
    }
    let removed = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(|error| failed("remove", path, error))
}

fn table(taken: &[Vec<Taken>]) -> String {
    let walls = |side: &Vec<Taken>| Summary::of(side.iter().map(|taken| taken.wall.as_secs_f64()).collect());
    let peaks = |side: &Vec<Taken>| Summary::of(side.iter().map(|t| t.peak_kib as f64 / 1024.0).collect());
    let ours = walls(&taken[0]).median;
    let mut table = String::from(
        "| | wall, s | min | max | peak, MiB | min | max | ours to it |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (side, taken) in SIDES.iter().zip(taken) {
        let walls = walls(taken);
        table += &format!(
            "| {} | {} | {} | {:.2} |\n",
            side.name,
            walls.cells(2),
            peaks(taken).cells(0),
            ours / walls.median
        );
    }
    table
}
