//! `isopod generate`: pods in other forms, which are the same pods.

use std::fs;
use std::path::Path;
use std::process::Command;

use isopod_tests::{Bench, Pod};
use rustix::process::Signal;
use serde_json::Value;

fn plan(pod: &Pod<'_>) -> Value {
    let out = pod.plan(&["--format", "json"]).expect(0);
    serde_json::from_str(out.text()).expect("JSON")
}

/// A plan but for where the first app's root begins: a container of a pod file that restarts has a fresh one, from a seed, and an
/// app by flags keeps its own.
fn but_for_its_root(mut plan: Value) -> Value {
    if let Some(files) = plan["guestFiles"].as_array_mut() {
        let of_its_root = |file: &Value| {
            let path = file["path"].as_str().unwrap_or_default();
            ["seed", "upper"]
                .iter()
                .any(|part| path.starts_with(&format!("/isopod/apps/first/{part}")))
        };
        files.retain(|file| !of_its_root(file));
    }
    plan
}

/// A pod by flags that a Kubernetes Pod can say, with a host directory named from the working directory.
fn by_flags<'a>(bench: &'a Bench, site: &Path) -> Pod<'a> {
    let image = bench.busybox();
    let pod = bench.pod().flags([
        "--name",
        "web",
        "--vm-memory",
        "600m",
        "--vm-cpus",
        "2",
        "-p",
        "127.0.0.1:8080:80",
    ]);
    let pod = pod.flags(["--hostname", "box", "--sysctl", "net.core.somaxconn=1024"]);
    let pod = pod.empty("work", "mode=0777,medium=disk");
    pod.app(&image)
        .with([
            "--app-name",
            "first",
            // What a pod file says, and flags need not.
            "--security-opt",
            "seccomp=builtin",
            "--restart",
            "on-failure",
            "-e",
            "A=$(B) \"$C\"\n",
        ])
        .mount("work", "/work", "")
        .sh("echo hello $A >/work/x")
        .app(&image)
        .with([
            "--app-name",
            "second",
            "--security-opt",
            "seccomp=builtin",
            "--depends-on",
            "first=succeeded",
            "-w",
            "/tmp",
            "--user",
            "33",
        ])
        .with([
            "--cap-drop",
            "ALL",
            "--memory",
            "64m",
            "--cpus",
            "0.5",
            "--read-only",
        ])
        .with([format!("-v{}:/site:ro", site.display())])
        .mount("work", "/work", "readOnly")
        .sh("cat /work/x /site/index.html")
}

#[test]
fn a_pod_by_flags_is_the_same_pod_as_a_kubernetes_pod_file() {
    // A plan says how the VM starts.
    let bench = Bench::new().own_templates();
    let site = bench.source("site", &[("index.html", "<h1>\n")]);
    let pod = || by_flags(&bench, &site);
    let _ = pod().subcommand("prepare").start().wait().expect(0);
    let written = bench.isopod_command(["generate", "kube", "web"]).expect(0);
    assert_eq!(written.stderr, "");
    let file = bench.dir().join("web.yaml");
    fs::write(&file, written.text()).expect("a file");
    let from_file = bench.pod().flags(["-f".as_ref(), file.as_os_str()]);
    let plans = [&from_file, &pod()].map(|pod| but_for_its_root(plan(pod)));
    assert_eq!(plans[0], plans[1], "{}", written.text());
    // Of a file it is the same once more.
    let file = file.display().to_string();
    let again = bench.isopod_command(["generate", "kube", &file]).expect(0);
    assert_eq!(again.text(), written.text());
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
    bench.assert_nothing_left();
}

#[test]
fn paths_of_the_working_directory_are_written_from_the_root() {
    let bench = Bench::new();
    let site = bench.source("site", &[]);
    let from_there = format!("{}/../site", site.display());
    let pod = bench.pod().subcommand("prepare").flags(["--name", "web"]);
    let pod = pod
        .app(&bench.busybox())
        .with(["-v", &format!("{from_there}:/site")])
        .sh("true");
    let _ = pod.start().wait().expect(0);
    let written = bench.isopod_command(["generate", "kube", "web"]).expect(0);
    let path = format!("path: {}\n", site.display());
    assert!(written.text().contains(&path), "{}", written.text());
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
}

#[test]
fn what_a_pod_file_cannot_say_is_reported_all_at_once_or_left_out() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench
        .pod()
        .subcommand("prepare")
        .flags(["--name", "web", "--network", "none"]);
    let pod = pod
        .app(&image)
        .with([
            "--app-name",
            "web",
            "--pids-limit",
            "10",
            "--user",
            "www",
            "-e",
            "HOME",
        ])
        .sh("true");
    let _ = pod.start().wait().expect(0);
    let refused = bench.isopod_command(["generate", "kube", "web"]).expect(125);
    assert_eq!(refused.text(), "");
    for line in [
        "error: a pod without a network cannot be expressed in a Kubernetes Pod: every Pod has one",
        "hint: give `--network none` beside what `--ignore-unsupported` prints",
        "error: app `web`: a limit of processes cannot be expressed in a Kubernetes Pod: a node has one, not a container",
        "error: app `web`: the user `www` cannot be expressed in a Kubernetes Pod: `runAsUser` takes a number up to \
         2147483647",
        "error: app `web`: the caller's own variable `HOME` cannot be expressed in a Kubernetes Pod: a container's \
         variables have values",
    ] {
        assert!(
            refused.stderr.lines().any(|found| found == line),
            "{line}\n{}",
            refused.stderr
        );
    }
    let written = bench
        .isopod_command(["generate", "kube", "--ignore-unsupported", "web"])
        .expect(0);
    assert!(
        written
            .text()
            .starts_with("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n")
    );
    let warnings = written
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning: "));
    assert_eq!(warnings.count(), 4, "{}", written.stderr);
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
    let words = "error: there is no pod `web`\nhint: `isopod list` lists the pods";
    bench
        .isopod_command(["generate", "kube", "web"])
        .assert_refused(125, words);
    let words = "error: cannot read the pod file `web.yaml`: No such file or directory (os error 2)";
    bench
        .isopod_command(["generate", "kube", "web.yaml"])
        .assert_refused(125, words);
}

/// What systemd's own verifier has against a unit.
fn verified(bench: &Bench, unit: &str) -> String {
    let path = bench.dir().join("pod.service");
    fs::write(&path, unit).expect("a unit");
    let out = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output();
    String::from_utf8_lossy(&out.expect("systemd-analyze").stderr).into_owned()
}

#[test]
fn units_of_pods_and_of_files_are_what_systemd_takes() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench
        .pod()
        .subcommand("prepare")
        .flags(["--name", "web", "--stop-timeout", "5"]);
    let _ = pod
        .app(&image)
        .with(["--restart", "always"])
        .sh("true")
        .start()
        .wait()
        .expect(0);
    let of_pod = bench.isopod_command(["generate", "systemd", "web"]).expect(0);
    let start = format!(
        "ExecStart={} --dir {} start --attach web",
        bench.isopod().display(),
        bench.state().display()
    );
    for line in [
        "Description=Pod web",
        "Type=notify",
        "KillMode=mixed",
        "TimeoutStopSec=35",
        "Restart=always",
        &start,
    ] {
        assert!(
            of_pod.text().lines().any(|found| found == line),
            "{line}\n{}",
            of_pod.text()
        );
    }
    assert_eq!(verified(&bench, of_pod.text()), "");
    let dir = bench.source("100% a$b", &[]);
    let file = dir.join("pod.yaml");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{}}, spec: {{containers: [{{name: a, image: '{image}'}}]}}}}"
    );
    fs::write(&file, text).expect("a file");
    let of_file = bench
        .isopod_command(["generate", "systemd", &file.display().to_string()])
        .expect(0);
    let place = file.display().to_string().replace('%', "%%");
    let end = format!(" run --file \"{place}\"\n");
    assert!(
        of_file.text().contains("ExecStart=:/") && of_file.text().contains(&end),
        "{}",
        of_file.text()
    );
    assert_eq!(verified(&bench, of_file.text()), "");
    let words = "error: a unit needs a file that stays, and standard input does not\n\
                 hint: write it to a file, and name that";
    bench
        .isopod_command(["generate", "systemd", "-"])
        .assert_refused(125, words);
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
}

/// A unit's command, run by hand as a service manager would.
#[test]
fn a_units_command_is_ready_and_stops_as_the_unit_says() {
    let bench = Bench::new();
    let dir = bench.source("host", &[]);
    let socket = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let pod = bench
        .pod()
        .subcommand("prepare")
        .flags(["--name", "web", "--transport", "9p"]);
    let _ = pod
        .app(&bench.busybox())
        .sh("echo up; exec sleep 1000")
        .start()
        .wait()
        .expect(0);
    let unit = bench.isopod_command(["generate", "systemd", "web"]).expect(0);
    let line = unit
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let words: Vec<&str> = line.expect("a command").split(' ').collect();
    let mut service = Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .env("PATH", &bench.path)
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("isopod");
    let hear = || {
        let mut words = [0; 256];
        let patience = Some(std::time::Duration::from_secs(60));
        socket.set_read_timeout(patience).expect("a timeout");
        let length = socket.recv(&mut words).expect("a message");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    assert!(hear().starts_with("READY=1\n"));
    let extra = format!("extra,kind=host,source={}", bench.source("extra", &[]).display());
    let mount = ["--mount", "volume=extra,target=/extra"];
    let attach = ["volume", "attach", "web", "--volume", &extra]
        .into_iter()
        .chain(mount);
    let _ = bench.isopod_command(attach).expect(0);
    let written = bench.isopod_command(["generate", "kube", "web"]).expect(0);
    assert!(!written.text().contains("extra"), "{}", written.text());
    let note =
        "note: volume `extra` was attached to the running pod, goes when that stops, and is left out\n";
    assert_eq!(written.stderr, note);
    let pid = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(pid, Signal::TERM).expect("a signal");
    assert!(hear().starts_with("STOPPING=1\n"));
    // What the unit calls a success: `sleep` as the first process of its app has no handler, and ends by the signal.
    let status = service.wait().expect("an end").code();
    assert!(unit.text().contains("SuccessExitStatus=143\n"));
    assert_eq!(status, Some(143));
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
    bench.assert_nothing_left();
}

#[test]
fn the_values_of_secrets_are_in_what_is_generated_and_nowhere_else() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.yaml");
    let text = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: db}}, stringData: {{password: hunter2}}}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{restartPolicy: Never, containers: [{{name: web, \
         image: '{}', command: [echo, 'of $(PASSWORD)'], env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: \
         {{name: db, key: password}}}}}}]}}]}}}}",
        bench.busybox()
    );
    fs::write(&file, text).expect("a file");
    let pod = || bench.pod().flags(["-f".as_ref(), file.as_os_str()]);
    let _ = pod().subcommand("prepare").start().wait().expect(0);
    let shown = bench.isopod_command(["cat-manifest", "web"]).expect(0);
    assert!(!shown.text().contains("hunter2"), "{}", shown.text());
    let written = bench.isopod_command(["generate", "kube", "web"]).expect(0);
    for part in [
        "- of $(PASSWORD)\n",
        "secretKeyRef:",
        "kind: Secret\n",
        "  PASSWORD: hunter2\n",
    ] {
        assert!(written.text().contains(part), "{part}\n{}", written.text());
    }
    let generated = bench.dir().join("generated.yaml");
    fs::write(&generated, written.text()).expect("a file");
    let from_it = bench.pod().flags(["-f".as_ref(), generated.as_os_str()]);
    assert_eq!(plan(&from_it), plan(&pod()));
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
}

#[test]
fn a_generated_pod_runs_as_the_one_that_it_is_of() {
    let bench = Bench::new();
    let site = bench.source("site", &[("index.html", "<h1>\n")]);
    let out = by_flags(&bench, &site).flags(["--rm"]).run().expect(0);
    let _ = by_flags(&bench, &site)
        .subcommand("prepare")
        .start()
        .wait()
        .expect(0);
    let written = bench.isopod_command(["generate", "kube", "web"]).expect(0);
    let _ = bench.isopod_command(["rm", "web"]).expect(0);
    let again = bench
        .pod()
        .flags(["-f", "-"])
        .stdin(written.text())
        .run()
        .expect(0);
    assert_eq!(again.text(), out.text());
    assert!(
        out.text().contains("hello $(B)") && out.text().ends_with("<h1>\n"),
        "{}",
        out.text()
    );
    bench.assert_nothing_left();
}
