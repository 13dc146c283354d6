//! Pods of Kubernetes pod files, in a guest.

use std::fs;
use std::path::Path;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Image};

/// The pod, but for its images (`IMAGE`) and the host's directory (`SOURCE`).
const POD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, motd: "be kind\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: kube, labels: {app: web}}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 2
  hostAliases: [{ip: 10.1.2.3, hostnames: [db]}]
  securityContext: {fsGroup: 2000}
  initContainers:
  - name: first
    image: IMAGE
    command: [sh, -c, "sleep 1; echo one >/work/order"]
    volumeMounts: [{name: work, mountPath: /work}]
  - name: second
    image: IMAGE
    command: [sh, -c, "echo two >>/work/order"]
    volumeMounts: [{name: work, mountPath: /work}]
  - name: side
    image: IMAGE
    restartPolicy: Always
    command: [sh, -c, "echo side >>/work/order; exec sleep 1000"]
    startupProbe: {exec: {command: [test, -e, /work/order]}, periodSeconds: 1}
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c]
    args:
    - |
      n=$(cat /work/tries 2>/dev/null || echo 0); echo $((n + 1)) >/work/tries
      [ $n = 1 ] || exit 3
      echo order $(cat /work/order)
      echo vars $GREETING $POD_NAME $ALL_motd "$(ORIGIN)"
      echo token $TOKEN $(stat -c %a:%g /keys/..data/token 2>/dev/null || stat -c %a:%g /keys/token)
      echo files $(cat /settings/motd.txt) and $(cat /keys/token)
      echo labels $(cat /self/labels)
      echo sub $(cat /sub/file) $(ls /sub)
      echo db $(grep db /etc/hosts)
      echo id $(id -u):$(id -G)
      touch /settings/x 2>/dev/null || echo read-only
      echo back >/sub/made
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: ORIGIN, value: "of $(GREETING)"}
    envFrom: [{prefix: ALL_, configMapRef: {name: settings}}]
    volumeMounts:
    - {name: work, mountPath: /work}
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys}
    - {name: self, mountPath: /self}
    - {name: host, mountPath: /sub, subPath: inner}
  volumes:
  - {name: work, emptyDir: {medium: Memory}}
  - {name: settings, configMap: {name: settings, items: [{key: motd, path: motd.txt}]}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: self, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: host, hostPath: {path: SOURCE, type: Directory}}
"#;

#[test]
fn a_pod_file_runs_as_kubernetes_would_have_it() {
    let bench = Bench::new();
    let source = bench.source("data", &[("inner/file", "within"), ("outside", "")]);
    let file = bench.dir().join("pod.yaml");
    let text = POD.replace("IMAGE", &bench.busybox());
    fs::write(&file, text.replace("SOURCE", source.to_str().unwrap())).unwrap();

    let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
    let planned = pod.plan(&["--format", "json"]).expect(0);
    assert!(planned.text().contains("TOKEN") && !planned.text().contains("hunter2"));

    let out = pod.run().expect(0);
    for line in [
        "order one two side",
        "vars hello kube be kind of hello",
        "token hunter2 440:2000",
        "files be kind and hunter2",
        "labels app=\"web\"",
        "sub within file",
        "db 10.1.2.3 db",
        "id 0:0 29 2000",
        "read-only",
    ] {
        assert!(
            out.text().lines().any(|found| found == line),
            "{line}\n{}",
            out.text()
        );
    }
    assert_eq!(fs::read_to_string(source.join("inner/made")).unwrap(), "back\n");
    bench.assert_nothing_left();
}

/// What the kubelet does with parts of volumes: it makes them when their own container starts, as open as their volume is.
const PARTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: parts}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 1002}
  initContainers:
  - name: seed
    image: IMAGE
    securityContext: {runAsUser: 0}
    command: [sh, -c]
    args:
    - |
      for v in /d /m /h; do
        ls $v
        mkdir -p $v/sub/real; touch $v/sub/real/of-seed; echo "of $v" > $v/sub/f; ln -s sub/real $v/in; ln -s ../../../etc $v/out
      done
    volumeMounts: [{name: d, mountPath: /d}, {name: m, mountPath: /m}, {name: h, mountPath: /h}]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c]
    args:
    - |
      cat /1/f /2/f /3/f /etc/f
      for at in /disk /deep /mem /host; do
        stat -c "%a %u:%g $at" $at; touch $at/mine && echo writable
      done
      ls /link /link-of-host
      stat -c "%a %g" /modes/1 /modes/2
      ls /in/d
    env: [{name: NAME, value: expanded}]
    volumeMounts:
    - {name: d, mountPath: /1, subPath: sub}
    - {name: m, mountPath: /2, subPath: sub}
    - {name: h, mountPath: /3, subPath: sub}
    - {name: d, mountPath: /etc/f, subPath: sub/f}
    - {name: d, mountPath: /disk, subPath: new}
    - {name: d, mountPath: /deep, subPathExpr: "a/$(NAME)/c"}
    - {name: m, mountPath: /mem, subPath: a/new}
    - {name: h, mountPath: /host, subPath: new}
    - {name: d, mountPath: /link, subPath: in}
    - {name: h, mountPath: /link-of-host, subPath: in}
    - {name: d, mountPath: /in/d}
    - {name: h, mountPath: /in/h}
    - {name: sticky, mountPath: /modes/1}
    - {name: closed, mountPath: /modes/2}
  volumes:
  - {name: d, emptyDir: {}}
  - {name: m, emptyDir: {medium: Memory}}
  - {name: h, hostPath: {path: SOURCE}}
  - {name: sticky, emptyDir: {mode: 01777}}
  - {name: closed, emptyDir: {medium: Memory, mode: 0o1700}}
"#;

#[test]
fn parts_of_volumes_are_made_when_their_own_container_starts() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).unwrap();
    let file = bench.dir().join("pod.yaml");
    let text = PARTS.replace("IMAGE", &bench.busybox());
    fs::write(&file, text.replace("SOURCE", source.to_str().unwrap())).unwrap();
    let pod = bench.pod().flags(["-f".into(), file.clone().into_os_string()]);
    let out = pod.run().expect(0);
    let expected = "of /d\nof /m\nof /h\nof /d\n\
        2777 0:1002 /disk\nwritable\n2777 0:1002 /deep\nwritable\n2777 0:1002 /mem\nwritable\n\
        777 0:0 /host\nwritable\n\
        /link:\nof-seed\n\n/link-of-host:\nof-seed\n\
        3777 1002\n3770 1002\na\nin\nnew\nout\nsub\n";
    assert_eq!(out.text(), expected);
    // A link that leads out leads nowhere: in the volume there is no such directory, and the container does not start.
    let out_of = text.replace("subPath: in}", "subPath: out}");
    let _ = fs::remove_dir_all(&source);
    fs::create_dir(&source).unwrap();
    fs::write(&file, out_of.replace("SOURCE", source.to_str().unwrap())).unwrap();
    let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
    let out = pod.run();
    assert_ne!(out.status, 0);
    assert!(out.stderr.contains("cannot reach `out` in "), "{}", out.stderr);
    assert!(!out.text().contains("of /d"), "{}", out.text());
    bench.assert_nothing_left();
}

/// What containers say of their ends, where and as they may say it.
const WORDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: words}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1000}
  containers:
  - name: other
    image: IMAGE
    command: [sleep, "1000"]
  - name: usual
    image: IMAGE
    command: [sh, -c, "echo from-log; printf 'one\ntwo' > /dev/termination-log; exit 3"]
    terminationMessagePolicy: FallbackToLogsOnError
  - name: own
    image: IMAGE
    terminationMessagePath: /dev/termination-custom-log
    command: [sh, -c, "printf DONE > /dev/termination-custom-log"]
  - name: deep
    image: IMAGE
    terminationMessagePath: "/var/run/a b:c/words"
    securityContext: {readOnlyRootFilesystem: true}
    command: [sh, -c, "head -c 5000 /dev/zero | tr '\\0' x > '/var/run/a b:c/words'"]
  - name: log
    image: IMAGE
    terminationMessagePolicy: FallbackToLogsOnError
    command: [sh, -c, "seq 1 100; exit 1"]
  - name: silent
    image: IMAGE
    terminationMessagePolicy: FallbackToLogsOnError
    command: [sh, -c, "echo all is well"]
"#;

#[test]
fn what_a_container_says_of_its_end_is_in_its_status() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.yaml");
    fs::write(&file, WORDS.replace("IMAGE", &bench.busybox())).unwrap();
    let pod = bench
        .pod()
        .flags(["-d".into(), "-f".into(), file.into_os_string()]);
    let _ = pod.start().wait().expect(0);
    let words = |status: &serde_json::Value, app: &str| {
        let apps = status["apps"].as_array().unwrap();
        let app = apps.iter().find(|found| found["name"] == app).unwrap();
        (app["state"].clone(), app["lastWords"].clone())
    };
    let mut status = serde_json::Value::Null;
    isopod_tests::faults::eventually("five have ended", || {
        let out = bench
            .isopod_command(["status", "words", "--format", "json"])
            .expect(0);
        status = serde_json::from_str(out.text()).unwrap();
        let ended = ["usual", "own", "deep", "log", "silent"];
        ended.iter().all(|app| words(&status, app).0 == "exited")
    });
    let lines: Vec<String> = (21..=100).map(|n| format!("{n}\n")).collect();
    for (app, said) in [
        ("usual", "one\ntwo"),
        ("own", "DONE"),
        ("deep", &*"x".repeat(4096)),
        ("log", &*lines.concat()),
    ] {
        assert_eq!(words(&status, app).1, said, "{app}");
    }
    assert!(words(&status, "silent").1.is_null());
    let text = bench.isopod_command(["status", "words"]).expect(0);
    assert!(
        text.text().contains("usual: said of its end: one\\ntwo"),
        "{}",
        text.text()
    );
    let _ = bench.isopod_command(["rm", "-f", "words"]).expect(0);
    bench.assert_nothing_left();
}

#[test]
fn what_a_pod_file_cannot_have_is_refused_by_name_or_left_out_with_a_warning() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  hostIPC: true\n  restartPolicy: Never\n  \
         containers:\n  - name: a\n    image: {}\n    command: [echo, ran]\n",
        bench.busybox()
    );
    fs::write(&file, text).unwrap();
    let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
    let refused = pod.clone().run();
    assert_eq!((refused.status, refused.text()), (125, ""));
    let words = "pod.yaml:5:3: `spec.hostIPC`: the field is not supported";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    let out = pod.flags(["--ignore-unsupported"]).plan(&[]).expect(0);
    assert!(
        out.stderr.contains("warning: ") && out.stderr.contains("spec.hostIPC"),
        "{}",
        out.stderr
    );
    bench.assert_nothing_left();
}

/// A container that does not start where an earlier life has left its process number. A life takes a hundred MiB of the VM's
/// memory: four would not fit.
const STALE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {motd: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: stale}
spec:
  restartPolicy: OnFailure
  containers:
  - name: a
    image: IMAGE
    workingDir: /new/dir
    command: [sh, -c]
    args:
    - |
      [ -e /run/a.pid ] && echo stale && sleep 1000
      echo $$ >/run/a.pid
      n=$(cat /data/n 2>/dev/null || echo 0); echo $((n + 1)) >/data/n
      echo life $n $(stat -c %a /) $(pwd) $(grep -c localhost /etc/hosts) $(cat /etc/conf/motd) $(ls /host /part | tr '\n' ' ')
      dd if=/dev/zero of=/big bs=1M count=100 2>/dev/null || { echo full; sleep 1000; }
      chmod 700 /; rm /etc/hosts; touch /host/of-$n /part/of-$n
      [ $n -ge 3 ] || exit 7
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: settings, mountPath: /etc/conf}
    - {name: host, mountPath: /host}
    - {name: host, mountPath: /part, subPath: inner}
  volumes:
  - {name: data, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - {name: host, hostPath: {path: SOURCE}}
"#;

#[test]
fn a_container_that_restarts_has_a_fresh_root_and_its_volumes() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let file = bench.dir().join("pod.yaml");
    let text = STALE.replace("IMAGE", &bench.busybox());
    fs::write(&file, text.replace("SOURCE", source.to_str().unwrap())).unwrap();
    let out = bench
        .pod()
        .flags(["-f".into(), file.into_os_string()])
        .run()
        .expect(0);
    let shown = out.text().lines().collect::<Vec<_>>();
    let life = |n: usize| {
        let left = |dir: &str| (0..n).map(|n| format!("of-{n} ")).collect::<String>() + dir;
        format!(
            "life {n} 755 /new/dir 2 hello /host: inner {}/part: {}",
            left(" "),
            left("")
        )
    };
    assert_eq!(shown.len(), 4, "{out:?}");
    for (n, line) in shown.iter().enumerate() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(line), words(&life(n)), "{out:?}");
    }
    bench.assert_nothing_left();
}

/// Everything in the folder of shared cases is planned, and as it says.
#[test]
fn every_shared_case_is_planned() {
    let bench = Bench::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/kube");
    let source = bench.source("case", &[]);
    let image = bench.busybox();
    let mut seen = 0;
    for entry in fs::read_dir(&cases).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut text = fs::read_to_string(&path)
            .unwrap()
            .replace("/srv/case", source.to_str().unwrap());
        for word in [
            "\"registry.k8s.io/busybox\"",
            "\"registry.k8s.io/e2e-test-images/kitten:1.8\"",
            "busybox",
            "nginx",
            "setuid-probe",
        ] {
            let key = if word.contains("kitten") {
                "reference: "
            } else {
                "image: "
            };
            text = text.replace(&format!("{key}{word}"), &format!("{key}\"{image}\""));
        }
        let file = bench.dir().join(&name);
        fs::write(&file, text).unwrap();
        let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
        let out = pod.plan(&[]);
        assert_eq!(out.status, 0, "{name}: {}", out.stderr);
        let notice = match &*name {
            "multi-kind.yaml" => "passed over: Service `web`",
            "cpu-small.yaml" => "10 thousandths of a CPU in place of 5",
            "ephemeral-storage.yaml" => "`ephemeral-storage` is not kept",
            "emptydir-mode.yaml" => "tmp-volume: empty, on disk",
            "dev-shm.yaml" => "isopod-apps-c-dev-shm.mount",
            "privileged.yaml" => "as     user 0, group 0",
            "tool-from-volume.yaml" => "runs   mytool echo tool-from-path",
            "uid-65535.yaml" => "as     user 65535, group 0",
            _ => "",
        };
        assert!(
            out.stderr.contains(notice) || out.text().contains(notice),
            "{name}: {}",
            out.stderr
        );
        if name == "requests-size.yaml" {
            assert!(out.text().contains("2176 MiB, 3 CPU"), "{}", out.text());
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
    bench.assert_nothing_left();
}

#[test]
fn the_pull_policy_of_the_command_holds_for_image_volumes() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.yaml");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: a, image: '{}', command: [id], \
         volumeMounts: [{{name: v, mountPath: /v}}]}}], volumes: [{{name: v, image: {{reference: \
         '127.0.0.1:1/none:1', pullPolicy: Always}}}}]}}}}",
        bench.busybox()
    );
    fs::write(&file, text).unwrap();
    let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
    let asked = pod.plan(&[]);
    assert!(
        asked.status == 125 && asked.stderr.contains("refused"),
        "{}",
        asked.stderr
    );
    let never = pod.flags(["--pull", "never"]).plan(&[]);
    assert!(
        never.status == 125 && !never.stderr.contains("refused") && never.stderr.contains("none:1"),
        "{}",
        never.stderr
    );
}

/// Two pods of one file, beside what only a cluster has; the one a Deployment's, the other with limits of its own.
const APPS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: IMAGE, command: [sh, -c, "echo web on $(hostname) VERSION; touch /made/by-web; exec sleep 1000"], volumeMounts: [{name: made, mountPath: /made}]}
      volumes: [{name: made, hostPath: {path: MADE}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bound}
spec:
  terminationGracePeriodSeconds: 1
  resources: {limits: {memory: 64Mi, cpu: 500m}}
  containers:
  - {name: hog, image: IMAGE, command: [sh, -c, "echo bound VERSION; dd if=/dev/zero of=/dev/null bs=96M count=1; echo ended $?; exec sleep 1000"]}
"#;

#[test]
fn pods_of_one_file_start_are_replaced_and_go_together() {
    let bench = Bench::new();
    let file = bench.dir().join("apps.yaml");
    let made = bench.dir().join("made/here");
    let text = APPS
        .replace("IMAGE", &bench.busybox())
        .replace("MADE", made.to_str().unwrap());
    fs::write(&file, text.replace("VERSION", "one")).unwrap();
    let play = |words: &[&str]| {
        let mut words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
        words.push(file.clone().into_os_string());
        bench.isopod_command(words)
    };
    let names = || bench.isopod_command(["list", "--format", "json"]).expect(0);
    let logs = |pod: &str| bench.isopod_command(["logs", pod]).expect(0).text().to_owned();

    // In the foreground all of them, until they are stopped.
    let mut running = bench
        .pod()
        .flags(["-f".into(), file.clone().into_os_string()])
        .start();
    running.wait_for("web on web one\n");
    running.wait_for("ended ");
    running.signal(rustix::process::Signal::TERM);
    let out = running.wait();
    assert!(
        out.stderr.contains("passed over: Service `web`"),
        "{}",
        out.stderr
    );
    assert!(
        out.stderr.contains("is made: an empty directory"),
        "{}",
        out.stderr
    );
    // The pod's own limit binds a container that has none.
    assert!(
        out.text().contains("bound one") && !out.text().contains("ended 0"),
        "{}",
        out.text()
    );
    assert!(made.join("by-web").exists());

    // And in the background.
    let begun = play(&["kube", "play"]).expect(0);
    assert_eq!(begun.text().lines().count(), 2, "{}", begun.text());
    let again = play(&["kube", "play"]);
    assert!(
        again.status == 125 && again.stderr.contains("the name `web`"),
        "{}",
        again.stderr
    );
    fs::write(&file, text.replace("VERSION", "two")).unwrap();
    let replaced = play(&["kube", "play", "--replace"]).expect(0);
    assert_eq!(replaced.text().lines().count(), 2, "{}", replaced.text());
    for (pod, word) in [("web", "web on web two"), ("bound", "bound two")] {
        eventually(word, || logs(pod).contains(word));
    }
    assert_eq!(play(&["kube", "down", "-f"]).expect(0).text(), "bound\nweb\n");
    let gone = names();
    assert!(
        !gone.text().contains("\"web\"") && !gone.text().contains("\"bound\""),
        "{}",
        gone.text()
    );
    let none = play(&["kube", "down"]).expect(0);
    assert!(
        none.text().is_empty() && none.stderr.contains("there is no pod `web`"),
        "{}",
        none.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn a_locked_pod_runs_its_images_and_no_other() {
    let bench = Bench::new();
    let layout = bench.dir().join("image");
    let put = |image: &Image| {
        let reference = bench.image(image);
        let from = reference
            .trim_start_matches("oci:")
            .trim_end_matches(":latest")
            .to_owned();
        let _ = fs::remove_file(&layout);
        std::os::unix::fs::symlink(from, &layout).unwrap();
    };
    put(&Image::busybox());
    let file = bench.dir().join("pod.yaml");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: a, image: 'oci:{}', \
         command: [echo, ran]}}]}}}}",
        layout.display()
    );
    fs::write(&file, &text).unwrap();
    let pod = bench
        .pod()
        .flags(["-f".into(), file.clone().into_os_string(), "--locked".into()]);
    let unlocked = pod.plan(&[]);
    assert_eq!(unlocked.status, 125);
    assert!(unlocked.stderr.contains("pod.yaml.lock"), "{}", unlocked.stderr);

    let lock = |status| {
        bench
            .isopod_command(["pod".into(), "lock".into(), file.clone().into_os_string()])
            .expect(status)
    };
    assert!(lock(0).text().ends_with("pod.yaml.lock\n"));
    let first = pod.plan(&[]).expect(0).text().to_owned();

    // Another image has come in its place: the one that was locked is still in the store.
    put(&Image::busybox().file("srv/new", 0o644, "new"));
    assert_eq!(pod.plan(&[]).expect(0).text(), first);
    // Where it is not, the other one is not taken for it.
    let elsewhere = pod.clone().state(&bench.dir().join("other")).plan(&[]);
    assert_eq!(elsewhere.status, 125);
    assert!(
        elsewhere.stderr.contains("and the lock says `sha256:"),
        "{}",
        elsewhere.stderr
    );

    lock(0);
    assert_ne!(pod.plan(&[]).expect(0).text(), first);
    fs::write(&file, text.replace("image'", "other'")).unwrap();
    let changed = pod.plan(&[]);
    assert_eq!(changed.status, 125);
    assert!(
        changed.stderr.contains("is not in the lock"),
        "{}",
        changed.stderr
    );
    bench.assert_nothing_left();
}

#[test]
fn a_claim_outlives_its_pod_which_a_deadline_ends() {
    let bench = Bench::new();
    let file = bench.dir().join("pod.yaml");
    let made = bench.dir().join("made/here");
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{activeDeadlineSeconds: 8, \
         terminationGracePeriodSeconds: 1, containers: [{{name: a, image: '{}', \
         command: [sh, -c, 'echo kept >/claim/file; echo made >/made/file; exec sleep 1000'], \
         volumeMounts: [{{name: c, mountPath: /claim}}, {{name: d, mountPath: /made}}]}}], \
         volumes: [{{name: c, persistentVolumeClaim: {{claimName: data}}}}, \
         {{name: d, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]}}}}",
        bench.busybox(),
        made.display()
    );
    fs::write(&file, text).unwrap();
    let pod = bench.pod().flags(["-f".into(), file.into_os_string()]);
    assert_eq!(pod.plan(&[]).expect(0).status, 0);
    assert!(!made.exists(), "planning makes nothing");
    let out = pod.run().expect(124);
    let claim = bench.state().join("volumes/data/file");
    assert_eq!(fs::read_to_string(claim).unwrap(), "kept\n", "{}", out.stderr);
    assert_eq!(fs::read_to_string(made.join("file")).unwrap(), "made\n");
    bench.assert_nothing_left();
}
