//! appc's `app` sections, which replace all that an image says, as what a container changes of it.

use std::path::PathBuf;

use crate::check::clean;
use crate::gaps::Gaps;
use crate::{
    App, Capabilities, EnvVar, HealthCheck, Mount, MountFlags, Overrides, Owners, PodSpec, RunConfig,
};

/// `pod` without an `app` section: its apps have overrides and mounts in that one's place.
pub(super) fn as_overrides(pod: &PodSpec, gaps: &Gaps) -> PodSpec {
    let mut pod = pod.clone();
    for app in &mut pod.apps {
        let Some(config) = app.run_config.take() else {
            continue;
        };
        gaps_of_config(app, &config, gaps);
        for point in &config.mount_points {
            let target = clean(&point.path);
            if app.mounts.iter().any(|mount| clean(&mount.target) == target) {
                continue;
            }
            if !pod.volumes.iter().any(|volume| volume.name == point.name) {
                let what = format!(
                    "app `{}`: the mount point `{}` without a volume",
                    app.name, point.name
                );
                gaps.add(what, "a container mounts volumes that the pod has");
                continue;
            }
            app.mounts.push(Mount {
                volume: point.name.clone(),
                target,
                read_only: Some(point.read_only),
                sub_path: None,
                flags: MountFlags::default(),
                owners: Owners::default(),
            });
        }
        app.overrides = overrides(config);
    }
    pod
}

/// What becomes of an `app` section only in part, and what of it does not.
fn gaps_of_config(app: &App, config: &RunConfig, gaps: &Gaps) {
    let add = |what: &str, why: &str| gaps.add(format!("app `{}`: {what}", app.name), why);
    add(
        "an `app` section instead of all settings of its image",
        "beside a container's fields the image's variables, stop signal and health check hold as well",
    );
    if app.overrides != Overrides::default() {
        add(
            "what is changed of its `app` section",
            "the section itself is what a container changes",
        );
    }
    for (handler, argv) in [
        ("pre-start", &config.event_handlers.pre_start),
        ("post-stop", &config.event_handlers.post_stop),
    ] {
        if argv.is_some() {
            add(
                &format!("its `{handler}` handler"),
                "it has none with that meaning",
            );
        }
    }
    if config.health_check != HealthCheck::default() {
        add(
            "its health check",
            "probes act on what they find; a `livenessProbe` in the file comes near",
        );
    }
}

fn overrides(config: RunConfig) -> Overrides {
    let mut argv = config.entrypoint.into_iter().chain(config.cmd);
    let (cap_add, cap_drop) = match config.capabilities {
        Some(Capabilities::Retain(set)) => (set, vec!["ALL".to_owned()]),
        Some(Capabilities::Remove(set)) => (Vec::new(), set),
        None => Default::default(),
    };
    let variable = |(name, value)| EnvVar {
        name,
        value: Some(value),
        secret: false,
    };
    Overrides {
        exec: argv.next(),
        args: Some(argv.collect()),
        user: config.user.or_else(|| Some("0".to_owned())),
        group: config.group,
        group_add: config
            .supplementary_gids
            .iter()
            .map(ToString::to_string)
            .collect(),
        working_dir: Some(config.working_dir.unwrap_or_else(|| PathBuf::from("/"))),
        stop_signal: config.stop_signal,
        env: config.env.into_iter().map(variable).collect(),
        cap_add,
        cap_drop,
        resources: config.resources,
        no_new_privileges: config.no_new_privileges.then_some(true),
        seccomp: config.seccomp,
        ..Overrides::default()
    }
}
