//! The examples of `docs/volumes.md` that plan are run, and must say what the manual says they do. Those that start a
//! machine are not: the other tests hold what they show.
//!
//! `/srv` of the manual is a directory of the test's; blanks between columns, which depend on the length of paths, are
//! not compared.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use isopod_tests::{Bench, Image};
use serde_json::json;

const MANUAL: &str = include_str!("../../docs/volumes.md");

/// A command of the manual, and what it prints.
struct Example {
    command: String,
    prints: Vec<String>,
}

/// All commands of the manual, in their order.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for line in MANUAL.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, prints) = (command.to_owned(), Vec::new());
            examples.push(Example { command, prints });
            continued = line.ends_with('\\');
        } else if let Some(example) = examples.last_mut() {
            if continued {
                example.command = format!("{}\n{line}", example.command);
                continued = line.ends_with('\\');
            } else {
                example.prints.push(line.to_owned());
            }
        }
    }
    examples
}

/// What the manual says is on the host, below the test's directory.
fn prepare(bench: &Bench) {
    let srv = bench.source("srv", &[("app.conf", "color=blue\n"), ("data/file", "")]);
    fs::create_dir(srv.join("data/2026")).unwrap();
    symlink("2026", srv.join("data/latest")).unwrap();
    symlink("/etc", srv.join("data/out")).unwrap();
    fs::create_dir(srv.join("config")).unwrap();
    let web = Image::busybox()
        .directory("var/www", 0o2770, (33, 33))
        .directory("real", 0o755, (0, 0))
        .symlink("link", "/real")
        .symlink("out", "../../../outside")
        .symlink("loop", "loop")
        .config("Volumes", json!({ "/var/www": {}, "/var/tmp/web": {} }));
    for (name, reference) in [("busybox", bench.busybox()), ("web", bench.image(&web))] {
        let layout = reference.trim_start_matches("oci:").trim_end_matches(":latest");
        symlink(layout, bench.dir().join(name)).unwrap();
    }
    let wrapper = bench.dir().join("bin/isopod");
    fs::create_dir(bench.dir().join("bin")).unwrap();
    let (program, state) = (bench.isopod().display().to_string(), bench.state());
    let script = format!(
        "#!/bin/sh\nshift\nexec timeout 60 '{program}' --dir '{}' plan --accel tcg \"$@\"\n",
        state.display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a command prints, on both streams.
fn printed(bench: &Bench, command: &str) -> String {
    let mut path = bench.dir().join("bin").into_os_string();
    path.push(":");
    path.push(&bench.path);
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(bench.dir())
        .env_clear()
        .env("PATH", path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `lines` are what the manual says, where `...` stands for any number of lines.
fn is_as_said(lines: &[String], said: &[String]) -> bool {
    match said.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skipped| is_as_said(&lines[skipped..], rest))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| line == first && is_as_said(others, rest)),
    }
}

#[test]
fn the_examples_that_plan_are_true() {
    let bench = Bench::new();
    prepare(&bench);
    let srv = |text: &str| text.replace("/srv/", &format!("{}/", bench.dir().join("srv").display()));
    let plans: Vec<Example> = examples()
        .into_iter()
        .filter(|example| example.command.starts_with("isopod plan "))
        .collect();
    assert!(plans.len() >= 15, "{} examples", plans.len());
    let mut wrong = String::new();
    for example in &plans {
        let output = printed(&bench, &srv(&example.command));
        let lines: Vec<String> = output.lines().map(words).collect();
        let said: Vec<String> = example.prints.iter().map(|line| words(&srv(line))).collect();
        if !is_as_said(&lines, &said) {
            wrong += &format!(
                "$ {}\n{output}\n-- and the manual says\n{}\n\n",
                example.command,
                said.join("\n")
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
