//! The `app` section: how an app is run, with its isolators.

use super::isolator;
use super::volumes::Access;
use crate::check::clean;
use crate::tree::{Fields, Tree};
use crate::unsaid::Unsaids;
use crate::words::{bytes, cpus};
use crate::{
    App, Capabilities, HealthCheck, HealthTest, MountPoint, Overrides, Refusal, Resources, RunConfig,
    Seccomp, SyscallFilter,
};

/// The section; `None`: the image's own word holds.
pub(super) fn section(app: &App, access: &Access, unsaids: &Unsaids) -> Option<Fields> {
    let add = |what: &str, why: &str| unsaids.add(format!("app `{}`: {what}", app.name), why);
    for limit in &app.overrides.rlimits {
        add(
            &format!("the limit `{}` of setrlimit(2)", limit.kind.name()),
            "it has no isolator for it",
        );
    }
    let rest = Overrides {
        rlimits: Vec::new(),
        ..app.overrides.clone()
    };
    if rest != Overrides::default() {
        add(
            "what is changed of its image's word",
            "an `app` section says all of it or nothing",
        );
    }
    let config = app.run_config.as_ref()?;
    let stop_signal = config.stop_signal.as_deref();
    if stop_signal.is_some_and(|signal| !matches!(signal, "SIGTERM" | "TERM" | "15" | "")) {
        add("its stop signal", "its apps are stopped with SIGTERM");
    }
    let check = &config.health_check;
    if *check != HealthCheck::default() && check.test != Some(HealthTest::Nothing) {
        add("its health check", "nothing is asked of an app that runs");
    }
    if config.resources.pids_limit.is_some() {
        add("a limit of processes", "it has no isolator for it");
    }
    let variable = |(name, value): &(String, String)| Fields::new().with("name", name).with("value", value);
    let handlers = [
        ("pre-start", &config.event_handlers.pre_start),
        ("post-stop", &config.event_handlers.post_stop),
    ];
    let handler = |(name, argv): (&str, &Option<Vec<String>>)| {
        let exec = Fields::new().with("name", name);
        Some(exec.with_list("exec", argv.as_ref()?))
    };
    let dir = config.working_dir.as_ref();
    Some(
        Fields::new()
            .with_list("exec", config.entrypoint.iter().chain(&config.cmd))
            .with("user", config.user.as_deref().unwrap_or("0"))
            .with("group", config.group.as_deref().unwrap_or("0"))
            .with_list("supplementaryGIDs", config.supplementary_gids.iter().copied())
            .with_some("workingDirectory", dir.and_then(|dir| dir.to_str()))
            .with_list("environment", config.env.iter().map(variable))
            .with_list("mountPoints", mount_points(app, config, access))
            .with_list("eventHandlers", handlers.into_iter().filter_map(handler))
            .with_list("isolators", isolators(app, config, unsaids)),
    )
}

/// The mount points; a mount that is read-only in a volume that is not makes one of its own.
fn mount_points(app: &App, config: &RunConfig, access: &Access) -> Vec<Fields> {
    let mut points = config.mount_points.clone();
    for mount in app.mounts.iter().filter(|mount| access.by_mount_point(mount)) {
        let target = clean(&mount.target);
        points.retain(|point| clean(&point.path) != target);
        points.push(MountPoint {
            name: mount.volume.clone(),
            path: target,
            read_only: true,
        });
    }
    let point = |point: &MountPoint| {
        Fields::new()
            .with("name", point.name.as_str())
            .with_some("path", point.path.to_str())
            .with_some("readOnly", point.read_only.then_some(true))
    };
    points.iter().map(point).collect()
}

fn isolators(app: &App, config: &RunConfig, unsaids: &Unsaids) -> Vec<Fields> {
    let mut isolators = resources(&config.resources);
    let set = |names: &[String]| Fields::new().with_list("set", names);
    match &config.capabilities {
        Some(Capabilities::Retain(names)) => {
            isolators.push(isolator("os/linux/capabilities-retain-set", set(names)));
        }
        Some(Capabilities::Remove(names)) => {
            isolators.push(isolator("os/linux/capabilities-remove-set", set(names)));
        }
        None => {}
    }
    let filter = |SyscallFilter { names, refusal }: &SyscallFilter| {
        let errno = match refusal {
            Refusal::Kill => None,
            Refusal::Errno(name) => Some(name),
        };
        set(names).with_some("errno", errno)
    };
    match &config.seccomp {
        None => {}
        Some(Seccomp::Unconfined) => {
            let all = ["@appc.io/all".to_owned()];
            isolators.push(isolator("os/linux/seccomp-retain-set", set(&all)));
        }
        Some(Seccomp::Retain(list)) => isolators.push(isolator("os/linux/seccomp-retain-set", filter(list))),
        Some(Seccomp::Remove(list)) => isolators.push(isolator("os/linux/seccomp-remove-set", filter(list))),
        Some(Seccomp::RuntimeDefault | Seccomp::Profile(_)) => {
            let what = format!("app `{}`: its seccomp profile", app.name);
            unsaids.add(what, "it takes lists of system calls only");
        }
    }
    if config.no_new_privileges {
        isolators.push(isolator("os/linux/no-new-privileges", true));
    }
    isolators
}

/// Memory and processors. A request that is not said would be as large as the limit, and one of 0 asks for nothing.
fn resources(resources: &Resources) -> Vec<Fields> {
    let mut isolators = Vec::new();
    let mut add = |name: &str, request: Option<String>, limit: Option<String>| {
        let request = match (request, &limit) {
            (None, Some(_)) => Some("0".to_owned()),
            (request, limit) => request.filter(|request| Some(request) != limit.as_ref()),
        };
        if request.is_some() || limit.is_some() {
            let amounts = Fields::new()
                .with_some("request", request)
                .with_some("limit", limit);
            isolators.push(isolator(name, amounts));
        }
    };
    let (request, limit) = (resources.memory_request_bytes, resources.memory_limit_bytes);
    add("resource/memory", request.map(bytes), limit.map(bytes));
    let (request, limit) = (resources.cpu_request_millis, resources.cpu_limit_millis);
    add("resource/cpu", request.map(cpus), limit.map(cpus));
    if let Some(adj) = resources.oom_score_adj {
        isolators.push(isolator("os/linux/oom-score-adj", Tree::Number(adj.into())));
    }
    isolators
}
