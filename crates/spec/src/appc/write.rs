//! Writes a pod as an appc pod manifest, which [`read_pod_manifest`](super::read_pod_manifest) reads back as the same pod.
//!
//! ```text
//! PodSpec ─┬─ app.rs: how apps are run, isolators ─┬─> PodManifest
//!          └─ volumes.rs: volumes and mounts ──────┘
//! ```
//!
//! An `app` section says all of how an app is run, or nothing: what is changed of an image's own word must have been made
//! a [`RunConfig`](crate::RunConfig) before. What a manifest cannot say is told, all of it. A pod's name, the accelerator
//! and the transport of host volumes are left to the flags of a run.

mod app;
mod volumes;

use std::time::Duration;

use crate::kube::Unsupported;
use crate::pod::STOP_TIMEOUT;
use crate::tree::{Fields, Tree};
use crate::unsaid::{Unsaid, Unsaids, Written};
use crate::{
    App, AppRole, FailurePolicy, ImageReference, ImageSource, ImplicitVolumes, Lifecycle, Machine, Network,
    OnUnhealthy, Overrides, PodSpec, PortForward, Probes, PullPolicy, Readiness, RestartPolicy, RootfsAccess,
};
use volumes::Access;

/// How messages call the form.
const FORM: &str = "an appc pod manifest";

/// Writes `pod`. The values of secrets are in it.
///
/// # Errors
/// Everything that the form cannot say, unless that is to be left out.
pub fn write(pod: &PodSpec, unsupported: Unsupported) -> Result<Written, Vec<Unsaid>> {
    let unsaids = Unsaids::of(FORM);
    unsaid_of_pod(pod, &unsaids);
    let access = Access::of(pod);
    let apps: Vec<Fields> = pod
        .apps
        .iter()
        .map(|app| write_app(app, &access, &unsaids))
        .collect();
    let manifest = Fields::new()
        .with("acVersion", "0.8.11")
        .with("acKind", "PodManifest")
        .with_list("apps", apps)
        .with_list("volumes", volumes::write(pod, &access, &unsaids))
        .with_list("isolators", isolators(pod))
        .with_list("ports", ports(pod));
    let text = serde_json::to_string_pretty(&manifest);
    let mut text = text.unwrap_or_else(|error| unsaids.not_written(&error));
    text.push('\n');
    unsaids.finish(text, unsupported)
}

/// Whether `app` must have a [`RunConfig`](crate::RunConfig) for a manifest to say it: what is changed of its image's word
/// stands in one, and the mount point of a mount that is read-only where others of the volume are not.
#[must_use]
pub fn needs_run_config(pod: &PodSpec, app: &App) -> bool {
    let access = Access::of(pod);
    app.overrides != Overrides::default() || app.mounts.iter().any(|mount| access.by_mount_point(mount))
}

/// What no field of a manifest says.
fn unsaid_of_pod(pod: &PodSpec, unsaids: &Unsaids) {
    let no_field = "it has no field for it";
    if pod.network == Network::None {
        unsaids.add_flag("a pod without a network", no_field, "--net none");
    }
    if let Some(name) = &pod.hostname {
        unsaids.add_flag("the host name", no_field, &format!("--hostname {name}"));
    }
    if pod.on_failure == FailurePolicy::Stop {
        let what = "that one app's failure stops the others";
        unsaids.add_flag(what, no_field, "--on-app-failure stop");
    }
    if pod.implicit_volumes == ImplicitVolumes::Refuse {
        let what = "that an image's mount point must have a volume";
        unsaids.add_flag(what, no_field, "--no-implicit-volumes");
    }
    if pod.stop_timeout != STOP_TIMEOUT {
        let seconds = pod.stop_timeout.as_secs();
        let what = format!("that the apps have {seconds} s to stop");
        unsaids.add_flag(what, no_field, &format!("--stop-timeout {seconds}"));
    }
    if pod.deadline.is_some_and(|deadline| deadline > Duration::ZERO) {
        unsaids.add("its deadline", no_field);
    }
    if !pod.host_aliases.is_empty() {
        unsaids.add("further names in `/etc/hosts`", no_field);
    }
    if pod.resolver.is_some() {
        unsaids.add("how it finds names", no_field);
    }
}

fn write_app(app: &App, access: &Access, unsaids: &Unsaids) -> Fields {
    unsaid_of_app(app, unsaids);
    let read_only = app.rootfs == RootfsAccess::ReadOnly;
    Fields::new()
        .with("name", app.name.as_str())
        .with("image", image(app, unsaids))
        .with_some("app", app::section(app, access, unsaids))
        .with_some("readOnlyRootFS", read_only.then_some(true))
        .with_list("mounts", volumes::mounts(app, access, unsaids))
}

fn unsaid_of_app(app: &App, unsaids: &Unsaids) {
    let add = |what: String, why: &str| unsaids.add(format!("app `{}`: {what}", app.name), why);
    let no_life = "its apps run once, side by side";
    let pull = match app.pull {
        PullPolicy::Missing => None,
        PullPolicy::Always => Some("always"),
        PullPolicy::Newer => Some("newer"),
        PullPolicy::Never => Some("never"),
    };
    if let (Some(pull), ImageSource::Reference(ImageReference::Registry(_))) = (pull, &app.image) {
        let what = format!("app `{}`: when a registry is asked for its image", app.name);
        unsaids.add_flag(what, "it has no field for it", &format!("--pull {pull}"));
    }
    match app.restart {
        RestartPolicy::No => {}
        RestartPolicy::Always => add("being started anew when it has ended".into(), no_life),
        RestartPolicy::OnFailure { .. } => add("being started anew after a failure".into(), no_life),
    }
    if app.readiness == Readiness::Notify {
        add("saying itself when it is ready".into(), no_life);
    }
    for dependency in &app.depends_on {
        add(format!("coming after app `{}`", dependency.app), no_life);
    }
    if app.role == AppRole::Sidecar {
        add("ending when the others have ended".into(), no_life);
    }
    if app.probes != Probes::default() || app.on_unhealthy != OnUnhealthy::Nothing {
        add("its probes".into(), "nothing is asked of an app that runs");
    }
    if app.lifecycle != Lifecycle::default() {
        let why = "its handlers are `pre-start`, before the program, and `post-stop`, after its end";
        add("its `postStart` and `preStop` handlers".into(), why);
    }
}

/// An image: by its place, or by its name or ID in the store.
fn image(app: &App, unsaids: &Unsaids) -> Fields {
    let subject = format!("app `{}`", app.name);
    let (id, name) = match &app.image {
        ImageSource::Stored { id, name } => (id.clone(), name.clone()),
        ImageSource::Reference(reference) => (None, place(&subject, reference, unsaids)),
        ImageSource::Locked { reference, .. } => {
            let why = "a manifest with IDs in place of references says it: `isopod image list` shows them";
            unsaids.add(format!("{subject}: the lock of its image"), why);
            (None, place(&subject, reference, unsaids))
        }
    };
    Fields::new().with_some("id", id).with_some("name", name)
}

/// A reference with its transport.
fn place(subject: &str, reference: &ImageReference, unsaids: &Unsaids) -> Option<String> {
    let text = match reference {
        ImageReference::Local(_) => reference.to_string(),
        ImageReference::Registry(image) if image.is_short() => {
            unsaids.add_needed(
                format!("{subject}: the short name `{image}`"),
                "a name without a transport is one in the store, just as it is written",
                format!("bring it into the store, `isopod image fetch {image}`, or name its registry: `docker://REGISTRY/{image}`"),
            );
            return None;
        }
        ImageReference::Registry(_) => format!("docker://{reference}"),
    };
    if ImageReference::parse(text.as_ref()).as_ref() != Ok(reference) {
        unsaids.add_needed(
            format!("{subject}: its image `{}`", crate::words::shown(&text)),
            "it takes paths that are UTF-8",
            "bring it into the store, `isopod image import --name NAME`, and let the pod use that name",
        );
        return None;
    }
    Some(text)
}

/// An isolator.
fn isolator(name: &str, value: impl Into<Tree>) -> Fields {
    Fields::new().with("name", name).with("value", value)
}

/// The machine's size, where it is not the default one, and the kernel's parameters.
fn isolators(pod: &PodSpec) -> Vec<Fields> {
    let default = Machine::default();
    let limit = |limit: String| Fields::new().with("limit", limit);
    let mut isolators = Vec::new();
    if pod.machine.memory_mib != default.memory_mib {
        let bytes = u64::from(pod.machine.memory_mib) << 20;
        isolators.push(isolator("resource/memory", limit(crate::words::bytes(bytes))));
    }
    if pod.machine.cpus != default.cpus {
        isolators.push(isolator("resource/cpu", limit(pod.machine.cpus.to_string())));
    }
    // A later one of a name wins.
    let last = |(index, name): (usize, &str)| pod.sysctls[index + 1..].iter().all(|later| later.name != name);
    let sysctls = pod.sysctls.iter().enumerate();
    let sysctls: Vec<_> = sysctls
        .filter(|(index, sysctl)| last((*index, &sysctl.name)))
        .collect();
    if !sysctls.is_empty() {
        let values = sysctls.into_iter().fold(Fields::new(), |fields, (_, sysctl)| {
            fields.with(&sysctl.name, &sysctl.value)
        });
        isolators.push(isolator("os/unix/sysctl", values));
    }
    isolators
}

/// The ports, each with the pod's own (`podPort`, of the specification's schema).
fn ports(pod: &PodSpec) -> Vec<Fields> {
    let Network::User { ports } = &pod.network else {
        return Vec::new();
    };
    let port = |(index, port): (usize, &PortForward)| {
        let name = |port: &PortForward| format!("{}-{}", port.protocol, port.host_port);
        let own = name(port);
        // One port of several addresses.
        let before = ports[..index].iter().filter(|other| name(other) == own).count();
        let name = match before {
            0 => own,
            before => format!("{own}-{}", before + 1),
        };
        let inner = Fields::new()
            .with("name", &name)
            .with("protocol", port.protocol.to_string())
            .with("port", port.pod_port);
        Fields::new()
            .with("name", &name)
            .with("hostPort", port.host_port)
            .with_some("hostIP", port.host_ip.map(|ip| ip.to_string()))
            .with("podPort", inner)
    };
    ports.iter().enumerate().map(port).collect()
}
