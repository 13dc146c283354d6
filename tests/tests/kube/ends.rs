//! How containers end and are restarted.

use std::fs;

use isopod_tests::Bench;

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
        text.text().contains("usual: termination message: one\\ntwo"),
        "{}",
        text.text()
    );
    let _ = bench.isopod_command(["rm", "-f", "words"]).expect(0);
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
