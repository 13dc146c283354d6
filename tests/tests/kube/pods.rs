//! Pods of files, how they are replaced, locked and end.

use std::fs;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Image};

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
        out.stderr.contains("are ignored: Service `web`"),
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
