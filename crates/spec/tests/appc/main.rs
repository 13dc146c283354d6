//! The reader of appc pod manifests: what it makes of them, and that every fault is reported with its place.

mod faults;
mod images;
mod isolators;
mod manifest;

use isopod_spec::PodSpec;
use isopod_spec::appc::read_pod_manifest;
use isopod_spec::located::Fault;

fn read(text: &str) -> PodSpec {
    read_pod_manifest(text, "pod.json").unwrap_or_else(|errors| panic!("{errors}: {:#?}", errors.faults))
}

fn faults(text: &str) -> Vec<Fault> {
    let errors = read_pod_manifest(text, "pod.json").expect_err("the manifest was read");
    assert!(!errors.faults.is_empty());
    errors.faults
}

/// The faults as they are shown, without the file's name.
fn messages(text: &str) -> Vec<String> {
    let show = |fault: &Fault| fault.to_string().trim_start_matches("pod.json:").to_owned();
    faults(text).iter().map(show).collect()
}

/// A manifest with one app; `app` and `pod` are further fields of them, on lines 4 and 5.
fn manifest(app: &str, pod: &str) -> String {
    format!(
        r#"{{"acVersion": "0.8.11", "acKind": "PodManifest",
"apps": [{{
"name": "web", "image": {{"id": "sha512-00ff"}}
{app}
}}] {pod}
}}"#
    )
}
