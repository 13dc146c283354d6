//! Completion in real shells: what a user who presses Tab is offered.

use std::process::{Command, Stdio};

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
    prepare(&bench);
    for (words, expected) in [
        ("isopod sta", &["start", "stats", "status"][..]),
        ("isopod start w", &["web", "worker"]),
        ("isopod rm we", &["web"]),
        ("isopod generate sy", &["systemd"]),
        ("isopod generate kube wo", &["worker"]),
        ("isopod logs web --app f", &["front"]),
        ("isopod run --hostn", &["--hostname"]),
        ("isopod run oci:x --- --workd", &["--workdir"]),
        ("isopod run oci-", &["oci-archive:"]),
        ("isopod run dock", &["docker-archive:", "docker://"]),
        ("isopod run ac", &["aci:"]),
        ("isopod image imp", &["import"]),
        // It does not run.
        ("isopod exec w", &[]),
    ] {
        assert_eq!(offered(&bench, words), expected, "{words}");
    }
    let flags = offered(&bench, "isopod run oci:x --- --");
    assert!(flags.contains(&"--env".to_owned()) && !flags.contains(&"--publish".to_owned()));
    // The command is the image's own matter.
    assert!(!offered(&bench, "isopod run oci:x --").contains(&"--env".to_owned()));
    remove(&bench);
}

/// The pods of these tests: `web` with the app `front`, `worker` with `queue`.
fn prepare(bench: &Bench) {
    let image = bench.busybox();
    for (name, app) in [("web", "front"), ("worker", "queue")] {
        let pod = bench.pod().subcommand("prepare").flags(["--name", name]);
        let pod = pod.app(&image).with(["--app-name", app]).sh("true");
        let _ = pod.start().wait().expect(0);
    }
}

fn remove(bench: &Bench) {
    for name in ["web", "worker"] {
        let _ = bench.isopod_command(["rm", name]).expect(0);
    }
    bench.assert_nothing_left();
}

/// What a shell prints that finds `isopod` in its search path; `--dir` stands in the script as `$1`.
fn shell(bench: &Bench, line: &[&str], words: &[&str]) -> Vec<String> {
    let dir = bench.isopod().parent().expect("a directory");
    let out = Command::new(line[0])
        .args(&line[1..])
        .arg(bench.state())
        .args(words)
        .env("PATH", format!("{}:/usr/bin:/bin", dir.display()))
        .env("HOME", bench.dir())
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// fish prints each candidate with its description behind a tab.
const FISH: &str = r#"
isopod completion fish | source
for words in $argv[2..]; complete -C "isopod --dir $argv[1] $words" | string split --fields 1 \t; echo; end"#;

#[test]
fn fish_completes_commands_flags_pods_apps_and_images() {
    let bench = Bench::new();
    prepare(&bench);
    let words = [
        "sta",
        "start w",
        "logs web --app f",
        "run oci:x --- --workd",
        "run oci-",
    ];
    let line = ["fish", "--no-config", "-c", FISH];
    let mut offered: Vec<Vec<String>> = shell(&bench, &line, &words)
        .split(String::is_empty)
        .map(<[String]>::to_vec)
        .collect();
    offered.iter_mut().for_each(|words| words.sort_unstable());
    let expected: [&[&str]; 6] = [
        &["start", "stats", "status"],
        &["web", "worker"],
        &["front"],
        &["--workdir"],
        &["oci-archive:"],
        &[],
    ];
    assert_eq!(offered, expected);
    remove(&bench);
}

/// zsh in a terminal of its own: Tab completes the line, and control-X prints it.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "PS1=; autoload -U compinit; compinit -u -D; source <(isopod completion zsh)
  show() { print -r -- \"[\$BUFFER]\"; BUFFER= }; zle -N show
  bindkey '^I' complete-word; bindkey '^X' show; print rea''dy"
zpty -r -m inner line '*ready*'
for words in "${@:2}"; do
  zpty -n -w inner "isopod --dir $1 $words"$'\t\x18'
  zpty -r -m inner line '*\[isopod*\]*'
  line=${${line##*\[}%%\]*}
  print -r -- ${line#isopod --dir $1 }
done
zpty -d inner"#;

#[test]
fn zsh_completes_commands_flags_pods_and_apps() {
    let bench = Bench::new();
    prepare(&bench);
    let words = ["image imp", "rm we", "logs web --app f", "run oci:x --- --workd"];
    let line = ["zsh", "-f", "-c", ZSH, "zsh"];
    let expected = [
        "image import ",
        "rm web ",
        "logs web --app front ",
        "run oci:x --- --workdir ",
    ];
    assert_eq!(shell(&bench, &line, &words), expected);
    remove(&bench);
}

#[test]
fn a_shell_that_is_not_known_is_refused() {
    let out = Bench::new().isopod_command(["completion", "csh"]);
    assert_eq!(out.status, 125, "{}", out.stderr);
}
