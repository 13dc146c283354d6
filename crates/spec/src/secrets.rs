//! What of a pod is not shown: values that may be secrets.
//!
//! A pod without them is for people to look at. It cannot be run: nothing says what stood there.

use crate::{FileContent, PodSpec, VolumeKind};

/// What stands in a secret's place.
pub const HIDDEN: &str = "(secret)";

/// `pod` without the values of secret variables, the arguments that hold a secret, and the files that its author gave.
#[must_use]
pub fn without_secrets(pod: &PodSpec) -> PodSpec {
    let mut pod = pod.clone();
    for app in &mut pod.apps {
        for variable in app.overrides.env.iter_mut().filter(|variable| variable.secret) {
            variable.value = Some(HIDDEN.to_owned());
        }
        let secret = &app.overrides.secret_args;
        for (index, arg) in app.overrides.args.iter_mut().flatten().enumerate() {
            if secret.contains(&index) {
                *arg = HIDDEN.to_owned();
            }
        }
    }
    for volume in &mut pod.volumes {
        if let VolumeKind::Files(files) = &mut volume.kind {
            for file in &mut files.files {
                file.content = FileContent(HIDDEN.as_bytes().to_vec());
            }
        }
    }
    pod
}
