//! Who an app's process is and how it begins, in a guest: users, privileges, limits, variables, where its program is found.

use std::fs;

use isopod_tests::{Bench, Image};

/// Containers that say of themselves what they are, but for their image (`IMAGE`).
const POD: &str = r##"
apiVersion: v1
kind: Pod
metadata: {name: who}
spec:
  restartPolicy: Never
  securityContext: {supplementalGroups: [65534, 7]}
  volumes: [{name: tools, emptyDir: {}}]
  initContainers:
  - {name: seed, image: IMAGE, command: [sh, -c, 'printf "#!/bin/sh\necho tool \$*\n" >/e/mytool; chmod 755 /e/mytool'], volumeMounts: [{name: tools, mountPath: /e}]}
  containers:
  - name: pause
    image: IMAGE
    command: [sh, -c, 'echo pause $(id -u):$(id -G) $(umask)']
    securityContext: {runAsUser: 65535, runAsGroup: 65535}
  - name: filtered
    image: IMAGE
    command: [sh, -c, 'echo filtered $(id -u) $(grep NoNewPrivs /proc/self/status) $(grep Seccomp: /proc/self/status); mount -t tmpfs x /tmp 2>/dev/null || echo filtered refused']
    securityContext: {runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  - name: filtered-root
    image: IMAGE
    command: [sh, -c, 'echo filtered-root $(id -u) $(grep NoNewPrivs /proc/self/status) $(grep Seccomp: /proc/self/status)']
    securityContext: {seccompProfile: {type: RuntimeDefault}}
  - name: bound
    image: IMAGE
    command: [sh, -c, 'echo bound $(grep NoNewPrivs /proc/self/status) $(grep CapBnd /proc/self/status) $(grep CapEff /proc/self/status)']
    securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  - name: tool
    image: IMAGE
    command: [mytool, from, the, path]
    volumeMounts: [{name: tools, mountPath: /usr/local/bin}]
  - name: reported
    image: IMAGE
    command: [sh, -c, 'echo reported $HOSTNAME $(ls -A /dev | grep -c isopod) $(ulimit -Sn) $(ulimit -Hn) $(ulimit -u)']
  - name: private
    image: IMAGE
    workingDir: /root
    command: [sh, -c, 'echo private $(pwd) $(id -u)']
    securityContext: {runAsUser: 1000}
"##;

#[test]
fn containers_are_who_kubernetes_would_have_them_be() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().directory("root", 0o700, (0, 0)));
    let file = bench.dir().join("pod.yaml");
    fs::write(&file, POD.replace("IMAGE", &image)).unwrap();
    let out = bench
        .pod()
        .flags(["-f".into(), file.into_os_string()])
        .run()
        .expect(0);
    for line in [
        "pause 65535:65535 7 65534 0022",
        "filtered 1000 NoNewPrivs: 0 Seccomp: 2",
        "filtered refused",
        "filtered-root 0 NoNewPrivs: 0 Seccomp: 2",
        "bound NoNewPrivs: 1 CapBnd: 0000000000000000 CapEff: 0000000000000000",
        "tool from the path",
        "reported who 0 1048576 1048576 unlimited",
        "private /root 1000",
    ] {
        let found = out.text().lines().any(|found| found == line);
        assert!(found, "{line}\n{}\n{}", out.text(), out.stderr);
    }
    bench.assert_nothing_left();
}

#[test]
fn a_command_is_who_its_app_is() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().directory("root", 0o700, (0, 0)));
    let pod = bench.pod().flags(["-d", "--name", "p"]).app(&image);
    let pod = pod.with(["--app-name", "a", "--user", "65535:65535", "--workdir", "/root"]);
    let pod = pod
        .with(["--security-opt", "seccomp=builtin"])
        .sh("exec sleep 1000");
    let _ = pod.start().wait().expect(0);
    let exec = |flags: &[&str], script: &str| {
        let words = [&["exec"], flags, &["--app", "a", "p", "--", "sh", "-c", script]].concat();
        bench.isopod_command(words)
    };
    let status =
        "grep NoNewPrivs /proc/self/status | tr -d '\\t'; grep Seccomp: /proc/self/status | tr -d '\\t'";
    let who = exec(
        &[],
        &format!("pwd; id -u; id -g; echo $HOSTNAME; {status}; ulimit -n"),
    );
    assert_eq!(
        who.expect(0).text(),
        "/root\n65535\n65535\np\nNoNewPrivs:0\nSeccomp:2\n1048576\n"
    );
    assert_eq!(
        exec(&["-u", "root:root", "-w", "/"], "id -u").expect(0).text(),
        "0\n"
    );
    let none = exec(&["-u", "4294967295"], "id -u");
    assert_eq!(none.status, 126);
    assert!(
        none.stderr.contains("not a valid user or group number"),
        "{}",
        none.stderr
    );
    let _ = bench.isopod_command(["rm", "-f", "p"]).expect(0);
    bench.assert_nothing_left();
}

/// systemd would refuse the one path, and read the other otherwise.
#[test]
fn a_program_may_be_called_anything_and_starts_in_a_directory_that_is_made() {
    let bench = Bench::new();
    let names = ["it's", "a\"b\\c", "50% $HOME", "-@+!:x"];
    let script = "#!/bin/sh\necho \"$0 $1 $(pwd)\"\n";
    let image = names.iter().fold(Image::busybox(), |image, name| {
        image.file(&format!("opt/{name}"), 0o755, script)
    });
    let image = bench.image(&image);
    let source = bench.source("data", &[]);
    let mut pod = bench.pod().host("data", &source, "");
    for (index, name) in names.iter().enumerate() {
        let program = format!("/opt/{name}");
        pod = pod
            .app(&image)
            .with(["--app-name", &format!("app{index}"), "--entrypoint", &program])
            .with(["--workdir", &format!("/data/new/{index}")])
            .mount("data", "/data", "")
            .args([*name]);
    }
    let out = pod.run().expect(0);
    for (index, name) in names.iter().enumerate() {
        let line = format!("/opt/{name} {name} /data/new/{index}");
        assert!(
            out.text().lines().any(|found| found == line),
            "{line}\n{}",
            out.text()
        );
        assert!(source.join(format!("new/{index}")).is_dir());
    }
    bench.assert_nothing_left();
}
