//! `isopod plan` shows what `isopod run` does: the same command lines, in several forms.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::collections::BTreeMap;
use std::path::Path;

use isopod_tests::faults::{QEMU, command_line, pods};
use isopod_tests::{Bench, Pod};
use rustix::process::Signal;
use serde_json::Value;

/// A pod with something of everything.
fn pod<'a>(bench: &'a Bench, transport: &str) -> Pod<'a> {
    let image = bench.busybox();
    let pod = bench
        .pod()
        .flags(["--transport", transport, "--vm-memory", "300m", "--vm-cpus", "2"]);
    let pod = pod.host("data", bench.source("da,ta", &[]), "").host(
        "conf",
        bench.source("conf", &[]),
        "readOnly=true",
    );
    let pod = pod.empty("tmp", "size=16m,mode=1777");
    let pod = pod
        .app(&image)
        .with(["--app-name", "web", "-e", "SECRET=hunter2"])
        .mount("data", "/data", "");
    let pod = pod
        .mount("conf", "/etc/conf", "")
        .mount("tmp", "/tmp", "")
        .sh("echo ready; sleep 100");
    pod.app(&image)
        .with(["--app-name", "log"])
        .mount("data", "/<in> & \"out\"", "readOnly")
        .sh("sleep 100")
}

fn json(pod: &Pod<'_>) -> Value {
    serde_json::from_str(pod.plan(&["--format", "json"]).expect(0).text()).unwrap()
}

fn words(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// Compares the plan with the processes.
fn runs_as_planned(transport: &str) {
    let bench = Bench::new();
    let pod = pod(&bench, transport);
    let plan = json(&pod);
    let mut running = pod.start();
    running.wait_for("ready\n");
    let mut qemu = command_line(bench.process(QEMU));
    let mut planned = words(&plan["hypervisor"]["argv"]);
    // The program's name stands for its path.
    let name = |program: &str| Path::new(program).file_name().unwrap().to_owned();
    assert_eq!(name(&qemu.remove(0)), name(&planned.remove(0)));
    assert_eq!(qemu, planned);
    if transport == "virtiofs" {
        let dir = pods(&bench).remove(0);
        let virtiofsd = command_line(bench.process("virtiofsd"));
        // virtiofsd leaves the pod's directory, to which the plan's paths are relative.
        let here = format!("{}/", dir.display());
        let virtiofsd: Vec<String> = virtiofsd
            .into_iter()
            .map(|word| word.replace(&here, ""))
            .collect();
        assert_eq!(virtiofsd, words(&plan["virtiofsd"]));
    }
    running.signal(Signal::KILL);
    let _ = running.wait();
}

#[test]
fn the_vm_runs_as_planned_over_virtiofs() {
    runs_as_planned("virtiofs");
}

#[test]
fn the_vm_runs_as_planned_over_9p() {
    runs_as_planned("9p");
}

/// What the guest has mounted is what the plan says, unit by unit.
#[test]
fn the_guest_mounts_as_planned() {
    let bench = Bench::new();
    let pod = |script: &str| {
        let pod = bench
            .pod()
            .host("data", bench.source("data", &[("sub/file", "")]), "")
            .empty("tmp", "size=16m");
        let pod = pod
            .app(&bench.busybox())
            .with(["--app-name", "web"])
            .mount("data", "/a/b", "")
            .mount("tmp", "/a/b/sub", "");
        pod.mount("data", "/ro", "readOnly,subPath=sub").sh(script)
    };
    let plan = json(&pod("true"));
    let out = pod("awk '$2 ~ \"^/(a|ro)\" { split($4, o, \",\"); print $2, o[1] }' /proc/mounts")
        .run()
        .expect(0);
    let found: BTreeMap<&str, bool> = out
        .text()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(at, o)| (at, o == "ro"))
        .collect();
    let mounts = plan["mounts"].as_array().unwrap().iter();
    let planned: BTreeMap<&str, bool> = mounts
        .filter_map(|mount| {
            Some((
                mount["where"].as_str()?.strip_prefix("/opt/stage2/web/rootfs/")?,
                mount["readOnly"].as_bool()?,
            ))
        })
        .collect();
    let found: BTreeMap<&str, bool> = found
        .into_iter()
        .map(|(at, ro)| (at.trim_start_matches('/'), ro))
        .collect();
    assert_eq!(found, planned);
    assert_eq!(found.len(), 3);
}

#[test]
fn a_plan_starts_nothing_and_keeps_secrets() {
    let bench = Bench::new();
    let pod = pod(&bench, "auto");
    for format in ["text", "json", "dot", "svg"] {
        let out = pod.plan(&["--format", format]).expect(0);
        assert!(!out.text().contains("hunter2"), "{format}: {}", out.text());
        assert!(
            out.text().contains("web") && out.text().ends_with('\n'),
            "{format}: {}",
            out.text()
        );
        assert!(out.duration.as_secs() < 20, "{format}: {:?}", out.duration);
    }
    bench.assert_nothing_left();
}

#[test]
fn text_says_where_every_volume_is() {
    let bench = Bench::new();
    let out = pod(&bench, "9p").plan(&[]).expect(0);
    for words in [
        "/data",
        "/etc/conf",
        "/tmp",
        "9p",
        "read-only",
        "opt-stage2-web-rootfs-data.mount",
        "web.service",
    ] {
        assert!(out.text().contains(words), "{words}: {}", out.text());
    }
}

#[test]
fn svg_is_well_formed() {
    let bench = Bench::new();
    let out = pod(&bench, "auto").plan(&["--format", "svg"]).expect(0);
    let text = out.text();
    assert!(
        text.trim_start().starts_with('<') && text.contains("<svg"),
        "{text}"
    );
    assert!(text.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{text}");
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, _) = tag
            .split_once('>')
            .unwrap_or_else(|| panic!("`<` without `>`: {tag}"));
        let name = tag
            .split([' ', '\n', '/'])
            .find(|word| !word.is_empty())
            .unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.starts_with(['?', '!']) && !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert_eq!(open, Vec::<&str>::new());
    for (i, _) in text.match_indices('&') {
        let entity = text[i..].split(';').next().unwrap();
        assert!(
            ["&amp", "&lt", "&gt", "&quot", "&apos", "&#39", "&#34"].contains(&entity),
            "{entity}"
        );
    }
    assert!(
        text.contains("&lt;in&gt;"),
        "the target with special characters is not there: {text}"
    );
}

#[test]
fn dot_is_well_formed() {
    let bench = Bench::new();
    let out = pod(&bench, "auto").plan(&["--format", "dot"]).expect(0);
    let text = out.text();
    assert!(text.starts_with("digraph"), "{text}");
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match (quoted, escaped, c) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, false, '"') => quoted = !quoted,
            (false, _, '{') => depth += 1,
            (false, _, '}') => depth -= 1,
            _ => {}
        }
        assert!(depth >= 0, "{text}");
    }
    assert_eq!((depth, quoted), (0, false), "{text}");
    // Graphviz has the last word where it is installed.
    if let Ok(dot) = std::process::Command::new("dot").arg("-V").output() {
        assert!(dot.status.success());
        let file = bench.dir().join("plan.dot");
        std::fs::write(&file, text).unwrap();
        let drawn = std::process::Command::new("dot")
            .args(["-Tsvg", "-o", "/dev/null"])
            .arg(&file)
            .status();
        assert!(drawn.unwrap().success());
    }
}

#[test]
fn systemd_accepts_the_units() {
    let bench = Bench::new();
    let out = pod(&bench, "auto").plan(&["--verify"]).expect(0);
    assert!(
        out.stderr.contains("note: systemd's verifier accepts the "),
        "{}",
        out.stderr
    );
}

/// One image in the three forms that can be named is one image.
#[test]
fn an_image_is_the_same_in_every_form() {
    let bench = Bench::new();
    let layout = bench.busybox();
    let id = |image: &str| {
        let plan = json(&bench.pod().app(image).with(["--app-name", "app"]));
        plan["apps"][0]["image"].as_str().unwrap().to_owned()
    };
    let original = id(&layout);
    for form in ["oci-archive", "docker-archive"] {
        let archive = format!("{form}:{}", bench.dir().join(form).display());
        let named = format!("{archive}:busybox:latest");
        let copied = std::process::Command::new("skopeo")
            .args(["copy", &layout, &named])
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        assert_eq!(id(&archive), original, "{form}");
    }
}

#[test]
fn a_written_plan_is_the_guests_tree() {
    let bench = Bench::new();
    let dir = bench.dir().join("written");
    let pod = pod(&bench, "auto");
    let plan = pod
        .plan(&["--write", &dir.to_string_lossy(), "--format", "json"])
        .expect(0);
    let plan: Value = serde_json::from_str(plan.text()).unwrap();
    for mount in plan["mounts"].as_array().unwrap() {
        let unit = dir
            .join("usr/lib/systemd/system")
            .join(mount["unit"].as_str().unwrap());
        let text = std::fs::read_to_string(&unit).unwrap();
        assert!(text.contains("[Mount]\nWhat="), "{text}");
    }
    let files = plan["guestFiles"].as_array().unwrap();
    assert!(files.iter().all(|file| {
        dir.join(file["path"].as_str().unwrap().trim_start_matches('/'))
            .symlink_metadata()
            .is_ok()
    }));
    let again = pod.plan(&["--write", &dir.to_string_lossy()]).expect(125);
    assert!(
        again.stderr.starts_with("error: `") && again.stderr.contains("is not empty"),
        "{}",
        again.stderr
    );
}
