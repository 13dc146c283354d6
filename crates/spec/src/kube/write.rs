//! Writes a pod as a Kubernetes pod file, which [`read`](super::read) reads back as the same pod.
//!
//! ```text
//! PodSpec ── run_config.rs: appc's `app` sections ─┐
//!   ┌──────────────────────────────────────────────┘
//!   ├─ order.rs: which containers come first ─┐
//!   ├─ container.rs, probes.rs, security.rs ──┼─> Pod ───────────────────┐
//!   ├─ volumes.rs ────────────────────────────┘                          ├─> YAML documents
//!   └─ objects.rs: files and secret values ─────> ConfigMaps and Secrets ┘
//! ```
//!
//! What a pod file cannot say is told, all of it. What belongs to a run rather than to a pod is left to the flags of that
//! run: the accelerator and the transport of host volumes.

mod container;
mod objects;
mod order;
mod probes;
mod run_config;
mod security;
mod volumes;

use super::Unsupported;
use super::pod::{GRACE_SECONDS, GUEST_MIB};
use crate::tree::{Fields, Tree};
use crate::unsaid::{Unsaid, Unsaids, Written};
use crate::{
    App, AppRole, FailurePolicy, HostAlias, ImplicitVolumes, Machine, Medium, Network, PodSpec, PortForward,
    PortProtocol, Resolver, RestartPolicy, Volume, VolumeKind,
};
use objects::Objects;
use order::Order;
use security::Groups;

/// How messages call the form.
const FORM: &str = "a Kubernetes Pod";

/// Writes `pod`: the Pod, and behind it the ConfigMaps and Secrets that it needs. The values of secrets are in it.
///
/// # Errors
/// Everything that the form cannot say, unless that is to be left out.
pub fn write(pod: &PodSpec, unsupported: Unsupported) -> Result<Written, Vec<Unsaid>> {
    let unsaids = Unsaids::of(FORM);
    let mut objects = Objects::new(pod.name.as_ref());
    let metadata = Fields::new().with_some("name", pod.name.as_ref().map(|name| name.as_str()));
    let spec = spec(&run_config::as_overrides(pod, &unsaids), &mut objects, &unsaids);
    let document = Fields::new()
        .with("apiVersion", "v1")
        .with("kind", "Pod")
        .with("metadata", metadata)
        .with("spec", spec);
    let mut text = yaml(&document, &unsaids);
    for object in objects.into_documents() {
        text.push_str("---\n");
        text.push_str(&yaml(&object, &unsaids));
    }
    unsaids.finish(text, unsupported)
}

/// A document as people write it: literal blocks for lines, and nothing folded.
fn yaml(document: &Fields, unsaids: &Unsaids) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let written = serde_saphyr::to_string_with_options(document, options);
    written.unwrap_or_else(|error| unsaids.not_written(&error))
}

fn spec(pod: &PodSpec, objects: &mut Objects, unsaids: &Unsaids) -> Fields {
    let order = Order::of(pod, unsaids);
    let groups = Groups::of(pod, unsaids);
    let restart = order.main.first().map(|app| app.restart).unwrap_or_default();
    let context = container::Context {
        pod,
        restart,
        unsaids,
    };
    unsaid_of_pod(pod, unsaids);
    let ports: &[PortForward] = match &pod.network {
        Network::User { ports } => ports,
        Network::None => &[],
    };
    let init: Vec<Fields> = order
        .init
        .iter()
        .map(|app| container::write(app, container::Place::Init, &[], &context, objects))
        .collect();
    let main = order.main.iter().enumerate().map(|(index, app)| {
        // A port is the pod's: that it stands at one of its containers says nothing.
        let ports = if index == 0 { ports } else { &[] };
        container::write(app, container::Place::Main, ports, &context, objects)
    });
    let main: Vec<Fields> = main.collect();
    let (host_name, any_host_name) = match pod.hostname.as_deref() {
        Some(name) if name.contains('.') => (None, Some(name)),
        name => (name, None),
    };
    let signals = pod.apps.iter().any(|app| app.overrides.stop_signal.is_some());
    let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let grace = seconds(pod.stop_timeout);
    let (dns_policy, dns_config) = resolver(pod.resolver.as_ref());
    Fields::new()
        .with_some("hostname", host_name)
        .with_some("hostnameOverride", any_host_name)
        .with_fields("os", Fields::new().with_some("name", signals.then_some("linux")))
        .with_some(
            "restartPolicy",
            (restart != RestartPolicy::Always).then(|| container::restart_policy(restart)),
        )
        .with_some(
            "terminationGracePeriodSeconds",
            (grace != i64::from(GRACE_SECONDS)).then_some(grace),
        )
        .with_some(
            "activeDeadlineSeconds",
            pod.deadline.map(|deadline| seconds(deadline).max(1)),
        )
        .with_list("hostAliases", pod.host_aliases.iter().map(host_alias))
        .with_some("dnsPolicy", dns_policy)
        .with_fields("dnsConfig", dns_config)
        .with_fields("securityContext", security::of_pod(pod, &groups))
        .with_fields("resources", resources(pod, &order, unsaids))
        .with_list("initContainers", init)
        .with_list("containers", main)
        .with_list("volumes", volumes::write(pod, &groups, objects, unsaids))
}

/// What no field of a Pod says.
fn unsaid_of_pod(pod: &PodSpec, unsaids: &Unsaids) {
    if pod.network == Network::None {
        unsaids.add_flag("a pod without a network", "every Pod has one", "--net none");
    }
    if pod.on_failure == FailurePolicy::Stop {
        let what = "that one app's failure stops the others";
        unsaids.add_flag(what, "containers end each for itself", "--on-app-failure stop");
    }
    if pod.implicit_volumes == ImplicitVolumes::Refuse {
        let what = "that an image's mount point must have a volume";
        unsaids.add_flag(what, "it has no field for it", "--no-implicit-volumes");
    }
}

fn host_alias(alias: &HostAlias) -> Fields {
    Fields::new()
        .with("ip", alias.address.to_string())
        .with_list("hostnames", &alias.names)
}

/// `dnsPolicy` and `dnsConfig`.
fn resolver(resolver: Option<&Resolver>) -> (Option<&'static str>, Fields) {
    let Some(resolver) = resolver else {
        return (None, Fields::new());
    };
    let option = |option: &String| match option.split_once(':') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Fields::new().with("name", name).with("value", value)
        }
        _ => Fields::new().with("name", option),
    };
    let config = Fields::new()
        .with_list(
            "nameservers",
            resolver.nameservers.iter().map(ToString::to_string),
        )
        .with_list("searches", &resolver.searches)
        .with_list("options", resolver.options.iter().map(option));
    ((!resolver.with_host).then_some("None"), config)
}

/// The pod's own `resources`: what its machine has, where that does not follow from the containers' limits.
fn resources(pod: &PodSpec, order: &Order<'_>, unsaids: &Unsaids) -> Fields {
    let smallest = Machine::default().memory_mib;
    let Needs { memory_mib, cpus } = needs(order);
    let memory = match pod.machine.memory_mib.saturating_sub(in_memory_mib(pod)) {
        mib if mib == memory_mib => None,
        mib if mib < smallest => {
            let mib = pod.machine.memory_mib;
            let what = format!("a machine of {mib} MiB");
            let why = format!("one of a pod file has {smallest} MiB at least");
            unsaids.add_flag(what, why, &format!("--memory {mib}m"));
            None
        }
        mib => Some(crate::words::bytes((u64::from(mib) - GUEST_MIB) << 20)),
    };
    let cpus = (pod.machine.cpus != cpus).then(|| pod.machine.cpus.to_string());
    let limits = Fields::new().with_some("cpu", cpus).with_some("memory", memory);
    Fields::new().with_fields("limits", limits)
}

/// What the reader gives a VM besides for what its volumes may hold in memory, in MiB.
fn in_memory_mib(pod: &PodSpec) -> u32 {
    let of_volume = |volume: &Volume| match &volume.kind {
        VolumeKind::Empty(empty) if empty.medium == Medium::Memory => empty.size_bytes,
        _ => None,
    };
    let bytes = pod.volumes.iter().filter_map(of_volume);
    u32::try_from(bytes.fold(0, u64::saturating_add).div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// What the reader gives a machine for the limits of its containers.
struct Needs {
    memory_mib: u32,
    cpus: u32,
}

fn needs(order: &Order<'_>) -> Needs {
    let needed = |of: fn(&App) -> u64| {
        let sidecars = order.init.iter().filter(|app| app.role == AppRole::Sidecar);
        let together: u64 = order.main.iter().chain(sidecars).map(|app| of(app)).sum();
        let alone = order.init.iter().map(|app| of(app)).max();
        together.max(alone.unwrap_or_default())
    };
    let memory = needed(|app| app.overrides.resources.memory_limit_bytes.unwrap_or_default());
    let millis = needed(|app| {
        app.overrides
            .resources
            .cpu_limit_millis
            .unwrap_or_default()
            .into()
    });
    let default = Machine::default();
    let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Needs {
        memory_mib: whole(memory.div_ceil(1 << 20) + GUEST_MIB).max(default.memory_mib),
        cpus: whole(millis.div_ceil(1000))
            .min(crate::flags::MAX_CPUS)
            .max(default.cpus),
    }
}

/// The pod's ports, at one of its containers.
fn port(port: &PortForward) -> Fields {
    Fields::new()
        .with("containerPort", port.pod_port)
        .with("hostPort", port.host_port)
        .with_some("hostIP", port.host_ip.map(|ip| ip.to_string()))
        .with_some("protocol", (port.protocol == PortProtocol::Udp).then_some("UDP"))
}

/// A path as text.
fn text(path: &std::path::Path) -> Option<Tree> {
    path.to_str().map(Tree::from)
}

/// Whether a path has no part that leads up, and is as it is written.
fn is_plain(path: &std::path::Path) -> bool {
    use std::path::Component::{CurDir, Normal, RootDir};
    path.components()
        .all(|part| matches!(part, Normal(_) | RootDir | CurDir))
}
