//! Completion in real shells: what a user who presses Tab is offered.

use std::process::Command;

use isopod_tests::Bench;

/// bash's own part of it: the words, of which the last is completed, as readline hands them over.
const BASH: &str = r#"
source <(isopod completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
_clap_complete_isopod isopod "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}""#;

fn offered(bench: &Bench, words: &str) -> Vec<String> {
    let state = bench.state();
    let words = words.split(' ').skip(1);
    let dir = bench.isopod().parent().expect("a directory");
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let out = Command::new("/bin/bash")
        .args(["--norc", "-c", BASH, "bash", "isopod", "--dir"])
        .arg(state)
        .args(words)
        .env("PATH", path)
        .output()
        .expect("bash");
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let words = text
        .split(['\n', '\u{b}'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned);
    let mut words: Vec<String> = words.collect();
    words.sort_unstable();
    words
}

#[test]
fn bash_completes_commands_flags_pods_apps_and_images() {
    let bench = Bench::new();
    let image = bench.busybox();
    for (name, app) in [("web", "front"), ("worker", "queue")] {
        let pod = bench.pod().subcommand("prepare").flags(["--name", name]);
        let pod = pod.app(&image).with(["--name", app]).sh("true");
        let _ = pod.start().wait().expect(0);
    }
    for (words, expected) in [
        ("isopod sta", &["start", "stats", "status"][..]),
        ("isopod start w", &["web", "worker"]),
        ("isopod rm we", &["web"]),
        ("isopod logs web --app f", &["front"]),
        ("isopod run --hostn", &["--hostname"]),
        ("isopod run oci:x --working-d", &["--working-dir"]),
        ("isopod run oci-", &["oci-archive:"]),
        ("isopod run dock", &["docker-archive:", "docker://"]),
        ("isopod run ac", &["aci:"]),
        ("isopod image imp", &["import"]),
        // It does not run.
        ("isopod exec w", &[]),
    ] {
        assert_eq!(offered(&bench, words), expected, "{words}");
    }
    let flags = offered(&bench, "isopod run oci:x --");
    assert!(flags.contains(&"--env".to_owned()) && !flags.contains(&"--publish".to_owned()));
    for name in ["web", "worker"] {
        let _ = bench.isopod_command(["rm", name]).expect(0);
    }
    bench.assert_nothing_left();
}

/// What zsh and fish are given is a program of theirs.
#[test]
fn scripts_for_other_shells_ask_for_the_same() {
    let bench = Bench::new();
    for shell in ["zsh", "fish"] {
        let out = bench.isopod_command(["completion", shell]).expect(0);
        assert!(out.text().contains("ISOPOD_COMPLETE"), "{}", out.text());
    }
    let out = bench.isopod_command(["completion", "csh"]);
    assert_eq!(out.status, 125, "{}", out.stderr);
}
