//! `cargo xtask bench disk`: how fast an app writes, side by side in one VM.
//!
//! ```text
//! root     the app's root, on the pod's writable disk
//! volume   an empty volume on disk with a size, an ext4 file system of its own
//! share    a directory of the host over virtiofs
//!
//! large    256 MiB, and fsync at their end
//! small    1,000 files of 4 KiB, and sync
//! ```
//!
//! They take turns, ROUNDS times; the table has the medians. All of it is emulated: ratios matter.

use std::fs;
use std::path::Path;

use super::failed;
use crate::build::{self, Profile};
use crate::busybox;
use crate::command::command;
use crate::failure::Failure;
use crate::{out, place};

const ROUNDS: usize = 3;

/// The places, as the table has them and as the app does.
const PLACES: [(&str, &str); 3] = [
    ("an app's root", "/root-dir"),
    ("`medium=disk` with a size", "/volume"),
    ("a virtiofs share", "/share"),
];

/// Says how many hundredths of a second each took: `large PLACE N`, `small PLACE N`.
const SCRIPT: &str = r#"mkdir -p /root-dir
now() { read up rest < /proc/uptime; echo "${up%.*}${up#*.}"; }
for round in $ROUNDS; do for dir in /root-dir /volume /share; do
    sync; begun=$(now); dd if=/dev/zero of=$dir/large bs=1M count=256 conv=fsync 2>/dev/null; echo "large $dir $(($(now) - begun))"; rm $dir/large
    sync; begun=$(now); mkdir $dir/small; i=0
    while [ $i -lt 1000 ]; do dd if=/dev/zero of=$dir/small/$i bs=4k count=1 2>/dev/null; i=$((i + 1)); done
    sync; echo "small $dir $(($(now) - begun))"; rm -r $dir/small
done; done"#;

/// Measures and prints the table.
pub(crate) fn disk() -> Result<(), Failure> {
    let isopod = match std::env::var_os("ISOPOD_BIN") {
        Some(path) => path.into(),
        None => place::absolute(&build::isopod(Profile::Release)?),
    };
    let dir = place::absolute(&place::target().join("bench"));
    let image = busybox::make(&dir.join("busybox"))?;
    let (state, share) = (dir.join("disk-state"), dir.join("disk-share"));
    fs::create_dir_all(&share).map_err(|error| failed("create", &share, error))?;
    let mut pod = command(&isopod, [Path::new("--dir"), &state]);
    pod.args([
        "run",
        "--accel",
        "tcg",
        "--network",
        "none",
        "--transport",
        "virtiofs",
    ]);
    pod.args(["--volume", "volume,kind=empty,medium=disk,size=1g"]);
    pod.args(["--mount", "volume=volume,target=/volume"]);
    pod.arg("-v").arg(format!("{}:/share", share.display()));
    let rounds: Vec<String> = (0..ROUNDS).map(|round| round.to_string()).collect();
    let script = SCRIPT.replace("$ROUNDS", &rounds.join(" "));
    pod.arg(format!("oci:{}:latest", place::absolute(&image.layout).display()))
        .args(["sh", "-c", &script])
        .env("PATH", place::search_path());
    let output = pod.output().map_err(|error| failed("run", &isopod, error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let _ = fs::remove_dir_all(&state);
    let _ = fs::remove_dir_all(&share);
    match table(&said) {
        Some(table) => {
            out::say(&table);
            Ok(())
        }
        None => Err(Failure::new(format!(
            "not all was measured: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

/// The table of what the script said; `None` where something is missing.
fn table(said: &str) -> Option<String> {
    let mut table = "| median, s | 256 MiB, fsync | 1,000 small files, sync |\n|---|---|---|\n".to_owned();
    for (name, place) in PLACES {
        let median = |what: &str| {
            let start = format!("{what} {place} ");
            let mut found: Vec<u32> = said
                .lines()
                .filter_map(|line| line.strip_prefix(&start)?.trim().parse().ok())
                .collect();
            found.sort_unstable();
            (found.len() == ROUNDS).then(|| f64::from(found[ROUNDS / 2]) / 100.0)
        };
        table += &format!("| {name} | {:.1} | {:.1} |\n", median("large")?, median("small")?);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_each_place_counts() {
        let mut said = String::new();
        for (number, (_, place)) in PLACES.iter().enumerate() {
            for round in [3, 1, 2] {
                said += &format!(
                    "large {place} {}\nsmall {place} {}\n",
                    round * 100,
                    number * 100 + round
                );
            }
        }
        let table = table(&said).unwrap();
        assert!(table.contains("| an app's root | 2.0 | 0.0 |\n"), "{table}");
        assert!(table.contains("| a virtiofs share | 2.0 | 2.0 |\n"), "{table}");
        assert_eq!(super::table(&said.replace("small /share 203", "")), None);
    }
}
