//! The same lines for podman and for `isopod`: exit status, what they print, and what `inspect` prints about mounts are the same.
//! What podman cannot do on this host is left out by name.

use std::process::Command;

use isopod_tests::podman::{Gave, Podman, mounts};
use isopod_tests::{Bench, Image};

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
    "run --name f IMAGE sh -c 'echo of f; exit 5'",
    "logs f",
    "inspect -f '{{.State.Status}} {{.State.ExitCode}}' f",
    "rm f",
    "create --name e IMAGE sh -c 'echo of e; exit 4'",
    "start -a e",
    "ps -a --format '{{.Names}}'",
    "rm e",
    "volume ls -q",
    "volume inspect -f '{{.Name}}' data",
    "volume rm data",
    "volume rm data",
];

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

#[test]
fn podman_says_the_same() {
    let Some(bench) = Bench::of_root() else { return };
    let image = bench.image(&Image::busybox().file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n"));
    let host = bench
        .source("host", &[("file", "of the host\n")])
        .display()
        .to_string();
    let network = |words: &mut Vec<String>| {
        if matches!(words[0].as_str(), "run" | "create") {
            words.splice(1..1, ["--network".to_owned(), "none".to_owned()]);
        }
    };
    let Some(podman) = Podman::here(&bench, &image) else {
        return;
    };
    let mut wrong = Vec::new();
    for line in LINES {
        let mut all = words(line, &image, &host);
        network(&mut all);
        let mut theirs = podman.run(&all, b"typed\n");
        let ours = Gave::of(&bench.isopod_with_input(all, b"typed\n".to_vec()));
        // An error of its own is 125 here, and with podman 125 or 1.
        if ours.status == 125 && theirs.status == 1 {
            theirs.status = 125;
        }
        if ours.comparable() != theirs.comparable() {
            wrong.push(format!("{line}\n  podman: {theirs:?}\n  isopod: {ours:?}"));
        }
        if line.starts_with("run -d") {
            let inspect = ["inspect", "c"].map(str::to_owned);
            let theirs = mounts(&podman.run(&inspect, b"").stdout);
            let ours = mounts(bench.isopod_command(inspect).text());
            if ours != theirs {
                wrong.push(format!("mounts\n  podman: {theirs:?}\n  isopod: {ours:?}"));
            }
        }
    }
    drop(podman);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.assert_nothing_left();
}
