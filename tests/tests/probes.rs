//! Probes and hooks of a Kubernetes pod file, in a guest: one boot for all of them.

use std::fs;

use isopod_tests::Bench;
use isopod_tests::faults::eventually;
use serde_json::Value;

/// The pod, but for its image (`IMAGE`) and the host's directory (`SOURCE`).
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: web
    image: IMAGE
    command: [sh, -c, "mkdir /www; (sleep 2; echo ok >/www/ready; touch /out/made-ready) & exec httpd -f -p $(POD_IP):8080 -h /www"]
    env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    volumeMounts: [{name: out, mountPath: /out}]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, initialDelaySeconds: 1}
  - name: flaky
    image: IMAGE
    command: [sh, -c, "echo up; touch /ok; sleep 3; rm /ok; exec sleep 1000"]
    livenessProbe: {exec: {command: [sh, -c, "test -e /ok || { echo it is gone; false; }"]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1, terminationGracePeriodSeconds: 1}
  - name: deaf
    image: IMAGE
    command: [sh, -c, "sleep 3; exec sleep 1000"]
    livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 1}
  - name: polite
    image: IMAGE
    command: [sh, -c, "trap 'echo term >>/out/order; exit 0' TERM; while :; do sleep 0.1; done"]
    volumeMounts: [{name: out, mountPath: /out}]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post-start >>/out/order"]}}
      preStop: {exec: {command: [sh, -c, "sleep 1; echo pre-stop >>/out/order"]}}
  volumes:
  - {name: out, hostPath: {path: SOURCE, type: Directory}}
"#;

#[test]
fn probes_and_hooks_do_what_kubernetes_says() {
    let bench = Bench::new();
    let out = bench.source("out", &[]);
    let file = bench.dir().join("pod.yaml");
    let text = POD
        .replace("IMAGE", &bench.busybox())
        .replace("SOURCE", &out.display().to_string());
    fs::write(&file, text).expect("a pod file");
    let isopod = |words: &str| bench.isopod_command(words.split(' '));
    let flags = ["-d", "--accel", "tcg", "-f"].map(std::ffi::OsString::from);
    let run = ["run".into()].into_iter().chain(flags).chain([file.into()]);
    let _ = bench.isopod_command(run).expect(0);
    let app = |name: &str| {
        let out = isopod("status --format json probed").expect(0);
        let status: Value = serde_json::from_str(out.text()).expect("JSON");
        let apps = status["apps"].as_array().expect("apps").clone();
        apps.into_iter().find(|app| app["name"] == name).expect("the app")
    };

    // Not ready before the page is there, and then soon.
    let early = app("web")["ready"].clone();
    assert!(
        early == false || out.join("made-ready").exists(),
        "it was ready before its page was there"
    );
    eventually("it is ready", || app("web")["ready"] == true);
    assert!(out.join("made-ready").exists());
    assert_eq!(app("web")["restarts"], 0, "its port is open");

    // What fails its liveness probe is restarted, and the reason is reported.
    eventually("it is restarted", || app("flaky")["restarts"].as_u64() > Some(0));
    eventually("and so is this", || app("deaf")["restarts"].as_u64() > Some(0));
    let events = isopod("events --stream=false --filter app=flaky").expect(0);
    assert!(
        events.text().contains("liveness probe failed") && events.text().contains("it is gone"),
        "{}",
        events.text()
    );
    eventually("it has begun again", || {
        isopod("logs --app flaky probed")
            .expect(0)
            .text()
            .starts_with("up\nup\n")
    });

    let _ = isopod("stop probed").expect(0);
    let order = fs::read_to_string(out.join("order")).expect("what the app wrote");
    assert_eq!(order, "post-start\npre-stop\nterm\n");
    let _ = isopod("rm probed").expect(0);
    bench.assert_nothing_left();
}
