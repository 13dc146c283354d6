//! `cargo xtask quickstart`: from a fresh Debian with a Rust toolchain to two pods that ran, showing each step.
//!
//! 1. what is missing from the distribution is installed
//! 2. `isopod` and its agent are built
//! 3. an image is made of the distribution's busybox
//! 4. a pod reads and writes a host volume and an empty one; the host sees what it wrote
//! 5. a pod tries to write to a volume that is read-only for it, and cannot

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::build::{self, Profile};
use crate::busybox;
use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::{out, place};

/// What the first pod does.
const READ_AND_WRITE: &str = "\
echo \"Linux $(uname -r)\"
grep -E \" /(data|scratch) \" /proc/mounts
cat /data/from-host.txt
echo \"written in the guest\" > /data/from-guest.txt
echo \"seen by nobody else\" > /scratch/note; cat /scratch/note";

/// What the second pod tries.
const WRITE: &str = "cat /data/from-guest.txt; echo no > /data/refused.txt";

/// The exit status with which `isopod` says that it failed itself.
const OWN_FAILURE: i32 = 125;

pub(crate) fn run(consent: Consent) -> Result<(), Failure> {
    out::part("1/5 what Debian has to bring");
    packages::ensure(Purpose::Run, consent)?;

    out::part("2/5 build isopod and its agent");
    let isopod = build::isopod(Profile::Quick)?;

    out::part("3/5 an image");
    let dir = place::target().join("quickstart");
    let image = busybox::make(&dir.join("busybox"))?;
    let reference = image.reference();
    out::say(&format!(
        "{reference}: Debian's busybox with {} commands",
        image.applets
    ));

    out::part("4/5 a pod with a host volume and an empty volume (the first one makes the guest image, too)");
    let data = dir.join("data");
    host_volume(&data)?;
    read_and_write(&isopod, &reference, &data)?;

    out::part("5/5 the same directory, read-only");
    be_refused(&isopod, &reference, &data)?;

    out::say(&format!(
        "\nIt works.\n\
         next: run what you like:       {isopod} run {reference} -- uname -a\n\
         next: see all that it can do:  {isopod} run --help\n\
         next: run the tests:           cargo xtask test\n\
         next: read on:                 README.md, docs/architecture.md",
        isopod = isopod.display(),
    ));
    Ok(())
}

/// Makes the host volume's directory, with a file in it.
fn host_volume(data: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot prepare `{}`", data.display())).caused_by(error);
    let _ = fs::remove_file(data.join("from-guest.txt"));
    let _ = fs::remove_file(data.join("refused.txt"));
    fs::create_dir_all(data).map_err(failed)?;
    fs::write(data.join("from-host.txt"), "written on the host\n").map_err(failed)
}

fn read_and_write(isopod: &Path, reference: &str, data: &Path) -> Result<(), Failure> {
    let host = format!(
        "data,kind=host,{}",
        record_field(&format!("source={}", place::absolute(data).display()))
    );
    let mut pod = command(
        isopod,
        [
            "run",
            "--volume",
            &host,
            "--volume",
            "scratch,kind=empty,mode=1777",
        ],
    );
    pod.args([
        "--mount",
        "volume=data,target=/data",
        "--mount",
        "volume=scratch,target=/scratch",
    ]);
    pod.args([reference, "sh", "-c", READ_AND_WRITE]);
    timed(|| command::run(&mut pod))?;
    let file = data.join("from-guest.txt");
    command::run(&mut command("cat", [&file]))?;
    match fs::read_to_string(&file) {
        Ok(text) if text == "written in the guest\n" => Ok(()),
        _ => Err(Failure::new(format!(
            "`{}` does not hold what the pod wrote",
            file.display()
        ))),
    }
}

/// A field of a volume's description, quoted as in CSV where it has to be.
fn record_field(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn be_refused(isopod: &Path, reference: &str, data: &Path) -> Result<(), Failure> {
    let bind = format!("./{}:/data:ro", data.display());
    let bind = if data.is_absolute() {
        bind[2..].to_owned()
    } else {
        bind
    };
    let mut pod: Command = command(isopod, ["run", "-v", &bind, reference, "sh", "-c", WRITE]);
    let status = timed(|| command::status(&mut pod))?;
    match status.code() {
        None | Some(OWN_FAILURE) => return Err(command::failed(&pod, status)),
        Some(0) => return Err(Failure::new("a pod could write to a read-only volume")),
        Some(code) => out::say(&format!(
            "exit status {code}: the app's own, since it could not write"
        )),
    }
    if data.join("refused.txt").exists() {
        return Err(Failure::new(format!(
            "a pod could write to `{}`, which was read-only for it",
            data.display()
        )));
    }
    Ok(())
}

/// Says how long it took.
fn timed<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let started = Instant::now();
    let result = run()?;
    out::say(&format!("({:.1} s)", started.elapsed().as_secs_f64()));
    Ok(result)
}
