//! A Kubernetes pod file, one that is refused for what cannot be honoured and one that does without, and both as one pod.

#![no_main]

use isopod_spec::kube::{self, File, KubeSurroundings, Unsupported};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let surroundings = KubeSurroundings {
        new_uuid: || "00000000-0000-4000-8000-000000000000".into(),
        name: None,
        node_name: "node".into(),
        pod_ip: "10.0.2.15".parse().ok(),
        host_ip: "10.0.2.2".parse().ok(),
        claims_dir: "/claims".into(),
        memory_mib: None,
        cpus: None,
    };
    let half = text.split_once("\nFILE\n");
    let texts = half.map_or_else(|| vec![text], |(one, other)| vec![one, other]);
    let files: Vec<File<'_>> = texts
        .iter()
        .map(|text| File {
            name: "pod.yaml",
            text,
        })
        .collect();
    for unsupported in [Unsupported::Refuse, Unsupported::Ignore] {
        match kube::read(&files, &surroundings, unsupported) {
            Ok(files) => assert!(files.pods.iter().all(|file| !file.pod.apps.is_empty())),
            Err(errors) => assert!(!errors.to_string().is_empty()),
        }
    }
});
