//! Golden folders: what is shown of a plan, and its units, as they were read and found right. A new case is a folder.
//!
//! ```text
//! golden/CASE/manifest.json   an appc pod manifest; a case named `rkt...` is planned in that profile, for lkvm
//! golden/CASE/tree.txt        what the image holds, a line for each path, as `fixture::tree` takes them (optional)
//! golden/CASE/sources.txt     `VOLUME is a file`, `VOLUME has PATH` (optional; otherwise an empty directory)
//! golden/CASE/plan.txt        expected: `isopod plan`
//! golden/CASE/units.txt       expected: unit files, and the links between them
//! golden/CASE/plan.dot        expected: `isopod plan --format dot`
//! ```
//!
//! `UPDATE=1 cargo test -p isopod-plan golden::` writes what is expected again: read the diff before it is kept.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use crate::fixture;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use isopod_plan::RktHypervisor;
use isopod_plan::explain;
use isopod_plan::facts::{Facts, SourceKind};
use isopod_plan::guest::entry::EntryKind;
use isopod_plan::guest::tree::GuestTree;
use isopod_plan::{Document, dot, layout, plan, plan_rkt, svg};
use isopod_spec::{PodSpec, RunConfig, appc};

/// A case's file, empty where there is none.
fn text(case: &Path, name: &str) -> String {
    std::fs::read_to_string(case.join(name)).unwrap_or_default()
}

fn read(case: &Path) -> PodSpec {
    let text = std::fs::read_to_string(case.join("manifest.json")).unwrap();
    appc::read_pod_manifest(&text, "manifest.json")
        .unwrap_or_else(|error| panic!("{}: {error}", case.display()))
}

fn facts(case: &Path, pod: &PodSpec) -> Facts {
    let tree = text(case, "tree.txt");
    let mut facts = fixture::facts(pod, &tree.lines().collect::<Vec<_>>());
    let sources = text(case, "sources.txt");
    for (volume, source) in &mut facts.sources {
        let of_volume = |line: &'_ str| {
            line.strip_prefix(volume.as_str())
                .map(str::trim_start)
                .map(str::to_owned)
        };
        let lines: Vec<String> = sources.lines().filter_map(of_volume).collect();
        if lines.iter().any(|line| line == "is a file") {
            source.kind = SourceKind::File;
        }
        let held: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("has "))
            .collect();
        source.tree = fixture::tree(&held);
    }
    facts
}

fn planned(case: &Path) -> (Document, GuestTree) {
    let pod = read(case);
    if case.file_name().unwrap().to_string_lossy().starts_with("rkt") {
        let configs: Vec<RunConfig> = pod
            .apps
            .iter()
            .map(|app| app.run_config.clone().unwrap_or_default())
            .collect();
        let plan = plan_rkt(&pod, &configs).unwrap();
        return (plan.document(&pod, RktHypervisor::Lkvm), plan.guest);
    }
    let plan = plan(&pod, &facts(case, &pod)).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    (Document::from(&plan), plan.guest)
}

/// Unit files and links, one after the other.
fn units(tree: &GuestTree) -> String {
    let mut out = String::new();
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.as_os_str().cmp(other.as_os_str()));
    for (path, entry) in entries {
        let Ok(name) = path.strip_prefix(layout::UNIT_DIR) else {
            continue;
        };
        let _ = match &entry.kind {
            EntryKind::File(content) => {
                writeln!(
                    out,
                    "# {}\n{}",
                    name.display(),
                    String::from_utf8_lossy(&content.bytes().unwrap())
                )
            }
            EntryKind::Symlink(target) => writeln!(out, "# {} -> {}\n", name.display(), target.display()),
            EntryKind::Directory | EntryKind::Fifo => Ok(()),
        };
    }
    out
}

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    cases
}

#[test]
fn every_case_is_as_it_was() {
    let cases = cases();
    assert!(cases.len() >= 9, "{} cases", cases.len());
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for case in cases {
        let (document, tree) = planned(&case);
        for (name, current) in [
            ("plan.txt", explain(&document)),
            ("units.txt", units(&tree)),
            ("plan.dot", dot(&document)),
        ] {
            if update {
                std::fs::write(case.join(name), &current).unwrap();
            } else if text(&case, name) != current {
                stale.push(format!("{}:\n{current}", case.join(name).display()));
            }
        }
    }
    assert!(
        stale.is_empty(),
        "not as it was (`UPDATE=1` in the environment accepts it):\n{}",
        stale.join("\n")
    );
}

/// Every attribute `key` of the tags that begin with `tag`.
fn shapes(picture: &str, tag: &str) -> Vec<[i64; 4]> {
    let number = |text: &str, key: &str| -> i64 {
        let (_, rest) = text.split_once(&format!(" {key}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let shape = |rest: &str| ["x", "y", "width", "height"].map(|key| number(rest, key));
    picture.split(tag).skip(1).map(shape).collect()
}

fn holds(outer: [i64; 4], inner: [i64; 4]) -> bool {
    let ends = |[x, y, width, height]: [i64; 4]| [x + width, y + height];
    outer[0] <= inner[0]
        && outer[1] <= inner[1]
        && ends(outer)[0] >= ends(inner)[0]
        && ends(outer)[1] >= ends(inner)[1]
}

fn overlap(a: [i64; 4], b: [i64; 4]) -> bool {
    a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]
}

/// Frames and boxes do not overlap, every box is in a frame, and every mount has its arrow, which runs to the right.
/// `PICTURES=DIR` keeps the pictures.
#[test]
fn pictures_are_readable() {
    for case in cases() {
        let (document, _) = planned(&case);
        let picture = svg(&document);
        if let Some(dir) = std::env::var_os("PICTURES") {
            let name = format!("{}.svg", case.file_name().unwrap().display());
            std::fs::write(Path::new(&dir).join(name), &picture).unwrap();
        }
        let paper = shapes(&picture.replacen("<svg", "<svg x=\"0\" y=\"0\"", 1), "<svg")[0];
        let (frames, boxes) = (
            shapes(&picture, "<rect class=\"frame\""),
            shapes(&picture, "<rect class=\"box\""),
        );
        for (shapes, what) in [(&frames, "frames"), (&boxes, "boxes")] {
            for (i, a) in shapes.iter().enumerate() {
                assert!(holds(paper, *a), "{}: {a:?}", case.display());
                let overlaps = shapes[i + 1..].iter().find(|b| overlap(*a, **b));
                assert!(
                    overlaps.is_none(),
                    "{}: {what} {a:?} {overlaps:?}",
                    case.display()
                );
            }
        }
        for inner in &boxes {
            assert_eq!(
                frames.iter().filter(|frame| holds(**frame, *inner)).count(),
                1,
                "{}",
                case.display()
            );
        }
        let arrows: Vec<&str> = picture.split("<path class=\"arrow").skip(1).collect();
        let mounts: usize = document.apps.iter().map(|app| app.mounts.len()).sum();
        assert_eq!(arrows.len(), mounts, "{}", case.display());
        for arrow in arrows {
            let (_, d) = arrow.split_once(" d=\"M").unwrap();
            let xs: Vec<i64> = d
                .split([' ', '"'])
                .take(4)
                .map(|point| {
                    point
                        .trim_start_matches('C')
                        .split(',')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap()
                })
                .collect();
            assert!(xs.is_sorted(), "{}: {xs:?}", case.display());
        }
    }
}
