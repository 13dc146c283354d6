//! What a pod file's fields lead to in its pod.

use std::fs;

use isopod_tests::Bench;

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
