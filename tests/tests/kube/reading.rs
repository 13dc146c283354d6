//! What is read without a VM: shared cases, refusals, policies.

use std::fs;
use std::path::Path;

use isopod_tests::Bench;

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
            "multi-kind.yaml" => "are ignored: Service `web`",
            "cpu-small.yaml" => "10 thousandths of a CPU instead of 5",
            "ephemeral-storage.yaml" => "`ephemeral-storage` is not enforced",
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
