//! Pod files: each folder of `tests/kube` has one, and beside it the pod that it is (`spec.json`) or what is wrong with it
//! (`errors.txt`). With `left-out.txt` the file is read with what cannot be honoured left out, which that file lists.
//! `UPDATE=1` writes what is found.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod golden;

use std::fs;
use std::path::Path;

use golden::{compare, folders, prune, surroundings};
use isopod_spec::kube::{self, File, PodFileErrors, PodFiles, Unsupported};
use isopod_spec::located::Fault;
use isopod_spec::secrets::without_secrets;
use isopod_spec::{PodSpec, RestartPolicy, VolumeKind};
use proptest::prelude::*;
use serde_json::Value;

fn read_all(text: &str, unsupported: Unsupported) -> Result<PodFiles, PodFileErrors> {
    let file = File {
        name: "pod.yaml",
        text,
    };
    kube::read(&[file], &surroundings(), unsupported)
}

/// The only pod of a file.
#[derive(Debug)]
struct One {
    pod: PodSpec,
    left_out: Vec<Fault>,
}

fn one(files: PodFiles) -> One {
    assert_eq!(files.pods.len(), 1);
    One {
        pod: files.pods.into_iter().next().unwrap().pod,
        left_out: files.left_out,
    }
}

fn read(text: &str, unsupported: Unsupported) -> Result<One, PodFileErrors> {
    read_all(text, unsupported).map(one)
}

/// What cannot be honoured has the same hint everywhere.
fn listed(faults: &[Fault]) -> String {
    golden::listed(faults, |fault| fault.hint().filter(|_| !fault.is_unsupported()))
}

#[test]
fn every_folder_is_read_as_it_says() {
    let mut wrong = String::new();
    for folder in folders("kube") {
        let text = fs::read_to_string(folder.join("pod.yaml")).unwrap();
        let left_out = folder.join("left-out.txt");
        let unsupported = match left_out.exists() {
            true => Unsupported::Ignore,
            false => Unsupported::Refuse,
        };
        match read_all(&text, unsupported) {
            Ok(files) => {
                let pods = files
                    .pods
                    .iter()
                    .map(|file| serde_json::to_value(&file.pod).unwrap());
                let mut pods: Vec<Value> = pods.collect();
                pods.iter_mut().for_each(prune);
                let found = match &pods[..] {
                    [pod] => format!("{pod:#}\n"),
                    _ => format!("{:#}\n", Value::Array(pods)),
                };
                compare(&folder.join("spec.json"), &found, &mut wrong);
                if unsupported == Unsupported::Ignore {
                    let without = files.pods.iter().flat_map(|file| &file.volumes_left_out);
                    let without: String = without.map(|name| format!("without volume `{name}`\n")).collect();
                    compare(&left_out, &(listed(&files.left_out) + &without), &mut wrong);
                }
                let notices = folder.join("notices.txt");
                if unsupported == Unsupported::Refuse && (notices.exists() || !files.left_out.is_empty()) {
                    compare(&notices, &listed(&files.left_out), &mut wrong);
                }
                assert!(!folder.join("errors.txt").exists(), "{}", folder.display());
            }
            Err(PodFileErrors { faults }) => {
                compare(&folder.join("errors.txt"), &listed(&faults), &mut wrong);
                assert!(
                    !folder.join("spec.json").exists(),
                    "{}\n{}",
                    folder.display(),
                    listed(&faults)
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_no_variable_can_hold_is_refused_by_its_key_and_binary_data_is_none() {
    let pod = |env: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, image: x, {env}}}]}}\n---\n\
             {{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{A: x}}, binaryData: {{B: /w==, C: eA==}}}}\n---\n\
             {{apiVersion: v1, kind: Secret, metadata: {{name: s}}, data: {{raw: /w==, ok: eA==}}}}\n"
        )
    };
    let names = |file: One| -> Vec<String> {
        let env = file.pod.apps[0].overrides.env.iter();
        env.map(|variable| variable.name.clone()).collect()
    };
    let map = read(&pod("envFrom: [{configMapRef: {name: m}}]"), Unsupported::Refuse);
    assert_eq!(names(map.unwrap()), ["A"]);
    let secret = pod("envFrom: [{secretRef: {name: s}}]");
    let errors = read(&secret, Unsupported::Refuse).unwrap_err();
    assert_eq!(
        errors.faults[0].kind.to_string(),
        "a variable with the value of key `raw` is not supported: a variable holds UTF-8 text without NUL characters"
    );
    assert_eq!(names(read(&secret, Unsupported::Ignore).unwrap()), ["ok"]);
    let key = pod("env: [{name: C, valueFrom: {configMapKeyRef: {name: m, key: C}}}]");
    let errors = read(&key, Unsupported::Ignore).unwrap_err();
    assert_eq!(
        errors.faults[0].kind.to_string(),
        "the key is in `binaryData`, which gives files and no variables"
    );
}

#[test]
fn a_list_of_a_kind_is_read_as_the_api_gives_it() {
    let pods = r#"{"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [
        {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "x",
         "envFrom": [{"configMapRef": {"name": "m"}}]}]}}]}"#;
    let maps = "---\n{kind: ConfigMapList, apiVersion: v1, items: [{metadata: {name: m}, data: {A: b}}]}\n";
    let file = read(&format!("{pods}\n{maps}"), Unsupported::Refuse).unwrap();
    assert_eq!(file.pod.apps[0].overrides.env[0].value.as_deref(), Some("b"));
    let reported = |text: &str| {
        let faults = read(&format!("{pods}\n{maps}---\n{text}"), Unsupported::Refuse).unwrap_err();
        faults.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        reported("{kind: SecretList, apiVersion: v1, items: [{kind: Pod}]}"),
        ["pod.yaml:7:51: `items[0].kind`: `Pod` must be the kind that the list is of"]
    );
    assert_eq!(
        reported("{kind: ListList, apiVersion: v1, items: []}"),
        [
            "pod.yaml:7:8: `kind`: kind `ListList` is not supported: a pod file has pods, what they use, and the objects of \
          Kubernetes' own that stand beside them"
        ]
    );
}

#[test]
fn a_claim_that_the_group_of_files_does_not_change_is_reported() {
    let pod = |context: &str, more: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  securityContext: {{{context}}}\n  \
             containers: [{{name: a, image: x}}]\n  volumes:\n  - {{name: e, emptyDir: {{}}}}\n  \
             - {{name: d, persistentVolumeClaim: {{claimName: data{more}}}}}\n"
        );
        listed(&read(&text, Unsupported::Refuse).unwrap().left_out)
    };
    assert_eq!(
        pod("fsGroup: 2000", ""),
        "pod.yaml:5:30: `spec.securityContext.fsGroup`: what is in claim `data` keeps its owners and modes: `chgrp -R \
         2000` and `chmod -R g+rwX` give the group what it would have in a cluster\n"
    );
    assert_eq!(pod("fsGroup: 2000", ", readOnly: true"), "");
    assert_eq!(pod("", ""), "");
}

/// The directory that each of the pod's claims is, or what is wrong.
fn claimed(claims: &[&str], objects: &str) -> Vec<String> {
    let volumes = claims
        .iter()
        .map(|claim| format!("  - {{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}\n"));
    let text = format!(
        "apiVersion: v1\nkind: Pod\nspec:\n  containers: [{{name: a, image: x}}]\n  volumes:\n{}metadata: {{name: a}}\n{objects}",
        volumes.collect::<String>()
    );
    match read(&text, Unsupported::Refuse) {
        Ok(file) => (file.pod.volumes.iter())
            .map(|volume| match &volume.kind {
                VolumeKind::Host(host) => host.source.display().to_string(),
                other => panic!("{other:?}"),
            })
            .collect(),
        Err(errors) => errors.faults.iter().map(|fault| fault.kind.to_string()).collect(),
    }
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: PersistentVolume{kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n"
    )
}

#[test]
fn a_volume_is_one_claims_alone() {
    let volume = |name: &str, size: &str, more: &str| {
        let spec = format!(
            "capacity: {{storage: {size}}}, hostPath: {{path: /srv/{name}}}, accessModes: [ReadWriteOnce]{more}"
        );
        object("", name, &spec)
    };
    let claim = |name: &str, more: &str| {
        let spec = format!("resources: {{requests: {{storage: 1Gi}}}}, accessModes: [ReadWriteOnce]{more}");
        object("Claim", name, &spec)
    };
    let (a, b) = (claim("a", ""), claim("b", ""));
    let all = |parts: &[&str]| parts.concat();
    // Each has its own, the smallest that is large enough; what is over is a directory that is kept.
    let (small, large, tiny) = (
        volume("small", "1Gi", ""),
        volume("large", "2Gi", ""),
        volume("tiny", "1Mi", ""),
    );
    assert_eq!(
        claimed(&["a", "b"], &all(&[&a, &b, &large, &small, &tiny])),
        ["/srv/small", "/srv/large"]
    );
    assert_eq!(
        claimed(&["a", "b"], &all(&[&a, &b, &small])),
        ["/srv/small", "/state/claims/b"]
    );
    // A claim that the pod does not use has its volume all the same.
    assert_eq!(claimed(&["b"], &all(&[&a, &b, &small, &large])), ["/srv/large"]);
    // Who names the other comes first, wherever it stands; the claim need not be in the file.
    let named = claim("b", ", volumeName: small");
    assert_eq!(
        claimed(&["a", "b"], &all(&[&a, &named, &small, &large])),
        ["/srv/large", "/srv/small"]
    );
    let reserved = volume("mine", "1Gi", ", claimRef: {name: b}");
    assert_eq!(
        claimed(&["a", "b"], &all(&[&a, &b, &reserved, &large])),
        ["/srv/large", "/srv/mine"]
    );
    assert_eq!(claimed(&["b"], &reserved), ["/srv/mine"]);
    // Both cannot have it.
    let second = claim("a", ", volumeName: small");
    assert_eq!(
        claimed(&["a", "b"], &all(&[&second, &named, &small])),
        ["volume `small` is claim `a`'s"]
    );
    let wrong = claim("a", ", volumeName: mine");
    assert_eq!(
        claimed(&["a"], &all(&[&wrong, &reserved])),
        ["volume `mine` is claim `b`'s"]
    );
    // The volume must have all access modes that the claim asks for.
    let many = object("Claim", "a", "accessModes: [ReadWriteMany]");
    assert_eq!(claimed(&["a"], &all(&[&many, &small])), ["/state/claims/a"]);
    let unknown = object("Claim", "a", "accessModes: [Often]");
    assert_eq!(
        claimed(&["a"], &unknown),
        ["`Often` must be `ReadWriteOnce`, `ReadOnlyMany`, `ReadWriteMany` or `ReadWriteOncePod`"]
    );
}

#[test]
fn several_files_are_one_pod() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: 'oci:/a', \
               env: [{name: X, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]}}";
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {k: v}}";
    let files = [
        File {
            name: "a.yaml",
            text: pod,
        },
        File {
            name: "b.yaml",
            text: map,
        },
    ];
    let read = one(kube::read(&files, &surroundings(), Unsupported::Refuse).unwrap());
    assert_eq!(read.pod.apps[0].overrides.env[0].value.as_deref(), Some("v"));
    let broken = [
        files[0],
        File {
            name: "b.yaml",
            text: "{",
        },
    ];
    let errors = kube::read(&broken, &surroundings(), Unsupported::Refuse).unwrap_err();
    assert!(
        listed(&errors.faults).contains("b.yaml:1:"),
        "{}",
        listed(&errors.faults)
    );
}

#[test]
fn no_secret_is_in_a_message() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: hunter2!, b: [hunter2]}\nstringData: {c: 7}\n";
    let errors = read(text, Unsupported::Refuse).unwrap_err();
    assert!(
        !listed(&errors.faults).contains("hunter2"),
        "{}",
        listed(&errors.faults)
    );
}

#[test]
fn a_pod_without_secrets_has_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube");
    for (folder, secret) in [("env", "hunter2"), ("volumes", r#""content":"key""#)] {
        let text = fs::read_to_string(root.join(folder).join("pod.yaml")).unwrap();
        let pod = read(&text, Unsupported::Refuse).unwrap().pod;
        let json = |pod| serde_json::to_string(pod).unwrap();
        assert!(json(&pod).contains(secret));
        assert!(!json(&without_secrets(&pod)).contains(secret));
    }
}

/// Every pod file of the folders.
/// What takes a quarter of a second took minutes when each was compared with all before it.
#[test]
fn many_of_a_kind_are_read_in_time() {
    const MANY: usize = 45_000;
    let lines = |line: &str| {
        (0..MANY)
            .map(|n| line.replace('N', &n.to_string()))
            .collect::<String>()
    };
    let pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: x}]}\nmetadata:\n  name: a\n";
    let labels = format!("{pod}  labels:\n{}", lines("    kN: v\n"));
    let container =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: x\n";
    let variables = format!(
        "{container}    env:\n{}",
        lines("    - {name: AN, value: $(A0)N}\n")
    );
    let fields = format!("{container}{}", lines("    image: xN\n"));
    let begun = std::time::Instant::now();
    let _ = read(&labels, Unsupported::Refuse).unwrap();
    let file = read(&variables, Unsupported::Refuse).unwrap();
    let env = &file.pod.apps[0].overrides.env;
    assert_eq!(env.len(), MANY);
    assert_eq!((&*env[2].name, env[2].value.as_deref()), ("A2", Some("$(A0)02")));
    assert_eq!(read(&fields, Unsupported::Refuse).unwrap_err().faults.len(), MANY);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// Variables that are made of the ones before them double with each; files are copied as often as they are mounted.
#[test]
fn what_values_come_to_is_bounded() {
    let pod = |env: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: a\n    image: x\n    \
             env: [{env}]\n{more}"
        )
    };
    let doubled = (1..64).map(|n| format!(", {{name: A{n}, value: $(A{0})$(A{0})}}", n - 1));
    let env = "{name: A0, value: x}".to_owned() + &doubled.collect::<String>();
    let errors = read(&pod(&env, ""), Unsupported::Ignore).unwrap_err();
    assert_eq!(errors.faults.len(), 1, "{errors}");
    // 2^26 bytes, and all before them, are more than 64 MiB.
    assert_eq!(errors.faults[0].at.field, "spec.containers[0].env[26].value");
    let message = errors.faults[0].to_string();
    assert!(message.contains("more than 64 MiB"), "{message}");

    let volumes = (0..70).map(|n| format!("  - {{name: v{n}, configMap: {{name: c}}}}\n"));
    let data = "x".repeat(1 << 20);
    let map = format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{key: {data}}}\n");
    let text = pod("", &format!("  volumes:\n{}{map}", volumes.collect::<String>()));
    let errors = read(&text, Unsupported::Ignore).unwrap_err();
    assert_eq!(errors.faults.len(), 1, "{errors}");
    let message = errors.faults[0].to_string();
    assert!(message.contains("more than 64 MiB"), "{message}");
}

#[test]
fn what_is_larger_than_the_api_takes_is_refused() {
    let reported = |text: &str| {
        let errors = read(text, Unsupported::Ignore).unwrap_err();
        errors
            .faults
            .iter()
            .map(|fault| fault.kind.to_string())
            .collect::<Vec<_>>()
    };
    let pod = |metadata: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a{metadata}}}\nspec: {{containers: [{{name: a, image: x}}]}}\n"
        )
    };
    let object = |kind: &str, half: usize| {
        let half = "x".repeat(half);
        let pod = pod("");
        let field = if kind == "Secret" { "stringData" } else { "data" };
        format!(
            "{pod}---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: c}}\n{field}: {{a: {half}, b: {half}}}\n"
        )
    };
    for kind in ["ConfigMap", "Secret"] {
        read(&object(kind, 512 << 10), Unsupported::Refuse).unwrap();
        assert_eq!(
            reported(&object(kind, (512 << 10) + 1)),
            ["the values have 1048578 bytes together, more than 1 MiB"]
        );
    }
    let annotations = |bytes: usize| pod(&format!(", annotations: {{a: {}}}", "x".repeat(bytes - 1)));
    read(&annotations(256 << 10), Unsupported::Refuse).unwrap();
    assert_eq!(
        reported(&annotations((256 << 10) + 1)),
        ["the annotations have 262145 bytes together, more than 256 KiB"]
    );
}

#[test]
fn a_job_restarts_its_containers_as_often_as_it_says() {
    let retries = |limit: &str, policy: &str| {
        let text = format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec:\n  template:\n    spec:\n      \
             restartPolicy: {policy}\n      containers: [{{name: a, image: x}}]\n{limit}"
        );
        read(&text, Unsupported::Refuse).unwrap().pod.apps[0].restart
    };
    let on_failure = |max_retries| RestartPolicy::OnFailure { max_retries };
    assert_eq!(retries("", "OnFailure"), on_failure(Some(6)));
    assert_eq!(retries("  backoffLimit: 2\n", "OnFailure"), on_failure(Some(2)));
    assert_eq!(retries("  backoffLimit: 2\n", "Never"), RestartPolicy::No);
}

#[test]
fn the_names_of_pods_are_read_whatever_else_is_wrong() {
    let file = |text: &'static str| File { name: "a.yaml", text };
    let text = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {template: {spec: {}}}}\n---\n\
                {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nonsense: 1}}\n---\n\
                {apiVersion: v1, kind: Service, metadata: {name: no}}\n";
    let names = kube::names(&[file(text)]).unwrap();
    assert_eq!(
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["db-0", "web"]
    );
    assert!(kube::names(&[file("{")]).is_err());
}

fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube");
    let folders = fs::read_dir(root).unwrap();
    folders
        .map(|entry| fs::read_to_string(entry.unwrap().path().join("pod.yaml")).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Lines and bytes of real files moved, doubled, cut and changed: read or refused, never a panic.
    #[test]
    fn mutated_files_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..6, any::<char>()), 1..8),
    ) {
        let corpus = corpus();
        let mut lines: Vec<String> = which.get(&corpus).lines().map(str::to_owned).collect();
        for (one, other, kind, c) in changes {
            if lines.is_empty() {
                break;
            }
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => lines.swap(one, other),
                1 => drop(lines.remove(one)),
                2 => { let line = lines[one].clone(); lines.insert(other, line); }
                3 => lines[one].insert(0, ' '),
                4 => { let line = &mut lines[one]; let at = line.char_indices().map(|(i, _)| i).nth(other % 40).unwrap_or(line.len()); line.insert(at, c); }
                _ => { let line = &mut lines[one]; let at = line.char_indices().map(|(i, _)| i).nth(other % 40).unwrap_or(line.len()); line.truncate(at); }
            }
        }
        let text = lines.join("\n");
        let _ = read_all(&text, Unsupported::Refuse).map_err(|errors| { assert!(!errors.faults.is_empty()); listed(&errors.faults) });
        let _ = read_all(&text, Unsupported::Ignore);
    }
}
