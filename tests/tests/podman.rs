//! The same lines for podman and for `isopod`: exit status, what they print, and what `inspect` tells of mounts are the same.
//! What podman cannot do on this host is left out by name.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use isopod_tests::{Bench, Image, say};
use serde_json::Value;

/// One after the other, in containers of their own and in one that runs. `IMAGE` is an image, `HOST` a directory of the host
/// with a file `file`.
const LINES: &[&str] = &[
    "run --rm -e A=b -e B= -w /tmp -u 1000:1001 IMAGE sh -c 'echo $A,$B,$PWD; id -u; id -g; echo err >&2; exit 3'",
    "run --rm --entrypoint echo -i IMAGE a 'b  c' --rm",
    "run --rm IMAGE nothing-such",
    "run --rm IMAGE /etc/passwd",
    "run --rm -i --read-only --tmpfs /t IMAGE sh -c 'cat; touch /x; touch /t/x && ls /t'",
    "run --rm -v data:/data IMAGE sh -c 'ls /data; echo kept > /data/file'",
    "run --rm -v data:/data:ro -v HOST:/host:ro IMAGE sh -c 'cat /data/file /host/file; echo x > /data/file'",
    "run -d --name c -h box -e X=y -l a=b -v data:/d -v HOST:/h:ro --mount type=bind,src=HOST,dst=/e --tmpfs /t IMAGE \
     sh -c 'echo begun; trap \"exit 9\" TERM; while :; do sleep 0.1; done'",
    "exec c sh -c 'echo $X; hostname'",
    "exec -w /h -e Y=z c sh -c 'pwd; echo $Y; cat file'",
    "exec -i c cat",
    "exec -u 1000 c id -u",
    "exec c false",
    "exec c nothing-such",
    "exec c touch /h/x",
    "exec c sh -c 'touch /e/made && ls /h; rm /e/made'",
    "exec nosuch true",
    "inspect -f '{{.State.Status}} {{.State.Running}} {{.Config.Hostname}}' c",
    "inspect -f '{{json .Config.Cmd}} {{index .Config.Labels \"a\"}}' c",
    "inspect -f '{{range .Mounts}}{{.Destination}} {{end}}' nosuch",
    "cp HOST/file c:/tmp/copied",
    "exec c cat /tmp/copied",
    "ps --format '{{.Names}}'",
    "ps -a --format '{{.Names}}' --filter status=exited",
    "rename c d",
    "logs d",
    "stop -t 5 d",
    "wait d",
    "inspect -f '{{.State.Status}} {{.State.ExitCode}}' d",
    "rm d",
    "rm d",
    "create --name e IMAGE sh -c 'echo of e; exit 4'",
    "start -a e",
    "ps -a --format '{{.Names}}'",
    "rm e",
    "volume ls -q",
    "volume inspect -f '{{.Name}}' data",
    "volume rm data",
    "volume rm data",
];

/// What a line gave: its exit status, and what it printed on standard output.
#[derive(Debug, PartialEq, Eq)]
struct Gave {
    status: i32,
    stdout: String,
}

/// A line's words, as a shell has them.
fn words(line: &str, image: &str, host: &str) -> Vec<String> {
    let words = shlex(line);
    let known = |word: String| match word.as_str() {
        "IMAGE" => image.to_owned(),
        _ => word.replace("HOST", host),
    };
    words.into_iter().map(known).collect()
}

/// The words of a line with single quotes, and double ones outside of them.
fn shlex(line: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("printf '%s\\0' {line}")])
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Podman with a storage of its own, as it runs where control groups, networks and limits are not the caller's to set.
fn podman(state: &Path) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", state.join("containers.conf"))
        .arg("--root")
        .arg(state.join("root"))
        .arg("--runroot")
        .arg(state.join("run"))
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
        .args(["--events-backend", "file", "--runtime", "runc"]);
    command
}

fn with_input(command: &mut Command, words: &[String]) -> Gave {
    let mut child = command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("podman");
    let input = child.stdin.take();
    // A line that reads nothing closes it.
    let _ = input.map(|mut input| std::io::Write::write_all(&mut input, b"typed\n"));
    let output = child.wait_with_output().expect("its output");
    Gave {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// What is the same: an ID is any ID.
fn same(gave: Gave) -> Gave {
    let is_id = |line: &str| {
        let of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
        line.len() >= 32 && line.chars().all(of_id)
    };
    let line = |line: &str| if is_id(line) { "ID" } else { line }.trim_end().to_owned() + "\n";
    Gave {
        stdout: gave.stdout.lines().map(line).collect(),
        ..gave
    }
}

/// The mounts as `inspect` tells them.
fn mounts(inspected: &str) -> BTreeSet<(String, String, String, bool)> {
    let all: Value = serde_json::from_str(inspected).expect("JSON");
    let mounts = all[0]["Mounts"].as_array().cloned().unwrap_or_default();
    let mount = |mount: Value| {
        let text = |key: &str| mount[key].as_str().unwrap_or_default().to_owned();
        let what = match mount["Type"] == "volume" {
            true => text("Name"),
            false => text("Source"),
        };
        (
            text("Type"),
            what,
            text("Destination"),
            mount["RW"].as_bool().unwrap_or_default(),
        )
    };
    mounts.into_iter().map(mount).collect()
}

#[test]
fn podman_says_the_same() {
    let Some(bench) = Bench::of_root() else { return };
    let image = bench.image(&Image::busybox().file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n"));
    let host = bench
        .source("host", &[("file", "of the host\n")])
        .display()
        .to_string();
    let state = bench.source(
        "podman",
        &[(
            "containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        )],
    );
    let network = |words: &mut Vec<String>| {
        if matches!(words[0].as_str(), "run" | "create") {
            words.splice(1..1, ["--network".to_owned(), "none".to_owned()]);
        }
    };
    let mut first = words("run --rm IMAGE true", &image, &host);
    network(&mut first);
    let can = podman(&state).args(&first).output().expect("podman is installed");
    if !can.status.success() {
        let why = String::from_utf8_lossy(&can.stderr);
        let why = why.lines().last().unwrap_or_default().to_owned();
        return say(&format!("skipped: podman runs no container on this host: {why}"));
    }
    let mut wrong = Vec::new();
    for line in LINES {
        let mut all = words(line, &image, &host);
        network(&mut all);
        let mut theirs = same(with_input(&mut podman(&state), &all));
        let output = bench.isopod_with_input(all, b"typed\n".to_vec());
        let ours = same(Gave {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        });
        // An error of its own is 125 here, and with podman 125 or 1.
        if ours.status == 125 && theirs.status == 1 {
            theirs.status = 125;
        }
        if ours != theirs {
            wrong.push(format!(
                "{line}\n  podman: {theirs:?}\n  isopod: {ours:?}\n  {}",
                output.stderr
            ));
        }
        if line.starts_with("run -d") {
            let inspect = ["inspect", "c"].map(str::to_owned);
            let theirs = mounts(&with_input(&mut podman(&state), &inspect).stdout);
            let ours = mounts(bench.isopod_command(inspect).text());
            if ours != theirs {
                wrong.push(format!("mounts\n  podman: {theirs:?}\n  isopod: {ours:?}"));
            }
        }
    }
    let _ = podman(&state).args(["rm", "-fa", "-t", "0"]).output();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.assert_nothing_left();
}
