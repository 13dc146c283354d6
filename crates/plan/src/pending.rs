//! What a pod can say and no plan does yet: refused, so that nothing is left out silently.

use isopod_spec::{PodSpec, Resources, RunConfig, VolumeKind};

use crate::fault::Fault;

/// Everything of `spec` that planning does not do yet.
pub(crate) fn faults(spec: &PodSpec) -> Vec<Fault> {
    let mut faults = Vec::new();
    for volume in &spec.volumes {
        if let VolumeKind::Files(_) | VolumeKind::Image(_) = volume.kind {
            faults.push(Fault::Volume {
                volume: volume.name.clone(),
                reason: "volumes of files and of images are not supported yet".into(),
            });
        }
    }
    for app in &spec.apps {
        let default = RunConfig::default();
        let (config, own) = (app.run_config.as_ref().unwrap_or(&default), &app.overrides);
        let used = [
            (
                "limits of resources",
                own.resources.or(config.resources) != Resources::default(),
            ),
            (
                "no new privileges",
                own.no_new_privileges == Some(true) || config.no_new_privileges,
            ),
            (
                "filters of system calls",
                own.seccomp.is_some() || config.seccomp.is_some(),
            ),
            ("limits of setrlimit(2)", !own.rlimits.is_empty()),
            ("further groups", !own.group_add.is_empty()),
            ("users that must not be root", own.must_not_be_root),
            ("parameters of the kernel", !spec.sysctls.is_empty()),
        ];
        for (what, _) in used.iter().filter(|(_, used)| *used) {
            faults.push(Fault::App {
                app: app.name.clone(),
                reason: format!("{what} are not supported yet"),
            });
        }
    }
    faults
}
