//! appc's manifests, of a pod and of an image.

#![no_main]

use isopod_spec::appc::{locate, read_image_manifest, read_pod_manifest};
use isopod_spec::located::Part;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match read_pod_manifest(text, "pod.json") {
        Ok(pod) => {
            // Each look reads the text again.
            for app in pod.apps.iter().take(3) {
                assert!(locate(text, "pod.json", &Part::App(app.name.clone())).is_some());
            }
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
    let _ = read_image_manifest(text, "manifest").map_err(|errors| errors.to_string());
});
