//! Pods as Kubernetes pod files: what is written is read back as the same pod.

use std::fs;
use std::path::Path;

use isopod_spec::kube::{self, File, Surroundings, Unsupported};
use isopod_spec::{EnvVar, PodSpec, SourceRule, VolumeKind, check};
use proptest::prelude::*;

use crate::pods;

fn surroundings() -> Surroundings {
    Surroundings {
        uuid: "11111111-2222-4333-8444-555555555555".into(),
        name: None,
        node_name: "the-host".into(),
        pod_ip: Some([10, 0, 2, 15].into()),
        host_ip: Some([10, 0, 2, 2].into()),
        claims_dir: "/state/claims".into(),
        memory_mib: None,
        cpus: None,
    }
}

fn read(text: &str) -> PodSpec {
    let file = File {
        name: "written.yaml",
        text,
    };
    match kube::read(&[file], &surroundings(), Unsupported::Refuse) {
        Ok(file) => file.pod,
        Err(errors) => panic!(
            "{:#?}\n{text}",
            errors.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        ),
    }
}

fn write(pod: &PodSpec) -> String {
    match kube::write(pod, Unsupported::Refuse) {
        Ok(written) => written.text,
        Err(unsaid) => panic!(
            "{:#?}",
            unsaid.iter().map(ToString::to_string).collect::<Vec<_>>()
        ),
    }
}

/// `pod` with everything said where a pod file says it, in the way it says it.
fn normal(pod: &PodSpec) -> PodSpec {
    let mut pod = pod.clone();
    for volume in &mut pod.volumes {
        let kept = matches!(&volume.kind, VolumeKind::Host(host) if host.must_be == SourceRule::Kept);
        let literal = matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Image(_));
        let by_volume = kept && volume.read_only == Some(true);
        let mounts = pod.apps.iter_mut().flat_map(|app| &mut app.mounts);
        for mount in mounts.filter(|mount| mount.volume == volume.name) {
            let read_only = volume.read_only.or(mount.read_only).unwrap_or(false);
            mount.read_only = (!literal && !by_volume).then_some(read_only);
        }
        volume.read_only = by_volume.then_some(true);
        if let VolumeKind::Empty(empty) = &mut volume.kind {
            empty.mode = Some(empty.mode.unwrap_or(0o755));
        }
    }
    for app in &mut pod.apps {
        let mut env: Vec<EnvVar> = Vec::new();
        for variable in app.overrides.env.drain(..) {
            env.retain(|other| other.name != variable.name);
            env.push(variable);
        }
        app.overrides.env = env;
        if app.overrides.exec.is_some() {
            app.overrides.args.get_or_insert_default();
        }
        for mount in &mut app.mounts {
            mount.target = check::clean(&mount.target);
        }
    }
    pod
}

#[test]
fn every_pod_file_that_is_read_is_written_as_the_same_pod() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube");
    let mut read_ones = 0;
    for folder in fs::read_dir(&root).unwrap() {
        let text = fs::read_to_string(folder.unwrap().path().join("pod.yaml")).unwrap();
        let file = File {
            name: "pod.yaml",
            text: &text,
        };
        let Ok(found) = kube::read(&[file], &surroundings(), Unsupported::Ignore) else {
            continue;
        };
        let written = write(&found.pod);
        assert_eq!(read(&written), normal(&found.pod), "{written}");
        assert_eq!(write(&read(&written)), written);
        read_ones += 1;
    }
    assert!(read_ones >= 7, "{read_ones}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_that_can_be_said_is_read_back_as_the_same_pod(pod in pods::pod()) {
        let written = write(&pod);
        let found = read(&written);
        prop_assert_eq!(&found, &normal(&pod), "{}", written);
        prop_assert_eq!(write(&found), written);
    }
}
