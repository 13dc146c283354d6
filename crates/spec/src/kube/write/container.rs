//! Containers: each of the pod's apps.

use super::super::expand::escape;
use super::super::objects::Secrecy;
use super::image::image;
use super::objects::WrittenObjects;
use super::{is_plain, probes, security};
use crate::check::clean;
use crate::flags::{LIMITS, PROCESS};
use crate::gaps::Gaps;
use crate::tree::Fields;
use crate::words::{bytes, cpus};
use crate::{
    App, AppRole, AppRoot, Device, EnvVar, HealthCheck, Mount, MountFlags, Owners, PodSpec, PortForward,
    Propagation, Readiness, Resources, RestartPolicy, VolumeKind,
};

/// What the containers of a pod share while they are written.
pub(super) struct Context<'a> {
    pub(super) pod: &'a PodSpec,
    /// The pod's `restartPolicy`.
    pub(super) restart: RestartPolicy,
    pub(super) gaps: &'a Gaps,
}

/// Which of the pod's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerList {
    Init,
    Main,
}

/// Writes the container of `app`; its secrets are added to `objects`.
pub(super) fn write(
    app: &App,
    place: ContainerList,
    ports: &[PortForward],
    context: &Context<'_>,
    objects: &mut WrittenObjects,
) -> Fields {
    let subject = format!("app `{}`", app.name);
    let gaps = context.gaps;
    gaps_of_app(app, place, gaps);
    let (image, pull) = match &app.root {
        AppRoot::Image(source) => image(&subject, source, app.pull, gaps),
        AppRoot::Directory(_) => {
            gaps.add_needed(
                format!("{subject}: its root, a directory of the host"),
                "a container has an image",
                "make an image of the directory, with buildah(1) or umoci(1)",
            );
            (None, None)
        }
    };
    let overrides = &app.overrides;
    let env = env(app, objects, gaps);
    let probe = |probe: &Option<crate::Probe>| probe.as_ref().map(probes::probe);
    // Said already to be none of an init container's.
    let has_probes = place == ContainerList::Main || app.role == AppRole::Sidecar;
    let probes = app.probes.clone();
    let probes = if has_probes {
        probes
    } else {
        crate::Probes::default()
    };
    let working_dir = overrides.working_dir.as_ref();
    if working_dir.is_some_and(|dir| dir.to_str().is_none()) {
        gaps.add(format!("{subject}: its working directory"), "it takes UTF-8 only");
    }
    let (command, args) = command(app, gaps);
    Fields::new()
        .with("name", app.name.as_str())
        .with_some("image", image)
        .with_some("imagePullPolicy", pull)
        .with_some("restartPolicy", own_restart(app, place, context))
        .with_list("command", command)
        .with_list("args", args)
        .with_some("workingDir", working_dir.and_then(|dir| super::text(dir)))
        .with_list("env", env)
        .with_list("ports", ports.iter().map(super::port))
        .with_fields("resources", resources(&subject, &overrides.resources, gaps))
        .with_list("volumeMounts", mounts(app, context))
        .with_fields("securityContext", security::of_app(app, gaps))
        .with_some("startupProbe", probe(&probes.startup))
        .with_some("livenessProbe", probe(&probes.liveness))
        .with_some("readinessProbe", probe(&probes.readiness))
        .with_fields("lifecycle", probes::lifecycle(app))
        .with_some(
            "terminationMessagePath",
            app.last_words.path.as_deref().and_then(super::text),
        )
        .with_some(
            "terminationMessagePolicy",
            app.last_words.from_log.then_some("FallbackToLogsOnError"),
        )
        .with_some("tty", overrides.tty.then_some(true))
}

/// What no field of a container says.
fn gaps_of_app(app: &App, place: ContainerList, gaps: &Gaps) {
    let add = |what: &str, why: &str| gaps.add(format!("app `{}`: {what}", app.name), why);
    let overrides = &app.overrides;
    for path in &app.anonymous {
        let what = format!("its own volume at `{}`", crate::words::shown(path));
        add(
            &what,
            "an `emptyDir` begins empty, and this one as the image has the directory",
        );
    }
    if app.readiness == Readiness::Notify {
        add("its own report that it is ready", "probes ask for it");
    }
    if overrides.health_check != HealthCheck::default() {
        add(
            "its health check",
            "probes act on what they find; a `livenessProbe` in the file comes near",
        );
    }
    let gaps_of_flags = LIMITS.iter().chain(&PROCESS).filter_map(|flag| flag.gap);
    for gap in gaps_of_flags.filter(|gap| (gap.is_asked)(overrides)) {
        add(gap.what, gap.why);
    }
    if let RestartPolicy::OnFailure {
        max_retries: Some(most),
    } = app.restart
    {
        add(
            &format!("giving up after {most} restarts"),
            "a restart policy has no limit",
        );
    }
    if place == ContainerList::Init && app.role == AppRole::Main {
        let handlers = app.lifecycle.post_start.is_some() || app.lifecycle.pre_stop.is_some();
        if app.probes != crate::Probes::default() || handlers {
            add(
                "its probes and handlers",
                "others wait for its end, and an init container has none",
            );
        }
    }
}

/// A restart policy's word.
pub(super) fn restart_policy(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "Always",
        RestartPolicy::OnFailure { .. } => "OnFailure",
        RestartPolicy::No => "Never",
    }
}

/// The container's own `restartPolicy`, where it is not the one that follows from the pod's.
fn own_restart(app: &App, place: ContainerList, context: &Context<'_>) -> Option<&'static str> {
    let own = restart_policy(app.restart);
    if app.role == AppRole::Sidecar {
        return Some("Always");
    }
    let followed = match (place, restart_policy(context.restart)) {
        (ContainerList::Init, "Always") => "OnFailure",
        (_, word) => word,
    };
    (own != followed).then_some(own)
}

/// `command` and `args`.
fn command(app: &App, gaps: &Gaps) -> (Vec<String>, Vec<String>) {
    let overrides = &app.overrides;
    let args = overrides.args.as_deref().unwrap_or_default();
    let word = |(index, word): (usize, &String)| match overrides.secret_args.contains(&index) {
        true => with_variables(app, word).unwrap_or_else(|| {
            let what = format!("app `{}`: the secret in its argument {}", app.name, index + 1);
            gaps.add(
                what,
                "only a variable can contain one, and no variable of the app does",
            );
            String::new()
        }),
        false => escape(word),
    };
    let words: Vec<String> = args.iter().enumerate().map(word).collect();
    match &overrides.exec {
        Some(exec) if exec.is_empty() => (words, Vec::new()),
        Some(exec) => ([vec![escape(exec)], words].concat(), Vec::new()),
        None => {
            if overrides.args.is_some() && words.is_empty() {
                let what = format!("app `{}`: no arguments in place of its image's", app.name);
                gaps.add(what, "an empty list of them means those of the image");
            }
            (Vec::new(), words)
        }
    }
}

/// An argument that holds a secret, with the variable's name in that one's place.
fn with_variables(app: &App, word: &str) -> Option<String> {
    let secrets = variables(app).into_iter().filter(|variable| variable.secret);
    let found = secrets
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .filter(|(_, value)| !value.is_empty() && word.contains(value));
    let (name, value) = found.max_by_key(|(_, value)| value.len())?;
    // Every `$` is doubled: the variable's own follows.
    let rest = |piece: &str| with_variables(app, piece).unwrap_or_else(|| piece.replace('$', "$$"));
    let pieces: Vec<String> = word.split(value).map(rest).collect();
    Some(pieces.join(&format!("$({name})")))
}

/// The variables that hold: a later one of a name takes the earlier one's place.
fn variables(app: &App) -> Vec<&EnvVar> {
    let mut variables: Vec<&EnvVar> = Vec::new();
    for variable in &app.overrides.env {
        variables.retain(|other| other.name != variable.name);
        variables.push(variable);
    }
    variables
}

/// The variables: those that hold a secret refer to a Secret.
fn env(app: &App, objects: &mut WrittenObjects, gaps: &Gaps) -> Vec<Fields> {
    let variables = variables(app);
    let secrets = variables.iter().filter(|variable| variable.secret);
    let secrets = secrets.filter_map(|variable| {
        let value = variable.value.as_ref()?;
        Some((variable.name.clone(), value.clone().into_bytes()))
    });
    let secrets: Vec<(String, Vec<u8>)> = secrets.collect();
    let secret = match secrets.is_empty() {
        true => String::new(),
        false => objects.add(Secrecy::Secret, &format!("{}-env", app.name), secrets),
    };
    let write = |variable: &&EnvVar| {
        let named = Fields::new().with("name", &variable.name);
        match &variable.value {
            Some(_) if variable.secret => {
                let key = Fields::new().with("name", &secret).with("key", &variable.name);
                Some(named.with("valueFrom", Fields::new().with("secretKeyRef", key)))
            }
            Some(value) => Some(named.with("value", escape(value))),
            None => {
                gaps.add(
                    format!(
                        "app `{}`: the caller's own variable `{}`",
                        app.name, variable.name
                    ),
                    "a container's variables have values",
                );
                None
            }
        }
    };
    variables.iter().filter_map(write).collect()
}

/// `requests` and `limits`. A request that is not said would be as large as the limit.
fn resources(subject: &str, resources: &Resources, gaps: &Gaps) -> Fields {
    let memory = |amount: Option<u64>| amount.map(bytes);
    let cpu = |millis: Option<u32>| millis.map(cpus);
    let request = |request: Option<String>, limit: &Option<String>| match (request, limit) {
        (Some(request), Some(limit)) if request == *limit => None,
        (None, Some(_)) => Some("0".to_owned()),
        (request, _) => request,
    };
    let too_much = |request: Option<u64>, limit: Option<u64>| {
        request.zip(limit).is_some_and(|(request, limit)| request > limit)
    };
    let millis = (resources.cpu_request_millis, resources.cpu_limit_millis);
    if too_much(resources.memory_request_bytes, resources.memory_limit_bytes)
        || too_much(millis.0.map(u64::from), millis.1.map(u64::from))
    {
        let why = "a request cannot exceed its limit";
        gaps.add_needed(
            format!("{subject}: what it takes of the VM"),
            why,
            "raise its limit",
        );
    }
    let limits = (cpu(millis.1), memory(resources.memory_limit_bytes));
    let requests = Fields::new()
        .with_some("cpu", request(cpu(millis.0), &limits.0))
        .with_some(
            "memory",
            request(memory(resources.memory_request_bytes), &limits.1),
        );
    let limits = Fields::new()
        .with_some("cpu", limits.0)
        .with_some("memory", limits.1);
    Fields::new()
        .with_fields("requests", requests)
        .with_fields("limits", limits)
}

fn mounts(app: &App, context: &Context<'_>) -> Vec<Fields> {
    let write = |mount: &Mount| {
        let subject = format!("app `{}`: its mount at `{}`", app.name, mount.target.display());
        let gaps = context.gaps;
        if mount.flags != MountFlags::default() {
            let flags = [
                (mount.flags.nosuid, "nosuid"),
                (mount.flags.nodev, "nodev"),
                (mount.flags.noexec, "noexec"),
            ];
            for (_, flag) in flags.into_iter().filter(|(is_set, _)| *is_set) {
                gaps.add(
                    format!("{subject}: `{flag}`"),
                    "a mount is read-only or not, and nothing else",
                );
            }
        }
        if mount.owners == Owners::App {
            gaps.add(
                format!("{subject}: `U`"),
                "only a pod's `fsGroup` gives files away, and not those of a `hostPath`",
            );
        }
        let target = clean(&mount.target);
        let target = target.to_str().filter(|target| !target.contains(':'));
        let sub_path = mount.sub_path.as_deref();
        let is_written =
            sub_path.is_none_or(|path| path.to_str().is_some() && path.is_relative() && is_plain(path));
        let (Some(target), true) = (target, is_written) else {
            gaps.add_needed(
                subject,
                "paths are UTF-8, `mountPath` without `:`, `subPath` relative and without `..`",
                "mount it at another path",
            );
            return None;
        };
        let (read_only, propagation) = access(mount, context.pod);
        Some(
            Fields::new()
                .with("name", mount.volume.as_str())
                .with("mountPath", target)
                .with_some("subPath", sub_path.and_then(super::text))
                .with_some("readOnly", read_only.then_some(true))
                .with_some(
                    "mountPropagation",
                    (propagation == Propagation::Rslave).then_some("HostToContainer"),
                ),
        )
    };
    let device = |device: &Device| {
        Fields::new()
            .with("name", super::volumes::device_name(*device, context.pod))
            .with("mountPath", device.path())
    };
    let devices = app.overrides.devices.iter().map(device);
    app.mounts.iter().filter_map(write).chain(devices).collect()
}

/// Whether a mount must say that it is read-only, and how mounts of the host come to it.
fn access(mount: &Mount, pod: &PodSpec) -> (bool, Propagation) {
    let volume = pod.volumes.iter().find(|volume| volume.name == mount.volume);
    let Some(volume) = volume else {
        return (mount.read_only == Some(true), Propagation::Private);
    };
    let read_only = volume.read_only.or(mount.read_only) == Some(true);
    match &volume.kind {
        VolumeKind::Host(host) => {
            let by_claim = host.must_be.is_kept() && volume.read_only == Some(true);
            (read_only && !by_claim, host.propagation)
        }
        VolumeKind::Empty(_) => (read_only, Propagation::Private),
        VolumeKind::Files(_) | VolumeKind::Image(_) => (false, Propagation::Private),
    }
}
