//! Holds the planner's mount units against systemd itself: whatever target a user names, systemd's own manager, in test
//! mode, must read it as that very place, or the plan must have refused it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{empty, facts, mount, pod};
use isopod_plan::guest::entry::EntryKind;
use isopod_plan::{PodPlan, layout, path};
use isopod_spec::{OomKill, Resources};
use proptest::prelude::*;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// What systemd's manager made of the units: by unit, `What=` and `Where=`.
fn as_systemd_reads(units: &Path, names: &[String]) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
    let said = systemd_says(units, names);
    let mut read: BTreeMap<String, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    let mut unit = String::new();
    for line in said.split(|b| *b == b'\n') {
        if let Some(name) = line.strip_prefix(b"\t-> Unit ") {
            unit = String::from_utf8_lossy(name.strip_suffix(b":").unwrap_or(name)).into_owned();
        } else if let Some(what) = line.strip_prefix(b"\t\tWhat: ") {
            read.entry(unit.clone()).or_default().0 = what.to_vec();
        } else if let Some(place) = line.strip_prefix(b"\t\tWhere: ") {
            read.entry(unit.clone()).or_default().1 = place.to_vec();
        }
    }
    read
}

/// All that systemd's manager says of the units. It refuses to run as root.
fn systemd_says(units: &Path, names: &[String]) -> Vec<u8> {
    std::fs::write(
        units.join("everything.target"),
        format!("[Unit]\nDefaultDependencies=no\nWants={}\n", names.join(" ")),
    )
    .unwrap();
    for dir in units.ancestors().take(2) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = if rustix_is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", SYSTEMD]);
        command
    } else {
        Command::new(SYSTEMD)
    };
    let output = command
        .args(["--test", "--system", "--unit=everything.target"])
        .env_clear()
        .env("SYSTEMD_UNIT_PATH", units)
        .env("SYSTEMD_LOG_TARGET", "console")
        .env("SYSTEMD_LOG_LEVEL", "info")
        .output()
        .unwrap();
    [output.stdout, output.stderr].concat()
}

fn rustix_is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

/// Writes the mount units of a plan and asks systemd; every one must be read as it was meant.
fn check(plan: &PodPlan) {
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("units");
    std::fs::create_dir(&units).unwrap();
    for (path, entry) in plan.guest.iter() {
        let name = path.file_name().unwrap();
        let in_dir = path.parent() == Some(Path::new(layout::UNIT_DIR));
        if let (true, true, EntryKind::File(text)) =
            (in_dir, path.extension() == Some(OsStr::new("mount")), &entry.kind)
        {
            std::fs::write(units.join(name), text.bytes().unwrap()).unwrap();
        }
    }
    let names: Vec<String> = plan.mounts.iter().map(|mount| mount.name()).collect();
    let read = as_systemd_reads(&units, &names);
    for mount in plan.mounts.iter() {
        let (what, place) = read
            .get(&mount.name())
            .unwrap_or_else(|| panic!("systemd did not read `{}`", mount.name()));
        assert_eq!(
            OsStr::from_bytes(place),
            mount.place.as_os_str(),
            "{}",
            mount.name()
        );
        // systemd leaves the trailing `/.` of `What=` to mount(8), which resolves it.
        let what = path::clean(Path::new(OsStr::from_bytes(what)));
        let meant = if mount.what.is_absolute() {
            mount.what.to_path_buf()
        } else {
            Path::new("/").join(&mount.what)
        };
        assert_eq!(what, meant, "{}", mount.name());
    }
}

fn targets_pod(targets: &[Vec<u8>]) -> (isopod_spec::PodSpec, Vec<PathBuf>) {
    let mut pod = pod();
    pod.volumes = vec![empty("data")];
    let paths: Vec<PathBuf> = targets
        .iter()
        .map(|t| std::ffi::OsString::from_vec(t.clone()).into())
        .collect();
    pod.apps[0].mounts = paths.iter().map(|target| mount("data", target)).collect();
    (pod, paths)
}

/// Plans each target alone, keeps those that are not refused, and plans them together.
fn check_targets(targets: &[Vec<u8>]) -> (usize, usize) {
    let mut kept = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        let (pod, paths) = targets_pod(std::slice::from_ref(target));
        let place = path::clean(&paths[0]);
        match isopod_plan::plan(&pod, &facts(&pod, &[])) {
            Ok(plan) => {
                assert_eq!(*plan.apps[0].mounts[0].place, *place);
                // Nested targets have their own tests; here they would only be refused for each other.
                if seen.insert(place.clone()) {
                    kept.push(target.clone());
                }
            }
            Err(error) => {
                let bytes = place.as_os_str().as_bytes();
                let whole = layout::app_root(&pod.apps[0].name).as_os_str().len() + bytes.len();
                let reserved = place == Path::new("/")
                    || ["/proc", "/sys", "/dev", "/bin/app"]
                        .iter()
                        .any(|r| place.starts_with(r));
                let impossible = bytes.contains(&b'\n')
                    || bytes.contains(&b'\r')
                    || std::str::from_utf8(bytes).is_err()
                    || whole > 4000
                    || bytes.split(|b| *b == b'/').any(|name| name.len() > 255);
                assert!(reserved || impossible, "refused without need: {place:?}: {error}");
            }
        }
    }
    let (pod, _) = targets_pod(&kept);
    check(&isopod_plan::plan(&pod, &facts(&pod, &[])).unwrap());
    (kept.len(), targets.len())
}

/// Pieces of which hostile paths are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-zA-Z0-9._-]{1,12}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![
            "%", "%n", "%%", " ", "  ", "\t", "\\", "\\\\", "\\x20", "\"", "'", "$", "${X}", "$$", ";", "#", ",", ":", "@",
            "=", "[", "]", "~", "ä", "日本", "☃", "\u{1}", "\u{b}", "\u{c}", "\u{1b}", "\u{7f}", "\u{a0}", "\u{200b}", "-", "--",
            "..", ".", "...", "+", "*", "?", "`", "|", "&", "<", ">", "(", ")", "{", "}", "!", "^",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(1..=255_u8, 1..6),
        1 => "[a-z]{60,255}".prop_map(String::into_bytes),
    ]
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let component = prop::collection::vec(piece(), 1..4).prop_map(|pieces| pieces.concat());
    prop::collection::vec(component, 1..5).prop_map(|components| {
        components
            .into_iter()
            .flat_map(|component| [b"/".to_vec(), component].concat())
            .collect()
    })
}

proptest! {
    // 64 pods of up to 40 targets: 2,500 paths; systemd reads each pod's units at once.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_target_is_read_as_it_was_meant_or_refused(targets in prop::collection::vec(target(), 1..40)) {
        check_targets(&targets);
    }
}

#[test]
fn the_worst_targets() {
    let long = format!(
        "/{}",
        [
            "x".repeat(200).as_str(),
            "y".repeat(200).as_str(),
            "z".repeat(200).as_str()
        ]
        .join("/")
    );
    let longest = "/abcdefg".repeat(490);
    let targets: Vec<Vec<u8>> = [
        "/a ", "/a\t", "/ a", "/a\\", "/a\\x", "/%n", "/100%", "/a\"b", "/a'b", "/a,b", "/#a", "/;a", "/a=b",
        "/-a", "/.a", "/a..b", "/ä", "/a\u{1}b", "/a\u{7f}", "/a\u{b}", "/a\u{c}", "/a\u{a0}", "/a$b",
        "/${HOME}", "/a*?[b]", "/a\\ ", &long, &longest,
    ]
    .iter()
    .map(|target| target.as_bytes().to_vec())
    .collect();
    let (kept, of) = check_targets(&targets);
    assert_eq!(kept, of, "none of these need be refused");
}

/// Every limit that an app can have, as systemd's manager reads the service.
#[test]
fn limits_are_read_as_they_were_meant() {
    let mut pod = pod();
    let own = &mut pod.apps[0].overrides;
    own.resources = Resources {
        memory_limit_bytes: Some(64 << 20),
        memory_request_bytes: Some(32 << 20),
        cpu_limit_millis: Some(625),
        cpu_request_millis: Some(250),
        pids_limit: Some(7),
        oom_score_adj: Some(-5),
    };
    own.oom_kill = OomKill::App;
    let plan = isopod_plan::plan(&pod, &facts(&pod, &[])).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("units");
    std::fs::create_dir_all(units.join("web.service.d")).unwrap();
    for name in ["web.service", "web.service.d/slice.conf", "pod.slice"] {
        let text = plan.guest.text(&Path::new(layout::UNIT_DIR).join(name)).unwrap();
        std::fs::write(units.join(name), text).unwrap();
    }
    let said = String::from_utf8(systemd_says(&units, &["web.service".into()])).unwrap();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ignoring") && line.contains("units/"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
    let of = |unit: &str| {
        let start = said.find(&format!("\t-> Unit {unit}:")).unwrap();
        let text = &said[start + 1..];
        text[..text.find("\t-> Unit ").unwrap_or(text.len())].to_owned()
    };
    let web = of("web.service");
    for setting in [
        "MemoryMax: 67108864",
        "MemoryLow: 33554432",
        "CPUQuotaPerSecSec: 625ms",
        "CPUWeight: 25",
        "TasksMax: 9",
        "OOMScoreAdjust: -5",
        "OOMPolicy: kill",
    ] {
        assert!(web.contains(&format!("\t{setting}\n")), "{setting}: {web}");
    }
    assert!(of("pod.slice").contains("\tMemoryLow: 33554432\n"));
}
